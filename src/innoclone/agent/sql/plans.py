"""What a query speaks of, and what it becomes before it runs: the columns of its result, and what finds the rows.

A subquery is such a plan too; it is run for a row of the outer query, or once where it doesn't look at that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Protocol

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import current, spend
from innoclone.agent.sql.expressions import Env, Expr, derived
from innoclone.agent.sql.lexer import Modes
from innoclone.agent.sql.values import BOOL, Column, SqlType, Value, compare
from innoclone.wire.results import ColumnDefinition

Row = tuple[Value, ...]


@dataclass(frozen=True)
class Settings:
    """What variables of a session change about its statements."""

    modes: Modes = frozenset(("ONLY_FULL_GROUP_BY", "ERROR_FOR_DIVISION_BY_ZERO"))  # sql_mode
    zone: tzinfo | None = None  # time_zone; None is the system's
    concat_length: int = 1024  # group_concat_max_len, bytes
    limit: int | None = None  # sql_select_limit


class Session(Protocol):
    """What a statement may ask about its session."""

    schema: str  # the default one, or empty
    settings: Settings

    def function(self, name: str, decimals: int) -> tuple[SqlType, Value] | None:
        """USER(), DATABASE(), NOW() and the like; None for a name that is none of them."""

    def variable(self, name: str) -> tuple[SqlType, Value]:
        """``@@name``, with its scope if one was given. Raises error 1193."""

    def user_variable(self, name: str) -> tuple[SqlType, Value]:
        """``@name``, as it is now."""

    def assign(self, name: str, kind: SqlType, value: Value) -> None:
        """``@name := value``."""


@dataclass(frozen=True)
class Table:
    """A table of the FROM clause, under the name that the statement gives it."""

    alias: str
    schema: str
    name: str
    columns: Sequence[Column]
    rows: Callable[[], Sequence[tuple[Value, ...]]]


@dataclass
class Plan:
    """``references`` are the outer queries' columns that it uses: expressions of the query around it."""

    columns: list[ColumnDefinition]
    types: list[SqlType]
    find: Callable[[Env], list[Row]]
    references: Sequence[Expr] = ()
    _found: list[Row] | None = field(default=None, init=False)

    def rows(self, outer: Env) -> list[Row]:
        """All rows, for a row of the outer query; the same ones each time if it uses none of that."""
        if self.references:
            budget = current()
            held = 0 if budget is None else budget.held
            rows = self.find(outer)
            if budget is not None:
                budget.hold(held - budget.held)  # these rows are kept for one row of the outer query
            return rows
        if self._found is None:
            self._found = self.find(outer)
        return self._found

    def as_columns(self) -> list[Column]:
        """As the columns of a table. Raises error 1060."""
        names = [column.name.lower() for column in self.columns]
        for at, name in enumerate(names):
            if name in names[:at]:
                raise StatementError(1060, self.columns[at].name)
        return [Column(column.name, kind) for column, kind in zip(self.columns, self.types, strict=True)]


def _of_one_column(plan: Plan) -> SqlType:
    if len(plan.types) != 1:
        raise StatementError(1241, 1)
    return plan.types[0]


def scalar_subquery(plan: Plan) -> Expr:
    """A subquery as a value: NULL where it finds nothing. Raises error 1241, and 1242 when it runs."""
    kind = _of_one_column(plan)

    def value(env: Env) -> Value:
        rows = plan.rows(env)
        if len(rows) > 1:
            raise StatementError(1242)
        return rows[0][0] if rows else None

    return derived(kind, value, plan.references)


def exists(plan: Plan) -> Expr:
    """EXISTS."""
    return derived(BOOL, lambda env: int(bool(plan.rows(env))), plan.references)


def in_subquery(left: Expr, plan: Plan) -> Expr:
    """IN with a subquery, with three values. Raises error 1241."""
    exact = bool(left.type.collation or _of_one_column(plan).collation)

    def value(env: Env) -> Value:
        given, rows = left.value(env), plan.rows(env)
        spend(len(rows))
        orders = {compare(given, other, exact=exact) for (other,) in rows}
        return 1 if 0 in orders else None if None in orders else 0

    return derived(BOOL, value, [left, *plan.references])
