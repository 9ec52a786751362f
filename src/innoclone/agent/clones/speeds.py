"""How fast the agent's clones are, second by second: the curve of the status page, and the totals of /metrics."""

from __future__ import annotations

import itertools
import threading
import time

from innoclone.agent.clones.manager import Clones
from innoclone.records.status import CloneStatus

__all__ = ["Point", "SpeedHistory", "copied_bytes"]

SAMPLE_EVERY = 1.0  # seconds
MAX_POINTS = 600  # points; of a longer clone every second one goes, as often as needed
Point = tuple[float, float, float, int]
"""Seconds since the clone's beginning, bytes per second of data and on the wire, connections."""


def copied_bytes(status: CloneStatus) -> tuple[int, int]:
    """Bytes of data and on the wire that came from the donor."""
    return status.copied, status.copied_network


class SpeedHistory:
    """Samples the clones in a thread of its own, between `start` and `stop`."""

    def __init__(self, clones: Clones) -> None:
        """The totals begin at 0 with this object."""
        self._clones = clones
        self._lock = threading.Lock()
        self._status: CloneStatus | None = clones.latest  # the last agent's: it counts for nothing here
        self._before: CloneStatus | None = None  # which was taken in before that
        self._began, self._is_resumed = 0.0, False
        self._begin_at(0.0, (0, 0) if self._status is None else copied_bytes(self._status))
        self._totals = [0, 0]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="innoclone-speeds", daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Sample no more."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(SAMPLE_EVERY):
            self.sample()

    def sample(self) -> None:
        """Take in what happened since the last sample."""
        with self._lock:
            if self._status is not None:
                self._add(self._status)
            began, latest = self._clones.began, self._clones.latest
            if latest is not None and latest is not self._status:
                again = latest is self._before  # the one after it was refused, and counts for nothing
                self._before, self._status, self._began, self._is_resumed = self._status, latest, began, False
                self._begin_at(0.0, copied_bytes(latest) if again else (0, 0))
                if not again:
                    self._add(latest)

    @property
    def totals(self) -> tuple[int, int]:
        """Bytes of data and on the wire, of all clones; they never fall."""
        self.sample()
        return self._totals[0], self._totals[1]

    @property
    def points(self) -> list[Point]:
        """The curve of the clone that runs, or of the last one."""
        with self._lock:
            samples = list(self._samples)
        return [
            (round(now, 2), _rate(now - then, had, has), _rate(now - then, had_sent, has_sent), connections)
            for (then, had, had_sent, _), (now, has, has_sent, connections) in itertools.pairwise(samples)
            if now > then
        ]

    def _begin_at(self, moment: float, amounts: tuple[int, int]) -> None:
        self._seen = amounts
        self._samples: list[tuple[float, int, int, int]] = [(moment, *amounts, 0)]
        self._every, self._next = SAMPLE_EVERY, moment + SAMPLE_EVERY / 2

    def _add(self, status: CloneStatus) -> None:
        now = copied_bytes(status)
        begin, end = status.begin or 0.0, status.end
        moment = (time.time() if end is None else end) - begin
        if begin < self._began and not self._is_resumed:  # what an earlier run copied is none of this one's
            self._is_resumed = True
            self._begin_at(moment, now)
            return
        for at in (0, 1):  # a clone that begins anew counts from 0 again
            self._totals[at] += now[at] - self._seen[at] if now[at] >= self._seen[at] else now[at]
        if moment >= self._next if end is None else now != self._seen:
            self._samples.append((moment, *now, status.connections))
            self._next = moment + self._every * 0.9  # a thread is never quite on time
        if len(self._samples) > MAX_POINTS:
            self._samples, self._every = self._samples[::2], 2 * self._every
        self._seen = now


def _rate(seconds: float, had: int, has: int) -> float:
    return round(max(has - had, 0) / seconds)
