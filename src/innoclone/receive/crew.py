"""Which connections of a clone are fed while FILE_COPY lasts: the first so many, the others are parked.

A connection can't leave in the middle of a chunk, the donor would lose it. So a parked one goes on at a trickle that
keeps it alive, and all are fed again when the end of the stage is near, which would have to wait for them else.
"""

from __future__ import annotations

import threading
import time

from innoclone.receive.autotune import Autotune
from innoclone.records.status import CloneStatus, Stage, State

__all__ = ["Crew"]

MEAL = 1 << 20  # bytes on the wire that a parked connection reads ...
TRICKLE = 5.0  # ... in so many seconds; the donor gives it up when nothing moves for 60 s
HELD = 32 << 20  # bytes: half a chunk, what a connection has yet to get of its own on average


class Crew:
    """The connections of one attempt, by number; the master is 0 and never parked."""

    def __init__(self, connections: int, autotune: Autotune | None, status: CloneStatus) -> None:
        """Feed ``connections``; with ``autotune`` as many as it decides, which knows the limit itself."""
        self.most = connections
        self.wanted = connections if autotune is None else autotune.wanted
        """How many shall be fed now."""
        self._autotune, self._status = autotune, status
        self._running: set[int] = set()
        self._meals: dict[int, int] = {}
        self._all = autotune is None
        self._changed = threading.Condition()
        if autotune is not None:
            autotune.renew()

    def join(self, number: int) -> None:
        """A connection gets data from now on."""
        with self._changed:
            self._running.add(number)

    def leave(self, number: int) -> None:
        """It is through."""
        with self._changed:
            self._running.discard(number)

    def feed_all(self) -> None:
        """Park nothing any more."""
        with self._changed:
            self._all = True
            self.wanted = max(self.wanted, len(self._running))
            self._changed.notify_all()

    def settle_for_fewer(self) -> None:
        """The donor let one of them not in, and would not let more in: those that are there are all that it allows."""
        with self._changed:
            self._all = True
            self.wanted = max(1, self.wanted - 1)
            row = self._status.stages.get(Stage.FILE_COPY)
            if row is not None and row.state is State.IN_PROGRESS:
                row.threads = self.wanted
            self._changed.notify_all()

    def pause(self, number: int, network: int) -> None:
        """A connection that has read ``network`` bytes from the wire asks whether to read on; waits if it is parked."""
        if self._fed(number) or network - self._meals.get(number, 0) < MEAL:
            return
        self._meals[number] = network
        with self._changed:
            self._changed.wait_for(lambda: self._fed(number), TRICKLE)

    def _fed(self, number: int) -> bool:
        return self._all or number < self.wanted

    def tune(self) -> None:
        """To be called several times a second: decide anew how many are fed."""
        row = self._status.stages[Stage.FILE_COPY]
        if self._autotune is None or self._all or row.state is not State.IN_PROGRESS:
            return
        with self._changed:
            running, fed = len(self._running), sum(map(self._fed, self._running))
        done = row.data
        left = row.estimate - done
        if left <= HELD * running:
            self.feed_all()
            return
        decision = self._autotune.sample(time.monotonic(), done, left, fed)
        if decision is not None:
            with self._changed:
                self.wanted = row.threads = decision.connections
                self._changed.notify_all()
            self._status.decisions.append(decision)
