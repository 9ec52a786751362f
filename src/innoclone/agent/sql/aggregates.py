"""Aggregates: COUNT, SUM and the like over the rows of a group."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from decimal import Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import hold, size_of, spend
from innoclone.agent.sql.expressions import DIVISION_DECIMALS, LARGEST, Env, Expr, digits_of
from innoclone.agent.sql.types import BIGINT, DOUBLE, NOT_FIXED, TEMPORAL, UNSIGNED, SqlType, Value, decimal
from innoclone.agent.sql.values import rounded, sort_key, to_integer, to_number, to_text
from innoclone.wire.results import ColumnType

__all__ = ["AGGREGATES", "aggregate", "group_concat"]

BITS = {
    "BIT_AND": (LARGEST, lambda a, b: a & b), "BIT_OR": (0, lambda a, b: a | b), "BIT_XOR": (0, lambda a, b: a ^ b),
}  # fmt: skip
AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX", "ANY_VALUE", *BITS)
LONGEST = 1 << 20  # bytes that GROUP_CONCAT gives, whatever group_concat_max_len is


def aggregate(name: str, args: Sequence[Expr], *, distinct: bool) -> Expr:
    """An aggregate by its name, over the rows of a group; COUNT(*) has no ``args``, others may have several."""
    if not args:
        return Expr(BIGINT, lambda env: len(env.group or ()), is_aggregate=True)
    if any(arg.is_aggregate for arg in args):
        raise StatementError(1111)
    if name == "COUNT":
        return _count(args, distinct=distinct)
    if name in BITS:
        return _bits(name, args[0])
    return _of_one(name, args[0], distinct=distinct)


def _values(env: Env, arg: Expr) -> list[Value]:
    found: list[Value] = []
    for row in env.group or ():
        spend()
        if (value := arg.value(row)) is not None:
            found.append(value)
    return found


def _key(arg: Expr, value: Value) -> tuple[int, object]:
    return sort_key(value, exact=bool(arg.type.collation))


def _count(args: Sequence[Expr], *, distinct: bool) -> Expr:
    def value(env: Env) -> Value:
        rows = []
        for row in env.group or ():
            spend()
            values = [arg.value(row) for arg in args]
            if None not in values:
                rows.append(values)
        if not distinct:
            return len(rows)
        return len({tuple(_key(arg, one) for arg, one in zip(args, row, strict=True)) for row in rows})

    return Expr(BIGINT, value, is_aggregate=True)


def _bits(name: str, arg: Expr) -> Expr:
    begin, operate = BITS[name]

    def value(env: Env) -> Value:
        return functools.reduce(operate, ((to_integer(v) or 0) & LARGEST for v in _values(env, arg)), begin)

    return Expr(UNSIGNED, value, is_aggregate=True)


def _of_one(name: str, arg: Expr, *, distinct: bool) -> Expr:
    exact = arg.type.is_integer or arg.type.kind is ColumnType.NEWDECIMAL or arg.type.kind in TEMPORAL
    kind = arg.type
    if name in ("SUM", "AVG"):
        more = DIVISION_DECIMALS if name == "AVG" else 0
        kind = (
            decimal(digits_of(arg.type) + (22 if name == "SUM" else 0), arg.type.decimals + more) if exact else DOUBLE
        )

    def value(env: Env) -> Value:
        if name == "ANY_VALUE":
            return arg.value(env.group[0]) if env.group else None
        values = _values(env, arg)
        if distinct:
            values = list({_key(arg, v): v for v in values}.values())
        if not values:
            return None
        if name in ("MIN", "MAX"):
            return (min if name == "MIN" else max)(values, key=lambda one: _key(arg, one))
        numbers = [to_number(v) for v in values]
        if not exact:
            total = math.fsum(float(n or 0) for n in numbers)
            return total if name == "SUM" else total / len(numbers)
        whole = sum((Decimal(n or 0) for n in numbers), Decimal(0))
        return rounded(whole if name == "SUM" else whole / len(numbers), kind.decimals)

    return Expr(kind, value, is_aggregate=True)


def group_concat(
    args: Sequence[Expr], order: Sequence[tuple[Expr, bool]], separator: str, *, distinct: bool, most: int
) -> Expr:
    """GROUP_CONCAT: each row's ``args`` one after another, but for those with a NULL; cut behind ``most`` bytes."""
    if any(arg.is_aggregate for arg in args):
        raise StatementError(1111)
    most = min(most, LONGEST)

    def value(env: Env) -> Value:
        rows = list(env.group or ())
        for expr, descending in reversed(order):
            spend(len(rows))
            rows.sort(key=lambda row, expr=expr: _key(expr, expr.value(row)), reverse=descending)  # type: ignore[misc]
        texts: dict[object, str] = {}
        size = 0
        for number, row in enumerate(rows):
            spend()
            values = [arg.value(row) for arg in args]
            if None not in values:
                key = tuple(_key(arg, one) for arg, one in zip(args, values, strict=True)) if distinct else number
                if key not in texts:
                    texts[key] = "".join(to_text(v, a.type) or "" for v, a in zip(values, args, strict=True))
                    size += len(_raw(texts[key])) + (len(_raw(separator)) if len(texts) > 1 else 0)
                    hold(size_of(texts[key]))
            if size > most:
                break
        if not texts:
            return None
        whole = separator.join(texts.values())
        raw = _raw(whole)
        if len(raw) <= most:
            return whole
        env.warn(1260, f"Row {len(texts)} was cut by GROUP_CONCAT()")
        return raw[:most].decode("utf-8", "ignore")

    return Expr(SqlType(ColumnType.LONG_BLOB, 16384, NOT_FIXED), value, is_aggregate=True)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
