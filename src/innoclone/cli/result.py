"""The table at the end of a clone: what each stage took, where the clone stands in the binary log, the verdict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from innoclone.records.status import CloneStatus
from innoclone.report.output import Output
from innoclone.report.units import MIB

if TYPE_CHECKING:
    from innoclone.commands.bootcheck import BootChecked

__all__ = ["checked_fields", "result_fields", "result_table", "tell_checked"]


def result_table(status: CloneStatus, *, verdict: str = "") -> list[str]:
    """Lines: a row per stage that ran, in order (seconds, MiB, MiB/s), the sum, position and verdict."""
    ran = status.begun
    lines = [f"{'stage':<10} {'seconds':>9} {'MiB':>12} {'MiB/s':>9}"]
    lines += [_line(row.stage.value, row.seconds, row.data, row.rate) for row in ran]
    lines.append(_line("total", status.seconds, status.data, status.rate))
    if status.position_unknown and not status.position_from:
        is_stored = "://" in str(status.destination)
        boot = f"innoclone {'store verify --boot-check' if is_stored else 'boot'} {status.destination}"
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
    ran = status.begun
    return {
        "source": status.source,
        "destination": status.destination,
        "state": status.state.value,
        "seconds": round(status.seconds, 3),
        "data": status.data,
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
        **status.position.fields,
        "notes": list(status.notes),
    }


def _line(name: str, seconds: float, data: int, rate: float | None) -> str:
    size = f"{data / MIB:,.1f}" if data else ""
    return f"{name:<10} {seconds:>9.2f} {size:>12} {'' if rate is None else f'{rate / MIB:,.1f}':>9}".rstrip()


def tell_checked(checked: BootChecked, out: Output) -> None:
    """What the trial of a snapshot has shown."""
    at = datetime.fromtimestamp(checked.checked, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    out.message(f"booted and checked at {at}: mysqld {checked.version} came up on it, {checked.pages} pages sound")
    if checked.binlog_file:
        out.message(f"binary log position: {checked.binlog_file}:{checked.binlog_position}")
    if checked.gtid_executed:
        out.message(f"GTID set: {checked.gtid_executed}")


def checked_fields(checked: BootChecked) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "store": checked.store, "snapshot": checked.snapshot, "mysqld": checked.version, "pages": checked.pages,
        "checked": checked.checked, **checked.position.fields,
    }  # fmt: skip
