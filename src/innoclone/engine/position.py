"""Where a clone stands in its donor's binary log, read from its own files before any server has seen them.

Nothing is written: the redo log is followed in memory, for page 5 of the system tablespace alone
(`innoclone.innodb.binlogposition`). What the first boot finds is the same, or nothing is said.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from innoclone.engine.filetable import FileTable
from innoclone.files.system import file_error
from innoclone.files.target import Target
from innoclone.innodb.binlogposition import TRX_SYS_PAGE, Log, Stored, stored_position
from innoclone.innodb.page import PageChecker
from innoclone.innodb.redo import (
    BLOCK_SIZE,
    FILE_HEADER_SIZE,
    LogEnd,
    RedoFile,
    RedoHeader,
    chain_problems,
    newest_checkpoint,
    scan_blocks,
)
from innoclone.innodb.space import SYSTEM_SPACE

__all__ = ["UncheckedLog", "read_position"]

PIECE = 2048 * BLOCK_SIZE


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
    with ExitStack() as opened:

        def opening(path: os.PathLike[str]) -> int:
            fd = target.open(path)  # type: ignore[arg-type]
            opened.callback(os.close, fd)
            return fd

        try:
            size = system.flags.physical_page_size
            page = os.pread(opening(system.path), size, TRX_SYS_PAGE * size)
            if PageChecker(system.flags, SYSTEM_SPACE).bad_pages(page, TRX_SYS_PAGE):
                raise ValueError(f"page {TRX_SYS_PAGE} of the system tablespace is damaged")
            redo = [(number, opening(file.path)) for number, file in sorted(table.redo.items())]
            found = stored_position(page, _log(redo, size))
        except OSError as error:
            raise file_error(error, f"can't read {target.root}") from error
    return Stored(found.file.rpartition("/")[2], found.offset)


def _log(descriptors: Sequence[tuple[int, int]], page_size: int) -> Log:
    """The log in these files, numbers and descriptors, from its checkpoint to its end."""
    files = {
        RedoFile(number, os.fstat(fd).st_size, RedoHeader.parse(os.pread(fd, FILE_HEADER_SIZE, 0))): fd
        for number, fd in descriptors
    }
    chain = list(files)
    if problems := chain_problems(chain, page_size):
        raise ValueError(problems[0])
    checkpoint = newest_checkpoint(chain)
    assert checkpoint is not None, "chain_problems looks at that"
    begin = checkpoint[1]

    def read(lsn: int, size: int) -> bytes:
        parts = []
        for file, fd in files.items():
            first, end = max(lsn, file.header.start_lsn), min(lsn + size, file.end_lsn)
            if first < end:
                parts.append(os.pread(fd, end - first, file.offset(first)))
        data = b"".join(parts)
        if len(data) != size:
            raise ValueError("the redo log is shorter than its files say")
        return data

    end, last = begin - begin % BLOCK_SIZE, chain[-1].end_lsn
    while end < last:
        scan = scan_blocks(read(end, min(PIECE, last - end)), end)
        if scan.end is LogEnd.DAMAGED:
            raise ValueError(f"the redo log is damaged at LSN {scan.lsn}")
        if scan.not_verifiable:
            raise UncheckedLog("the redo log has no checksums")
        end = scan.lsn
        if scan.end is LogEnd.ENDS:
            break
    return Log(read, begin, end)
