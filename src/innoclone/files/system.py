"""The Linux calls that Python has no name for: punching holes, starting writeback, looking into the page cache."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from innoclone.errors import CloneError, DiskFull, FileError, TooManyOpenFiles
from innoclone.native import pages
from innoclone.native.library import Library, library

__all__ = [
    "allocate",
    "differing",
    "file_error",
    "is_cached",
    "is_hole",
    "is_in_memory",
    "punch_hole",
    "start_writeback",
    "sync_directory",
    "write_all",
]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_libc.mmap.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]

MAP_FAILED = ctypes.c_void_p(-1).value
KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02  # linux/falloc.h
SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
IN_MEMORY = {0x01021994, 0x858458F6}  # linux/magic.h: tmpfs, ramfs


def file_error(error: OSError, doing: str) -> CloneError:
    """The error class for a failed file operation, with what was being done."""
    message = f"{doing}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(message)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return TooManyOpenFiles(message)
    return FileError(message)


def allocate(fd: int, length: int) -> None:
    """Have the file system give a file its room at once, and this size at least (fallocate(2)).

    Writes into a file without room ask for it piece by piece, which makes them slower (ext4). Where the file system
    can't, nothing happens. Raises OSError where the disk is full.
    """
    if length and _libc.fallocate(fd, 0, 0, length) and (number := ctypes.get_errno()) in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(number, os.strerror(number))


def is_in_memory(fd: int) -> bool:
    """Whether a file is on no device at all (statfs(2), of which the type is the first word); False if unknown."""
    facts = (ctypes.c_long * 64)()
    return _libc.fstatfs(fd, facts) == 0 and facts[0] in IN_MEMORY


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Free a range of a file and leave its size (fallocate(2)). False where the file system can't."""
    if _libc.fallocate(fd, KEEP_SIZE | PUNCH_HOLE, offset, length) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EOPNOTSUPP, errno.ENOSYS):
        return False
    raise file_error(OSError(number, os.strerror(number)), "can't punch a hole")


def is_hole(fd: int, offset: int, length: int) -> bool:
    """Whether nothing is stored of a range of a file; False where the file system can't tell. Raises OSError.

    The descriptor's position moves.
    """
    try:
        return os.lseek(fd, offset, os.SEEK_DATA) >= offset + length
    except OSError as error:
        if error.errno == errno.ENXIO:  # nor of anything behind it
            return True
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return False
        raise


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to start writing a range to disk, without waiting (sync_file_range(2)).

    An optimisation only: fsync is what makes data durable, so a failure is of no interest here.
    """
    _libc.sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE)


def is_cached(fd: int, offset: int, length: int) -> bool:
    """Whether a range of a file, from a page's start on, is in the page cache as a whole (mincore(2)).

    Reading with RWF_NOWAIT would tell too, but starts to read ahead where it isn't. False where it can't be known;
    the kernel says yes to those who may not write to the file.
    """
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset)
    if address == MAP_FAILED:
        return False
    found = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
    failed = _libc.mincore(address, length, found)
    _libc.munmap(address, length)
    states = found.raw
    return not failed and (states.count(1) == len(states) or all(state & 1 for state in states))


def write_all(fd: int, data: memoryview | bytes, offset: int) -> None:
    """pwrite(2) until everything is written: the kernel may stop short when the disk runs full."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]


def differing(
    one: memoryview, other: memoryview, page: int, *, native: Library | None = library
) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of pages of ``page`` bytes in ``one`` that differ from ``other``, or are not in it as a
    whole. ``native`` None compares in Python, with the same result.
    """
    size = len(one) if len(one) == len(other) else min(len(one), len(other)) // page * page
    compare = _differing if native is None else partial(pages.differing, native)
    yield from compare(one[:size], other[:size], page)
    if size < len(one):
        yield size, len(one)


def _differing(one: memoryview, other: memoryview, page: int) -> Iterator[tuple[int, int]]:
    """The same without the native library, for equal lengths, both writable: by memcmp(3), page by page."""
    size, start = len(one), -1
    if not size:
        return
    first, second = ctypes.c_char.from_buffer(one), ctypes.c_char.from_buffer(other)  # which keep the memory in place
    left, right = ctypes.addressof(first), ctypes.addressof(second)
    if not _libc.memcmp(left, right, size):  # as most is
        return
    for at in range(0, size, page):
        differs = _libc.memcmp(left + at, right + at, min(page, size - at))
        if differs and start < 0:
            start = at
        elif not differs and start >= 0:
            yield start, at
            start = -1
    if start >= 0:
        yield start, size


def sync_directory(directory: Path) -> None:
    """Fsync a directory, so that names in it survive a crash."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
