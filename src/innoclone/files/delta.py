"""Bringing an older file to a newer one's content by writing only the pages that differ.

What differs is decided by the whole content of both pages: checksums and LSNs have blind spots (pages of diverged
histories with equal LSNs, bytes that no checksum covers, torn pages with a good header), content has none. So the older
file may be anything, and the result is right all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from innoclone.dataclass import dataclass
from innoclone.files.blocks import Blocks
from innoclone.files.copying import BLOCK, Reader, Writer
from innoclone.files.direct import DIRECT_MIN
from innoclone.files.system import differing, write_all
from innoclone.native.pages import Pages

__all__ = ["Delta", "Seen", "update_file", "write_differing"]

DIRECT_RUN = 256 << 10  # bytes of a run from which on it is written around the page cache; single pages go through it


@dataclass
class Delta:
    """What it took. Bytes, and pages of the file's own page size."""

    read: int = 0
    written: int = 0
    pages_compared: int = 0
    pages_written: int = 0


Write = Callable[[int, memoryview, int], None]
Seen = Callable[[memoryview, int, list[int] | None], None]
"""Shown a block, its offset, and the pages that are unusual (`Found.unusual`)."""


def update_file(
    source: int,
    target: int,
    page: int,
    account: Callable[[int, int], None],
    write: Write | None = None,
    look: Seen | None = None,
    start: int = 0,
    end: int | None = None,
    *,
    pages: Pages | None = None,
    first_page: int = 0,
    blocks: Blocks | None = None,
) -> Delta:
    """Make ``target`` equal to ``source`` up to the source's end as it is now; ``page`` is the page size in bytes.

    Or only from ``start`` to ``end``: then the size is the caller's business.

    ``account`` is told the bytes read of the source and written after each block. ``write`` gets the descriptor, a run
    of differing pages and its offset. ``look`` sees every block of the source, whose pages are ``pages`` where the
    library is to look at them; the file's first one has the number ``first_page``. ``blocks``: the thread's memory.
    Raises OSError.
    """
    delta = Delta()
    size = os.fstat(source).st_size if end is None else end
    blocks = Blocks() if blocks is None else blocks
    looked = pages if pages is not None and start % pages.size == 0 else None
    with (
        Reader(source, blocks.memory) as ours, Reader(target, blocks.older) as theirs,
        Writer(target, direct=size >= DIRECT_MIN) as writer,
    ):  # fmt: skip

        def write_run(fd: int, run: memoryview, offset: int) -> None:
            if len(run) < DIRECT_RUN:
                write_all(fd, run, offset)
            else:
                writer.write(run, offset)

        at = start
        while at < size:
            first = first_page + at // looked.size if looked is not None else 0
            new, unusual, runs = blocks.compare(
                ours, theirs, at, min(BLOCK, size - at), page, pages=looked, first_page=first
            )
            if not new:
                raise OSError(5, "the source became shorter")
            before = delta.written
            _write_runs(target, at, new, runs, page, delta, write or write_run)
            if look is not None:
                look(new, at, unusual)
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
    _write_runs(target, offset, new, differing(new, old, page), page, delta, write)


def _write_runs(
    target: int, offset: int, new: memoryview, runs: Iterable[tuple[int, int]], page: int, delta: Delta, write: Write
) -> None:
    for start, end in runs:
        run = new[start:end]
        write(target, run, offset + start)
        delta.written += len(run)
        delta.pages_written += -(-len(run) // page)
