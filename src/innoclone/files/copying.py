"""Copying a file on one host, by the cheapest way that the file system has.

Reflink shares the blocks (XFS, btrfs). Otherwise a large file is written with O_DIRECT, and read so too where it is not
in the page cache: that leaves the disk as the only limit, while copy_file_range fills the cache twice over. Small files
are left to the kernel; read and write always works. Holes stay holes.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
from collections.abc import Callable, Iterator

from innoclone.files.direct import DIRECT_MIN, DirectFile, open_direct
from innoclone.files.memory import aligned_memory
from innoclone.files.system import is_cached, write_all

__all__ = ["BLOCK", "Look", "Method", "Reader", "Writer", "copy_file", "data_segments", "share_blocks"]

FICLONE = 0x40049409  # linux/fs.h
BLOCK = 4 << 20  # bytes read at once: two huge pages
KERNEL_PIECE = 16 << 20  # bytes of one copy_file_range, so that limits and stops come through
ALIGNMENT = 4096
NOT_POSSIBLE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EPERM, errno.EBADF)


class Method(enum.Enum):
    """Ways to copy, best first."""

    REFLINK = "reflink"
    DIRECT = "O_DIRECT"
    KERNEL = "copy_file_range"
    READ_WRITE = "read and write"


Account = Callable[[int], None]  # told after each piece how many bytes were read
Look = Callable[[memoryview, int], None]  # shown each block that was copied, and its offset


def copy_file(
    source: int,
    target: int,
    account: Account,
    *,
    methods: tuple[Method, ...] = tuple(Method),
    piece: int = KERNEL_PIECE,
    look: Look | None = None,
    start: int = 0,
    end: int | None = None,
    memory: memoryview | None = None,
) -> Method:
    """Make ``target`` (empty) equal to ``source`` up to the source's end as it is now; the method that did it.

    Or only from ``start`` to ``end``, never by REFLINK: then the size is the caller's business.

    ``piece``: bytes to copy at most before ``account`` is told, which may pause or raise to stop. ``look`` sees what
    passes through memory: all data, but not the holes, of a file that is copied by DIRECT or READ_WRITE. ``memory``:
    as `Reader` takes it.

    Raises OSError, also if the source gets shorter meanwhile: the caller knows what that means.
    """
    if Method.REFLINK in methods and end is None and share_blocks(source, target):
        account(os.fstat(source).st_size)
        return Method.REFLINK
    size = os.fstat(source).st_size
    direct = Method.DIRECT in methods and size >= DIRECT_MIN
    with Reader(source, memory) as reader, Writer(target, direct=direct) as writer:
        used = Method.DIRECT if writer.direct else Method.KERNEL if Method.KERNEL in methods else Method.READ_WRITE
        for begin, stop in data_segments(source, size if end is None else end, start):
            at = begin
            if used is Method.KERNEL:
                at = _kernel_copy(source, target, begin, stop, account, piece)
                if at == begin:
                    used = Method.READ_WRITE
            while at < stop:
                block = reader.read(at, min(BLOCK, piece, stop - at))
                if not block:
                    raise _shortened()
                writer.write(block, at)
                if look is not None:
                    look(block, at)
                at += len(block)
                account(len(block))
    if os.fstat(source).st_size < (size if end is None else end):  # what is gone looked like a hole at the end
        raise _shortened()
    if end is None:
        os.ftruncate(target, max(size, os.fstat(target).st_size))
    return used


def _shortened() -> OSError:
    return OSError(errno.EIO, "the source became shorter")


def share_blocks(source: int, target: int) -> bool:
    """Let ``target`` have the blocks of ``source``, all of them; False where that is not possible. Raises OSError."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in NOT_POSSIBLE:
            raise
        return False
    return True


class Writer:
    """Writes to a file around the page cache where that is wanted and possible, else through it."""

    def __init__(self, fd: int, *, direct: bool) -> None:
        self._fd = fd
        self.direct = DirectFile.of(fd) if direct else None

    def write(self, block: memoryview, offset: int) -> None:
        """Write all of ``block``. Raises OSError."""
        if self.direct is None or not self.direct.write(block, offset):
            write_all(self._fd, block, offset)

    def __enter__(self) -> Writer:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the second descriptor."""
        if self.direct is not None:
            self.direct.close()


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


def data_segments(fd: int, size: int, at: int = 0) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts of a file that are not holes, from ``at`` up to ``size``."""
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


class Reader:
    """Reads blocks of a file: out of the page cache what is there already, with O_DIRECT what is not.

    The view that `read` returns is good until the next call.
    """

    def __init__(self, fd: int, memory: memoryview | None = None) -> None:
        """``memory``: `BLOCK` bytes of `aligned_memory` to read into; own ones by default."""
        self._fd = fd
        self._view = aligned_memory(BLOCK) if memory is None else memory
        self._direct = open_direct(fd, os.O_RDONLY)  # -1: the cache does it

    @property
    def descriptors(self) -> tuple[int, int]:
        """What it reads by: through the page cache, and with O_DIRECT (-1: not that way)."""
        return self._fd, self._direct

    def read(self, offset: int, count: int) -> memoryview:
        """Up to ``count`` (at most `BLOCK`) bytes at ``offset``; fewer only at the end of the file."""
        if self._direct >= 0 and offset % ALIGNMENT == 0 and not is_cached(self._fd, offset, count):
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
