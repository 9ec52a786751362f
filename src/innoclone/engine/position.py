"""Where a clone stands in its donor's binary log, read from its own files before any server has seen them.

Nothing is written: the redo log is followed in memory, for page 5 of the system tablespace alone
(`innoclone.innodb.binlogposition`). What the first boot finds is the same, or nothing is said.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from innoclone.engine.filetable import FileTable
from innoclone.engine.pagecheck import check_redo
from innoclone.files.system import file_error
from innoclone.files.target import Target
from innoclone.innodb.binlogposition import TRX_SYS_PAGE, Log, Stored, stored_position
from innoclone.innodb.page import PageChecker
from innoclone.innodb.redo import FILE_HEADER_SIZE, RedoFile, RedoHeader
from innoclone.innodb.space import SYSTEM_SPACE

__all__ = ["UncheckedLog", "read_position"]


class UncheckedLog(ValueError):
    """The redo log has blocks of which nobody can say whether they are sound."""


def read_position(table: FileTable, target: Target) -> Stored:
    """The position at which the clone's first boot will find it, without the directory; its name is empty where the
    donor has no binary log.

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
            found = stored_position(page, _log(redo, target.root, size))
        except OSError as error:
            raise file_error(error, f"can't read {target.root}") from error
    return Stored(found.file.rpartition("/")[2], found.offset)


def _log(descriptors: dict[int, int], directory: Path, page_size: int) -> Log:
    """The redo log of a directory, of which the files are open by their number."""
    report = check_redo(directory, page_size)
    if report.checkpoint_lsn is None or report.end_lsn is None or report.problems:
        raise ValueError("; ".join(report.problems))
    if report.not_verifiable:
        raise UncheckedLog("the redo log has no checksums")
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
