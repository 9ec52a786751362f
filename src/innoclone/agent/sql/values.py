"""SQL's values and their types: what MySQL would call a column, how a value is written as text, what MySQL makes of it
where it needs another kind, and how two are compared: as utf8mb4_0900_ai_ci does, neither case nor accents count."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import spend
from innoclone.wire.results import BINARY, ColumnDefinition, ColumnFlag, ColumnType

Value = int | Decimal | float | str | datetime | date | timedelta | None  # a timedelta is a TIME, None is NULL

BYTES = 4  # of a character in utf8mb4
NOT_FIXED = 31  # decimals of a column that has no fixed number of them
MOST_DIGITS, MOST_DECIMALS = 65, 30  # of a DECIMAL
NUMBERS = (ColumnType.YEAR, ColumnType.LONG, ColumnType.LONGLONG, ColumnType.NEWDECIMAL, ColumnType.DOUBLE)
TEMPORAL = (ColumnType.TIMESTAMP, ColumnType.DATETIME, ColumnType.DATE, ColumnType.TIME)
BLOBS = (ColumnType.BLOB, ColumnType.MEDIUM_BLOB, ColumnType.LONG_BLOB)
LARGEST_EXPONENT = 15  # of ten, of a double that is written without one
STRIDE = 500  # characters
EXACT = Context(prec=100, rounding=ROUND_HALF_UP)
"""Wide enough that only the rounding to a type's decimals counts."""
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MOMENT = re.compile(
    r"\s*(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,6})\d*)?)?)?\s*", re.ASCII
)
_DURATION = re.compile(r"\s*(-?)(\d{1,3}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,6})\d*)?)?\s*", re.ASCII)


class Unscaled(Decimal):
    """A DECIMAL out of IF or CASE, which MySQL writes with its own decimals and not those of the type."""


@dataclass(frozen=True)
class SqlType:
    """``length`` is in characters; ``decimals`` are those of a DECIMAL or of the seconds."""

    kind: ColumnType
    length: int
    decimals: int = 0
    unsigned: bool = False
    collation: str = ""  # of text: "bin" compares characters, "binary" bytes; else neither case nor accents count

    @property
    def is_text(self) -> bool:
        """Compared by collation."""
        return self.kind in (ColumnType.STRING, ColumnType.VAR_STRING, *BLOBS)

    @property
    def is_integer(self) -> bool:
        """Of whole numbers."""
        return self.kind in (ColumnType.LONG, ColumnType.LONGLONG, ColumnType.YEAR)

    def definition(
        self, name: str, *, schema: str = "", table: str = "", original: str = "", alias: str = ""
    ) -> ColumnDefinition:
        """The column as the protocol describes it."""
        flags = ColumnFlag.UNSIGNED if self.unsigned else ColumnFlag(0)
        if self.kind in NUMBERS:
            flags |= ColumnFlag.BINARY | ColumnFlag.NUM
        elif not self.is_text:
            flags |= ColumnFlag.BINARY
        elif self.kind in BLOBS:
            flags |= ColumnFlag.BLOB
        if self.collation:
            flags |= ColumnFlag.BINARY
        of_bytes = not self.is_text or self.collation == "binary"
        name = name.encode("utf-8", "replace").decode()  # a client may have sent what is no text
        return ColumnDefinition(
            name, self.kind, schema, alias, table, original,
            length=min(self.length if of_bytes else self.length * BYTES, 0xFFFFFFFF), flags=flags,
            decimals=self.decimals, **({"collation": BINARY} if of_bytes else {}),
        )  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    type: SqlType


INT = SqlType(ColumnType.LONG, 11)
BIGINT = SqlType(ColumnType.LONGLONG, 21)
UNSIGNED = SqlType(ColumnType.LONGLONG, 21, unsigned=True)
BOOL = SqlType(ColumnType.LONGLONG, 1)
DOUBLE = SqlType(ColumnType.DOUBLE, 23, NOT_FIXED)
DATE = SqlType(ColumnType.DATE, 10)
NULL = SqlType(ColumnType.NULL, 0)
BLOB = SqlType(ColumnType.BLOB, 0x40000000)


def integer(digits: int, *, unsigned: bool = False) -> SqlType:
    """A BIGINT of so many digits."""
    return SqlType(ColumnType.LONGLONG, digits + (0 if unsigned else 1), unsigned=unsigned)


