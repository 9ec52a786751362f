"""Dates and times: their functions, ``moment + INTERVAL amount unit``, and TIMESTAMPDIFF; and CAST."""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import values as t
from innoclone.agent.sql.budget import spend
from innoclone.agent.sql.expressions import LARGEST, Expr, Function, derived, plain, scalar
from innoclone.agent.sql.values import BIGINT, DATE, SqlType, Value, datetime_type, decimal, integer, time_type, varchar
from innoclone.wire.results import ColumnType

FIRST_YEAR = 1970  # of UNIX_TIMESTAMP
LARGEST_TIME = timedelta(hours=838, minutes=59, seconds=59)
UNITS = {"MICROSECOND": 1, "SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6, "DAY": 86400 * 10**6}
UNITS["WEEK"] = 7 * UNITS["DAY"]  # microseconds
MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
OF_DATES = ("DAY", "WEEK", *MONTHS)
MOMENT_TEXT = replace(t.char(29), decimals=t.NOT_FIXED)


def _fraction(arg: Expr) -> int:
    """How many decimals a moment or time made of this has: of a constant text as many as it shows."""
    if arg.type.kind in t.TEMPORAL:
        return arg.type.decimals
    if arg.is_constant and isinstance(arg.known, str):
        found = re.search(r"\.(\d*)", arg.known)
        return min(len(found[1]), 6) if found else 0
    return 6 if arg.type.is_text or arg.type.decimals == t.NOT_FIXED else min(arg.type.decimals, 6)


def _plus_months(moment: datetime, months: int) -> datetime:
    """The last day of a month that is too short."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, calendar.monthrange(year, month + 1)[1]))


def plus_interval(moment: Expr, amount: Expr, unit: str, sign: int) -> Expr:
    """``moment + INTERVAL amount unit``; NULL where there is no such date. Raises error 1235."""
    if unit not in UNITS and unit not in MONTHS:
        raise StatementError(1235, f"INTERVAL {unit}")
    is_date = moment.type.kind is ColumnType.DATE and unit in OF_DATES
    is_time = moment.type.kind is ColumnType.TIME
    decimals = 6 if unit == "MICROSECOND" else 0 if moment.type.decimals == t.NOT_FIXED else moment.type.decimals
    if unit == "SECOND":
        decimals = max(decimals, 6 if amount.type.is_text else min(amount.type.decimals, 6))
    kind = MOMENT_TEXT if moment.type.is_text else DATE if is_date else datetime_type(decimals)
    kind = time_type(decimals) if is_time else kind

    def value(given: Value, count: Value) -> Value:
        number = (t.to_number(count) if unit == "SECOND" else t.to_integer(count)) or 0
        start = given if is_time and unit in UNITS else None if is_time else t.to_moment(given)
        if not isinstance(start, datetime | timedelta):
            return None
        try:
            found: datetime | timedelta
            if isinstance(start, datetime) and unit in MONTHS:
                found = _plus_months(start, sign * int(number) * MONTHS[unit])
            else:
                found = start + timedelta(microseconds=sign * int(Decimal(str(number)) * UNITS[unit]))
        except (OverflowError, ValueError):
            return None
        if not isinstance(found, datetime):
            return found
        if kind.is_text:
            with_time = len(str(given)) > 10 or unit not in OF_DATES
            return t.text_of(found if with_time else found.date(), datetime_type(t.NOT_FIXED))
        return found.date() if is_date else found

    return scalar(kind, value, moment, amount)


def timestampdiff(unit: str, begin: Expr, end: Expr) -> Expr:
    """TIMESTAMPDIFF: whole units between, toward zero."""
    if unit not in UNITS and unit not in MONTHS:
        raise StatementError(1235, f"TIMESTAMPDIFF({unit})")

    def value(start: datetime, stop: datetime) -> Value:
        sign = 1 if start <= stop else -1
        start, stop = (start, stop) if start <= stop else (stop, start)
        if unit in UNITS:
            return sign * ((stop - start) // timedelta(microseconds=UNITS[unit]))
        later = (start.day, start.time()) > (stop.day, stop.time())
        months = (stop.year - start.year) * 12 + stop.month - start.month - later
        return sign * (months // MONTHS[unit])

    return plain("mm", BIGINT, value)[2](begin, end)


def _bounded(value: timedelta) -> timedelta:
    return max(min(value, LARGEST_TIME), -LARGEST_TIME)


def _timediff(left: Expr, right: Expr) -> Expr:
    def value(first: Value, second: Value) -> Value:
        moments = t.to_moment(first), t.to_moment(second)
        if moments[0] is not None and moments[1] is not None:
            return _bounded(moments[0] - moments[1])
        times = t.to_duration(first), t.to_duration(second)
        if isinstance(first, datetime) or isinstance(second, datetime) or times[0] is None or times[1] is None:
            return None
        return _bounded(times[0] - times[1])

    return scalar(time_type(max(_fraction(left), _fraction(right))), value, left, right)


def _sec_to_time(number: int | Decimal | float) -> Value:
    if abs(float(number)) >= LARGEST_TIME.total_seconds():
        return LARGEST_TIME if number > 0 else -LARGEST_TIME
    return timedelta(microseconds=int(Decimal(str(number)) * 1_000_000))


def _of_sec_to_time(arg: Expr) -> SqlType:
    return time_type(6 if arg.type.is_text or arg.type.kind is ColumnType.DOUBLE else min(arg.type.decimals, 6))


_STRFTIME = {
    "y": "%y", "m": "%m", "d": "%d", "H": "%H", "h": "%I", "I": "%I", "i": "%M", "s": "%S", "S": "%S", "f": "%f",
    "p": "%p", "T": "%H:%M:%S", "r": "%I:%M:%S %p", "j": "%j", "W": "%A", "a": "%a", "M": "%B", "b": "%b", "w": "%w",
}  # fmt: skip
_FORMATS: dict[str, Callable[[datetime], str]] = {
    "Y": lambda moment: f"{moment.year:04}", "c": lambda moment: str(moment.month), "e": lambda moment: str(moment.day),
    "k": lambda moment: str(moment.hour), "l": lambda moment: str((moment.hour - 1) % 12 + 1),
    "D": lambda m: f"{m.day}{'th' if 10 <= m.day <= 19 else {1: 'st', 2: 'nd', 3: 'rd'}.get(m.day % 10, 'th')}",
}  # fmt: skip
_OF_WEEKS = "UuVvXx"
_LENGTHS = {"M": 64, "W": 64, "D": 4, "Y": 4, "a": 32, "b": 32, "j": 3, "k": 7, "H": 7, "r": 11, "T": 8, "f": 6, "w": 1,
            "%": 1}  # fmt: skip


def _of_date_format(_: Expr, pattern: Expr) -> SqlType:
    """As MySQL's format_length counts; for a format that is not constant, ten for each character."""
    if not isinstance(pattern.known, str):
        return varchar(pattern.type.length * 10)
    parts = [found[1] for found in re.finditer(r"%(.)|.", pattern.known, re.DOTALL)]
    return varchar(sum(_LENGTHS.get(part, 2 if part in _STRFTIME or part in _FORMATS else 1) for part in parts))


def _date_format(moment: datetime, pattern: str) -> Value:
    """Raises error 1235 for weeks."""
    parts = []
    for found in re.finditer(r"%(.)|[^%]+|%", pattern, re.DOTALL):
        spend(2)
        if found[1] is not None and found[1] in _OF_WEEKS:
            raise StatementError(1235, f"DATE_FORMAT with %{found[1]}")
        if found[1] in _FORMATS:
            parts.append(_FORMATS[found[1]](moment))
        else:
            parts.append(f"{moment:{_STRFTIME[found[1]]}}" if found[1] in _STRFTIME else found[1] or found[0])
    return "".join(parts)


def _unix_timestamp(zone: tzinfo | None) -> Function:
    def make(arg: Expr) -> Expr:
        decimals = 0 if arg.type.is_text and not arg.is_constant else _fraction(arg)

        def value(given: Value) -> Value:
            moment = t.to_moment(given)
            if moment is None or moment.year < FIRST_YEAR:
                return 0
            seconds = int(moment.replace(microsecond=0, tzinfo=zone).timestamp())
            return seconds if not decimals else t.rounded(seconds + Decimal(moment.microsecond) / 10**6, decimals)

        return scalar(decimal(11, decimals) if decimals else BIGINT, value, arg)

    return 1, 1, make


def _from_unixtime(zone: tzinfo | None) -> Function:
    def value(number: int | Decimal | float) -> Value:
        if not 0 <= number < 1 << 32:
            return None
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(Decimal(str(number)) * 10**6))
        return moment.astimezone(zone).replace(tzinfo=None)

    def kind(arg: Expr) -> SqlType:
        return datetime_type(min(arg.type.decimals, 6) if arg.type.kind is ColumnType.NEWDECIMAL else 0)

    return plain("n", kind, value)


