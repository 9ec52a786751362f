"""Copying a file on one host, by the cheapest way that the file system has.

Reflink shares the blocks (XFS, btrfs), copy_file_range lets the kernel move them, read and write always works: with
O_DIRECT where the source is not in the page cache, so that a large copy does not push out what is. Holes stay holes.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator

from innoclone.files.system import write_all

__all__ = ["BLOCK", "Method", "Reader", "copy_file", "data_segments", "is_cached"]

FICLONE = 0x40049409  # linux/fs.h
BLOCK = 1 << 20  # bytes read at once
KERNEL_PIECE = 16 << 20  # bytes of one copy_file_range, so that limits and stops come through
ALIGNMENT = 4096
NOT_POSSIBLE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EPERM, errno.EBADF)
RWF_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Method(enum.Enum):
    """Ways to copy, best first."""

    REFLINK = "reflink"
    KERNEL = "copy_file_range"
    READ_WRITE = "read and write"


Account = Callable[[int], None]  # told after each piece how many bytes were read


def copy_file(
    source: int,
    target: int,
    account: Account,
    *,
    methods: tuple[Method, ...] = tuple(Method),
    piece: int = KERNEL_PIECE,
) -> Method:
    """Make ``target`` (empty) equal to ``source`` up to the source's end as it is now; the method that did it.

    ``piece``: bytes to copy at most before ``account`` is told, which may pause or raise to stop.

    Raises OSError, also if the source gets shorter meanwhile: the caller knows what that means.
    """
    if Method.REFLINK in methods:
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError as error:
            if error.errno not in NOT_POSSIBLE:
                raise
        else:
            account(os.fstat(source).st_size)
            return Method.REFLINK
    size = os.fstat(source).st_size
    used = Method.KERNEL if Method.KERNEL in methods else Method.READ_WRITE
    with Reader(source) as reader:
        for start, end in data_segments(source, size):
            at = start
            if used is Method.KERNEL:
                at = _kernel_copy(source, target, start, end, account, piece)
                if at == start and at < end:
                    used = Method.READ_WRITE
            while at < end:
                block = reader.read(at, min(BLOCK, piece, end - at))
                if not block:
                    raise OSError(errno.EIO, "the source became shorter")
                write_all(target, block, at)
                at += len(block)
                account(len(block))
    os.ftruncate(target, max(size, os.fstat(target).st_size))
    return used


def _kernel_copy(source: int, target: int, start: int, end: int, account: Account, piece: int) -> int:
    """copy_file_range from ``start`` on; how far it came. Equal to ``start`` where it does not work here."""
    at = start
    while at < end:
        try:
            count = os.copy_file_range(source, target, min(piece, end - at), at, at)
        except OSError as error:
            if error.errno in NOT_POSSIBLE:
                return at
            raise
        if not count:
            return at
        at += count
        account(count)
    return at


def data_segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts of a file that are not holes, up to ``size``."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            if error.errno in NOT_POSSIBLE:
                yield at, size
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE) if start < size else size
        if start >= size:
            return
        yield start, min(end, size)
        at = end


def is_cached(fd: int, size: int) -> bool:
    """Whether a file seems to be in the page cache: most of some probes are (preadv2 with RWF_NOWAIT)."""
    if not RWF_NOWAIT or not size:
        return True
    probe = bytearray(1)
    hits, probes = 0, 8
    for number in range(probes):
        try:
            os.preadv(fd, [probe], size * number // probes, RWF_NOWAIT)
            hits += 1
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return True
    return hits > probes // 2


class Reader:
    """Reads blocks of a file: through the page cache where it is there already, with O_DIRECT where it is not.

    The view that `read` returns is good until the next call.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._view = memoryview(mmap.mmap(-1, BLOCK + ALIGNMENT))  # page-aligned, as O_DIRECT wants it
        self._direct = -1
        if not is_cached(fd, os.fstat(fd).st_size):
            try:
                self._direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
            except OSError:
                self._direct = -1  # tmpfs, or no /proc: the cache does it

    def read(self, offset: int, count: int) -> memoryview:
        """Up to ``count`` (at most `BLOCK`) bytes at ``offset``; fewer only at the end of the file."""
        if self._direct >= 0 and offset % ALIGNMENT == 0:
            try:
                wanted = -(-count // ALIGNMENT) * ALIGNMENT
                got = os.preadv(self._direct, [self._view[:wanted]], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                os.close(self._direct)
                self._direct = -1
            else:
                if got >= count or got % ALIGNMENT:
                    return self._view[: min(got, count)]
        at = 0
        while at < count:
            got = os.preadv(self._fd, [self._view[at:count]], offset + at)
            if not got:
                break
            at += got
        return self._view[:at]

    def close(self) -> None:
        """Give the descriptor back; the memory goes when the last view of it does."""
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1

    def __enter__(self) -> Reader:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
