"""Functions of dates and times."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import spend
from innoclone.agent.sql.expressions import Expr, scalar
from innoclone.agent.sql.intervals import fraction, week, week_and_year
from innoclone.agent.sql.types import (
    BIGINT,
    DATE,
    SqlType,
    Value,
    datetime_type,
    decimal,
    integer,
    time_type,
    varchar,
)
from innoclone.agent.sql.values import rounded, to_duration, to_moment, to_number, to_text
from innoclone.wire.results import ColumnType

__all__ = ["MOMENTS", "UNITS", "ZONED", "timestampdiff"]

FIRST_YEAR = 1970  # of UNIX_TIMESTAMP
LARGEST_TIME = timedelta(hours=838, minutes=59, seconds=59)
UNITS = ("MICROSECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
Maker = Callable[..., Expr]


def _timediff(left: Expr, right: Expr) -> Expr:
    fractions = [fraction(left), fraction(right)]

    def value(first: Value, second: Value) -> Value:
        moments = to_moment(first), to_moment(second)
        if moments[0] is not None and moments[1] is not None:
            return _bounded(moments[0] - moments[1])
        times = to_duration(first), to_duration(second)
        if isinstance(first, datetime) or isinstance(second, datetime) or times[0] is None or times[1] is None:
            return None
        return _bounded(times[0] - times[1])

    return scalar(time_type(max(fractions)), value, left, right)


def _bounded(value: timedelta) -> timedelta:
    return max(min(value, LARGEST_TIME), -LARGEST_TIME)


def _sec_to_time(arg: Expr) -> Expr:
    decimals = 6 if arg.type.is_text or arg.type.kind is ColumnType.DOUBLE else min(arg.type.decimals, 6)

    def value(given: Value) -> Value:
        number = to_number(given) or 0
        if not -LARGEST_TIME.total_seconds() < number < LARGEST_TIME.total_seconds():
            return LARGEST_TIME if number > 0 else -LARGEST_TIME
        return timedelta(microseconds=int(Decimal(str(number)) * 1_000_000))

    return scalar(time_type(decimals), value, arg)


def _time_to_sec(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        time = to_duration(given)
        return None if time is None else math.trunc(time.total_seconds())

    return scalar(replace(BIGINT, length=10), value, arg)


def timestampdiff(unit: str, begin: Expr, end: Expr) -> Expr:
    """TIMESTAMPDIFF: whole units between, toward zero."""
    if unit not in UNITS:
        raise StatementError(1235, f"TIMESTAMPDIFF({unit})")

    def value(first: Value, second: Value) -> Value:
        start, stop = to_moment(first), to_moment(second)
        if start is None or stop is None:
            return None
        if unit in ("MONTH", "QUARTER", "YEAR"):
            return _months(start, stop) // {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[unit]
        micro = (stop - start) // timedelta(microseconds=1)
        size = {"MICROSECOND": 1, "SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6, "DAY": 86400 * 10**6}
        whole = abs(micro) // size.get(unit, 7 * 86400 * 10**6)
        return whole if micro >= 0 else -whole

    return scalar(BIGINT, value, begin, end)


def _months(start: datetime, stop: datetime) -> int:
    if stop < start:
        return -_months(stop, start)
    months = (stop.year - start.year) * 12 + stop.month - start.month
    later = (start.day, start.time()) > (stop.day, stop.time())
    return months - later


def _part(name: str, kind: SqlType) -> Maker:
    def make(arg: Expr) -> Expr:
        def value(given: Value) -> Value:
            if name in ("hour", "minute", "second", "microsecond") and (time := to_duration(given)) is not None:
                seconds = int(abs(time).total_seconds())
                return {
                    "hour": seconds // 3600, "minute": seconds // 60 % 60, "second": seconds % 60,
                    "microsecond": abs(time).microseconds,
                }[name]  # fmt: skip
            moment = to_moment(given)
            return None if moment is None else int(getattr(moment, name))

        return scalar(kind, value, arg)

    return make


def _ordinal(day: int) -> str:
    return "th" if 10 <= day <= 19 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


_FORMATS: dict[str, Callable[[datetime], str]] = {
    "Y": lambda t: f"{t.year:04}", "y": lambda t: f"{t.year % 100:02}", "m": lambda t: f"{t.month:02}",
    "c": lambda t: str(t.month), "d": lambda t: f"{t.day:02}", "e": lambda t: str(t.day),
    "H": lambda t: f"{t.hour:02}", "k": lambda t: str(t.hour), "h": lambda t: f"{(t.hour - 1) % 12 + 1:02}",
    "I": lambda t: f"{(t.hour - 1) % 12 + 1:02}", "l": lambda t: str((t.hour - 1) % 12 + 1),
    "i": lambda t: f"{t.minute:02}", "s": lambda t: f"{t.second:02}", "S": lambda t: f"{t.second:02}",
    "f": lambda t: f"{t.microsecond:06}", "p": lambda t: "PM" if t.hour >= 12 else "AM",
    "T": lambda t: f"{t:%H:%M:%S}", "r": lambda t: f"{(t.hour - 1) % 12 + 1:02}:{t:%M:%S} {'AP'[t.hour >= 12]}M",
    "j": lambda t: f"{t:%j}", "W": lambda t: f"{t:%A}", "a": lambda t: f"{t:%a}", "M": lambda t: f"{t:%B}",
    "b": lambda t: f"{t:%b}", "w": lambda t: f"{t:%w}", "D": lambda t: f"{t.day}{_ordinal(t.day)}",
    "U": lambda t: f"{week(t, 0):02}", "u": lambda t: f"{week(t, 1):02}", "V": lambda t: f"{week(t, 2):02}",
    "v": lambda t: f"{week(t, 3):02}", "X": lambda t: f"{week_and_year(t, 2)[1]:04}",
    "x": lambda t: f"{week_and_year(t, 3)[1]:04}",
}  # fmt: skip


_LENGTHS = {"M": 64, "W": 64, "D": 4, "Y": 4, "x": 4, "X": 4, "a": 32, "b": 32, "j": 3, "k": 7, "H": 7, "r": 11, "T": 8,
            "f": 6, "w": 1, "%": 1}  # fmt: skip


def _formatted_length(pattern: Expr) -> int:
    """As MySQL's format_length counts; for a format that is not constant, ten for each character."""
    if not isinstance(pattern.known, str):
        return pattern.type.length * 10
    return sum(
        1 if found[1] is None else _LENGTHS.get(found[1], 2)
        for found in re.finditer(r"%(.)|.", pattern.known, re.DOTALL)
    )


