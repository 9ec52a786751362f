"""``moment + INTERVAL amount unit``, EXTRACT, and weeks."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.expressions import Expr, scalar
from innoclone.agent.sql.types import (
    DATE,
    NOT_FIXED,
    TEMPORAL,
    Value,
    char,
    datetime_type,
    integer,
    text_of,
    time_type,
)
from innoclone.agent.sql.values import to_duration, to_integer, to_moment, to_number
from innoclone.wire.results import ColumnType

__all__ = ["MOMENT_TEXT", "extract", "fraction", "plus_interval", "week", "week_and_year"]


_UNITS = {"MICROSECOND": 1, "SECOND": 10**6, "MINUTE": 60 * 10**6, "HOUR": 3600 * 10**6, "DAY": 86400 * 10**6}
_UNITS["WEEK"] = 7 * _UNITS["DAY"]
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_PARTS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "MICROSECOND")
_OF_DATES = ("DAY", "WEEK", "YEAR_MONTH", *_MONTHS)


MOMENT_TEXT = replace(char(29), decimals=NOT_FIXED)
_DIGITS = {
    "YEAR": 4, "QUARTER": 1, "HOUR": 3, "MICROSECOND": 6, "YEAR_MONTH": 6, "DAY_HOUR": 8, "DAY_MINUTE": 10,
    "DAY_SECOND": 12, "DAY_MICROSECOND": 19, "HOUR_MINUTE": 5, "HOUR_SECOND": 7, "HOUR_MICROSECOND": 13,
    "MINUTE_SECOND": 4, "MINUTE_MICROSECOND": 10, "SECOND_MICROSECOND": 8,
}  # fmt: skip
"""Of what EXTRACT gives; 2 for the others."""


def fraction(arg: Expr) -> int:
    """How many decimals a moment or time made of this has: of a constant text as many as it shows."""
    if arg.type.kind in TEMPORAL:
        return arg.type.decimals
    if arg.is_constant and isinstance(arg.known, str):
        found = re.search(r"\.(\d*)", arg.known)
        return min(len(found[1]), 6) if found else 0
    return 6 if arg.type.is_text or arg.type.decimals == NOT_FIXED else min(arg.type.decimals, 6)


def _parts(unit: str) -> tuple[str, ...]:
    """``HOUR_SECOND`` is HOUR, MINUTE and SECOND; a plain unit is itself. Raises error 1235."""
    first, _, last = unit.partition("_")
    if unit in _UNITS or unit in _MONTHS:
        return (unit,)
    if first not in _PARTS or last not in _PARTS or _PARTS.index(first) >= _PARTS.index(last):
        raise StatementError(1235, f"INTERVAL {unit}")
    return _PARTS[_PARTS.index(first) : _PARTS.index(last) + 1]


def _amount(count: Value, parts: tuple[str, ...]) -> tuple[int, int]:
    """Months and microseconds. Of several parts the last numbers count, as ``'1:30'`` of HOUR_SECOND is 1 min 30 s."""
    if len(parts) == 1:
        if parts[0] in _MONTHS:
            return (to_integer(count) or 0) * _MONTHS[parts[0]], 0
        number = to_number(count) or 0
        if parts[0] != "SECOND":
            number = to_integer(number) or 0
        return 0, int(Decimal(str(number)) * _UNITS[parts[0]])
    text = str(count).strip()
    sign = -1 if text.startswith("-") else 1
    numbers = re.findall(r"\d+", text)[: len(parts)]
    if parts[-1] == "MICROSECOND" and numbers:
        numbers[-1] = numbers[-1].ljust(6, "0")[:6]
    used = list(zip(parts[len(parts) - len(numbers) :], map(int, numbers), strict=True))
    months = sum(number * _MONTHS[part] for part, number in used if part in _MONTHS)
    return sign * months, sign * sum(number * _UNITS[part] for part, number in used if part in _UNITS)


def plus_interval(moment: Expr, amount: Expr, unit: str, sign: int) -> Expr:
    """``moment + INTERVAL amount unit``; NULL where there is no such date. Raises error 1235."""
    parts = _parts(unit)
    is_date = moment.type.kind is ColumnType.DATE and unit in _OF_DATES
    decimals = 6 if "MICROSECOND" in unit else 0 if moment.type.decimals == NOT_FIXED else moment.type.decimals
    if unit == "SECOND":
        decimals = max(decimals, 6 if amount.type.is_text else min(amount.type.decimals, 6))
    kind = MOMENT_TEXT if moment.type.is_text else DATE if is_date else datetime_type(decimals)
    is_time = moment.type.kind is ColumnType.TIME
    if is_time:
        kind = time_type(decimals)

    def value(given: Value, count: Value) -> Value:
        months, micro = (sign * one for one in _amount(count, parts))
        if is_time and isinstance(given, timedelta) and not months:
            return given + timedelta(microseconds=micro)
        start = to_moment(given)
        if start is None or is_time:
            return None
        try:
            found = (_plus_months(start, months) if months else start) + timedelta(microseconds=micro)
        except (OverflowError, ValueError):
            return None
        if is_date:
            return found.date()
        if kind.is_text:
            with_time = len(str(given)) > 10 or unit not in _OF_DATES
            return text_of(found, datetime_type(NOT_FIXED)) if with_time else f"{found:%Y-%m-%d}".rjust(10, "0")
        return found

    return scalar(kind, value, moment, amount)


def extract(unit: str, arg: Expr) -> Expr:
    """EXTRACT: the parts' digits one after another. Raises error 1235."""
    parts = _parts(unit)

    def value(given: Value) -> Value:
        moment, time = to_moment(given), to_duration(given)
        if time is not None and moment is None:
            seconds = int(abs(time).total_seconds())
            moment = datetime(1, 1, 1, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60, abs(time).microseconds)
        if moment is None:
            return None
        if unit in ("WEEK", "QUARTER"):
            return week(moment, 0) if unit == "WEEK" else (moment.month + 2) // 3
        found = 0
        for part in parts:
            digits = 6 if part == "MICROSECOND" else 2
            found = found * 10**digits + int(getattr(moment, part.lower()))
        return found

    return scalar(integer(_DIGITS.get(unit, 2)), value, arg)


