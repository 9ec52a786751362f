"""A source that is taken down when somebody wants what is in it, and put back when nobody has for a while.

As long as a directory is taken down it is locked: no server starts on it, and nobody updates or removes it. A donor
that is there for months must not keep a nightly backup from its directory, and serves what the directory, or the link
to it, leads to when somebody comes. A running server may be down, or upgraded meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from innoclone.donor.description import Description
from innoclone.donor.offer import Given, Source, T, Wish

__all__ = ["LINGER", "Shelf"]

LINGER = 5.0  # seconds for which it stays after its last use: a preflight asks over several connections
UNKNOWN_VERSION = "8.0.0-unknown"  # told before the login where nothing was ever there; COM_CLONE fails then


class Shelf:
    """A `Source`, for use by many threads. What it gives raises what finding it does."""

    notes = ()

    def __init__(self, name: str, find: Callable[[], Source]) -> None:
        """Nothing is looked for yet."""
        self.name = name
        self._find = find
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._version = UNKNOWN_VERSION
        self._used = 0.0
        self._begins = 0  # clones that are about to begin

    @property
    def version(self) -> str:
        """As it was when it was looked at last."""
        return self._version

    @property
    def description(self) -> Description:
        """What it says of itself."""
        return self.taken_down().description

    @property
    def chunks(self) -> int:
        """The most that a stage has."""
        return self.taken_down().chunks

    def begin(self, wish: Wish, make: Callable[[Given], T], is_gone: Callable[[], bool]) -> T:
        """A clone of what is there now. It stays as long as that waits, for a server's DDL for instance."""
        source = self.taken_down(begins=1)
        try:
            return source.begin(wish, make, is_gone)
        finally:
            with self._lock:
                self._begins -= 1
                self._used = time.monotonic()

    def revive(self, fingerprint: int) -> Given | None:
        """What is there now, if it is as it was."""
        return self.taken_down().revive(fingerprint)

    def taken_down(self, *, begins: int = 0) -> Source:
        """The source itself, as it is now; ``begins``: how many clones of it begin with that."""
        with self._lock:
            if self._source is None:
                self._source = self._find()
                self._version = self._source.version
            self._begins += begins
            self._used = time.monotonic()
            return self._source

    def put_back(self, is_wanted: Callable[[], bool]) -> None:
        """Let go of it if it was not used for a while and is not wanted."""
        with self._lock:
            left = not self._begins and time.monotonic() - self._used > LINGER
            if self._source is not None and left and not is_wanted():
                self._let_go()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
