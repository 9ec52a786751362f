"""What runs on this host beside the agent's own clone: backups, restores and clones of the same user's commands."""

from __future__ import annotations

from typing import Any

from innoclone.agent.clones.manager import Clones
from innoclone.records.running import running

__all__ = ["beside_agent"]

FIELDS = (
    "id", "operation", "pid", "source", "destination", "began", "stage", "percent", "data", "network", "estimate",
    "speed", "network_speed", "connections",
)  # fmt: skip


def beside_agent(clones: Clones) -> list[dict[str, Any]]:
    """Each as its status file has it, the oldest first."""
    latest = clones.latest
    mine = latest.number if latest is not None and clones.is_running else None
    return [{name: one[name] for name in FIELDS} for one in running() if one["id"] != mine]
