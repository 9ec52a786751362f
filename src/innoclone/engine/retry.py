"""When a lost connection is tried again, and for how long."""

from __future__ import annotations

import random
import threading
import time

from innoclone.engine.session import Session
from innoclone.errors import CloneError, ConnectFailed, DonorError, Interrupted, NetworkError, TlsFailed
from innoclone.ops.status import COPY_STAGES, CloneStatus

__all__ = ["Retries"]

FIRST, LONGEST = 0.25, 20.0  # seconds between tries
GROWTH = 2.0
# What a donor says that is starting, stopping, or has no connection left (mysqld_ername.h).
BUSY = {1040, 1053, 1129, 1203}


class Retries:
    """Growing waits with jitter; progress makes them short again."""

    def __init__(self, seconds: float | None, session: Session) -> None:
        """``seconds`` without progress after which the last error counts; None: as long as the donor waits for us."""
        self._seconds = session.parameters.network_timeout * 60.0 if seconds is None else seconds
        self._wait = FIRST
        self._since: float | None = None
        self._moved = -1

    def may_help(self, error: CloneError, status: CloneStatus) -> bool:
        """Whether to try again after ``error``."""
        lost = isinstance(error, NetworkError | ConnectFailed | TlsFailed)
        if not lost and not (isinstance(error, DonorError) and error.donor_number in BUSY):
            return False
        now = time.monotonic()
        moved = sum(status.stages[stage].data for stage in COPY_STAGES)
        if moved != self._moved or self._since is None:
            self._moved, self._since, self._wait = moved, now, FIRST
            if self._seconds:
                status.notes.append(f"{error.message}: trying again for up to {self._seconds:.0f} seconds")
        return now - self._since < self._seconds

    def wait(self, stopped: threading.Event) -> None:
        """Sleep a while. Raises `Interrupted`."""
        seconds = self._wait * random.uniform(0.5, 1.0)  # noqa: S311 - so that many clones don't come back at once
        self._wait = min(self._wait * GROWTH, LONGEST)
        if stopped.wait(seconds):
            raise Interrupted("stopped while waiting for the donor")
