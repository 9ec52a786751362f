"""Which clones of a series are kept: rules by number and by age, named and meant as those of ``restic forget``.

Each rule keeps some, and what any rule keeps is kept. Without a rule all are. Days, weeks (ISO 8601), months and years
are those of UTC, as the names of generations are: the same folder gives the same answer from cron, from a service and
by hand.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from innoclone.dataclass import dataclass
from innoclone.errors import UsageError

__all__ = ["Kept", "Policy", "Span", "apply"]

SPAN = re.compile(r"(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?\Z")


@dataclass(frozen=True)
class Span:
    """A duration in calendar units, as in ``1y5m7d2h``."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> Span:
        """Raises UsageError."""
        found = SPAN.match(text)
        if not text or found is None:
            raise UsageError(
                f"{text!r} is no duration", hint="years, months, days, hours in this order, as in 1y5m7d2h, 14d or 36h"
            )
        return cls(*(int(part or 0) for part in found.groups()))

    def before(self, moment: float) -> float:
        """The moment that is this much earlier; a day that the month doesn't have is its last one."""
        then = datetime.fromtimestamp(moment, UTC)
        month = then.year * 12 + then.month - 1 - self.years * 12 - self.months
        if month < 12:  # before the year 1
            return float("-inf")
        year, month = divmod(month, 12)
        day = min(then.day, calendar.monthrange(year, month + 1)[1])
        try:
            return (
                then.replace(year=year, month=month + 1, day=day) - timedelta(days=self.days, hours=self.hours)
            ).timestamp()
        except OverflowError:
            return float("-inf")

    def __bool__(self) -> bool:
        """Whether it is longer than nothing."""
        return any((self.years, self.months, self.days, self.hours))


@dataclass(frozen=True)
class Policy:
    """What is kept: so many of the newest (``last``), the newest of each of so many days, weeks, ... that have one, and
    all that are not older than the newest by more than ``within``. 0 and an empty span are no rule."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Span = Span()

    def __post_init__(self) -> None:
        """Refuse what keeps less than nothing. Raises UsageError."""
        for name, _ in _BUCKETS:
            if getattr(self, name) < 0:
                option = "generations" if name == "last" else f"keep-{name}"
                raise UsageError(f"{option} must be 0 or more, not {getattr(self, name)}")

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self.within) or any(getattr(self, name) for name, _ in _BUCKETS)


@dataclass(frozen=True)
class Kept:
    """What becomes of one clone: ``reasons`` are the rules that keep it, and without one it goes."""

    moment: float
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether it is kept."""
        return bool(self.reasons)


_BUCKETS: tuple[tuple[str, Callable[[datetime, int], object]], ...] = (
    ("last", lambda _, number: number),
    ("hourly", lambda time, _: (time.date(), time.hour)),
    ("daily", lambda time, _: time.date()),
    ("weekly", lambda time, _: time.isocalendar()[:2]),
    ("monthly", lambda time, _: (time.year, time.month)),
    ("yearly", lambda time, _: time.year),
)


def apply(moments: Sequence[float], policy: Policy, now: float) -> list[Kept]:
    """For each of ``moments`` (seconds since the epoch, in any order) whether it is kept, and why; same order.

    One that lies in the future, after ``now``, was made when a clock was wrong: it is kept and counts for no rule. As
    with restic, where a rule has more days, weeks, ... left than there are, it also keeps the oldest.
    """
    reasons: dict[int, list[str]] = {index: [] for index in range(len(moments))}
    order = sorted(reasons, key=lambda index: -moments[index])
    past = [index for index in order if moments[index] <= now]
    for index in order:
        if moments[index] > now:
            reasons[index].append("future")
        elif not policy:
            reasons[index].append("no rule")
    if past and policy.within:
        start = policy.within.before(moments[past[0]])
        for index in past:
            if moments[index] >= start:
                reasons[index].append("within")
    for name, bucket in _BUCKETS:
        left, last = getattr(policy, name), None
        for number, index in enumerate(past):
            value = bucket(datetime.fromtimestamp(moments[index], UTC), number)
            if left and (value != last or number == len(past) - 1):
                reasons[index].append(name if value != last else f"oldest {name}")
                left, last = left - 1, value
    return [Kept(moment, tuple(reasons[index])) for index, moment in enumerate(moments)]
