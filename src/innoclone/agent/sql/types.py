"""Types of SQL values: what MySQL would call a column, and how its values are written as text.

A value in Python: int, Decimal, float, str, datetime, date, timedelta (TIME), None for NULL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from innoclone.wire.results import BINARY, ColumnDefinition, ColumnFlag, ColumnType

Value = int | Decimal | float | str | datetime | date | timedelta | None

BYTES = 4  # of a character in utf8mb4
NOT_FIXED = 31  # decimals of a column that has no fixed number of them
MOST_DIGITS, MOST_DECIMALS = 65, 30  # of a DECIMAL
NUMBERS = (ColumnType.YEAR, ColumnType.LONG, ColumnType.LONGLONG, ColumnType.NEWDECIMAL, ColumnType.DOUBLE)
TEMPORAL = (ColumnType.TIMESTAMP, ColumnType.DATETIME, ColumnType.DATE, ColumnType.TIME)
BLOBS = (ColumnType.BLOB, ColumnType.MEDIUM_BLOB, ColumnType.LONG_BLOB)
LARGEST_EXPONENT = 15  # of ten, of a double that is written without one


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
