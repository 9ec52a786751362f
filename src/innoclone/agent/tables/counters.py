"""What SHOW GLOBAL STATUS counts: connections, statements and bytes since the agent was started."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innoclone.agent.daemon import Agent

__all__ = ["Counters", "status_values"]

NAMES = (
    "Aborted_clients", "Bytes_received", "Bytes_sent", "Com_clone", "Com_kill", "Com_select", "Com_set_option",
    "Com_stmt_execute", "Com_stmt_prepare", "Connection_errors_max_connections", "Connections", "Max_used_connections",
    "Queries", "Questions", "Slow_queries",
)  # fmt: skip


class Counters:
    """For all threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, name: str, more: int = 1) -> None:
        """So many more."""
        with self._lock:
            self._counts[name] += more

    def peak(self, name: str, value: int) -> None:
        """At least so many."""
        with self._lock:
            self._counts[name] = max(self._counts[name], value)

    def __getitem__(self, name: str) -> int:
        """As many as there were."""
        return self._counts[name]


def status_values(agent: Agent) -> dict[str, str]:
    """By a server's names. Counts of a session are those of all."""
    counters, uptime = agent.counters, str(agent.uptime)
    found = {name: counters[name] for name in NAMES}
    sessions = agent.sessions()
    found["Bytes_received"] += sum(session.connection.received for session in sessions)
    found["Bytes_sent"] += sum(session.connection.sent for session in sessions)
    found |= {
        "Aborted_connects": agent.failed_logins.count, "Prepared_stmt_count": agent.pool.prepared, "Threads_cached": 0,
        "Threads_connected": agent.connected, "Threads_created": counters["Connections"],
        "Threads_running": sum(bool(session.info) for session in sessions),
    }  # fmt: skip
    texts = {name: str(count) for name, count in found.items()}
    return dict(sorted((texts | {"Uptime": uptime, "Uptime_since_flush_status": uptime}).items()))
