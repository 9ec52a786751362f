"""The table at the end of a clone: what each stage took, where the clone stands in the binary log, the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from innoclone.front.units import MIB
from innoclone.ops.status import COPY_STAGES, CloneStatus, Stage, StageStatus

__all__ = ["is_copy", "result_fields", "result_table"]


def result_table(status: CloneStatus, *, verdict: str = "") -> list[str]:
    """Lines: a row per stage that ran, in order (seconds, MiB, MiB/s), the sum, position and verdict."""
    ran = status.begun
    lines = [f"{'stage':<10} {'seconds':>9} {'MiB':>12} {'MiB/s':>9}"]
    lines += [_line(row.stage.value, row.seconds, row.data, row.rate) for row in ran]
    seconds, data = _elapsed(status, ran), _moved(ran)
    lines.append(_line("total", seconds, data, data / seconds if is_copy(ran) and seconds > 0 else None))
    if status.binlog_file:
        lines.append(f"binary log position: {status.binlog_file}:{status.binlog_position}")
    if status.gtid_executed:
        lines.append(f"GTID set: {status.gtid_executed}")
    if verdict:
        lines.append(f"verdict: {verdict}")
    return lines


def result_fields(status: CloneStatus) -> dict[str, Any]:
    """The same for ``--json``: seconds and bytes."""
    ran = status.begun
    return {
        "source": status.source,
        "destination": status.destination,
        "state": status.state.value,
        "seconds": round(_elapsed(status, ran), 3),
        "data": _moved(ran),
        "network": sum(row.network for row in ran),
        "stages": [
            {
                "stage": row.stage.value,
                "state": row.state.value,
                "seconds": round(row.seconds, 3),
                "data": row.data,
                "network": row.network,
                "threads": row.threads,
            }
            for row in ran
        ],
        "binlog_file": status.binlog_file,
        "binlog_position": status.binlog_position,
        "gtid_executed": status.gtid_executed,
        "notes": list(status.notes),
    }


def _elapsed(status: CloneStatus, ran: list[StageStatus]) -> float:
    """From first to last, if both are known; else the sum of the stages."""
    if status.begin is not None and status.end is not None:
        return status.end - status.begin
    return sum(row.seconds for row in ran)


def _moved(ran: list[StageStatus]) -> int:
    """Bytes that were copied; FILE SYNC makes the same bytes durable and counts them once more."""
    return sum(row.data for row in ran if row.stage is not Stage.FILE_SYNC)


def is_copy(ran: Sequence[StageStatus]) -> bool:
    """Whether the time of all this was spent with copying in one go, so that amount by time is a speed."""
    return all(row.stage in (*COPY_STAGES, Stage.FILE_SYNC) and not row.paused for row in ran)


def _line(name: str, seconds: float, data: int, rate: float | None) -> str:
    size = f"{data / MIB:,.1f}" if data else ""
    return f"{name:<10} {seconds:>9.2f} {size:>12} {'' if rate is None else f'{rate / MIB:,.1f}':>9}".rstrip()
