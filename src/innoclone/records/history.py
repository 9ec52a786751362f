"""The clones of this user that came to an end, good or bad: lines of JSON in ``history.jsonl`` of the state folder.

A record is appended with one write(2) under a lock, so that records of processes that end together don't mix. Only the
newest are kept. What a crash tore is skipped by readers, and the next record begins on a line of its own.

A clone gets its number (``id``) when it begins. The lock's file holds the last one, so that no number comes twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from innoclone.errors import FileError
from innoclone.files.system import file_error
from innoclone.records.folders import state_directory

__all__ = [
    "BACKUP", "BOOT_CHECK", "CLONE", "DIED", "KEPT", "OF_STORES", "RESTORE", "SERVE", "TEMPORARY", "append_history",
    "is_clone", "last_successes", "next_number", "read_history",
]  # fmt: skip

NAME, LOCK = "history.jsonl", "history.lock"
KEPT = 1000  # records
LOCK_TIMEOUT = 5.0  # seconds to wait for others that write theirs
LONGEST_GTIDS = 4000  # characters; a longer set is left out, the clone's manifest has it
CLONE = "clone"  # of any kind
# Operations of records that are no clones made here of a server. A temporary restore is verified or served, and goes.
BACKUP, RESTORE, SERVE, BOOT_CHECK, TEMPORARY = "backup", "restore", "serve", "boot-check", "temporary-restore"
OF_STORES = (BACKUP, RESTORE, BOOT_CHECK, TEMPORARY)  # of stored clones, and of stores
COMPLETED = "Completed"
DIED = "Died"  # state of a clone whose process never said how it ended; the others are those of status.json


def next_number() -> int:
    """The number of a clone that begins: from 1 on, for this clone only. Raises a file error."""
    folder = state_directory()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder / LOCK) as lock:
            return _take_number(lock)
    except OSError as error:
        raise file_error(error, f"can't write {folder / LOCK}") from error


def append_history(record: Mapping[str, Any]) -> None:
    """Add a record, with a number where it has none, and drop those beyond the newest `KEPT`. Raises a file error."""
    folder = state_directory()
    gtids = record.get("gtid_executed", "")
    kept = {**record, "gtid_executed": gtids if len(gtids) <= LONGEST_GTIDS else ""}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder / LOCK) as lock:
            numbered = kept if kept.get("id") else {**kept, "id": _take_number(lock)}
            _append(folder / NAME, f"{json.dumps(numbered)}\n".encode())
            _trim(folder / NAME)
    except OSError as error:
        raise file_error(error, f"can't write {folder / NAME}") from error


def read_history() -> list[dict[str, Any]]:
    """All records, in the order in which the clones ended. Raises a file error."""
    path = state_directory() / NAME
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    return [record for line in lines if (record := _parse(line))][-KEPT:]


def is_clone(record: Mapping[str, Any]) -> bool:
    """Whether a record is of a clone that was made here of a server."""
    return record.get("operation") not in (*OF_STORES, SERVE)


def last_successes() -> dict[str, float]:
    """When the newest clone, backup, restore and boot check that completed did so, in seconds since the epoch, by
    operation; a history that can't be read tells of none."""
    found: dict[str, float] = {}
    with contextlib.suppress(FileError):
        for record in read_history():
            kind = CLONE if is_clone(record) else str(record["operation"])
            if record["state"] == COMPLETED and isinstance(ended := record.get("ended"), int | float):
                found[kind] = max(found.get(kind, 0.0), ended)
    return found


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return {"id": 0, **record} if isinstance(record, dict) and "state" in record else None  # old ones have no number


def _take_number(lock: int) -> int:
    """One more than the last; a file that says nothing is made good by the records."""
    try:
        last = int(os.pread(lock, 20, 0))
    except ValueError:
        last = max((record["id"] for record in read_history()), default=0)
    os.ftruncate(lock, os.pwrite(lock, f"{last + 1}\n".encode(), 0))
    return last + 1


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = b"\n" + line if torn else line
        if os.write(descriptor, line) < len(line):
            os.ftruncate(descriptor, size)  # the disk is full: better no record than half of one
            raise FileError(f"can't write {path}: no space left")
    finally:
        os.close(descriptor)


def _trim(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) <= KEPT:
        return
    beside = path.with_name(NAME + ".new")
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.writelines(lines[-KEPT:])
    beside.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Keep others from writing; on a file of its own, because the history itself is replaced when it is trimmed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)
