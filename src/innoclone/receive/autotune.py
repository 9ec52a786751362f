"""How many connections to feed: a search by measured speed, up while more help, down while fewer are as good.

Pure arithmetic without a clock or a thread: the recipient says what came in and when, and does what is decided.

The search doubles and halves (the stock recipient only doubles: Client_Stat::tune_has_improved of the clone plugin),
one trial at a time: change the number, let the new connections get going, measure, keep the number or go back. What
was found holds until the speed shifts; from time to time it is tried again all the same.
"""

from __future__ import annotations

from math import hypot, sqrt
from typing import NamedTuple

from innoclone.receive import timings
from innoclone.records.status import Decision

__all__ = ["START", "Autotune"]

UP, DOWN = 1, -1
START = 8  # connections to begin with
GAIN = 0.08  # twice the connections must bring this part more
LOSS = 0.03  # fewer may cost this part at most, in the whole of a search
INTERVAL, LONGEST = 0.2, 4.0  # seconds of one sample, at least and at most ...
PORTION = 2 << 20  # ... and bytes for each connection: what comes is counted in blocks of 1 MiB
SETTLE = 0.2  # seconds after a change that don't count
BUFFER, LONGEST_SETTLE = 2 << 20, 20.0  # bytes that still flow into the buffers of a connection after it was held back
LEAST, MOST = 3, 8  # samples for a verdict: as soon as it is clear, and in any case
GROWTH = 0.1  # the part from one sample to the next by which TCP is still getting up to speed
CLEAR = 2.0  # standard errors between what was measured and what was asked for
RECENT = 8  # samples that tell the present speed while nothing is tried
SHIFT, SHIFTED = 0.3, 6  # the part by which the speed must change to begin a search, in so many samples
REST, LONGEST_REST = 10.0, 80.0  # seconds between two searches; doubled by each that found nothing
ENDING = 4.0  # seconds before the end from which on nothing is tried: new connections take a while, also to end

MIB = 1 << 20


class _Speed(NamedTuple):
    """Bytes per second: the mean of some samples and its standard error."""

    mean: float = 0.0
    error: float = 0.0

    @classmethod
    def of(cls, samples: list[float]) -> _Speed:
        from statistics import fmean, stdev  # here: fractions come with it, and many clones end before a sample

        return cls(fmean(samples), stdev(samples) / sqrt(len(samples)) if len(samples) > 1 else 0.0)

    def differs(self, other: _Speed, part: float) -> bool:
        """Beyond doubt, by more than that part."""
        return abs(self.mean - other.mean) > part * other.mean + CLEAR * hypot(self.error, other.error)

    def __str__(self) -> str:
        return f"{self.mean / MIB:.1f} MiB/s"