def week(moment: datetime, mode: int) -> int:
    """WEEK() of a mode; with 1 Monday begins a week, with 2 weeks are from 1, with 4 the first has the 1st of January's
    first such day (mode 4 inverted where weeks begin on Monday, as in calc_week)."""
    return week_and_year(moment, mode)[0]


def week_and_year(moment: datetime, mode: int) -> tuple[int, int]:
    """The week and the year that it belongs to."""
    monday, counted = bool(mode & 1), bool(mode & 2)
    first_weekday = bool(mode & 4) if monday else not mode & 4
    year = moment.year
    day = moment.timetuple().tm_yday - 1
    begin = datetime(year, 1, 1).weekday() if monday else (datetime(year, 1, 1).weekday() + 1) % 7

    def first(begin: int) -> int:
        if first_weekday:
            return (7 - begin) % 7
        return -begin if begin < 4 else 7 - begin

    start = first(begin)
    if day < start:
        if not counted:
            return 0, year
        year -= 1
        length = 366 if _is_leap(year) else 365
        begin = (begin - length) % 7
        return (day + length - first(begin)) // 7 + 1, year
    number = (day - start) // 7 + 1
    if counted and number >= 53:
        length = 366 if _is_leap(year) else 365
        if day >= length + first((begin + length) % 7):
            return 1, year + 1
    return number, year


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _plus_months(moment: datetime, months: int) -> datetime:
    """The last day of a month that is too short."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    for day in range(moment.day, 27, -1):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return moment.replace(year=year, month=month + 1)
