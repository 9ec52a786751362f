"""The rows of performance_schema.clone_status and clone_progress."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from innoclone.agent.clones.errors import in_table
from innoclone.agent.clones.run import CloneRun
from innoclone.agent.sql.types import Value
from innoclone.errors import Interrupted
from innoclone.records.status import StageStatus, State

__all__ = ["past_row", "present_row", "stage_row"]

LARGEST_INT = (1 << 31) - 1


def past_row(record: Mapping[str, Any], *, guide: bool) -> tuple[Value, ...]:
    """Of clone_status, from a record of the history."""
    state, code = record["state"], record.get("error_number") or 0
    message = str(record.get("error_message") or "")
    if state not in (State.COMPLETED.value, State.FAILED.value):  # interrupted, died
        code, message = code or Interrupted.number, message or f"the clone was cut off ({state.lower()})"
        state = State.FAILED.value
    code, message = in_table(code, message, guide=guide)
    return (
        record["id"], 0, state, _moment(record.get("began"), 3), _moment(record.get("ended"), 3),
        _source(record.get("operation"), str(record.get("source") or "")),
        _directory(record.get("operation"), str(record.get("destination") or "")), code, message,
        str(record.get("binlog_file") or ""), int(record.get("binlog_position") or 0),
        str(record.get("gtid_executed") or ""), None,
    )  # fmt: skip


def present_row(run: CloneRun) -> tuple[Value, ...]:
    """Of clone_status, for the clone that runs."""
    status = run.status
    current = status.current
    return (
        run.number, run.session, State.IN_PROGRESS.value, _moment(status.begin, 3), None,
        _source(run.operation, status.source), _directory(run.operation, status.destination), 0, "",
        status.binlog_file, status.binlog_position, status.gtid_executed,
        current.stage.value if current is not None else None,
    )  # fmt: skip


def stage_row(run: CloneRun, row: StageStatus, *, guide: bool) -> tuple[Value, ...]:
    """Of clone_progress."""
    message = ""
    if row.state is State.FAILED:
        _, message = in_table(run.status.error_number, run.status.error_message, guide=guide)
    data, network = row.data, row.network
    estimate = data if row.state is State.COMPLETED else max(row.estimate, data)  # then it is known
    now = run.speeds if row.state is State.IN_PROGRESS else (0, 0)  # of the moment: 0 but for the stage that runs
    speeds = [min(speed, LARGEST_INT) for speed in now]
    return (
        run.number, row.stage.value, row.state.value, _moment(row.begin, 6), _moment(row.end, 6), row.threads,
        estimate, data, network, *speeds, message,
    )  # fmt: skip


def _source(operation: str | None, source: str) -> str:
    """As the plugin writes it."""
    return "LOCAL INSTANCE" if operation == "local" else source


def _directory(operation: str | None, destination: str) -> str:
    """With a slash at its end, as the plugin writes it; a server's own data has a name of its own."""
    if operation == "replace":
        return "LOCAL INSTANCE"
    return destination if not destination or destination.endswith("/") else destination + "/"


def _moment(seconds: float | None, decimals: int) -> datetime | None:
    """Seconds since the epoch as the local time."""
    return None if seconds is None else datetime.fromtimestamp(round(seconds, decimals))
