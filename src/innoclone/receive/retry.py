"""When a lost connection is tried again, and for how long."""

from __future__ import annotations

import random
import threading
import time

from innoclone.errors import CloneError, ConnectFailed, DonorError, Interrupted, NetworkError, NotMySQL, TlsFailed
from innoclone.records.status import CloneStatus

__all__ = ["LOST", "Retries"]

FIRST, LONGEST = 0.25, 20.0  # seconds between tries
GROWTH = 2.0
MOST_NOTES = 20  # of lost connections; a line that breaks all the time has thousands
LOST = (NetworkError, ConnectFailed, TlsFailed, NotMySQL)  # that a connection could be lost with
# What a donor says that is starting, stopping, or has no connection left (mysqld_ername.h).
BUSY = {1040, 1053, 1129, 1203}


class Retries:
    """Growing waits with jitter; progress makes them short again."""

    def __init__(self, seconds: float) -> None:
        """``seconds`` without progress after which the last error counts."""
        self._seconds = seconds
        self._wait = FIRST
        self._since: float | None = None
        self._reached: object = None

    def may_help(self, error: CloneError, reached: object, status: CloneStatus) -> bool:
        """Whether to try again after ``error``. ``reached`` is another value than last time if there was progress."""
        busy = isinstance(error, DonorError) and error.donor_number in BUSY
        if not self._seconds or not (busy or isinstance(error, LOST)):
            return False
        now = time.monotonic()
        if reached != self._reached or self._since is None:
            self._reached, self._since, self._wait = reached, now, FIRST
            if status.restarts < MOST_NOTES:
                status.notes.append(f"{error.message}: trying to go on, for {self._seconds:.0f} seconds at most")
        return now - self._since < self._seconds

    def wait(self, stopped: threading.Event) -> None:
        """Sleep a while. Raises `Interrupted`."""
        seconds = self._wait * random.uniform(0.5, 1.0)  # noqa: S311 - so that many clones don't come back at once
        self._wait = min(self._wait * GROWTH, LONGEST)
        if stopped.wait(seconds):
            raise Interrupted("stopped while waiting for the donor")
