"""Around the page cache: what is read or written once and not needed soon has no business there.

Blocks of FILE COPY and of local copies are large and aligned. Written with O_DIRECT they cost a fraction of the CPU of
buffered writes, leave other programs' files in memory, and little remains to be done when the files are synced.
"""

from __future__ import annotations

import errno
import os

from innoclone.files.system import is_in_memory

__all__ = ["DIRECT_MIN", "DirectFile", "open_direct"]

DIRECT_MIN = 4 << 20  # bytes of a file from which on a second descriptor pays
ALIGNMENT = 4096  # bytes; a multiple of every block size that O_DIRECT asks for on common devices


def open_direct(fd: int, access: int) -> int:
    """A second descriptor with O_DIRECT of the file that ``fd`` is open on; ``access`` is O_RDONLY or O_WRONLY.

    -1 where the file system has no such thing, or without /proc.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", access | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


class DirectFile:
    """A second descriptor of a file, for aligned writes."""

    def __init__(self, fd: int) -> None:
        self.descriptor = fd

    @classmethod
    def of(cls, fd: int) -> DirectFile | None:
        """For the file that ``fd`` is open on. None where the file system has no O_DIRECT, or no device (tmpfs, which
        takes the flag all the same since Linux 6.6), or without /proc."""
        found = -1 if is_in_memory(fd) else open_direct(fd, os.O_WRONLY)
        return cls(found) if found >= 0 else None

    def fits(self, offset: int, count: int) -> bool:
        """Whether it is possible that way, as far as is known."""
        return self.descriptor >= 0 and not offset % ALIGNMENT and not count % ALIGNMENT

    def write(self, view: memoryview, offset: int) -> bool:
        """Write all of ``view``, whose memory is page-aligned. False: not possible that way, nothing was written.

        Raises OSError.
        """
        if not self.fits(offset, len(view)):
            return False
        at = 0
        while at < len(view):
            try:
                written = os.pwrite(self.descriptor, view[at:], offset + at)
            except OSError as error:
                if error.errno != errno.EINVAL or at:
                    raise
                self.close()
                return False
            if written % ALIGNMENT:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # only a full disk stops short like that
            at += written
        return True

    def close(self) -> None:
        """Give the descriptor back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
