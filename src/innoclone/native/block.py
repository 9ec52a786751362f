"""A block of pages from a connection into a file, in one call of the native library: received, looked at, written."""

from __future__ import annotations

import ctypes

from innoclone.native.library import Library
from innoclone.native.pages import Pages, Place
from innoclone.native.transfer import Channel, State

__all__ = ["Block"]

SMALLEST_PAGE = 1024
ALIGNMENT = 4096  # of O_DIRECT
_pointer, _u64, _u32, _i32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32


class BlockStruct(ctypes.Structure):
    """``struct block`` of native.h."""

    _fields_ = (
        ("buffer", _pointer), ("room", _u64), ("wanted", _u64), ("received", _u64), ("offset", _u64),
        ("first_page", _u64), ("unusual", _pointer), ("unusual_room", _u64), ("unusual_count", _u64),
        ("stamps", _pointer), ("stamps_room", _u64), ("written", _u64), ("page_size", _u32), ("is_zip", _u32),
        ("space_id", _u32), ("file", _i32), ("alignment", _u32), ("error", _i32), ("checked", _u32), ("unused", _u32),
    )  # fmt: skip


class Block:
    """What one connection is receiving. It is used for one block after the other, by one thread.

    `begin` says what is to come, `advance` has it come; then `unusual`, `stamps` and `is_written` tell of it.
    """

    def __init__(self, native: Library, most: int) -> None:
        """``most``: bytes that a block may have."""
        self._native = native
        self.most = most
        self._unusual = (ctypes.c_uint32 * (most // SMALLEST_PAGE))()
        self._stamps = (ctypes.c_char * (4 * (most // SMALLEST_PAGE)))()
        self._struct = BlockStruct(
            unusual=ctypes.addressof(self._unusual), unusual_room=len(self._unusual),
            stamps=ctypes.addressof(self._stamps), stamps_room=len(self._stamps),
        )  # fmt: skip
        self._memory: object = None  # keeps the buffer in place

    def begin(
        self,
        view: memoryview,
        *,
        received: int = 0,
        pages: Pages | None = None,
        first_page: int = 0,
        place: Place | None = None,
    ) -> None:
        """All of ``view`` is to be received, but for the first ``received`` bytes that are in it.

        ``pages``: it is made of such, from number ``first_page`` on; None: of none. ``place``: where it is written
        then, None: nowhere; for O_DIRECT ``view`` is aligned.

        Raises ValueError for what doesn't fit.
        """
        size = len(view)
        whole = pages is None or size % pages.size == 0
        if not 0 <= received <= size or not 0 < size <= self.most or view.readonly or not whole:
            raise ValueError(f"a block of {size} bytes, {received} of them received")
        block = self._struct
        self._memory = ctypes.c_char.from_buffer(view)
        block.buffer, block.room, block.wanted, block.received = ctypes.addressof(self._memory), size, size, received
        block.page_size, block.space_id, block.is_zip, block.checked = pages or (0, 0, 0, 0)
        block.first_page = first_page
        block.file, block.offset, direct = place or (-1, 0, False)
        block.alignment = ALIGNMENT if direct else 0
        block.unusual_count = block.written = 0

    def advance(self, channel: Channel) -> int:
        """Receive, look, write; returns how many bytes have come so far, at last all of them, and 0 at the end of the
        connection. Once all have come it has been tried to write them (`is_written`).

        Raises TimeoutError when the channel's time is up and none came; another call goes on. Else as
        `Channel.recv_into`.
        """
        before = self._struct.received
        state = channel.call(self._native.block, ctypes.byref(self._struct))
        received: int = self._struct.received
        if state in (State.DONE, State.FILE_FAILED) or (state == State.TIME_IS_UP and received > before):
            return received
        return channel.ended(state)

    @property
    def is_written(self) -> bool:
        """Whether all of it is in the file. If not, another try tells why."""
        return bool(self._struct.written == self._struct.wanted)

    @property
    def unusual(self) -> list[int]:
        """Indexes of the pages that Python has to look at."""
        return self._unusual[: self._struct.unusual_count]

    @property
    def stamps(self) -> bytes:
        """The checksum fields of all pages, one behind the other."""
        return self._stamps.raw[: self._struct.wanted // self._struct.page_size * 4] if self._struct.page_size else b""
