"""Writing page-compressed tablespaces: each page takes what it needs, the rest of its slot becomes a hole."""

from __future__ import annotations

from innoclone.files.delta import Write
from innoclone.files.system import is_hole, punch_hole, write_all
from innoclone.innodb.create import page_compression_runs

__all__ = ["hole_writer"]


def hole_writer(page: int, block: int) -> Write:
    """A function that writes whole pages (descriptor, bytes, offset); ``block``: the file system's, in bytes."""

    def write(fd: int, data: memoryview, offset: int) -> None:
        fresh = is_hole(fd, offset, len(data))  # as in a new file: one look instead of a hole to punch for each page
        for run in page_compression_runs(data, page, block):
            write_all(fd, data[run.offset : run.offset + run.length], offset + run.offset)
            if run.hole and not fresh:
                punch_hole(fd, offset + run.offset + run.length, run.hole)

    return write
