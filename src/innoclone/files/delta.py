"""Bringing an older file to a newer one's content by writing only the pages that differ.

What differs is decided by the whole content of both pages: checksums and LSNs have blind spots (pages of diverged
histories with equal LSNs, bytes that no checksum covers, torn pages with a good header), content has none. So the older
file may be anything, and the result is right all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from innoclone.dataclass import dataclass
from innoclone.files.copying import BLOCK, Look, Reader, Writer
from innoclone.files.direct import DIRECT_MIN
from innoclone.files.system import differing, write_all

__all__ = ["Delta", "update_file", "write_differing"]

DIRECT_RUN = 256 << 10  # bytes of a run from which on it is written around the page cache; single pages go through it


@dataclass
class Delta:
    """What it took. Bytes, and pages of the file's own page size."""

    read: int = 0
    written: int = 0
    pages_compared: int = 0
    pages_written: int = 0


Write = Callable[[int, memoryview, int], None]


def update_file(
    source: int,
    target: int,
    page: int,
    account: Callable[[int, int], None],
    write: Write | None = None,
    look: Look | None = None,
    start: int = 0,
    end: int | None = None,
) -> Delta:
    """Make ``target`` equal to ``source`` up to the source's end as it is now; ``page`` is the page size in bytes.

    Or only from ``start`` to ``end``: then the size is the caller's business.

    ``account`` is told the bytes read of the source and written after each block. ``write`` gets the descriptor, a run
    of differing pages and its offset. ``look`` sees every block of the source. Raises OSError.
    """
    delta = Delta()
    size = os.fstat(source).st_size if end is None else end
    padded = memoryview(bytearray(BLOCK))  # the older content where its file ends early: zeros follow, as a hole
    with Reader(source) as ours, Reader(target) as theirs, Writer(target, direct=size >= DIRECT_MIN) as writer:

        def write_run(fd: int, run: memoryview, offset: int) -> None:
            if len(run) < DIRECT_RUN:
                write_all(fd, run, offset)
            else:
                writer.write(run, offset)

        at = start
        while at < size:
            new = ours.read(at, min(BLOCK, size - at))
            if not new:
                raise OSError(5, "the source became shorter")
            old = theirs.read(at, len(new))
            if len(old) < len(new):
                padded[: len(old)] = old
                padded[len(old) : len(new)] = bytes(len(new) - len(old))
                old = padded[: len(new)]
            before = delta.written
            write_differing(target, at, new, old, page, delta, write or write_run)
            if look is not None:
                look(new, at)
            delta.read += len(new)
            delta.pages_compared += -(-len(new) // page)
            account(len(new), delta.written - before)
            at += len(new)
    if end is None and os.fstat(target).st_size != size:
        os.ftruncate(target, size)
    return delta


def write_differing(
    target: int, offset: int, new: memoryview, old: memoryview, page: int, delta: Delta, write: Write
) -> None:
    """Write the runs of pages of one block that differ."""
    for start, end in differing(new, old, page):
        run = new[start:end]
        write(target, run, offset + start)
        delta.written += len(run)
        delta.pages_written += -(-len(run) // page)
