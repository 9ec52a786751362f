"""What files take on the disk, and how much of that they share with others.

A file system that shares blocks (XFS, btrfs) tells of each extent whether it does: FIEMAP_EXTENT_SHARED of the kernel's
filesystems/fiemap. What nobody else uses is what removing the files would free.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SHARING", "Usage", "file_system_of", "regular_files", "usage_of"]

FS_IOC_FIEMAP = 0xC020660B  # linux/fs.h: _IOWR('f', 11, struct fiemap)
HEADER = struct.Struct("=QQLLLL")  # struct fiemap: start, length, flags, mapped extents, extents there is room for, 0
EXTENT = struct.Struct("=QQQQQLLLL")  # struct fiemap_extent: logical, physical, length, 2 unused, flags, 3 unused
SYNC = 1  # FIEMAP_FLAG_SYNC: what is only in memory has no extents yet
LAST, SHARED = 0x1, 0x2000  # FIEMAP_EXTENT_LAST, FIEMAP_EXTENT_SHARED
AT_ONCE = 512  # extents
NOT_TOLD = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EBADR)
WHOLE = (1 << 64) - 1

SHARING = ("xfs", "btrfs", "bcachefs", "ocfs2")
"""File systems whose files can share blocks and that tell which of them do; XFS unless it was made without reflinks."""


@dataclass(frozen=True)
class Usage:
    """Bytes: ``size`` as files count them, ``allocated`` on the disk, ``shared`` of those with any other file.

    ``shared`` is None where the file system doesn't tell.
    """

    size: int = 0
    allocated: int = 0
    shared: int | None = 0

    @property
    def exclusive(self) -> int | None:
        """What would be free if these files were removed; None where that isn't known."""
        return None if self.shared is None else max(0, self.allocated - self.shared)

    def __add__(self, other: Usage) -> Usage:
        """Both together; what isn't known of one isn't of both."""
        shared = None if self.shared is None or other.shared is None else self.shared + other.shared
        return Usage(self.size + other.size, self.allocated + other.allocated, shared)


def usage_of(path: Path) -> Usage:
    """Of one regular file. With a second hard link all of it is shared. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        allocated = state.st_blocks * 512
        shared = allocated if state.st_nlink > 1 or not allocated else _shared(descriptor)
        return Usage(state.st_size, allocated, None if shared is None else min(shared, allocated))
    finally:
        os.close(descriptor)


def regular_files(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every regular file below ``directory``, in order, with its state; symbolic links aren't followed. Raises OSError
    where it can't be read; what disappears meanwhile is left out."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, children, names in os.walk(directory, onerror=fail):
        children.sort()
        for name in sorted(names):
            path = Path(parent, name)
            try:
                state = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(state.st_mode):
                yield path, state


def file_system_of(path: Path) -> str:
    """The type of the file system that a path is on, as in proc_pid_mountinfo(5); empty where that can't be seen."""
    try:
        device = path.stat().st_dev
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    wanted, real = f"{os.major(device)}:{os.minor(device)}", os.path.realpath(path)
    best, found = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()[:1]
        if len(fields) < 5 or not kind:
            continue
        mount = fields[4].encode().decode("unicode_escape", errors="replace")
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        # The longest mount point is the one; btrfs shows another device than files have: then the path alone decides.
        score = len(mount) + (fields[2] == wanted) * len(real) if inside else -1
        if score >= best and inside:
            best, found = score, kind[0]
    return found


def _shared(descriptor: int) -> int | None:
    """Bytes of an open file's extents that other files use too; None where the file system doesn't tell."""
    at = shared = 0
    while True:
        room = array.array("B", HEADER.pack(at, WHOLE - at, SYNC, 0, AT_ONCE, 0) + bytes(EXTENT.size * AT_ONCE))
        try:
            fcntl.ioctl(descriptor, FS_IOC_FIEMAP, room, True)
        except OSError as error:
            if error.errno in NOT_TOLD:
                return None
            raise
        count = HEADER.unpack_from(room)[3]
        flags = LAST
        for index in range(count):
            logical, _, length, _, _, flags, *_ = EXTENT.unpack_from(room, HEADER.size + index * EXTENT.size)
            shared += length if flags & SHARED else 0
            at = logical + length
        if not count or flags & LAST:
            return shared
