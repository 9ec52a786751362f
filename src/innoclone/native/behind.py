"""Writing by a thread of the native library, while the next bytes are received."""

from __future__ import annotations

import ctypes

from innoclone.native.library import Library
from innoclone.native.pages import Place
from innoclone.native.transfer import State

__all__ = ["Behind"]

ALIGNMENT = 4096  # of O_DIRECT


class Behind:
    """Writes one piece at a time. It is used by one thread; `close` it."""

    def __init__(self, native: Library) -> None:
        """Raises OSError where there can't be one more thread."""
        self._native = native
        self._memory: object = None  # keeps the piece in place
        self._length = 0
        self._written, self._error = ctypes.c_size_t(), ctypes.c_int32()
        self._behind: int | None = native.behind_new()
        if not self._behind:
            raise OSError("no thread that writes")

    def give(self, view: memoryview, place: Place) -> None:
        """Begin to write ``view``, whose memory is writable and, for O_DIRECT, aligned; it stays as it is until `wait`
        was called. Raises ValueError for what doesn't fit, and before the piece given last was waited for."""
        size = len(view)
        if not size or self._behind is None or self._memory is not None:
            raise ValueError(f"{size} bytes to be written behind")
        self._memory, self._length = ctypes.c_char.from_buffer(view), size
        begin = ctypes.addressof(self._memory)
        alignment = ALIGNMENT if place.direct else 0
        if self._native.behind_give(self._behind, place.file, begin, size, place.offset, alignment) != State.DONE:
            self._memory = None
            raise ValueError("the native library refuses the arguments")

    def wait(self) -> bool:
        """Until what was given last is written; whether all of it is. If not, another try tells why."""
        if self._behind is None:
            return True
        state = self._native.behind_wait(self._behind, ctypes.byref(self._written), ctypes.byref(self._error))
        self._memory = None
        return state == State.DONE and self._written.value == self._length

    def close(self) -> None:
        """The thread ends, after what was given last is written."""
        if self._behind is not None:
            self._native.behind_free(self._behind)
            self._behind = self._memory = None
