"""Functions of dates and times, beside those of `innoclone.agent.sql.moments`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.expressions import Expr, constant, scalar
from innoclone.agent.sql.intervals import MOMENT_TEXT, fraction, week, week_and_year
from innoclone.agent.sql.types import (
    BIGINT,
    DATE,
    NOT_FIXED,
    SqlType,
    Value,
    datetime_type,
    integer,
    text_of,
    time_type,
    varchar,
)
from innoclone.agent.sql.values import to_duration, to_integer, to_moment, to_number, to_text
from innoclone.wire.results import ColumnType

__all__ = ["DATES"]

Maker = Callable[..., Expr]
EPOCH_DAYS = 365  # TO_DAYS of the first day that Python knows is one more: MySQL has a year 0
LONGEST_FORMAT = 256  # characters of STR_TO_DATE's, which becomes a regular expression
LARGEST_TIME = timedelta(hours=838, minutes=59, seconds=59)


def _number(length: int, function: Callable[[datetime], int]) -> Maker:
    def value(given: Value) -> Value:
        moment = to_moment(given)
        return None if moment is None else function(moment)

    return lambda arg: scalar(integer(length), value, arg)


def _name(pattern: str) -> Maker:
    def value(given: Value) -> Value:
        moment = to_moment(given)
        return None if moment is None else f"{moment:{pattern}}"

    return lambda arg: scalar(varchar(9), value, arg)


def _days(moment: datetime | date) -> int:
    return moment.toordinal() + EPOCH_DAYS


def _datediff(left: Expr, right: Expr) -> Expr:
    def value(first: Value, second: Value) -> Value:
        begin, end = to_moment(first), to_moment(second)
        return None if begin is None or end is None else _days(begin) - _days(end)

    return scalar(integer(8), value, left, right)


def _from_days(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        days = (to_integer(given) or 0) - EPOCH_DAYS
        return date.fromordinal(days) if 1 <= days <= date.max.toordinal() else None

    return scalar(DATE, value, arg)


def _last_day(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        moment = to_moment(given)
        if moment is None:
            return None
        following = moment.replace(day=28) + timedelta(days=4)
        return (following - timedelta(days=following.day)).date()

    return scalar(DATE, value, arg)


def _week(arg: Expr, mode: Expr | None = None) -> Expr:
    def value(given: Value, chosen: Value) -> Value:
        moment = to_moment(given)
        return None if moment is None else week(moment, (to_integer(chosen) or 0) & 7)

    return scalar(integer(2), value, arg, mode or constant(BIGINT, 0))


def _yearweek(arg: Expr, mode: Expr | None = None) -> Expr:
    def value(given: Value, chosen: Value) -> Value:
        moment = to_moment(given)
        if moment is None:
            return None
        number, year = week_and_year(moment, (to_integer(chosen) or 0) & 7 | 2)
        return year * 100 + number

    return scalar(integer(6), value, arg, mode or constant(BIGINT, 0))


def _makedate(year: Expr, day: Expr) -> Expr:
    def value(first: Value, second: Value) -> Value:
        number, days = to_integer(first) or 0, to_integer(second) or 0
        if not 0 <= number <= 9999 or days < 1:
            return None
        number += 2000 if number < 70 else 1900 if number < 100 else 0
        try:
            return date(number, 1, 1) + timedelta(days=days - 1)
        except (OverflowError, ValueError):
            return None

    return scalar(DATE, value, year, day)


def _maketime(hour: Expr, minute: Expr, second: Expr) -> Expr:
    decimals = min(second.type.decimals, 6) if not second.type.is_integer else 0

    def value(first: Value, middle: Value, last: Value) -> Value:
        hours, minutes, seconds = to_integer(first) or 0, to_integer(middle) or 0, float(to_number(last) or 0)
        if not 0 <= minutes < 60 or not 0 <= seconds < 60:
            return None
        size = timedelta(hours=abs(hours), minutes=minutes, seconds=seconds)
        return min(size, LARGEST_TIME) * (-1 if hours < 0 else 1)

    return scalar(time_type(decimals), value, hour, minute, second)


def _timestamp(arg: Expr, time: Expr | None = None) -> Expr:
    given = [arg, time] if time is not None else [arg]
    decimals = max(map(fraction, given))

    def value(first: Value, *second: Value) -> Value:
        moment = to_moment(first)
        more = to_duration(second[0]) if second else timedelta()
        return None if moment is None or more is None else moment + more

    return scalar(datetime_type(decimals), value, *given)


def _addtime(sign: int) -> Maker:
    def make(arg: Expr, time: Expr) -> Expr:
        decimals = max(fraction(arg), fraction(time))
        kind = arg.type.kind
        found = MOMENT_TEXT if arg.type.is_text else time_type(decimals) if kind is ColumnType.TIME else (
            datetime_type(decimals))  # fmt: skip

        def value(first: Value, second: Value) -> Value:
            more = to_duration(second)
            if more is None or to_moment(second) is not None:
                return None
            begin = to_duration(first) if isinstance(first, timedelta) or to_moment(first) is None else to_moment(first)
            if begin is None:
                return None
            end = begin + sign * more
            if not found.is_text:
                return end
            return text_of(end, datetime_type(NOT_FIXED) if isinstance(end, datetime) else time_type(NOT_FIXED))

        return scalar(found, value, arg, time)

    return make


_OFFSET = re.compile(r"([+-])(\d{1,2}):(\d{2})")


def _zone(text: str) -> tzinfo | None:
    """Offsets and SYSTEM; names need tables that a new MySQL server has not either."""
    if text.upper() == "SYSTEM":
        return datetime.now().astimezone().tzinfo
    found = _OFFSET.fullmatch(text)
    if found is None or not -timedelta(hours=14) < (size := timedelta(hours=int(found[2]), minutes=int(found[3]))):
        return None
    return timezone(size if found[1] == "+" else -size) if size <= timedelta(hours=14) else None


def _convert_tz(arg: Expr, begin: Expr, end: Expr) -> Expr:
    decimals = fraction(arg)

    def value(given: Value, first: Value, second: Value) -> Value:
        moment = to_moment(given)
        source, target = _zone(to_text(first, begin.type) or ""), _zone(to_text(second, end.type) or "")
        if moment is None or source is None or target is None:
            return None
        return moment.replace(tzinfo=source).astimezone(target).replace(tzinfo=None)

    return scalar(datetime_type(decimals), value, arg, begin, end)


_FIELDS = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d{2})", "m": r"(?P<m>\d{1,2})", "c": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})",
    "e": r"(?P<d>\d{1,2})", "H": r"(?P<H>\d{1,2})", "k": r"(?P<H>\d{1,2})", "h": r"(?P<I>\d{1,2})",
    "I": r"(?P<I>\d{1,2})", "l": r"(?P<I>\d{1,2})", "i": r"(?P<M>\d{1,2})", "s": r"(?P<S>\d{1,2})",
    "S": r"(?P<S>\d{1,2})", "f": r"(?P<f>\d{1,6})", "p": r"(?P<p>[AaPp][Mm])", "j": r"(?P<j>\d{1,3})",
    "b": r"(?P<b>[A-Za-z]{3})", "M": r"(?P<b>[A-Za-z]{3})[A-Za-z]*", "%": "%",
}  # fmt: skip
_FIELDS["T"] = f"{_FIELDS['H']}:{_FIELDS['i']}:{_FIELDS['s']}"
_FIELDS["r"] = f"{_FIELDS['I']}:{_FIELDS['i']}:{_FIELDS['s']} {_FIELDS['p']}"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _pattern(wanted: str) -> re.Pattern[str]:
    """A format of STR_TO_DATE. Raises error 1235 for what isn't understood."""
    if len(wanted) > LONGEST_FORMAT:
        raise StatementError(1235, "STR_TO_DATE with a format as long as this one")
    parts = []
    for found in re.finditer(r"%(.)|\s+|[^%\s]", wanted, re.DOTALL):
        if found[1] is None:
            parts.append(r"\s*" if found[0].isspace() else re.escape(found[0]))
        elif found[1] in _FIELDS:
            parts.append(_FIELDS[found[1]])
        else:
            raise StatementError(1235, f"STR_TO_DATE with %{found[1]}")
    try:
        return re.compile(r"\s*" + "".join(parts), re.ASCII)
    except re.error:
        raise StatementError(1235, "STR_TO_DATE with a part twice") from None


