"""Where a clone stands in its donor's binary log, read from its own files before any server has seen them.

Nothing is written: the redo log is followed in memory, for page 5 of the system tablespace alone
(`innoclone.innodb.binlogposition`). What the first boot finds is the same, or nothing is said.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from innoclone.files.system import file_error
from innoclone.innodb.binlogposition import TRX_SYS_PAGE, Log, stored_position
from innoclone.innodb.page import PageChecker
from innoclone.innodb.redo import FILE_HEADER_SIZE, RedoFile, RedoHeader
from innoclone.innodb.space import SYSTEM_SPACE
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import FileTable
from innoclone.stream.pagecheck import RedoReport, check_redo

__all__ = ["Position", "read_position"]


class Position(NamedTuple):
    """Where the first boot will find a clone. ``file`` is a name without directory, empty where the donor has no binary
    log; ``has_checksums`` is whether all of the redo log has them (else it was innodb_log_checksums=OFF)."""

    file: str
    offset: int
    has_checksums: bool


def read_position(table: FileTable, target: Target) -> Position:
    """Read it from a clone of which all files are there, and no server has been on them.

    Raises ValueError with the reason where that can't be told, `FileError` if files can't be read.
    """
    if table.old_redo:
        raise ValueError("the donor's redo log is older than 8.0.30")
    system = next((file for file in table.data if file.metadata.space_id == SYSTEM_SPACE and not file.first_page), None)
    if system is None or system.flags is None:
        raise ValueError("the clone has no system tablespace")
    size = system.flags.physical_page_size
    with ExitStack() as opened:

        def opening(path: Path) -> int:
            fd = target.open(path)
            opened.callback(os.close, fd)
            return fd

        try:
            page = os.pread(opening(system.path), size, TRX_SYS_PAGE * size)
            if PageChecker(system.flags, SYSTEM_SPACE).bad_pages(page, TRX_SYS_PAGE) or len(page) != size:
                raise ValueError(f"page {TRX_SYS_PAGE} of the system tablespace is damaged")
            redo = {number: opening(file.path) for number, file in sorted(table.redo.items())}
            report = check_redo(target.root, size)
            found = stored_position(page, _log(report, redo))
        except OSError as error:
            raise file_error(error, f"can't read {target.root}") from error
    return Position(found.file.rpartition("/")[2], found.offset, not report.unsummed)


def _log(report: RedoReport, descriptors: dict[int, int]) -> Log:
    """The redo log of which the files are open by their number."""
    if report.checkpoint_lsn is None or report.end_lsn is None or report.problems:
        raise ValueError("; ".join(report.problems))
    files = [
        (fd, RedoFile(number, os.fstat(fd).st_size, RedoHeader.parse(os.pread(fd, FILE_HEADER_SIZE, 0))))
        for number, fd in descriptors.items()
    ]

    def read(lsn: int, size: int) -> bytes:
        parts = []
        for fd, file in files:
            begin, end = max(lsn, file.header.start_lsn), min(lsn + size, file.end_lsn)
            if begin < end:
                parts.append(os.pread(fd, end - begin, file.offset(begin)))
        data = b"".join(parts)
        if len(data) != size:
            raise ValueError("the redo log is shorter than its files say")
        return data

    return Log(read, report.checkpoint_lsn, report.end_lsn)