DATES: dict[str, Function] = {
    "TIMEDIFF": (2, 2, _timediff), "SEC_TO_TIME": plain("n", _of_sec_to_time, _sec_to_time),
    "TIME_TO_SEC": plain("d", replace(BIGINT, length=10), lambda time: math.trunc(time.total_seconds())),
    "DATE_FORMAT": plain("mt", _of_date_format, _date_format),
    "UNIX_TIMESTAMP": _unix_timestamp(None), "FROM_UNIXTIME": _from_unixtime(None),
    "DATE": plain("m", DATE, datetime.date),
    "TIME": plain("d", lambda arg: time_type(_fraction(arg)), lambda time: time),
    "TIMESTAMP": plain("m", lambda arg: datetime_type(_fraction(arg)), lambda moment: moment),
    "YEAR": plain("m", SqlType(ColumnType.YEAR, 4, unsigned=True), lambda moment: moment.year),
    "MONTH": plain("m", integer(2), lambda moment: moment.month), "DAY": plain("m", integer(2), lambda m: m.day),
    "DAYOFMONTH": plain("m", integer(2), lambda moment: moment.day),
    "HOUR": plain("d", integer(3), lambda time: abs(time) // timedelta(hours=1)),
    "MINUTE": plain("d", integer(2), lambda time: abs(time) // timedelta(minutes=1) % 60),
    "SECOND": plain("d", integer(2), lambda time: abs(time) // timedelta(seconds=1) % 60),
    "MICROSECOND": plain("d", BIGINT, lambda time: abs(time).microseconds),
    "DATEDIFF": plain("mm", integer(8), lambda left, right: (left.date() - right.date()).days),
}  # fmt: skip
ZONED = {"UNIX_TIMESTAMP": _unix_timestamp, "FROM_UNIXTIME": _from_unixtime}
"""Functions that are made for the session's time zone; None is the system's."""


def cast(arg: Expr, to: exp.DataType) -> Expr:
    """CAST. Raises error 1235 for a type that we have not."""
    sizes = [int(param.name) for param in to.expressions]
    size = sizes[0] if sizes else max(arg.type.length, 1)
    if to.this.name in ("DATETIME", "TIMESTAMP", "TIMESTAMPTZ", "TIME") and sizes and size > 6:
        raise StatementError(1235, f"{size} decimals of a second")
    decimals = sizes[0] if sizes else 0
    match to.this.name:
        case "DATETIME" | "TIMESTAMP" | "TIMESTAMPTZ":
            made = plain("m", datetime_type(decimals), lambda moment: _to_decimals(moment, decimals))
        case "TIME":
            return derived(time_type(decimals), lambda env: _time(arg.value(env), decimals), (arg,))
        case "DATE":
            made = plain("m", DATE, datetime.date)
        case "DECIMAL":
            places = sizes[1] if len(sizes) > 1 else 0
            kind = decimal((sizes or [10])[0] - places, places)
            made = plain("n", kind, lambda n: t.rounded(Decimal(repr(n)) if isinstance(n, float) else n, kind.decimals))
        case "BIGINT" | "INT":
            made = plain("i", SqlType(ColumnType.LONGLONG, 21), lambda number: number)
        case "UBIGINT" | "UINT":
            made = plain("i", t.UNSIGNED, lambda number: number & LARGEST)
        case "CHAR" | "VARCHAR" | "TEXT" | "NCHAR":
            made = plain("t", varchar(size), lambda text: text[:size])
        case "BINARY" if not sizes:
            length = max(arg.type.length * (4 if arg.type.is_text else 1), 1)
            made = plain("t", replace(varchar(length), collation="binary"), lambda text: text)
        case "CHARACTER_SET" if to.args["kind"].name.lower() in ("utf8mb4", "utf8", "utf8mb3"):
            made = plain("t", varchar(size), lambda text: text)
        case "t.DOUBLE" | "FLOAT":
            made = plain("n", t.DOUBLE, float)
        case name:
            raise StatementError(1235, f"CAST AS {name}")
    return made[2](arg)


def _to_decimals(moment: datetime, decimals: int) -> datetime:
    step = 10 ** (6 - decimals)
    return moment + timedelta(microseconds=(moment.microsecond + step // 2) // step * step - moment.microsecond)


def _time(value: Value, decimals: int) -> Value:
    if (time := t.to_duration(value)) is None:
        return None
    step = timedelta(microseconds=10 ** (6 - decimals))
    size = (abs(time) + step / 2) // step * step
    return -size if time < timedelta() else size
