"""Which connections of a clone are active while FILE COPY lasts: the first so many, the others are held back.

A connection can't leave in the middle of a chunk, the donor would lose it. So one that is held back goes on at a
trickle that keeps it alive, and all become active again when the end of the stage is near, which would have to wait for
them.
"""

from __future__ import annotations

import threading
import time

from innoclone.receive import timings
from innoclone.receive.autotune import Autotune
from innoclone.records.status import CloneStatus, Stage, State

__all__ = ["ActiveConnections"]

TRICKLE = 1 << 20  # bytes on the wire that a connection which is held back reads in each `timings.IDLE_INTERVAL`
HALF_CHUNK = 32 << 20  # bytes: what a connection has yet to get of its own chunk, on average


class ActiveConnections:
    """The connections of one attempt, by number; the master is 0 and never held back."""

    def __init__(self, connections: int, autotune: Autotune | None, status: CloneStatus) -> None:
        """``connections`` are active; with ``autotune`` as many as it decides, which knows the limit itself."""
        self.most = connections
        self.wanted = connections if autotune is None else autotune.wanted
        """How many shall be active now."""
        self._autotune, self._status = autotune, status
        self._running: set[int] = set()
        self._read: dict[int, int] = {}  # what each of those held back had read when it was allowed to go on
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

    def activate_all(self) -> None:
        """Hold none back any more."""
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

    def wait_turn(self, number: int, network: int) -> None:
        """A connection that has read ``network`` bytes from the wire asks whether to read on, and waits if not."""
        if self._all or self._is_active(number) or network - self._read.get(number, 0) < TRICKLE:
            return
        self._read[number] = network
        with self._changed:
            self._changed.wait_for(lambda: self._is_active(number), timings.IDLE_INTERVAL)

    def _is_active(self, number: int) -> bool:
        return self._all or number < self.wanted

    def tune(self) -> None:
        """To be called several times a second: decide anew how many are active."""
        row = self._status.stages[Stage.FILE_COPY]
        if self._autotune is None or self._all or row.state is not State.IN_PROGRESS:
            return
        with self._changed:
            running, active = len(self._running), sum(map(self._is_active, self._running))
        done = row.data
        left = row.estimate - done
        if left <= HALF_CHUNK * running:
            self.activate_all()
            return
        decision = self._autotune.sample(time.monotonic(), done, left, active)
        if decision is not None:
            with self._changed:
                self.wanted = row.threads = decision.connections
                self._changed.notify_all()
            self._status.decisions.append(decision)
