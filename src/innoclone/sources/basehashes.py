"""Hashes of an older clone's blocks, taken while the donor still prepares its snapshot.

The files are known by inode: between the two they are renamed, and nothing is written to them. What the donor was not
waited for long enough is hashed when it is asked about. Of the first blocks the pages' hashes are kept, too; where they
aren't, a block that differs is read once more.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from innoclone.dataclass import dataclass
from innoclone.files.copying import Reader
from innoclone.innodb.space import SpaceFlags, SpaceHeader
from innoclone.stream.contenthash import ContentHash
from innoclone.wire.comparison import BLOCK, HASH

__all__ = ["BaseHashes"]

THREADS = 2
KEPT = 16 << 20  # bytes of hashes of pages, of about 16 GiB of an older clone


@dataclass(frozen=True)
class _Hashed:
    """A file, whose pages have ``page`` bytes; ``pages`` of its first blocks."""

    page: int
    blocks: bytes
    pages: tuple[bytes, ...]


class BaseHashes:
    """Begins at once, on threads of its own; for use by many threads."""

    def __init__(self, hashing: ContentHash, paths: Sequence[Path]) -> None:
        """An older clone's tablespaces."""
        self._hash = hashing
        self._left = deque(paths)
        self._found: dict[tuple[int, int], _Hashed] = {}
        self._room = KEPT
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"base-{n}", daemon=True) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no other block, and wait for those that were begun."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def of(self, state: os.stat_result, block: int, page: int) -> tuple[bytes, bytes] | None:
        """The hash of a whole block of the file with this ``state``, and those of its pages of ``page`` bytes, empty
        where they were not kept; None where nothing is known."""
        found = self._found.get((state.st_dev, state.st_ino))
        if found is None or found.page != page or not (digest := found.blocks[block * HASH : (block + 1) * HASH]):
            return None
        return digest, found.pages[block] if block < len(found.pages) else b""

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                path = self._left.popleft()
            except IndexError:
                return
            with contextlib.suppress(OSError, ValueError):  # whoever needs the file will say what is wrong with it
                self._file(path)

    def _file(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            blocks, page = bytearray(), 0
            kept: list[bytes] = []
            with Reader(descriptor) as reader:
                for offset in range(0, before.st_size - BLOCK + 1, BLOCK):
                    if self._stopped.is_set():
                        break
                    content = reader.read(offset, BLOCK)
                    page = page or SpaceFlags(SpaceHeader.parse(content).flags).physical_page_size
                    pages = self._hash.of_pages(content, page)
                    blocks += self._hash.of_block(pages)
                    if len(kept) == offset // BLOCK and self._room > 0:
                        self._room -= len(pages)
                        kept.append(pages)
            after = os.fstat(descriptor)
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                self._found[before.st_dev, before.st_ino] = _Hashed(page, bytes(blocks), tuple(kept))
        finally:
            os.close(descriptor)