def char(length: int) -> SqlType:
    """CHAR(length)."""
    return SqlType(ColumnType.STRING, length)


def varchar(length: int, *, column: bool = False) -> SqlType:
    """VARCHAR(length); an expression's type, not a table's, has no fixed decimals, whatever that means for text."""
    return SqlType(ColumnType.VAR_STRING, length, 0 if column else NOT_FIXED)


def decimal(digits: int, decimals: int) -> SqlType:
    """DECIMAL with so many digits before the point, and behind it."""
    decimals = min(decimals, MOST_DECIMALS)
    whole = min(digits, MOST_DIGITS - decimals)
    return SqlType(ColumnType.NEWDECIMAL, whole + decimals + (2 if decimals else 1), decimals)


def datetime_type(decimals: int = 0, kind: ColumnType = ColumnType.DATETIME) -> SqlType:
    """DATETIME(decimals), or TIMESTAMP."""
    return SqlType(kind, 19 + (decimals + 1 if decimals else 0), decimals)


def time_type(decimals: int = 0) -> SqlType:
    """TIME(decimals)."""
    return SqlType(ColumnType.TIME, 10 + (decimals + 1 if decimals else 0), decimals)


def text_of(value: Value, kind: SqlType) -> str | None:
    """The text form of a value of that type, as a text row has it."""
    if value is None:
        return None
    if isinstance(value, Unscaled):
        return f"{value:f}"
    if isinstance(value, Decimal):
        return f"{value:.{kind.decimals}f}" if kind.kind is ColumnType.NEWDECIMAL else f"{value:f}"
    if isinstance(value, float):
        fixed = kind.kind is ColumnType.DOUBLE and kind.decimals != NOT_FIXED
        return f"{value:.{kind.decimals}f}" if fixed else _double(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}".rjust(19, "0") + seconds_text(value.microsecond, kind.decimals)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_text(value, kind.decimals)
    return str(value)


def _double(value: float) -> str:
    """With an exponent from 1e15 on and below 1e-15, as my_gcvt writes it."""
    if not value:
        return "0" if math.copysign(1, value) > 0 else "-0"
    number = Decimal(repr(value)).normalize()
    if -LARGEST_EXPONENT <= number.adjusted() < LARGEST_EXPONENT:
        return f"{number:f}"
    sign, digits, _ = number.as_tuple()
    first, *rest = map(str, digits)
    return f"{'-' * sign}{first}{'.' * bool(rest)}{''.join(rest)}e{number.adjusted()}"


def seconds_text(microseconds: int, decimals: int) -> str:
    """``.123`` for three decimals, nothing for none; or for a type that doesn't say, as many as there are."""
    if decimals == NOT_FIXED:
        return f".{microseconds:06}" if microseconds else ""
    return f".{microseconds:06}"[: decimals + 1] if decimals else ""


def duration_text(value: timedelta, decimals: int) -> str:
    """``[-]HH:MM:SS[.fraction]``."""
    size = abs(value)
    minutes, seconds = divmod(size.days * 86400 + size.seconds, 60)
    sign = "-" if value < timedelta() else ""
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}{seconds_text(size.microseconds, decimals)}"


def to_number(value: Value) -> int | Decimal | float | None:
    """A number for arithmetic: text by its beginning, moments by their digits."""
    if value is None or isinstance(value, int | Decimal | float):
        return value
    if isinstance(value, str):
        found = _NUMBER.match(value)
        number = float(found.group()) if found else 0.0
        return math.copysign(1.7976931348623157e308, number) if math.isinf(number) else number
    digits = re.sub(r"[-: ]", "", text_of(value, NULL) or "")  # NULL has no decimals
    fraction = getattr(value, "microsecond", 0) or getattr(value, "microseconds", 0)
    number = int(digits)
    if isinstance(value, timedelta) and value < timedelta():
        number = -number
    return number if not fraction else Decimal(number) + Decimal(fraction) / 1_000_000


def to_integer(value: Value) -> int | None:
    """The nearest whole number; of text the one at its beginning."""
    number = to_number(value)
    if number is None or isinstance(number, int):
        return number
    if isinstance(value, str):
        return int(number)
    if isinstance(number, float):
        return round(number)
    return int(number.to_integral_value(ROUND_HALF_UP))


def to_text(value: Value, kind: SqlType) -> str | None:
    """As in a text row."""
    return value if isinstance(value, str) else text_of(value, kind)


