"""What SHOW GLOBAL STATUS counts: connections, statements and bytes since the agent was started."""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["COUNTED", "Counters"]

COUNTED = (
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
