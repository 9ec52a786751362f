"""Hashes of an older clone's blocks, taken while the donor still prepares its snapshot.

The files are known by inode: between the two they are renamed, and nothing is written to them. What the donor was not
waited for long enough is hashed when it is asked about.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from innoclone.files.copying import Reader
from innoclone.stream.contenthash import ContentHash
from innoclone.wire.comparison import BLOCK, HASH

__all__ = ["BaseHashes"]

THREADS = 2


class BaseHashes:
    """Begins at once, on threads of its own; for use by many threads."""

    def __init__(self, hashing: ContentHash, paths: Sequence[Path]) -> None:
        """An older clone's tablespaces."""
        self._hash = hashing
        self._left = deque(paths)
        self._found: dict[tuple[int, int], bytearray] = {}
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"base-{n}", daemon=True) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no other block, and wait for those that were begun."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def of(self, state: os.stat_result, block: int) -> bytes | None:
        """The hash of a whole block of the file with this ``state``, if there is one."""
        found = self._found.get((state.st_dev, state.st_ino), b"")
        return bytes(found[block * HASH : (block + 1) * HASH]) or None

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                path = self._left.popleft()
            except IndexError:
                return
            with contextlib.suppress(OSError):  # whoever needs the file will say what is wrong with it
                self._file(path)

    def _file(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            found = bytearray()
            with Reader(descriptor) as reader:
                for offset in range(0, before.st_size - BLOCK + 1, BLOCK):
                    if self._stopped.is_set():
                        break
                    found += self._hash.of(reader.read(offset, BLOCK))
            after = os.fstat(descriptor)
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                self._found[before.st_dev, before.st_ino] = found
        finally:
            os.close(descriptor)
