"""``/status.json``: what the status page shows."""

from __future__ import annotations

import socket
import time
from typing import Any

from innoclone.agent.clones.commandclones import beside_agent
from innoclone.agent.clones.speeds import SpeedHistory, copied_bytes
from innoclone.agent.donors.donors import ServedDonor
from innoclone.agent.services import Services
from innoclone.records.status import CLONE_STAGES, COPY_STAGES, CloneStatus, StageStatus
from innoclone.version import __version__

__all__ = ["page_status"]

SHOWN = 50  # clones, backups and the like of the history
NOTES = 20  # the newest ones of a clone


def page_status(services: Services, speeds: SpeedHistory) -> dict[str, Any]:
    """Times are seconds since the epoch, amounts bytes; no password is in it."""
    clones = services.clones
    latest = clones.latest
    speeds.sample()
    return {
        "agent": {
            "version": __version__, "host": socket.gethostname(), "started": services.started, "now": time.time(),
            "connections": len(services.connections),
        },
        "clone": None if latest is None else _clone(latest, is_running=clones.is_running),
        "curve": speeds.points,
        "running": beside_agent(clones),
        "served": [_served(one) for one in services.donors],
        "history": clones.records(every=True)[: -SHOWN - 1 : -1],
    }  # fmt: skip


def _served(one: ServedDonor) -> dict[str, Any]:
    return {
        "name": one.served.name, "source": one.served.source, "port": one.donor.port,
        "version": one.shelf.version, "completed": one.outcomes["Completed"],
        "recipients": [taking.fields for taking in one.donor.takings],
    }  # fmt: skip


def _clone(status: CloneStatus, *, is_running: bool) -> dict[str, Any]:
    copied = [status.stages[stage] for stage in COPY_STAGES]
    data, network = copied_bytes(status)
    return {
        "id": status.number, "running": is_running, "state": status.state.value, "source": status.source,
        "destination": status.destination, "donor_version": status.donor_version, "begin": status.begin,
        "end": status.end, "error_number": status.error_number, "error_message": status.error_message,
        "connections": status.connections, "restarts": status.restarts, "data": data, "network": network,
        "rate": status.rate,
        "estimate": sum(max(row.estimate, row.data) for row in copied),
        "binlog_file": status.binlog_file, "binlog_position": status.binlog_position,
        "notes": status.notes[-NOTES:],
        "stages": [_stage(status.stages[stage]) for stage in CLONE_STAGES],
    }  # fmt: skip


def _stage(row: StageStatus) -> dict[str, Any]:
    return {
        "stage": row.stage.value, "state": row.state.value, "data": row.data, "network": row.network,
        "estimate": row.estimate, "threads": row.threads, "seconds": round(row.seconds, 3), "rate": row.rate,
    }  # fmt: skip