def _parsed(text: str, wanted: str) -> datetime | None:
    found = _pattern(wanted).match(text)
    if found is None:
        return None
    parts = {name: part for name, part in found.groupdict().items() if part is not None}
    year = int(parts["Y"]) if "Y" in parts else 0
    if "y" in parts:
        year = int(parts["y"]) + (2000 if int(parts["y"]) < 70 else 1900)
    month = int(parts.get("m", 0))
    if "b" in parts:
        month = _MONTHS.index(parts["b"].lower()) + 1 if parts["b"].lower() in _MONTHS else 0
    hour = int(parts.get("H", 0))
    if "I" in parts:
        hour = int(parts["I"]) % 12 + (12 if parts.get("p", "").lower() == "pm" else 0)
    time = hour, int(parts.get("M", 0)), int(parts.get("S", 0)), int(parts.get("f", "0").ljust(6, "0"))
    is_time = not {"Y", "y", "m", "b", "d", "j"} & set(parts)
    try:
        if "j" in parts:
            return datetime(year, 1, 1, *time) + timedelta(days=int(parts["j"]) - 1)
        return datetime(1, 1, 1, *time) if is_time else datetime(year, month, int(parts.get("d", 0)), *time)
    except ValueError:
        return None


def _str_to_date(arg: Expr, pattern: Expr) -> Expr:
    """The type is known where the format is a constant."""
    wanted = to_text(pattern.known, pattern.type) or ""
    letters = set(re.findall(r"%(.)", wanted))
    has_date, has_time = bool(letters & set("YymcdebMj")), bool(letters & set("HkhIlisSfpTr"))
    decimals = 6 if "f" in letters or not wanted else 0
    kind: SqlType = datetime_type(decimals) if has_date == has_time else DATE if has_date else time_type(decimals)

    def value(given: Value, form: Value) -> Value:
        found = _parsed(to_text(given, arg.type) or "", to_text(form, pattern.type) or "")
        if found is None or kind.kind is ColumnType.DATETIME:
            return found
        return found.date() if kind is DATE else to_duration(found)

    return scalar(kind, value, arg, pattern)


