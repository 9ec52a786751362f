"""The journal of an unfinished clone: what a new process must know to go on, in ``#innoclone/journal``.

An append-only file of events, one line each: a CRC-32 in hex, a space, a JSON object. What comes after the first line
that is not whole counts for nothing. An event is written before it is carried out, the list of files excepted, which
counts from its last line on; so a reader carries out the last event once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from innoclone.files.system import file_error, write_all

__all__ = ["FORMAT", "JOURNAL", "Journal", "boot_id", "read_journal"]

JOURNAL = "journal"
FORMAT = 1
LONGEST = 1 << 20  # bytes of a line; names of files are bounded
BATCH = 64 << 10  # bytes of a list of files that are written at once

Event = dict[str, Any]


def boot_id() -> str:
    """Names the time since this machine was started; after a crash of the system it is another."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


class Journal:
    """Writes events; any thread may."""

    def __init__(self, folder: Path, *, new: bool, fsync: bool) -> None:
        """Begin a clone's journal in ``folder``, or (not ``new``) go on with it behind its last whole line.

        Raises a file error.
        """
        self._path = folder / JOURNAL
        self._fsync = fsync
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self.bytes = 0
        try:
            if not new:
                self.bytes = sum(length for _, length in _lines(self._path))
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            os.ftruncate(self._fd, self.bytes)
        except OSError as error:
            raise file_error(error, f"can't write {self._path}") from error

    def append(self, kind: str, *, later: bool = False, **event: Any) -> None:
        """Add one event; ``later``: it may wait for the next one. Raises a file error."""
        body = json.dumps({"event": kind, **event}, separators=(",", ":")).encode()
        with self._lock:
            self._waiting += b"%08x %s\n" % (zlib.crc32(body), body)
            if later and len(self._waiting) < BATCH:
                return
            try:
                write_all(self._fd, memoryview(bytes(self._waiting)), self.bytes)
            except OSError as error:
                raise file_error(error, f"can't write {self._path}") from error
            self.bytes += len(self._waiting)
            self._waiting.clear()

    def sync(self) -> None:
        """Make all events durable, if this clone is to be. Raises a file error."""
        try:
            if self._fsync:
                os.fdatasync(self._fd)
        except OSError as error:
            raise file_error(error, f"can't sync {self._path}") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_journal(folder: Path) -> list[Event]:
    """The events of the clone with this folder; none if there is no journal."""
    with contextlib.suppress(OSError):
        return [event for event, _ in _lines(folder / JOURNAL)]
    return []


def _lines(path: Path) -> Iterator[tuple[Event, int]]:
    """Each whole event with its length in bytes."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST):
            mark, _, body = line.partition(b" ")
            if not body.endswith(b"\n") or mark != b"%08x" % zlib.crc32(body[:-1]):
                return
            yield json.loads(body), len(line)
