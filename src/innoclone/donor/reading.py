"""Reading the files that are sent: what is a hole, what to read ahead, and what to forget again.

The page cache is other programs' too: what is not in it is read with O_DIRECT where that is possible (`direct`). Else
it is dropped once it is sent, a little behind, because the kernel keeps pages that are still on their way to the
network.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from innoclone.donor.plans import BLOCK, Block, StoredFile
from innoclone.errors import FileError
from innoclone.files.direct import open_direct
from innoclone.files.system import file_error, is_cached

__all__ = ["Reader"]

AHEAD = 8 * BLOCK
BEHIND = 4 * BLOCK


class Reader:
    """One task's: it has one file open at a time."""

    def __init__(self, opened: Callable[[StoredFile], int | None]) -> None:
        """``opened`` gives a new descriptor of a file, None if it is gone."""
        self._opened = opened
        self._file: StoredFile | None = None
        self.fd = -1
        self.direct = -1  # a second descriptor with O_DIRECT; -1: there is none
        self._ahead = 0  # up to here the file was asked for
        self._asked: list[tuple[int, int, int]] = []  # what was not cached before: descriptor, offset, length
        self._data = (0, 0)  # a range without a hole

    def open(self, file: StoredFile) -> int | None:
        """Its descriptor; None if it is gone. Raises `FileError`."""
        if file is not self._file:
            self._leave()
            if (found := self._opened(file)) is None:
                return None
            self.fd, self._file, self.direct = found, file, open_direct(found, os.O_RDONLY)
            with contextlib.suppress(OSError):
                os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)  # what is read ahead is asked for, below
        return self.fd

    def prepare(self, block: Block) -> None:
        """For who reads through the page cache: have what follows read meanwhile, and forget what was sent."""
        if not self._ahead - AHEAD <= block.offset <= self._ahead:
            self._ahead = block.offset
        target = min(block.offset + AHEAD, block.file_size)
        while self._ahead < target:
            length = min(BLOCK, block.file_size - self._ahead)
            if self._ahead % os.sysconf("SC_PAGE_SIZE") or not is_cached(self.fd, self._ahead, length):
                os.posix_fadvise(self.fd, self._ahead, length, os.POSIX_FADV_WILLNEED)
                self._asked.append((self.fd, self._ahead, length))
            self._ahead += length
        self._forget(AHEAD + BEHIND)

    def is_hole(self, block: Block) -> bool:
        """Whether there are no data in the block at all. Raises a file error."""
        begin, end = block.offset, block.offset + block.length
        if self._data[0] <= begin < self._data[1]:
            return False
        try:
            data = os.lseek(self.fd, begin, os.SEEK_DATA)
            if data >= end:
                return True
            self._data = begin, os.lseek(self.fd, data, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return True
            if error.errno == errno.EINVAL:  # the file system doesn't tell
                return False
            raise file_error(error, "can't look for holes") from error
        return False

    def read(self, block: Block) -> bytes:
        """The block's bytes. Raises a file error."""
        parts, at, end = [], block.offset, block.offset + block.length
        while at < end:
            try:
                part = os.pread(self.fd, end - at, at)
            except OSError as error:
                raise file_error(error, "can't read a file that is to be sent") from error
            if not part:
                raise FileError("a file became shorter while it was sent")
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """All is sent."""
        self._leave()
        self._forget(0)

    def _leave(self) -> None:
        """No more of this file. Its end may still be on its way: the descriptor stays until that is dropped."""
        left, direct = self.fd, self.direct
        self.fd, self.direct, self._file = -1, -1, None
        if direct >= 0:
            os.close(direct)
        self._ahead, self._data = 0, (0, 0)
        self._close_unless_asked(left)

    def _forget(self, most: int) -> None:
        """Drop the oldest, so that there are no more than so many bytes of which something may still be needed."""
        left = sum(length for _, _, length in self._asked)
        while self._asked and left > most:
            fd, offset, length = self._asked.pop(0)
            left -= length
            with contextlib.suppress(OSError):
                os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)
            if fd != self.fd:
                self._close_unless_asked(fd)

    def _close_unless_asked(self, fd: int) -> None:
        if fd >= 0 and all(one != fd for one, _, _ in self._asked):
            os.close(fd)
