"""Aggregates: COUNT, SUM and the like over the rows of a group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import values as t
from innoclone.agent.sql.budget import hold, size_of, spend
from innoclone.agent.sql.expressions import DIVISION_DECIMALS, Env, Expr, digits_of
from innoclone.agent.sql.values import BIGINT, DOUBLE, SqlType, Value
from innoclone.wire.results import ColumnType

AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX", "ANY_VALUE")
LONGEST = 1 << 20  # bytes that GROUP_CONCAT gives, whatever group_concat_max_len is


def aggregate(name: str, args: Sequence[Expr], *, distinct: bool) -> Expr:
    """An aggregate by its name, over the rows of a group; COUNT(*) has no ``args``, others may have several."""
    if not args:
        return Expr(BIGINT, lambda env: len(env.group or ()), is_aggregate=True)
    _check(args)
    return _count(args, distinct=distinct) if name == "COUNT" else _of_one(name, args[0], distinct=distinct)


def _check(args: Sequence[Expr]) -> None:
    """Raises error 1111 for an aggregate of an aggregate."""
    if any(arg.is_aggregate for arg in args):
        raise StatementError(1111)


def _rows(env: Env, args: Sequence[Expr]) -> list[list[Value]]:
    """The arguments' values for each row where none is NULL."""
    found = []
    for row in env.group or ():
        spend()
        values = [arg.value(row) for arg in args]
        if None not in values:
            found.append(values)
    return found


def _key(args: Sequence[Expr], values: Sequence[Value]) -> tuple[tuple[int, object], ...]:
    return tuple(t.sort_key(one, exact=bool(arg.type.collation)) for arg, one in zip(args, values, strict=True))


def _count(args: Sequence[Expr], *, distinct: bool) -> Expr:
    def value(env: Env) -> Value:
        rows = _rows(env, args)
        return len({_key(args, row) for row in rows}) if distinct else len(rows)

    return Expr(BIGINT, value, is_aggregate=True)


def _of_one(name: str, arg: Expr, *, distinct: bool) -> Expr:
    exact = arg.type.is_integer or arg.type.kind is ColumnType.NEWDECIMAL or arg.type.kind in t.TEMPORAL
    kind = arg.type
    if name in ("SUM", "AVG"):
        more, digits = (DIVISION_DECIMALS, 0) if name == "AVG" else (0, 22)
        kind = t.decimal(digits_of(arg.type) + digits, arg.type.decimals + more) if exact else DOUBLE

    def value(env: Env) -> Value:
        if name == "ANY_VALUE":
            return arg.value(env.group[0]) if env.group else None
        values = [row[0] for row in _rows(env, [arg])]
        if distinct:
            values = list({_key([arg], [one]): one for one in values}.values())
        if not values:
            return None
        if name in ("MIN", "MAX"):
            return (min if name == "MIN" else max)(values, key=lambda one: _key([arg], [one]))
        numbers = [t.to_number(one) for one in values]
        if not exact:
            total = math.fsum(float(n or 0) for n in numbers)
            return total if name == "SUM" else total / len(numbers)
        whole = sum((Decimal(n or 0) for n in numbers), Decimal(0))
        return t.rounded(whole if name == "SUM" else whole / len(numbers), kind.decimals)

    return Expr(kind, value, is_aggregate=True)


def group_concat(
    args: Sequence[Expr], order: Sequence[tuple[Expr, bool]], separator: str, *, distinct: bool, most: int
) -> Expr:
    """GROUP_CONCAT: each row's ``args`` one after another, but for those with a NULL; cut behind ``most`` bytes."""
    _check(args)
    most = min(most, LONGEST)

    def value(env: Env) -> Value:
        rows = list(env.group or ())
        for expr, descending in reversed(order):
            spend(len(rows))
            rows.sort(key=lambda row, expr=expr: _key([expr], [expr.value(row)]), reverse=descending)  # type: ignore[misc]
        texts: dict[object, str] = {}
        size = 0
        for number, row in enumerate(rows):
            spend()
            values = [arg.value(row) for arg in args]
            key: object = _key(args, values) if distinct else number
            if None not in values and key not in texts:
                texts[key] = "".join(t.to_text(v, a.type) or "" for v, a in zip(values, args, strict=True))
                size += len(_raw(texts[key])) + (len(_raw(separator)) if len(texts) > 1 else 0)
                hold(size_of(texts[key]))
            if size > most:
                break
        if not texts:
            return None
        raw = _raw(separator.join(texts.values()))
        if len(raw) > most:
            env.warn(1260, f"Row {len(texts)} was cut by GROUP_CONCAT()")
        return raw[:most].decode("utf-8", "ignore") if len(raw) > most else raw.decode("utf-8", "surrogateescape")

    return Expr(SqlType(ColumnType.LONG_BLOB, 16384, t.NOT_FIXED), value, is_aggregate=True)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
