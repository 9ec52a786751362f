"""What SHOW GLOBAL STATUS shows."""

from __future__ import annotations

from innoclone.agent.counters import COUNTED
from innoclone.agent.services import Services

__all__ = ["status_values"]


def status_values(services: Services) -> dict[str, str]:
    """By a server's names. Counts of a session are those of all."""
    counters, uptime = services.counters, str(services.uptime)
    found = {name: counters[name] for name in COUNTED}
    connections = services.connections.all()
    for connection in connections:
        received, sent = connection.traffic
        found["Bytes_received"] += received
        found["Bytes_sent"] += sent
    found |= {
        "Aborted_connects": services.failed_logins.count, "Prepared_stmt_count": services.pool.prepared,
        "Threads_cached": 0, "Threads_connected": len(services.connections),
        "Threads_created": counters["Connections"],
        "Threads_running": sum(bool(connection.info) for connection in connections),
    }  # fmt: skip
    texts = {name: str(count) for name, count in found.items()}
    return dict(sorted((texts | {"Uptime": uptime, "Uptime_since_flush_status": uptime}).items()))
