"""Window functions: their values are found for all rows of a result at once, before the list is evaluated.

The frame is the one without a frame clause: all of the partition, or with ORDER BY everything up to the row and its
peers.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import hold, spend
from innoclone.agent.sql.expressions import Env, Expr, constant, converted, derived, merged
from innoclone.agent.sql.types import BIGINT, DOUBLE, NULL, UNSIGNED, SqlType, Value, varchar
from innoclone.agent.sql.values import sort_key, to_integer

__all__ = ["NAMES", "Window", "window_function"]

NAMES = (
    "ROW_NUMBER", "RANK", "DENSE_RANK", "PERCENT_RANK", "CUME_DIST", "NTILE", "LAG", "LEAD", "FIRST_VALUE",
    "LAST_VALUE",
)  # fmt: skip
BYTES_OF_VALUES = 500  # of a row, and of its place
Filler = Callable[[list[Env]], None]


@dataclass(frozen=True)
class Window:
    """PARTITION BY and ORDER BY, each expression with whether it descends."""

    partition: Sequence[Expr]
    order: Sequence[tuple[Expr, bool]]


@dataclass(frozen=True)
class _Place:
    """Of a row: its number in the partition, from 0; its first peer's, and the number behind its last peer."""

    at: int
    first: int
    behind: int
    groups: int  # of peers, up to its own
    rows: Sequence[Env]


def window_function(name: str, args: Sequence[Expr], inner: Expr | None, window: Window) -> tuple[Expr, Filler]:
    """The expression, and what gives it its values. ``inner`` is the aggregate, where it is one. Raises 1582, 1235."""
    kind, value = (inner.type, _aggregate(inner)) if inner is not None else _own(name, args)
    used = [*args, *window.partition, *(expr for expr, _ in window.order)]
    number = id(value)

    def fill(envs: list[Env]) -> None:
        partitions: dict[tuple[object, ...], list[Env]] = {}
        for env in envs:
            partitions.setdefault(_keys(window.partition, env), []).append(env)
        for rows in partitions.values():
            for place in _places(rows, window.order):
                env = place.rows[place.at]
                if env.windows is None:
                    hold(BYTES_OF_VALUES)
                    env.windows = {}
                env.windows[number] = value(place)
                spend()

    def read(env: Env) -> Value:
        return None if env.windows is None else env.windows.get(number)

    return derived(kind, read, used), fill


def _keys(exprs: Sequence[Expr], env: Env) -> tuple[object, ...]:
    return tuple(sort_key(expr.value(env), exact=bool(expr.type.collation)) for expr in exprs)


def _places(rows: list[Env], order: Sequence[tuple[Expr, bool]]) -> list[_Place]:
    for expr, descending in reversed(order):
        rows = sorted(rows, key=lambda env, expr=expr: _keys([expr], env), reverse=descending)  # type: ignore[misc]
    if not order:
        return [_Place(at, 0, len(rows), 1, rows) for at in range(len(rows))]
    exprs = [expr for expr, _ in order]
    keys = [_keys(exprs, env) for env in rows]
    starts = [at for at in range(len(rows)) if at == 0 or keys[at] != keys[at - 1]]
    found = []
    for at in range(len(rows)):
        group = bisect.bisect_right(starts, at)
        behind = starts[group] if group < len(starts) else len(rows)
        found.append(_Place(at, starts[group - 1], behind, group, rows))
    return found


def _aggregate(inner: Expr) -> Callable[[_Place], Value]:
    def value(place: _Place) -> Value:
        env = place.rows[place.at]
        return inner.value(Env(env.rows, list(place.rows[: place.behind]), env.warnings, env.outer))

    return value


def _own(name: str, args: Sequence[Expr]) -> tuple[SqlType, Callable[[_Place], Value]]:
    numbers: dict[str, tuple[SqlType, Callable[[_Place], Value]]] = {
        "ROW_NUMBER": (UNSIGNED, lambda place: place.at + 1),
        "RANK": (UNSIGNED, lambda place: place.first + 1),
        "DENSE_RANK": (UNSIGNED, lambda place: place.groups),
        "PERCENT_RANK": (DOUBLE, lambda place: place.first / (len(place.rows) - 1) if len(place.rows) > 1 else 0.0),
        "CUME_DIST": (DOUBLE, lambda place: place.behind / len(place.rows)),
    }
    if name in numbers:
        if args:
            raise StatementError(1582, name)
        return numbers[name]
    most = 3 if name in ("LAG", "LEAD") else 1
    if not 1 <= len(args) <= most:
        raise StatementError(1582, name)
    if name == "NTILE":
        return UNSIGNED, lambda place: _tile(place, to_integer(args[0].value(place.rows[place.at])) or 0)
    if name in ("FIRST_VALUE", "LAST_VALUE"):
        kind = varchar(args[0].type.length) if args[0].type.is_text else args[0].type
        return kind, lambda place: args[0].value(place.rows[0 if name == "FIRST_VALUE" else place.behind - 1])
    default = args[2] if len(args) > 2 else constant(NULL, None)
    kind = merged([args[0].type, default.type])
    taken, otherwise = converted(args[0], kind), converted(default, kind)
    step = args[1] if len(args) > 1 else constant(BIGINT, 1)

    def value(place: _Place) -> Value:
        env = place.rows[place.at]
        count = to_integer(step.value(env)) or 0
        if count < 0:
            raise StatementError(1210, name.lower())
        other = place.at + (count if name == "LEAD" else -count)
        return taken.value(place.rows[other]) if 0 <= other < len(place.rows) else otherwise.value(env)

    return kind, value


def _tile(place: _Place, tiles: int) -> int:
    if tiles < 1:
        raise StatementError(1210, "ntile")
    size, larger = divmod(len(place.rows), tiles)
    border = larger * (size + 1)
    return place.at // (size + 1) + 1 if place.at < border else larger + (place.at - border) // max(size, 1) + 1
