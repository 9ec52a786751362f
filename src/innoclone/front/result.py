"""The table at the end of a clone: what each stage took, where the clone stands in the binary log, the verdict."""

from __future__ import annotations

from typing import Any

from innoclone.front.units import MIB
from innoclone.ops.status import CloneStatus, Stage, StageStatus, State

__all__ = ["result_fields", "result_table"]


def result_table(status: CloneStatus, *, verdict: str = "") -> list[str]:
    """Lines: a row per stage that ran (seconds, MiB, MiB/s), the sum, position and verdict."""
    ran = [row for row in status.stages.values() if row.state is not State.NOT_STARTED]
    lines = [f"{'stage':<10} {'seconds':>9} {'MiB':>12} {'MiB/s':>9}"]
    lines += [_line(row.stage.value, row.seconds, row.data) for row in ran]
    lines.append(_line("total", _elapsed(status, ran), _moved(ran), copying=_copying(ran)))
    if status.position_unknown and not status.position_from:
        boot = f"innoclone boot {status.destination}"
        lines.append(f"binary log position: unknown until booted ({boot}): {status.position_unknown}")
    if status.binlog_file:
        lines.append(f"binary log position: {status.binlog_file}:{status.binlog_position}")
    if status.gtid_executed:
        lines.append(f"GTID set: {status.gtid_executed}")
    if verdict:
        lines.append(f"verdict: {verdict}")
    return lines


def result_fields(status: CloneStatus) -> dict[str, Any]:
    """The same for ``--json``: seconds and bytes."""
    ran = [row for row in status.stages.values() if row.state is not State.NOT_STARTED]
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
        "position_from": status.position_from,
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


def _copying(ran: list[StageStatus]) -> float:
    """Seconds for which data moved or was made durable; a boot behind it doesn't make the copy slower."""
    return sum(row.seconds for row in ran if row.stage not in (Stage.RESTART, Stage.RECOVERY))


def _line(name: str, seconds: float, data: int, *, copying: float | None = None) -> str:
    size = f"{data / MIB:,.1f}" if data else ""
    moving = seconds if copying is None else copying
    rate = f"{data / MIB / moving:,.1f}" if data and moving > 0 and name != Stage.FILE_SYNC.value else ""
    return f"{name:<10} {seconds:>9.2f} {size:>12} {rate:>9}".rstrip()