def to_moment(value: Value) -> datetime | None:
    """A DATETIME; None for what is none."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if not isinstance(value, str) or (found := _MOMENT.fullmatch(value)) is None:
        return None
    year, month, day, hour, minute, second, fraction = found.groups()
    try:
        return datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "").ljust(6, "0")),
        )  # fmt: skip
    except ValueError:
        return None


def to_duration(value: Value) -> timedelta | None:
    """A TIME; None for what is none."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, datetime):
        return value - datetime.combine(value.date(), time())
    if not isinstance(value, str) or (found := _DURATION.fullmatch(value)) is None:
        return None
    sign, hours, minutes, seconds, fraction = found.groups()
    size = timedelta(
        hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0),
        microseconds=int((fraction or "").ljust(6, "0")),
    )  # fmt: skip
    return -size if sign else size


def truth(value: Value) -> bool | None:
    """True unless zero; None for NULL."""
    number = to_number(value)
    return None if number is None else bool(number)


def rounded(number: int | Decimal, decimals: int) -> Decimal:
    """Half away from zero; also to tens and hundreds by negative ``decimals``."""
    return Decimal(number).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, EXACT)


def folded(text: str) -> str:
    """Text as the collation sees it: equal texts of it are equal to MySQL."""
    if text.isascii():
        return text.lower()
    spend(len(text) // 8)
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def sort_key(value: Value, *, exact: bool = False) -> tuple[int, object]:
    """For ORDER BY over values of one type: NULL first."""
    if value is None:
        return 0, 0
    return 1, folded(value) if isinstance(value, str) and not exact else value


def compare(left: Value, right: Value, *, exact: bool = False) -> int | None:
    """-1, 0 or 1; None where one is NULL. Text by collation, text with a moment as moments, the rest as numbers."""
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        return _order(left, right) if exact else _order(folded(left), folded(right))
    if isinstance(left, date) or isinstance(right, date):
        moments = _moments(left, right)
        if moments is not None:
            return _order(*moments)
    if isinstance(left, timedelta) or isinstance(right, timedelta):
        durations = to_duration(left), to_duration(right)
        if durations[0] is not None and durations[1] is not None:
            return _order(*durations)
    first, second = to_number(left), to_number(right)
    if isinstance(first, float) and isinstance(second, Decimal):
        second = float(second)
    elif isinstance(first, Decimal) and isinstance(second, float):
        first = float(first)
    return _order(first, second)


def _moments(left: Value, right: Value) -> tuple[datetime, datetime] | None:
    pair = to_moment(left), to_moment(right)
    for given, moment in zip((left, right), pair, strict=True):
        if isinstance(given, str) and moment is None:
            raise StatementError(1525, "DATETIME", given)
    return (pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None


def _order(left: object, right: object) -> int:
    return int(left > right) - int(left < right)  # type: ignore[operator]  # of one type each


def paced(text: str) -> Iterator[str]:
    """Its characters, with a look at KILL and the clock now and then: for loops that do little for each."""
    for at in range(0, len(text), STRIDE):
        spend(STRIDE)
        yield from text[at : at + STRIDE]


def is_like(text: str, pattern: str, escape: str = "\\", *, exact: bool = False) -> bool:
    """LIKE. Never slower than the two lengths multiplied, whatever the pattern is."""
    parts = _pattern(pattern, escape, exact=exact)
    text = text if exact else folded(text)
    at = part = steps = 0
    many, resume = -1, 0  # the last % met, and where the text after it goes on
    while at < len(text):
        if part < len(parts) and parts[part] == "%":
            many, resume = part, at
            part += 1
        elif part < len(parts) and parts[part] in ("_", "=" + text[at]):
            at, part = at + 1, part + 1
        elif many >= 0:
            resume += 1
            at, part = resume, many + 1
        else:
            return False
        steps += 1
        if steps % 100 == 0:
            spend(20)
    return all(rest == "%" for rest in parts[part:])


def _pattern(pattern: str, escape: str, *, exact: bool) -> list[str]:
    """``%``, ``_``, and ``=x`` for a character as it is."""
    parts: list[str] = []
    literal = False
    for char in paced(pattern):
        if not literal and char == escape:
            literal = True
        elif not literal and char in "%_":
            parts.append(char)
        else:
            parts += ["=" + one for one in (char if exact else folded(char))]
            literal = False
    return parts + (["=" + escape] if literal else [])
