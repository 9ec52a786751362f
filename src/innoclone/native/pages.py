"""Pages by the native library: which are not plainly good, and where two buffers differ."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import NamedTuple

from innoclone.native.library import Buffer, Library, address

__all__ = ["Pages", "Place", "differing", "unusual_pages"]

RUNS = 256  # that one call tells of


class Pages(NamedTuple):
    """What the library has to know of a tablespace to tell good pages from unusual ones."""

    size: int
    space_id: int
    is_zip: bool
    checked: bool = True
    """False: they are not looked at, only `Block.stamps` are taken."""


class Place(NamedTuple):
    """Where a block goes: a descriptor, the offset in bytes, and whether the descriptor is O_DIRECT's."""

    file: int
    offset: int
    direct: bool


def unusual_pages(
    native: Library, pages: Buffer, page_size: int, space_id: int, first_page: int, *, is_zip: bool
) -> list[int]:
    """Indexes of the pages that are neither plainly good nor never written. ``pages`` are whole ones.

    Raises ValueError for sizes that make no sense.
    """
    length = memoryview(pages).nbytes
    count = length // page_size
    if not count:
        return []
    if length != count * page_size:
        raise ValueError(f"{length} bytes are no pages of {page_size}")
    found = (ctypes.c_uint32 * count)()
    number = native.check(address(pages), length, page_size, is_zip, space_id, first_page, found, count)
    if not 0 <= number <= count:
        raise ValueError(f"pages of {page_size} bytes")
    return found[:number]


def differing(native: Library, one: Buffer, other: Buffer, page: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of pages of ``page`` bytes that differ; the last page may be short.

    Raises ValueError for buffers of different lengths.
    """
    length = memoryview(one).nbytes
    if length != memoryview(other).nbytes or page < 1:
        raise ValueError(f"{length} bytes and {memoryview(other).nbytes} by pages of {page}")
    if not length:
        return
    left, right = address(one), address(other)
    runs = (ctypes.c_uint64 * (2 * RUNS))()
    start, found = 0, RUNS
    while found == RUNS:
        found = native.differing(left, right, length, start, page, runs, RUNS)
        if not 0 <= found <= RUNS:
            raise ValueError(f"{length} bytes by pages of {page}")
        ends = runs[: 2 * found]
        yield from zip(ends[::2], ends[1::2], strict=True)
        start = ends[-1] if ends else length
