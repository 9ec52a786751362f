"""CAST and CONVERT: a value as one of another type, and text under another collation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.expressions import LARGEST, Expr, derived, plain
from innoclone.agent.sql.types import DATE, DOUBLE, UNSIGNED, SqlType, Value, datetime_type, decimal, time_type, varchar
from innoclone.agent.sql.values import rounded, to_duration, to_text
from innoclone.wire.results import ColumnType

INSENSITIVE = ("0900_ai_ci", "general_ci", "unicode_ci", "unicode_520_ci")
EXACT = ("bin", "0900_bin")
OTHERS = ("binary", "latin1", "ascii", "utf8", "utf8mb3", "ucs2", "utf16", "utf32")  # character sets


def cast(arg: Expr, to: exp.DataType) -> Expr:
    """CAST. Raises error 1235 for a type that we have not."""
    sizes = [int(param.name) for param in to.expressions]
    size = sizes[0] if sizes else max(arg.type.length, 1)
    if to.this.name in ("DATETIME", "TIMESTAMP", "TIMESTAMPTZ", "TIME") and sizes and size > 6:
        raise StatementError(1235, f"{size} decimals of a second")
    decimals = sizes[0] if sizes else 0
    match to.this.name:
        case "DATETIME" | "TIMESTAMP" | "TIMESTAMPTZ":
            made = plain("m", datetime_type(decimals), lambda moment: _rounded(moment, decimals))
        case "TIME":
            return derived(time_type(decimals), lambda env: _time(arg.value(env), decimals), (arg,))
        case "DATE":
            made = plain("m", DATE, datetime.date)
        case "DECIMAL":
            places = sizes[1] if len(sizes) > 1 else 0
            kind = decimal((sizes or [10])[0] - places, places)
            made = plain("n", kind, lambda n: rounded(Decimal(repr(n)) if isinstance(n, float) else n, kind.decimals))
        case "BIGINT" | "INT":
            made = plain("i", SqlType(ColumnType.LONGLONG, 21), lambda number: number)
        case "UBIGINT" | "UINT":
            made = plain("i", UNSIGNED, lambda number: number & LARGEST)
        case "CHAR" | "VARCHAR" | "TEXT" | "NCHAR":
            made = plain("t", varchar(size), lambda text: text[:size])
        case "BINARY" if not sizes:
            length = max(arg.type.length * (4 if arg.type.is_text else 1), 1)
            made = plain("t", replace(varchar(length), collation="binary"), lambda text: text)
        case "CHARACTER_SET" if to.args["kind"].name.lower() in ("utf8mb4", "utf8", "utf8mb3"):
            made = plain("t", varchar(size), lambda text: text)
        case "DOUBLE" | "FLOAT":
            made = plain("n", DOUBLE, float)
        case name:
            raise StatementError(1235, f"CAST AS {name}")
    return made[2](arg)


def collated(arg: Expr, name: str) -> Expr:
    """COLLATE. Raises errors 1253, 1273, and 1235 for a collation that MySQL has and we have not."""
    charset, _, rest = name.lower().partition("_")
    if charset in OTHERS:
        raise StatementError(1253, name, "utf8mb4")
    if charset != "utf8mb4":
        raise StatementError(1273, name)
    if rest not in INSENSITIVE + EXACT:
        raise StatementError(1235, f"COLLATE {name}")
    kind = replace(varchar(max(arg.type.length, 1)), collation="bin" if rest in EXACT else "")
    return derived(kind, lambda env: to_text(arg.value(env), arg.type), (arg,))


def _rounded(moment: datetime, decimals: int) -> datetime:
    step = 10 ** (6 - decimals)
    return moment + timedelta(microseconds=(moment.microsecond + step // 2) // step * step - moment.microsecond)


def _time(value: Value, decimals: int) -> Value:
    if (time := to_duration(value)) is None:
        return None
    step = timedelta(microseconds=10 ** (6 - decimals))
    size = (abs(time) + step / 2) // step * step
    return -size if time < timedelta() else size
