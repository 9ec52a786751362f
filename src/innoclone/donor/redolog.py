"""What of a directory's redo log is sent, and whether the directory may be served as its log stands."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from crc32c import crc32c

from innoclone.donor.keys import Keys
from innoclone.donor.plans import RedoFilePart, RedoPlan, StoredFile
from innoclone.errors import TargetUnusable
from innoclone.files.names import REDO_DIR
from innoclone.files.system import file_error
from innoclone.innodb.redo import BLOCK_SIZE, FILE_HEADER_SIZE, RedoFile, RedoHeader, newest_checkpoint
from innoclone.stream.pagecheck import check_redo

__all__ = ["NotShutDown", "redo_plan"]

_NAME = re.compile(r"#ib_redo(\d+)\Z")
CLONE = "MySQL Clone"
"""The creator that a stock donor's log names. A server that finds it recovers without the doublewrite buffer, which in
a recipient that replaced its own data holds pages of the old data, and takes the dynamic metadata (counters of
AUTO_INCREMENT) for saved: after a clean shutdown they are."""
_CREATOR_AT, _CREATOR_SIZE, _CRC_AT = 16, 32, BLOCK_SIZE - 4


class NotShutDown(TargetUnusable):
    """The server whose data it is did not end in order."""


def redo_plan(directory: Path, page_size: int, *, never_booted: bool, keys: Keys) -> RedoPlan:
    """From the newest checkpoint to the log's end. ``never_booted``: the directory is a clone whose log is still to be
    applied.

    Raises `TargetUnusable` if the log is damaged, or says that a server did not end in order; `KeyringFailed` where it
    is encrypted and ``keys`` has not its key.
    """
    if next(directory.glob("ib_logfile*"), None) is not None:
        raise TargetUnusable(
            f"{directory} has a redo log from before MySQL 8.0.30", hint="only newer ones can be served"
        )
    if not any(_NAME.match(path.name) for path in directory.glob(f"{REDO_DIR}/*")):
        raise TargetUnusable(
            f"there is no redo log in {directory}",
            hint="the server may have it elsewhere: look at its innodb_log_group_home_dir, and take the clone from it"
            " while it runs",
        )
    report = check_redo(directory, page_size, keys.masters or None)
    if report.problems or report.checkpoint_lsn is None or report.end_lsn is None:
        raise TargetUnusable(
            f"the redo log of {directory} is not whole: {'; '.join(report.problems)}",
            hint=f"innoclone verify {directory}",
        )
    files = _files(directory)
    holder = newest_checkpoint([file for _, file, _ in files])
    clean = report.end_lsn == report.checkpoint_lsn
    if not clean and not (never_booted and holder is not None and holder[0].header.creator.startswith(CLONE)):
        raise NotShutDown(
            f"the server whose data is in {directory} was not shut down: its redo log holds changes up to LSN "
            f"{report.end_lsn} behind the checkpoint {report.checkpoint_lsn}",
            hint="start a server on it and shut it down, or have --recover=FOLDER do that on a copy: some of its"
            " transactions may be in the binary log only, which is not cloned",
        )
    first = next(at for at, (_, file, _) in enumerate(files) if holder is not None and file is holder[0])
    base = report.checkpoint_lsn // BLOCK_SIZE * BLOCK_SIZE
    end = (report.end_lsn // BLOCK_SIZE + 1) * BLOCK_SIZE  # the block in which it ends is there, even if it is empty
    parts = []
    for stored, file, head in files[first:]:
        begin = FILE_HEADER_SIZE + max(0, base - file.header.start_lsn)
        until = min(file.size, max(begin, file.offset(end)))
        parts.append(RedoFilePart(stored, _with_creator(head) if clean else head, begin, until, keys.redo_head(head)))
    return RedoPlan(parts, report.checkpoint_lsn if clean else None)


def _files(directory: Path) -> list[tuple[StoredFile, RedoFile, bytes]]:
    """In order, with their headers; spare files aren't among them."""
    found = []
    for path in (directory / REDO_DIR).iterdir():
        if (name := _NAME.match(path.name)) is None:
            continue
        try:
            with path.open("rb") as file:
                head, state = file.read(FILE_HEADER_SIZE), path.lstat()
        except OSError as error:
            raise file_error(error, f"can't read {path}") from error
        stored = StoredFile.of(path, state)
        found.append((stored, RedoFile(int(name[1]), state.st_size, RedoHeader.parse(head)), head))
    return sorted(found, key=lambda item: item[1].number)


def _with_creator(head: bytes) -> bytes:
    block = bytearray(head[:BLOCK_SIZE])
    block[_CREATOR_AT : _CREATOR_AT + _CREATOR_SIZE] = CLONE.encode().ljust(_CREATOR_SIZE, b"\0")
    struct.pack_into(">I", block, _CRC_AT, crc32c(bytes(block[:_CRC_AT])))
    return bytes(block) + head[BLOCK_SIZE:]