class Autotune:
    """Call `sample` several times a second; ``wanted`` is the number of connections to feed, from 1 to ``most``."""

    def __init__(self, most: int, *, start: int = START) -> None:
        """Begin with ``start`` connections, or ``most`` if that is less."""
        self.most = max(1, most)
        self.wanted = max(1, min(start, self.most))
        self._base = self.wanted  # the number to go back to
        self._reference = _Speed()  # the speed with that
        self._goal = 0.0  # the best speed of this search
        self._trial = 0  # UP, DOWN, or 0 when nothing is tried
        self._untried = [DOWN, UP]  # what this search goes on with, from the end
        self._first = DOWN  # what the next search tries
        self._searched, self._rest = 0.0, REST
        self._at = self._asked = float("inf")  # seconds: the latest sample, the latest change
        self._done = 0
        self._settled = False
        self._samples: list[float] = []

    def renew(self) -> None:
        """The clone goes on after a break, on new connections."""
        self._at = float("inf")

    def sample(self, now: float, done: int, left: int, active: int) -> Decision | None:
        """``done`` bytes have come by ``now`` (seconds), ``left`` are to come; ``active`` are read at full speed."""
        if now < self._at:  # the first call
            self._measure(now, done)
        elapsed = now - self._at
        if not self._settled:
            return self._settle(now, done, active)
        if elapsed < INTERVAL or (done - self._done < PORTION * active and elapsed < LONGEST):
            return None
        self._samples.append(max(0, done - self._done) / elapsed)
        self._at, self._done = now, done
        found = self._judge() if self._trial else self._look(now)
        return None if found is None else self._go_on(now, found, left)

    def _measure(self, now: float, done: int) -> None:
        """From here on, once things have settled."""
        self._at = self._asked = now
        self._done = done
        self._settled = False
        self._samples.clear()

    def _settle(self, now: float, done: int, active: int) -> Decision | None:
        """Wait for connections that are new, and a moment more; go on without those that don't come."""
        if active < self.wanted:
            self._at = now
            if now - self._asked < timings.ARRIVAL:
                return None
            reason = f"{active} connections came instead of {self.wanted}"
            self.most = self.wanted = max(1, active)
            self._base, self._trial = min(self._base, self.most), 0
            self._measure(now, done)
            return Decision(self.wanted, 0.0, reason)
        draining = max(0, self._base - self.wanted) * BUFFER / max(self._reference.mean, BUFFER / LONGEST_SETTLE)
        if now - self._at >= max(SETTLE, min(draining, LONGEST_SETTLE)):
            self._settled, self._at, self._done = True, now, done
        return None

    def _look(self, now: float) -> str | None:
        """Nothing is tried: is it time for a search? What begins one, as text."""
        del self._samples[:-RECENT]
        samples = self._samples
        if self._untried:
            growing = len(samples) > 1 and samples[-1] > samples[-2] * (1 + GROWTH)
            if len(samples) < LEAST or (growing and len(samples) < MOST):
                return None
            self._reference = _Speed.of(samples[-LEAST:])
        elif len(samples) >= SHIFTED and _Speed.of(samples[-SHIFTED:]).differs(self._reference, SHIFT):
            self._untried = [DOWN, UP]
            samples.clear()  # some may be of the time before
            return None
        elif now - self._searched >= self._rest and len(samples) == RECENT:
            self._reference = _Speed.of(samples)
            self._untried, self._first = [self._first], -self._first
            self._rest = min(2 * self._rest, LONGEST_REST)
        else:
            return None
        self._goal = self._reference.mean
        return f"{_connections(self._base)}: {self._reference}"

    def _judge(self) -> str | None:
        """What came of the trial, as text, once that is clear."""
        found = _Speed.of(self._samples)
        enough = self._reference.mean * (1 + GAIN) if self._trial == UP else self._goal * (1 - LOSS)
        doubt = CLEAR * hypot(found.error, self._reference.error)
        if len(self._samples) < LEAST or (abs(found.mean - enough) < doubt and len(self._samples) < MOST):
            return None
        text = f"{_connections(self.wanted)}: {found} after {self._reference} with {self._base}"
        if found.mean >= enough:
            self._base, self._reference = self.wanted, found
            self._goal = max(self._goal, found.mean)
            self._untried, self._rest = [self._trial], REST
        return text

    def _go_on(self, now: float, found: str, left: int) -> Decision | None:
        """The next trial, if there is one left and time for it, else rest where it is best."""
        tried, speed = self._trial, self._samples[-1]
        self.wanted, self._trial = self._base, 0
        while self._untried and not self._trial:
            direction = self._untried.pop()
            number = min(2 * self._base, self.most) if direction == UP else max(1, self._base // 2)
            if number != self._base and left >= ENDING * self._reference.mean:
                self._trial, self.wanted = direction, number
        if not self._trial:
            self._searched = now
            if not tried:
                return None
        self._measure(now, self._done)
        return Decision(self.wanted, speed, f"{found}, {'trying' if self._trial else 'staying with'} {self.wanted}")


def _connections(number: int) -> str:
    return f"{number} connection{'s' if number > 1 else ''}"
