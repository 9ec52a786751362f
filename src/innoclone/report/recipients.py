"""Who takes a clone from a donor, as lines while it serves, and as events of ``--json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from innoclone.donor.takings import Taking
from innoclone.report.output import Output
from innoclone.report.units import amount, duration, speed

__all__ = ["RecipientLines"]

Key = tuple[str, float]


class RecipientLines:
    """Told once a second who takes a clone: says who begins, and now and then how far each one is."""

    def __init__(self, out: Output, *, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``interval``: seconds between lines about one recipient; events come each time. ``clock`` is for tests."""
        self._out, self._interval, self._clock = out, interval, clock
        self._said: dict[Key, float] = {}

    def look(self, takings: Sequence[Taking]) -> None:
        """How far they are now."""
        now = self._clock()
        there = {_key(taking): taking for taking in takings}
        for gone in self._said.keys() - there.keys():
            del self._said[gone]
        for key, taking in there.items():
            if key not in self._said:
                self._said[key] = now
                self._out.message(f"{taking.recipient} takes a clone{_how(taking)}: {amount(taking.estimate)}")
            self._out.event("recipient", taking.fields)
            if now - self._said[key] >= self._interval:
                self._said[key] = now
                self._out.message(_line(taking))

    def ended(self, taking: Taking) -> None:
        """One came to an end: the log says so to people."""
        self._out.event("recipient_end", taking.fields)


def _key(taking: Taking) -> Key:
    return str(taking.recipient), taking.began


def _how(taking: Taking) -> str:
    words = [word for word in ("TLS" if taking.recipient.tls else "", taking.recipient.compression) if word]
    return f" ({', '.join(words)})" if words else ""


def _line(taking: Taking) -> str:
    if not taking.connections:
        return f"{taking.recipient}: {taking.percent or 0:g} %, its connections are lost; it may come back"
    stage = f"{taking.stage_name}: " if taking.stage_name else ""
    left = (taking.estimate - taking.data) / taking.speed if taking.speed else 0.0
    plural = "s" if taking.connections > 1 else ""
    return (
        f"{taking.recipient}: {stage}{taking.percent or 0:g} %, {amount(taking.data)} of {amount(taking.estimate)},"
        f" {taking.connections} connection{plural}"
        + (f", {speed(taking.speed)}" if taking.speed else "")
        + (f", {duration(left)} left" if left > 0 else "")
    )
