"""What the user says of a server that we may stop and start; `innoclone.server.servercontrol` does it."""

from __future__ import annotations

from pathlib import Path

from innoclone.dataclass import dataclass
from innoclone.transport.endpoint import Endpoint

__all__ = ["Managed"]


@dataclass(frozen=True)
class Managed:
    """Times are in seconds; ``start`` and ``stop`` are commands with their arguments."""

    datadir: Path
    endpoint: Endpoint
    start: tuple[str, ...] = ()  # none: mysqld itself, with the three below
    stop: tuple[str, ...] = ()  # none: SIGTERM
    mysqld: Path | None = None
    defaults_file: Path | None = None
    options: tuple[str, ...] = ()
    trial: bool = True  # start a private mysqld on the new data before the server is stopped
    start_timeout: float = 3600.0  # with its recovery
    stop_timeout: float = 300.0
