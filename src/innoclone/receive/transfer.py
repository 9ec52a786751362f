"""What a transfer is told: what it is to do, which doesn't change, and what others see and steer while it runs."""

from __future__ import annotations

import threading
from dataclasses import field

from innoclone.dataclass import dataclass
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus
from innoclone.transport.endpoint import Compression
from innoclone.transport.timings import STALL_TIMEOUT

__all__ = ["Controls", "Transfer"]


@dataclass(frozen=True)
class Transfer:
    """How a clone is to be transferred."""

    threads: int | None = 1
    """Connections that carry data; None: as many as measured to help, up to ``max_concurrency``."""
    max_concurrency: int = 1
    compression: Compression = field(default_factory=Compression)
    block_ddl: bool = False
    """Hold the donor's backup lock."""
    ddl_timeout: int = 300
    """Seconds to wait for that lock."""
    stall_timeout: float = STALL_TIMEOUT
    """Seconds without a byte after which a connection counts as broken."""
    verify_pages: bool = True
    """Check every page that passes through this program."""
    retry_for: float | None = 0.0
    """Seconds for which a lost connection is tried again; None: as long as the donor keeps the snapshot."""


@dataclass(frozen=True)
class Controls:
    """``status`` may be read by others meanwhile, ``limits`` changed, ``stopped`` set to end it within a second."""

    status: CloneStatus = field(default_factory=CloneStatus)
    limits: Limits = field(default_factory=Limits)
    stopped: threading.Event = field(default_factory=threading.Event)
