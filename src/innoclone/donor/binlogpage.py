"""The binary log position of a server that was shut down, put where a recipient looks for it.

A running donor writes the position into a page of the system tablespace at the end of its snapshot
(Clone_Snapshot::update_binlog_position); in the data of a server at rest the page tells nothing, or an older one.
So that page is sent once more, with the end of the last binary log in it.
"""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path

from innoclone.files.names import REDO_DIR
from innoclone.innodb.binlogposition import MAGIC_NUMBER, NAME_SIZE, fields_at
from innoclone.innodb.page import TRAILER_SIZE, checksum

__all__ = ["binlog_position", "is_from_crash", "page_with_position"]

MAGIC = b"\xfebin"  # log_event.h; relay logs have it, too
EVENT = struct.Struct("<IBIIIH")  # header of the first event: time, type, server id, size, next position, flags
ENCRYPTED = b"\xfdbin"  # what is behind that can't be read here
IN_USE = 0x1  # LOG_EVENT_BINLOG_IN_USE_F: taken away when the log is closed in order
OF_RELAY_LOG = 0x40  # LOG_EVENT_RELAY_LOG_F
STOP = 3  # STOP_EVENT, the last of a log that was closed in order
CHECKSUM = 4  # bytes behind an event, if binlog_checksum is not NONE
APART = 120.0  # seconds from the end of the binary log to that of the shutdown
_FIELDS = struct.Struct(">III")  # magic number, upper and lower half of the position; then the name
_U32 = struct.Struct(">I")


def binlog_position(directory: Path) -> tuple[str, int] | None:
    """Name and size of the last binary log; None where there is no index of binary logs, more than one, or one of an
    earlier time: whose last log the server did not close when it was shut down last. A server whose ``log_bin`` was
    moved leaves such a one."""
    found = []
    for index in directory.glob("*.index"):
        with contextlib.suppress(OSError, UnicodeError):
            lines = [line for line in index.read_text().splitlines() if line]
            last = directory / Path(lines[-1]).name if lines else None
            if last is not None and re.search(r"\.\d{6,}\Z", last.name) and _is_binary_log(last):
                found.append(last)
    if len(found) != 1 or not _was_closed(found[0], _shut_down(directory)):
        return None
    return found[0].name, found[0].stat().st_size


def _shut_down(directory: Path) -> float:
    """When InnoDB wrote its last checkpoint, as far as the files tell; a copy may have made it later. Seconds since the
    epoch, 0 for never."""
    return max((path.stat().st_mtime for path in (directory / REDO_DIR).glob("#ib_redo*")), default=0.0)


def _was_closed(path: Path, moment: float) -> bool:
    """Whether a binary log ends with the event of a shutdown at about that moment: the server closes it, and then
    InnoDB. Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for length in (EVENT.size + CHECKSUM, EVENT.size):
            file.seek(max(size - length, 0))
            time, kind, _, told, end, _ = EVENT.unpack(file.read(EVENT.size))
            if (kind, told, end) == (STOP, length, size & 0xFFFFFFFF):
                return bool(-1.0 <= moment - time <= APART)
    return False


def is_from_crash(path: Path) -> bool:
    """Whether it may be the binary log of a server that crashed: no relay log, and not closed. Raises OSError."""
    head = _head(path)
    return head.startswith(ENCRYPTED) or (_is_binary_log(path) and bool(_flags(head) & IN_USE))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(MAGIC) + EVENT.size)


def _is_binary_log(path: Path) -> bool:
    head = _head(path)
    return head.startswith(MAGIC) and len(head) == len(MAGIC) + EVENT.size and not _flags(head) & OF_RELAY_LOG


def _flags(head: bytes) -> int:
    return int(EVENT.unpack_from(head, len(MAGIC))[-1])


def page_with_position(page: bytes, name: str, position: int) -> bytes:
    """Page 5 with this binary log position and a new checksum. ValueError if it is damaged."""
    if _U32.unpack_from(page)[0] != checksum(page):
        raise ValueError("the page that holds the binary log position is damaged, or has another kind of checksum")
    changed = bytearray(page)
    at = fields_at(len(page))
    # As the server writes it: below its data directory the name has "./" before it.
    text = f"./{name}".encode()
    if len(text) >= NAME_SIZE:
        raise ValueError(f"the name of the binary log is too long: {name}")
    _FIELDS.pack_into(changed, at, MAGIC_NUMBER, position >> 32, position & 0xFFFFFFFF)
    changed[at + _FIELDS.size : at + _FIELDS.size + len(text) + 1] = text + b"\0"
    crc = checksum(changed)
    _U32.pack_into(changed, 0, crc)
    _U32.pack_into(changed, len(changed) - TRAILER_SIZE, crc)
    return bytes(changed)
