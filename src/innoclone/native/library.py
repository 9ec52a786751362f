"""Loads the native library, or says why there is none: then all is done in Python, slower and with the same results.

A plain shared library without Python's headers, called through ctypes, which lets go of the GIL around each call.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["FILE", "VARIABLE", "Buffer", "Library", "address", "describe", "library", "load", "missing"]

ABI = 5  # as in native.h
FILE = Path(__file__).with_name("libinnoclone.so")
VARIABLE = "INNOCLONE_NATIVE"
"""``off``: do without the library. Anything else but nothing: the path of another one."""
OFF = "off"
BY_PROCESSOR, BY_TABLES = 0, 1  # ways of the checksum, as in crc32c.c

Buffer = bytes | bytearray | memoryview
Function = Callable[..., int]

_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_int, _i64, _u32, _u64 = ctypes.c_int, ctypes.c_int64, ctypes.c_uint32, ctypes.c_uint64


class Library:
    """The functions of native.h, without their prefix. All return `REFUSED` (-1) for arguments that make no sense."""

    def __init__(self, path: Path) -> None:
        """Load ``path``. Raises OSError, also where it is of another version."""
        self.path = path
        self._library = ctypes.CDLL(str(path))
        if self._function("abi", _int)() != ABI:
            raise OSError(f"{path} is of another version of innoclone")
        self.crc32c_way = self._function("crc32c_way", _int, _int)
        self.crc32c = self._function("crc32c", _u32, _pointer, _size)
        self.check = self._function("check", _i64, _pointer, _size, _u32, _u32, _u32, _u64, _pointer, _size)
        self.stamps = self._function("stamps", _i64, _pointer, _size, _u32, _pointer, _size)
        self.differing = self._function("differing", _i64, _pointer, _pointer, _size, _size, _size, _pointer, _size)
        self.receive = self._function("receive", _int, _pointer, _pointer, _size, _size, _pointer)
        self.send_file = self._function("send_file", _int, _pointer, _pointer)
        self.block = self._function("block", _int, _pointer, _pointer)
        self.behind_new = self._function("behind_new", _pointer)
        self.behind_give = self._function("behind_give", _int, _pointer, _int, _pointer, _size, _u64, _size)
        self.behind_wait = self._function("behind_wait", _int, _pointer, _pointer, _pointer)
        self.behind_free = self._function("behind_free", None, _pointer)
        self.span = self._function("span", _int, _pointer)

    def _function(self, name: str, result: type | None, *arguments: type) -> Function:
        try:
            function = self._library[f"innoclone_{name}"]
        except AttributeError as error:
            raise OSError(f"{self.path} is not innoclone's") from error
        function.restype, function.argtypes = result, arguments
        return function


def load(wanted: str) -> tuple[Library | None, str]:
    """The library that ``wanted``, a value of `VARIABLE`, asks for; or None, and why."""
    if wanted == OFF:
        return None, f"{VARIABLE}={OFF}"
    path = Path(wanted) if wanted else FILE
    if not path.is_file():
        return None, "it was not built" if not wanted else f"there is no {path}"
    try:
        return Library(path), ""
    except OSError as error:
        return None, str(error)


library, missing = load(os.environ.get(VARIABLE, ""))


def describe() -> str:
    """One line on which way runs, and why."""
    if library is None:
        return f"native library: none ({missing}), so Python does it, slower"
    if library.crc32c_way(BY_PROCESSOR) == BY_PROCESSOR:
        return "native library: in use, CRC-32C by the processor"
    return "native library: in use, CRC-32C by tables"


def address(buffer: Buffer) -> object:
    """A buffer of at least one byte as an argument of a function, which keeps it in place during the call.

    What is read-only and not bytes is copied.
    """
    if isinstance(buffer, bytes):
        return buffer
    view = memoryview(buffer)
    return view.tobytes() if view.readonly else ctypes.byref(ctypes.c_char.from_buffer(view))
