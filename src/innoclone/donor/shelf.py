"""What a donor serves, taken down when somebody wants it and put back when nobody has for a while.

As long as it is taken down it is locked: no server starts on it, and nobody updates or removes it. A donor that is
there for months must not keep a nightly backup from its directory, and serves what the directory, or the link to it,
leads to when somebody comes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from innoclone.donor.description import Description
from innoclone.donor.stored import Stored

__all__ = ["LINGER", "Shelf"]

LINGER = 5.0  # seconds for which it stays after its last use: a preflight asks over several connections


class Shelf:
    """For use by many threads. Who begins something with what `stored` gave holds ``lock`` until that is known to the
    one who calls `put_back`."""

    def __init__(self, look: Callable[[], Stored], *, keeps: bool = False) -> None:
        """``look`` proves and lists, and raises what it does; ``keeps``: it is never put back but by `close`."""
        self.lock = threading.RLock()
        self.description: Description | None = None  # as it was when it was looked at last
        self.chunks = 0  # the most that a stage had then
        self._look, self._keeps = look, keeps
        self._stored: Stored | None = None
        self._used = 0.0

    @classmethod
    def holding(cls, stored: Stored) -> Shelf:
        """With what was taken down already, for good."""
        shelf = cls(lambda: stored, keeps=True)
        shelf.stored()
        return shelf

    def stored(self) -> Stored:
        """What is served now. Raises what proving it does."""
        with self.lock:
            if self._stored is None:
                found = self._stored = self._look()
                self.description = found.description
                self.chunks = max(plan.chunks for plan in (found.files, found.pages, found.redo))
            self._used = time.monotonic()
            return self._stored

    def put_back(self, is_wanted: Callable[[], bool]) -> None:
        """Let go of it if it was not used for a while and is not wanted."""
        with self.lock:
            if not self._keeps and time.monotonic() - self._used > LINGER and not is_wanted():
                self.close()

    def close(self) -> None:
        """Let go of it."""
        with self.lock:
            if self._stored is not None:
                self._stored.close()
                self._stored = None
