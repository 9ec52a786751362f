"""A source that is taken down when somebody wants what is in it, and put back when nobody has for a while.

As long as a directory is taken down it is locked: no server starts on it, and nobody updates or removes it. A donor
that is there for months must not keep a nightly backup from its directory, and serves what the directory, or the link
to it, leads to when somebody comes; whoever takes what it led to before goes on with that. A running server may be
down, or upgraded meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from innoclone.donor.description import Description
from innoclone.donor.offer import Given, Source, T, Wish
from innoclone.errors import CloneError, one_line

__all__ = ["LINGER", "Shelf", "leads_to"]

log = logging.getLogger("innoclone.donor")
LINGER = 5.0  # seconds for which it stays after its last use: a preflight asks over several connections
UNKNOWN_VERSION = "8.0.0-unknown"  # told before the login where nothing was ever there; COM_CLONE fails then


class Shelf:
    """A `Source`, for use by many threads. What it gives raises what finding it does."""

    def __init__(self, name: str, find: Callable[[], Source], leads_to: Callable[[], object] = lambda: None) -> None:
        """Nothing is looked for yet. ``leads_to``: what the name stands for now; where that is another thing than
        before, it is found anew for whoever comes."""
        self.name = name
        self._find, self._leads_to = find, leads_to
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._led: object = None
        self._older: list[tuple[Source, float]] = []  # what it led to before, and until when
        self._version = UNKNOWN_VERSION
        self._used = 0.0
        self._begins: Counter[int] = Counter()  # clones that are about to begin, by the source's id()

    @property
    def version(self) -> str:
        """As it was when it was looked at last."""
        return self._version

    @property
    def description(self) -> Description:
        """What it says of itself."""
        return self.there().description

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of what is there."""
        there = self.there()
        return (f"{self.name} leads to {there.name} now", *there.notes)

    @property
    def chunks(self) -> int:
        """The most that a stage has, of any that is taken."""
        newest = self.there()
        with self._lock:
            return max(one.chunks for one in self._all(newest))

    def begin(self, wish: Wish, make: Callable[[Given], T], is_gone: Callable[[], bool]) -> T:
        """A clone of what is there now. It stays as long as that waits, for a server's DDL for instance."""
        source = self._taken_down(begins=1)
        try:
            return source.begin(wish, make, is_gone)
        finally:
            with self._lock:
                self._begins[id(source)] -= 1
                self._used = time.monotonic()

    def revive(self, fingerprint: int) -> Given | None:
        """What is there, if it is as it was."""
        newest = self.there()
        with self._lock:
            revived = (one.revive(fingerprint) for one in self._all(newest))
            return next((given for given in revived if given is not None), None)

    def _all(self, newest: Source) -> list[Source]:
        return [newest, *(one for one, _ in self._older)]

    def there(self) -> Source:
        """The source itself, as it is now. Where what the name leads to can't be served, what it led to before, as
        long as that is taken: who takes it must get in."""
        try:
            return self._taken_down()
        except CloneError:
            with self._lock:
                if self._source is None:
                    raise
                return self._source

    def _taken_down(self, *, begins: int = 0) -> Source:
        """As it is now; ``begins``: how many clones of it begin with that."""
        with self._lock:
            led = self._leads_to()
            if self._source is None or led != self._led:
                found = self._find()
                if self._source is not None:
                    self._older.append((self._source, time.monotonic()))
                if self._led not in (None, led):
                    log.info("%s leads to %s now", one_line(self.name), one_line(found.name))
                self._source, self._led, self._version = found, led, found.version
            self._begins[id(self._source)] += begins
            self._used = time.monotonic()
            return self._source

    def put_back(self, taken: Callable[[], Collection[Given]]) -> None:
        """Let go of what was not used for a while and is not ``taken``."""
        with self._lock:
            given = {id(one) for one in taken()}
            older = {id(one) for one, _ in self._older}
            if self._source is not None and not given - older and self._may_go(self._source, self._used):
                self._close(self._source)
                self._source = None
            for one, since in list(self._older):
                if id(one) not in given and self._may_go(one, since):
                    self._close(one)
                    self._older.remove((one, since))

    def _may_go(self, source: Source, used: float) -> bool:
        return not self._begins[id(source)] and time.monotonic() - used > LINGER

    def _close(self, source: Source) -> None:
        del self._begins[id(source)]
        source.close()

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for one in [one for one, _ in self._older] + ([self._source] if self._source is not None else []):
                self._close(one)
            self._source, self._older = None, []


def leads_to(directory: Path | None) -> object:
    """What a directory's name stands for: `latest` leads to another one after each backup. None: no directory."""
    if directory is None:
        return None
    path = Path(os.path.realpath(directory))
    try:
        found = path.stat()
    except OSError:
        return path
    return path, found.st_dev, found.st_ino