DATES: dict[str, tuple[int, int | None, Maker]] = {
    "DATEDIFF": (2, 2, _datediff), "TO_DAYS": (1, 1, _number(7, _days)), "FROM_DAYS": (1, 1, _from_days),
    "TO_SECONDS": (1, 1, _number(20, lambda t: _days(t) * 86400 + t.hour * 3600 + t.minute * 60 + t.second)),
    "LAST_DAY": (1, 1, _last_day), "DAYNAME": (1, 1, _name("%A")), "MONTHNAME": (1, 1, _name("%B")),
    "DAYOFWEEK": (1, 1, _number(1, lambda t: (t.weekday() + 1) % 7 + 1)),
    "WEEKDAY": (1, 1, _number(1, datetime.weekday)),
    "DAYOFYEAR": (1, 1, _number(3, lambda t: t.timetuple().tm_yday)),
    "QUARTER": (1, 1, _number(1, lambda t: (t.month + 2) // 3)),
    "WEEK": (1, 2, _week), "WEEKOFYEAR": (1, 1, _number(2, lambda t: week(t, 3))), "YEARWEEK": (1, 2, _yearweek),
    "MAKEDATE": (2, 2, _makedate), "MAKETIME": (3, 3, _maketime), "TIMESTAMP": (1, 2, _timestamp),
    "ADDTIME": (2, 2, _addtime(1)), "SUBTIME": (2, 2, _addtime(-1)), "CONVERT_TZ": (3, 3, _convert_tz),
    "STR_TO_DATE": (2, 2, _str_to_date),
}  # fmt: skip
