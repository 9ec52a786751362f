"""The rows of performance_schema.clone_status, clone_progress and clone_operations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from innoclone.agent.clones.commandclones import beside_agent
from innoclone.agent.clones.errors import in_table
from innoclone.agent.clones.manager import Clones
from innoclone.agent.clones.run import CloneRun
from innoclone.agent.sql import Value
from innoclone.agent.tables.columns import CLONE_OPERATIONS, CLONE_PROGRESS, CLONE_STATUS, row
from innoclone.errors import Interrupted
from innoclone.records.status import CLONE_STAGES, CloneStatus, Stage, StageStatus, State

__all__ = ["LARGEST_INT", "operation_rows", "progress_rows", "status_rows"]

LARGEST_INT = (1 << 31) - 1
ONLY = 1  # the plugin's number for the clone that it knows


def status_rows(clones: Clones) -> list[tuple[Value, ...]]:
    """Of clone_status, oldest first."""
    run, guide = clones.last_run, clones.guide_numbers
    records = {record["id"]: record for record in clones.records()}
    if not clones.shows_history:
        number = max(records, default=0) if run is None else run.number
        records = {number: records[number] | {"id": ONLY}} if number in records else {}
    rows = {number: _past_row(record, guide=guide) for number, record in records.items()}
    if run is not None and not run.ended.is_set():
        rows[run.number] = _present_row(run, _number(clones, run))
    return [rows[number] for number in sorted(rows)]


def _number(clones: Clones, run: CloneRun) -> int:
    return run.number if clones.shows_history else ONLY


def progress_rows(clones: Clones) -> list[tuple[Value, ...]]:
    """Of clone_progress: the stages of the clone that runs, or of the last one."""
    run = clones.last_run
    if run is None:
        return []
    stages = [run.status.stages[stage] for stage in CLONE_STAGES]
    if run.operation != "replace":
        stages[0] = _nothing_dropped(run.status)
    if not any(stage.begin for stage in stages):  # it got nowhere: the plugin shows none then
        return []
    number = _number(clones, run)
    return [_stage_row(run, number, stage, guide=clones.guide_numbers) for stage in stages]


def operation_rows(clones: Clones) -> list[tuple[Value, ...]]:
    """Of clone_operations: what runs on this host beside the agent's clone."""
    return [
        row(
            CLONE_OPERATIONS, ID=one["id"], PID=one["pid"], OPERATION=one["operation"], STAGE=one["stage"],
            BEGIN_TIME=_moment(one["began"], 3), SOURCE=one["source"], DESTINATION=one["destination"],
            THREADS=one["connections"], ESTIMATE=one["estimate"], DATA=one["data"], NETWORK=one["network"],
            DATA_SPEED=min(one["speed"], LARGEST_INT), NETWORK_SPEED=min(one["network_speed"], LARGEST_INT),
        )
        for one in beside_agent(clones)
    ]  # fmt: skip


def _nothing_dropped(status: CloneStatus) -> StageStatus:
    """DROP DATA of a clone into a directory, as the plugin shows it: over when FILE COPY begins."""
    copied = status.stages[Stage.FILE_COPY].begin
    if copied is None or status.begin is None:
        return status.stages[Stage.DROP_DATA]
    return StageStatus(Stage.DROP_DATA, State.COMPLETED, min(status.begin, copied), copied, threads=1)


def _past_row(record: Mapping[str, Any], *, guide: bool) -> tuple[Value, ...]:
    """Of clone_status, from a record of the history."""
    state, code = record["state"], record.get("error_number") or 0
    message = str(record.get("error_message") or "")
    if state not in (State.COMPLETED.value, State.FAILED.value):  # interrupted, died
        code, message = code or Interrupted.number, message or f"the clone was cut off ({state.lower()})"
        state = State.FAILED.value
    code, message = in_table(code, message, guide=guide)
    operation = record.get("operation")
    return row(
        CLONE_STATUS,
        ID=record["id"],
        PID=0,
        STATE=state,
        BEGIN_TIME=_moment(record.get("began"), 3),
        END_TIME=_moment(record.get("ended"), 3),
        SOURCE=_source(operation, str(record.get("source") or "")),
        DESTINATION=_directory(operation, str(record.get("destination") or "")),
        ERROR_NO=code,
        ERROR_MESSAGE=message,
        BINLOG_FILE=str(record.get("binlog_file") or ""),
        BINLOG_POSITION=int(record.get("binlog_position") or 0),
        GTID_EXECUTED=str(record.get("gtid_executed") or ""),
        STAGE=None,
    )


def _present_row(run: CloneRun, number: int) -> tuple[Value, ...]:
    """Of clone_status, for the clone that runs."""
    status = run.status
    current = status.current
    return row(
        CLONE_STATUS,
        ID=number,
        PID=run.session,
        STATE=State.IN_PROGRESS.value,
        BEGIN_TIME=_moment(status.begin, 3),
        END_TIME=None,
        SOURCE=_source(run.operation, status.source),
        DESTINATION=_directory(run.operation, status.destination),
        ERROR_NO=0,
        ERROR_MESSAGE="",
        BINLOG_FILE=status.binlog_file,
        BINLOG_POSITION=status.binlog_position,
        GTID_EXECUTED=status.gtid_executed,
        STAGE=current.stage.value if current is not None else None,
    )


def _stage_row(run: CloneRun, number: int, stage: StageStatus, *, guide: bool) -> tuple[Value, ...]:
    """Of clone_progress."""
    message = ""
    if stage.state is State.FAILED:
        _, message = in_table(run.status.error_number, run.status.error_message, guide=guide)
    data, network = run.speeds if stage.state is State.IN_PROGRESS else (0, 0)  # 0 but for the stage that runs
    return row(
        CLONE_PROGRESS,
        ID=number,
        STAGE=stage.stage.value,
        STATE=stage.state.value,
        BEGIN_TIME=_moment(stage.begin, 6),
        END_TIME=_moment(stage.end, 6),
        THREADS=stage.threads,
        ESTIMATE=stage.data if stage.state is State.COMPLETED else max(stage.estimate, stage.data),  # then it is known
        DATA=stage.data,
        NETWORK=stage.network,
        DATA_SPEED=min(data, LARGEST_INT),
        NETWORK_SPEED=min(network, LARGEST_INT),
        ERROR_MESSAGE=message,
    )


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
