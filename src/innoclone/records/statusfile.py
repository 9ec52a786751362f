"""``#innoclone/status.json``: how far a clone is, for other processes; after its death, how far it came.

A thread writes it anew about once a second, in one step (a rename), for as long as the clone is unfinished; then the
manifest tells. It is not synced: what it says is of interest for minutes, and the journal is what a resume relies on.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from innoclone.errors import CloneError, Interrupted, one_line
from innoclone.files.lock import Holder
from innoclone.files.names import OWN_DIR, STATUS
from innoclone.records.speed import Speed
from innoclone.records.status import RATED_STAGES, CloneStatus, Stage, StageStatus, State

__all__ = ["FORMAT", "INTERRUPTED", "StatusFile", "outcome", "read_status", "status_in"]

FORMAT = 1
EVERY = 1.0  # seconds
INTERRUPTED = "Interrupted"  # beside MySQL's own states
MODE = 0o640
NOTES = 50  # the newest ones that are written; a resumed clone may have many


class StatusFile:
    """Writes what ``status`` says for as long as the ``with`` block runs, and once more at its end.

    The block must end before the directory is finished or given up, so that nothing is written in between. A failure
    to write is nobody's concern: on a full disk the last status stays.
    """

    def __init__(
        self, own: Path, status: CloneStatus, *, operation: str, every: float = EVERY, name: str = STATUS
    ) -> None:
        """``own`` is the directory's ``#innoclone`` or another folder, which must exist; ``operation`` is ``clone``,
        ``local`` or the like; ``every`` is in seconds; ``name`` is the file's."""
        self.resumable_seconds: float | None = None
        """How long the donor keeps the snapshot when it hears nothing more of us; None: not known, or not at all."""
        self._status, self._operation, self._every = status, operation, every
        self._own, self._name = own, name
        self._folder = -1
        self._me = Holder.this_process()
        self._speeds = Speed(), Speed()
        self.speeds = 0.0, 0.0
        """Bytes per second of data and on the wire in the stage that runs; 0 where none does that has a speed."""
        self._stage: Stage | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="innoclone-status", daemon=True)

    def __enter__(self) -> Self:
        """Write for the first time."""
        with contextlib.suppress(OSError):  # it stays with the directory, should that be moved away
            self._folder = os.open(self._own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._write(self._fields())
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Write for the last time, with the error that ended the clone if one did."""
        self._end.set()
        self._thread.join()
        self._write(self._fields() | outcome(error))
        if self._folder >= 0:
            os.close(self._folder)

    def _run(self) -> None:
        while not self._end.wait(self._every):
            self._write(self._fields())

    def _write(self, fields: Mapping[str, Any]) -> None:
        beside = self._name + ".new"
        try:
            with open(beside, "w", opener=self._open) as file:
                os.fchmod(file.fileno(), MODE)  # whatever the umask is
                file.write(json.dumps(fields, indent=1) + "\n")
            os.rename(beside, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside, dir_fd=self._folder)

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, MODE, dir_fd=self._folder)

    def _fields(self) -> dict[str, Any]:
        status, now = self._status, time.time()
        current = status.current
        data, estimate = status.copied, status.copy_estimate
        return {
            "format": FORMAT,
            "id": status.number,
            "operation": self._operation,
            "pid": self._me.pid,
            "process_started": self._me.started,
            "host": self._me.host,
            "user": _user(),
            "source": status.source,
            "donor_version": status.donor_version,
            "destination": status.destination,
            "began": _rounded(status.begin),
            "updated": round(now, 3),
            "state": status.state.value,
            "stage": current.stage.value if current else None,
            "stage_percent": _percent(current.data, current.estimate) if current else None,
            "percent": _percent(data, estimate),
            "data": data,
            "network": status.copied_network,
            "estimate": estimate,
            "speed": round(self._look_at_speed(current)),
            "network_speed": round(self.speeds[1]),
            "connections": status.connections,
            "restarts": status.restarts,
            "resumable_until": None if self.resumable_seconds is None else round(now + self.resumable_seconds, 3),
            "error_number": status.error_number,
            "error_message": status.error_message,
            "binlog_file": status.binlog_file,
            "binlog_position": status.binlog_position,
            "gtid_executed": status.gtid_executed,
            "stages": [_stage(row) for row in status.stages.values() if row.state is not State.NOT_STARTED],
            "notes": list(status.notes[-NOTES:]),
        }

    def _look_at_speed(self, current: StageStatus | None) -> float:
        """Bytes of data per second within the stage that runs."""
        stage = current.stage if current else None
        if stage is not self._stage:
            for speed in self._speeds:
                speed.clear()
            self._stage = stage
        if current is None or stage not in RATED_STAGES:
            self.speeds = 0.0, 0.0
        else:
            now = time.monotonic()
            self.speeds = self._speeds[0].add(now, current.data), self._speeds[1].add(now, current.network)
        return self.speeds[0]


def read_status(directory: Path) -> dict[str, Any] | None:
    """What the last process that worked on the directory wrote; None if there is nothing, or nothing that we know.

    Raises PermissionError.
    """
    return status_in(directory / OWN_DIR)


def status_in(own: Path, name: str = STATUS) -> dict[str, Any] | None:
    """`read_status` of a directory's ``#innoclone``, or of another folder that a `StatusFile` wrote to."""
    try:
        fields = json.loads((own / name).read_text())
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) and fields.get("format") == FORMAT else None


def outcome(error: BaseException | None) -> dict[str, Any]:
    """State and error of a clone by what it ended with, in the fields' words; nothing where it was no error."""
    if error is None:
        return {}
    if isinstance(error, CloneError) and not isinstance(error, Interrupted):
        return {"state": State.FAILED.value, "error_number": error.code, "error_message": error.message}
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return {"state": INTERRUPTED, "error_number": Interrupted.number, "error_message": str(error) or "interrupted"}
    text = one_line(f"{type(error).__name__}: {error}")
    return {"state": State.FAILED.value, "error_number": CloneError.number, "error_message": text}


def _percent(data: int, estimate: int) -> float | None:
    """To a tenth, None while the whole is not known; never above 100, though estimates are only that."""
    return min(round(100 * data / estimate, 1), 100.0) if estimate else None


def _rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment, 3)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _stage(row: StageStatus) -> dict[str, Any]:
    return {
        "stage": row.stage.value,
        "state": row.state.value,
        "begin": _rounded(row.begin),
        "end": _rounded(row.end),
        "threads": row.threads,
        "data": row.data,
        "network": row.network,
        "estimate": row.estimate,
        "measured": row.measured,
    }
