"""A block of a file, or of two files side by side, in one call of the native library: read, looked at, compared."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

from innoclone.native.library import Library
from innoclone.native.pages import Pages
from innoclone.native.transfer import State

__all__ = ["Side", "Span"]

SMALLEST_PAGE = 1024
MOST = 16 << 20  # bytes, as in span.c
PIECE = 256 << 10  # bytes, as in span.c: a multiple of every page
_pointer, _u64, _u32, _i32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32


class Side(NamedTuple):
    """Where the bytes of one file go, and the descriptors that they are read by: one through the page cache, one with
    O_DIRECT (-1: not that way). For O_DIRECT the memory is aligned."""

    memory: memoryview
    file: int
    direct: int = -1


class SideStruct(ctypes.Structure):
    """``struct side`` of native.h."""

    _fields_ = (("buffer", _pointer), ("room", _u64), ("got", _u64), ("file", _i32), ("direct", _i32))


class SpanStruct(ctypes.Structure):
    """``struct span`` of native.h."""

    _fields_ = (
        ("ours", SideStruct), ("older", SideStruct), ("offset", _u64), ("wanted", _u64), ("first_page", _u64),
        ("unusual", _pointer), ("unusual_room", _u64), ("unusual_count", _u64), ("runs", _pointer),
        ("runs_room", _u64), ("runs_count", _u64), ("compared", _u32), ("page_size", _u32), ("is_zip", _u32),
        ("space_id", _u32), ("error", _i32), ("unused", _u32),
    )  # fmt: skip


class Span:
    """What one thread reads, block by block; `read` does it, `unusual` and `runs` tell of it."""

    def __init__(self, native: Library, most: int) -> None:
        """``most``: bytes that a block may have."""
        if not 0 < most <= MOST:
            raise ValueError(f"blocks of {most} bytes")
        self._native, self._most = native, most
        self._unusual = (ctypes.c_uint32 * (most // SMALLEST_PAGE))()
        self._runs = (ctypes.c_uint64 * (2 * (most // SMALLEST_PAGE // 2 + 2)))()
        self._struct = SpanStruct(
            unusual=ctypes.addressof(self._unusual), unusual_room=len(self._unusual),
            runs=ctypes.addressof(self._runs), runs_room=len(self._runs) // 2,
        )  # fmt: skip

    def read(
        self,
        ours: Side,
        offset: int,
        count: int,
        *,
        older: Side | None = None,
        compared: int = 0,
        pages: Pages | None = None,
        first_page: int = 0,
    ) -> int:
        """Read ``count`` bytes at ``offset`` into the side's memory; returns how many there are up to the file's end.

        ``older``: the same of an older file, to be compared by pages of ``compared`` bytes; where it ends it goes on
        with zeros. ``pages``: ours is made of such, from number ``first_page`` on, and they are looked at.

        Raises OSError, and ValueError for what doesn't fit.
        """
        sides = [ours] if older is None else [ours, older]
        sizes = [*([compared] if older is not None else []), *([pages.size] if pages is not None else [])]
        most = min(self._most, *(len(side.memory) for side in sides))
        whole = all(size >= SMALLEST_PAGE and not PIECE % size for size in sizes)
        if not whole or not 0 < count <= most or offset < 0 or any(side.memory.readonly for side in sides):
            raise ValueError(f"a block of {count} bytes at {offset} by pages of {sizes}")
        held = [ctypes.c_char.from_buffer(side.memory) for side in sides]  # keeps the memory in place during the call
        span = self._struct
        span.ours = _side(ours, held[0])
        span.older = SideStruct() if older is None else _side(older, held[1])
        span.offset, span.wanted, span.compared = offset, count, compared
        span.page_size, span.space_id, span.is_zip, _ = pages or (0, 0, 0, 0)
        span.first_page = first_page
        state = self._native.span(ctypes.byref(span))
        if state == State.FILE_FAILED:
            raise OSError(span.error, os.strerror(span.error))
        if state != State.DONE:
            raise ValueError("the native library refuses the arguments")
        got: int = span.ours.got
        return got

    @property
    def unusual(self) -> list[int]:
        """Indexes of the whole pages that Python has to look at."""
        return self._unusual[: self._struct.unusual_count]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(start, end) of the runs of pages that differ."""
        ends = self._runs[: 2 * self._struct.runs_count]
        return list(zip(ends[::2], ends[1::2], strict=True))


def _side(side: Side, held: ctypes.c_char) -> SideStruct:
    return SideStruct(ctypes.addressof(held), len(side.memory), 0, side.file, side.direct)
