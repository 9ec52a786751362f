"""Who takes a clone from a donor, and how far: for whoever shows it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from innoclone.records.status import COPY_STAGES
from innoclone.wire.descriptors import StageNumber

__all__ = ["COMPLETED", "FAILED", "INTERRUPTED", "IN_PROGRESS", "Recipient", "Taking"]

IN_PROGRESS, COMPLETED, FAILED, INTERRUPTED = "In Progress", "Completed", "Failed", "Interrupted"
STAGES = dict(zip((StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY), COPY_STAGES, strict=True))


@dataclass(frozen=True)
class Recipient:
    """Who takes a clone: by its login, and how its connections travel."""

    host: str
    user: str = ""
    tls: bool = False
    compression: str = ""

    def __str__(self) -> str:
        """As an account is written."""
        return f"{self.user}@{self.host}"


@dataclass(frozen=True)
class Taking:
    """One clone at one moment. Amounts in bytes: ``data`` is what the recipient has of the whole ``estimate``, holes
    that it need not be sent included, ``network`` what was sent for it. Speeds are bytes per second over the last
    seconds, times seconds since the epoch."""

    recipient: Recipient
    stage: StageNumber
    connections: int
    restarts: int
    data: int
    estimate: int
    network: int
    began: float
    ended: float | None
    state: str
    error_number: int = 0
    error_message: str = ""
    speed: int = 0
    network_speed: int = 0

    @property
    def stage_name(self) -> str:
        """As performance_schema.clone_progress has it; empty before and behind those that copy."""
        stage = STAGES.get(self.stage)
        return "" if stage is None else stage.value

    @property
    def is_complete(self) -> bool:
        """Whether the recipient was sent all of it."""
        return self.state == COMPLETED

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return (self.ended or time.time()) - self.began

    @property
    def percent(self) -> float | None:
        """0-100 with one decimal; None where there is no telling."""
        return round(min(100.0 * self.data / self.estimate, 100.0), 1) if self.estimate else None

    @property
    def fields(self) -> dict[str, Any]:
        """For JSON. The number by which the clone is known on the wire is a secret, and in none of it."""
        return {
            "user": self.recipient.user, "host": self.recipient.host, "tls": self.recipient.tls,
            "compression": self.recipient.compression, "state": self.state, "stage": self.stage_name,
            "connections": self.connections, "restarts": self.restarts, "data": self.data, "estimate": self.estimate,
            "network": self.network, "percent": self.percent, "began": round(self.began, 3),
            "ended": None if self.ended is None else round(self.ended, 3), "seconds": round(self.seconds, 3),
            "error_number": self.error_number, "error_message": self.error_message,
            "bytes_per_second": self.speed, "network_bytes_per_second": self.network_speed,
        }  # fmt: skip
