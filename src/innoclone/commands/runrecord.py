"""What every clone has around it: its status from beginning to end, and its record in the history."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from innoclone.commands.destination import check_place
from innoclone.errors import CloneError, TargetBusy, TargetExists, TargetUnusable, UsageError
from innoclone.files.lock import holder_of
from innoclone.files.marks import is_unfinished
from innoclone.files.swap import fresh_sibling
from innoclone.records.history import BACKUP, BOOT_CHECK, DIED, append_history, next_number, read_history
from innoclone.records.running import shown_running
from innoclone.records.status import CloneStatus, State
from innoclone.records.statusfile import outcome, read_status
from innoclone.transport.endpoint import Endpoint
from innoclone.version import __version__

__all__ = ["begin", "is_refusal", "record_completed", "record_dead", "record_died", "recorded"]


REFUSALS = (UsageError, TargetExists, TargetUnusable, TargetBusy)


@contextlib.contextmanager
def recorded(
    operation: str, donor: Endpoint | Path | str, directory: Path | str, status: CloneStatus
) -> Iterator[None]:
    """Begin and end ``status``, and put the run into the history, however it ends, unless it was refused. Meanwhile
    others see it run.

    A history that can't be written is a note. A run before this one that died in the directory is recorded first.
    ``donor`` and ``directory`` may be addresses of stores. Raises what `check_place` does of the directory.
    """
    if isinstance(directory, Path) and operation != "replace":  # there it is the server's own
        check_place(directory)
    begin(donor, directory, status)
    if isinstance(directory, Path):
        for place in (directory, fresh_sibling(directory)):
            record_dead(place, status)
    try:
        with shown_running(operation, status, died=_record_backup):
            yield
    except BaseException as error:
        if isinstance(error, CloneError):
            status.fail(error.code, error.message)
            if is_refusal(error, status):
                raise
        _record(_record_of(operation, status) | outcome(error), status)
        raise
    status.state, status.end = State.COMPLETED, time.time()
    _record(_record_of(operation, status), status)


def is_refusal(error: CloneError, status: CloneStatus) -> bool:
    """Whether the command was wrong, so that no clone began: that isn't one that failed."""
    causes = getattr(error, "problems", [error])
    return not status.begun and all(isinstance(cause, REFUSALS) for cause in causes)


def record_completed(operation: str, status: CloneStatus) -> None:
    """Put a run into the history that another one brought to its end."""
    _record(_record_of(operation, status), status)


def begin(donor: Endpoint | Path | str, directory: Path | str, status: CloneStatus) -> None:
    """Let ``status`` say what is cloned, and give it its number in the history unless it has one."""
    status.source, status.destination = str(donor), str(directory)
    status.state, status.begin = State.IN_PROGRESS, time.time()
    with contextlib.suppress(CloneError):  # `recorded` says that there is no history
        status.number = status.number or next_number()


def record_dead(directory: Path, status: CloneStatus) -> None:
    """Put a clone into the history whose process was killed, once; by itself it could not."""
    with contextlib.suppress(OSError, CloneError, KeyError, TypeError):  # it is of no importance to the next clone
        if not is_unfinished(directory) or holder_of(directory) is not None:
            return
        last = read_status(directory)
        if last is not None:
            record_died(last, status)


def _record_backup(last: dict[str, Any]) -> None:
    """Put a backup into the history whose process was killed; of what has a directory, that tells."""
    if last.get("operation") in (BACKUP, BOOT_CHECK):
        with contextlib.suppress(CloneError, KeyError, TypeError):
            record_died(last, CloneStatus())


def record_died(last: Mapping[str, Any], status: CloneStatus) -> None:
    """Put the clone of a status file into the history, unless that has it or it came to an end.

    Raises a file error, KeyError and TypeError for what is no status.
    """
    number = last["id"]
    if last["state"] != State.IN_PROGRESS.value or any(old.get("id") == number for old in read_history()):
        return
    taken = ("id", "operation", "pid", "host", "source", "destination", "began", "data", "network", "connections")
    record = {name: last[name] for name in (*taken, "donor_version", "restarts")}
    seconds = round(last["updated"] - last["began"], 3)
    _record(record | {"state": DIED, "ended": last["updated"], "seconds": seconds}, status)


def _record_of(operation: str, status: CloneStatus) -> dict[str, Any]:
    ended = status.end or time.time()
    return {
        "id": status.number,
        "operation": operation,
        "innoclone": __version__,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "source": status.source,
        "destination": status.destination,
        "began": round(status.begin or ended, 3),
        "ended": round(ended, 3),
        "seconds": round(ended - (status.begin or ended), 3),
        "state": status.state.value,
        "error_number": status.error_number,
        "error_message": status.error_message,
        "data": status.copied,
        "network": status.copied_network,
        "connections": status.connections,
        "restarts": status.restarts,
        "donor_version": status.donor_version,
        **status.position.fields,
    }


def _record(record: dict[str, Any], status: CloneStatus) -> None:
    try:
        append_history(record)
    except CloneError as error:
        status.notes.append(f"this clone is not in the history: {error.message}")
