"""A recipient without its preflight, with defaults for everything: for tests that speak the clone protocol only."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from innoclone.receive.recipient import Received, receive
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus
from innoclone.sinks.directory import Target
from innoclone.transport.endpoint import Compression, Endpoint


def receive_into(target: Target | Path, donor: Endpoint, **changes: Any) -> Received:
    """`receive` into a directory, which is left unbootable; ``changes`` are arguments of `receive`."""
    opened = target if isinstance(target, Target) else Target(target, fsync=False)
    arguments: dict[str, Any] = {
        "threads": 2,
        "compression": Compression(),
        "limits": Limits(),
        "block_ddl": False,
        "ddl_timeout": 60,
        "stall_timeout": 30.0,
        "verify_pages": True,
        "status": CloneStatus(),
        "stopped": threading.Event(),
    }
    try:
        return receive(donor, opened, **arguments | changes)
    finally:
        if opened is not target:
            opened.release()
