"""CAST and CONVERT: a value as one of another type, and text under another collation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.expressions import LARGEST, Expr, derived, scalar
from innoclone.agent.sql.types import (
    DATE,
    DOUBLE,
    SqlType,
    datetime_type,
    decimal,
    time_type,
    varchar,
)
from innoclone.agent.sql.values import rounded, to_duration, to_integer, to_moment, to_number, to_text
from innoclone.wire.results import ColumnType

__all__ = ["cast", "collated"]

INSENSITIVE = ("0900_ai_ci", "general_ci", "unicode_ci", "unicode_520_ci")
EXACT = ("bin", "0900_bin")


def cast(arg: Expr, to: exp.DataType) -> Expr:
    """CAST."""
    sizes = [int(param.name) for param in to.expressions]
    name = to.this.name
    if name in ("DATETIME", "TIMESTAMP", "TIMESTAMPTZ"):
        kind = datetime_type(_fraction(sizes))
        return scalar(kind, lambda value: _rounded_moment(to_moment(value), kind.decimals), arg)
    if name == "TIME":
        kind = time_type(_fraction(sizes))
        return scalar(kind, lambda value: _rounded_duration(to_duration(value), kind.decimals), arg)
    if name == "DATE":
        return scalar(DATE, lambda value: moment.date() if (moment := to_moment(value)) else None, arg)
    if name == "DECIMAL":
        kind = decimal((sizes or [10])[0] - (sizes[1] if len(sizes) > 1 else 0), sizes[1] if len(sizes) > 1 else 0)
        return scalar(kind, lambda value: rounded(_exact(to_number(value)), kind.decimals), arg)
    if name in ("BIGINT", "UBIGINT", "INT", "UINT"):
        unsigned = name.startswith("U")
        kind = SqlType(ColumnType.LONGLONG, 21, unsigned=unsigned)
        return scalar(kind, lambda value: (to_integer(value) or 0) & LARGEST if unsigned else to_integer(value), arg)
    if name in ("CHAR", "VARCHAR", "TEXT", "NCHAR"):
        size = sizes[0] if sizes else max(arg.type.length, 1)
        return scalar(varchar(size), lambda value: (to_text(value, arg.type) or "")[:size], arg)
    if name == "BINARY" and not sizes:
        kind = replace(varchar(max(arg.type.length * (4 if arg.type.is_text else 1), 1)), collation="binary")
        return scalar(kind, lambda value: to_text(value, arg.type), arg)
    if name == "CHARACTER_SET" and to.args["kind"].name.lower() in ("utf8mb4", "utf8", "utf8mb3"):
        return scalar(varchar(max(arg.type.length, 1)), lambda value: to_text(value, arg.type), arg)
    if name in ("DOUBLE", "FLOAT"):
        return scalar(DOUBLE, lambda value: float(to_number(value) or 0), arg)
    raise StatementError(1235, f"CAST AS {name}")


def collated(arg: Expr, name: str) -> Expr:
    """COLLATE. Raises errors 1253, 1273, and 1235 for a collation that MySQL has and we have not."""
    charset, _, rest = name.lower().partition("_")
    if charset == "binary" or charset in ("latin1", "ascii", "utf8", "utf8mb3", "ucs2", "utf16", "utf32"):
        raise StatementError(1253, name, "utf8mb4")
    if charset != "utf8mb4":
        raise StatementError(1273, name)
    if rest not in INSENSITIVE + EXACT:
        raise StatementError(1235, f"COLLATE {name}")
    kind = replace(varchar(max(arg.type.length, 1)), collation="bin" if rest in EXACT else "")
    return derived(kind, lambda env: to_text(arg.value(env), arg.type), (arg,))


def _fraction(sizes: list[int]) -> int:
    if sizes and not 0 <= sizes[0] <= 6:
        raise StatementError(1235, f"{sizes[0]} decimals of a second")
    return sizes[0] if sizes else 0


def _exact(number: int | Decimal | float | None) -> int | Decimal:
    return Decimal(repr(number)) if isinstance(number, float) else number or 0


def _rounded_moment(moment: datetime | None, decimals: int) -> datetime | None:
    if moment is None:
        return None
    step = 10 ** (6 - decimals)
    return moment + timedelta(microseconds=(moment.microsecond + step // 2) // step * step - moment.microsecond)


def _rounded_duration(value: timedelta | None, decimals: int) -> timedelta | None:
    if value is None:
        return None
    step = timedelta(microseconds=10 ** (6 - decimals))
    size = (abs(value) + step / 2) // step * step
    return -size if value < timedelta() else size