def _date_format(arg: Expr, pattern: Expr) -> Expr:
    def value(given: Value, wanted: Value) -> Value:
        moment, text = to_moment(given), to_text(wanted, pattern.type) or ""
        if moment is None:
            return None
        parts, at = [], 0
        while at < len(text):
            spend(2)
            if text[at] == "%" and at + 1 < len(text):
                parts.append(_FORMATS.get(text[at + 1], lambda _, char=text[at + 1]: char)(moment))
                at += 2
            else:
                parts.append(text[at])
                at += 1
        return "".join(parts)

    return scalar(varchar(_formatted_length(pattern)), value, arg, pattern)


def _unix_timestamp(zone: tzinfo | None, arg: Expr) -> Expr:
    decimals = 0 if arg.type.is_text and not arg.is_constant else fraction(arg)

    def value(given: Value) -> Value:
        moment = to_moment(given)
        if moment is None or moment.year < FIRST_YEAR:
            return 0
        seconds = int(moment.replace(microsecond=0, tzinfo=zone).timestamp())
        return seconds if not decimals else rounded(seconds + Decimal(moment.microsecond) / 10**6, decimals)

    return scalar(decimal(11, decimals) if decimals else BIGINT, value, arg)


def _from_unixtime(zone: tzinfo | None, arg: Expr) -> Expr:
    decimals = min(arg.type.decimals, 6) if arg.type.kind is ColumnType.NEWDECIMAL else 0

    def value(given: Value) -> Value:
        number = Decimal(str(to_number(given) or 0))
        if not 0 <= number < 1 << 32:
            return None
        return (
            (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(number * 10**6)))
            .astimezone(zone)
            .replace(tzinfo=None)
        )

    return scalar(datetime_type(decimals), value, arg)


def _date(arg: Expr) -> Expr:
    return scalar(DATE, lambda given: moment.date() if (moment := to_moment(given)) else None, arg)


def _time(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        return to_duration(given) if (moment := to_moment(given)) is None else to_duration(moment)

    return scalar(time_type(fraction(arg)), value, arg)


MOMENTS: dict[str, tuple[int, int | None, Maker]] = {
    "TIMEDIFF": (2, 2, _timediff), "SEC_TO_TIME": (1, 1, _sec_to_time), "TIME_TO_SEC": (1, 1, _time_to_sec),
    "DATE_FORMAT": (2, 2, _date_format), "UNIX_TIMESTAMP": (1, 1, functools.partial(_unix_timestamp, None)),
    "FROM_UNIXTIME": (1, 1, functools.partial(_from_unixtime, None)), "DATE": (1, 1, _date), "TIME": (1, 1, _time),
    "YEAR": (1, 1, _part("year", SqlType(ColumnType.YEAR, 4, unsigned=True))),
    "MONTH": (1, 1, _part("month", integer(2))), "DAY": (1, 1, _part("day", integer(2))),
    "DAYOFMONTH": (1, 1, _part("day", integer(2))), "HOUR": (1, 1, _part("hour", integer(3))),
    "MINUTE": (1, 1, _part("minute", integer(2))),
    "SECOND": (1, 1, _part("second", integer(2))), "MICROSECOND": (1, 1, _part("microsecond", BIGINT)),
}  # fmt: skip
ZONED: dict[str, Callable[[tzinfo | None], tuple[int, int | None, Maker]]] = {
    "UNIX_TIMESTAMP": lambda zone: (1, 1, functools.partial(_unix_timestamp, zone)),
    "FROM_UNIXTIME": lambda zone: (1, 1, functools.partial(_from_unixtime, zone)),
}
"""Functions of `MOMENTS` by the session's time zone; None is the system's."""
