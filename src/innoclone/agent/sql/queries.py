"""Planning a query: WITH, UNION, and the SELECTs that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import Budget, current, hold, running, spend
from innoclone.agent.sql.compiling import Compiler
from innoclone.agent.sql.expressions import Env, Expr, converted, merged
from innoclone.agent.sql.joins import Catalog, bounded
from innoclone.agent.sql.plans import Plan, Row
from innoclone.agent.sql.scope import Session, Table
from innoclone.agent.sql.select import BYTES_OF_A_RESULT, Result, limited, ordered, ordering, plan_select, unique
from innoclone.agent.sql.types import Column, SqlType

__all__ = ["run_select"]

BY_ZERO = 1365


def run_select(tree: exp.Expr, session: Session, catalog: Catalog) -> Result:
    """A query's answer, within this thread's budget, or one of its own. Raises a `StatementError`."""
    if current() is None:
        with running(Budget()):
            return run_select(tree, session, catalog)
    try:
        plan = _Planner(session, catalog).plan(tree, None, {})
        warnings: list[tuple[int, str]] = []
        rows = plan.rows(Env((), warnings=warnings))
        if session.settings.limit is not None and not _has_limit(tree):
            rows = rows[: session.settings.limit]
    except RecursionError:
        raise StatementError(1235, "a SELECT as deep as this one") from None
    except ArithmeticError:  # Python's numbers have another largest one
        raise StatementError(1690, "DOUBLE", tree.sql(dialect="mysql")[:80]) from None
    if "ERROR_FOR_DIVISION_BY_ZERO" not in session.settings.modes:
        warnings = [warning for warning in warnings if warning[0] != BY_ZERO]
    return Result(plan.columns, plan.types, rows, warnings)


def _has_limit(node: exp.Expr) -> bool:
    """Of its own, also if it is in parentheses."""
    return node.args.get("limit") is not None or (isinstance(node, exp.Subquery) and _has_limit(node.this))


@dataclass(frozen=True)
class _Planner:
    session: Session
    catalog: Catalog

    def plan(self, node: exp.Expr, outer: Compiler | None, named: Mapping[str, Plan]) -> Plan:
        """``outer`` is the query around a subquery, ``named`` are the tables of WITH."""
        common = node.args.get("with_")
        if common is not None:
            named = self._with(common, named)
        if isinstance(node, exp.Select):
            return plan_select(node, self._compiler(outer, named), self.catalog)
        if isinstance(node, exp.Subquery) and not node.alias:
            inner = self.plan(node.this, outer, named)
            return _arranged(inner, node, self._compiler(outer, named))
        if isinstance(node, exp.Union):
            return self._union(node, outer, named)
        raise StatementError(1235, type(node).__name__.upper())

    def _compiler(self, outer: Compiler | None, named: Mapping[str, Plan]) -> Compiler:
        return Compiler(self.session, [], outer=outer, named=named, subplan=self.plan)

    def _with(self, common: exp.Expression, named: Mapping[str, Plan]) -> Mapping[str, Plan]:
        if common.args.get("recursive"):
            raise StatementError(1235, "WITH RECURSIVE")
        own: dict[str, Plan] = {}
        for table in common.expressions:
            if table.alias.lower() in own:
                raise StatementError(1066, table.alias)
            plan = self.plan(table.this, None, {**named, **own})
            names = [one.name for one in table.args["alias"].args.get("columns") or []]
            columns = plan.as_columns(names)
            definitions = [column.type.definition(column.name) for column in columns]
            own[table.alias.lower()] = replace(plan, columns=definitions)
        return {**named, **own}

    def _union(self, node: exp.Union, outer: Compiler | None, named: Mapping[str, Plan]) -> Plan:
        """UNION [ALL]: types that fit both, names of the first."""
        known = {"this", "expression", "distinct", "with_", "order", "limit", "offset"}
        if any(value and name not in known for name, value in node.args.items()):
            raise StatementError(1235, "this kind of UNION")
        parts, whole = _parts(node)
        plans = [self.plan(part, outer, named) for part in parts]
        left = plans[0]
        if any(len(plan.types) != len(left.types) for plan in plans):
            raise StatementError(1222)
        types = [merged(kinds) for kinds in zip(*(plan.types for plan in plans), strict=True)]
        sides = [_conversion(plan, types) for plan in plans]

        def find(env: Env) -> list[Row]:
            rows = [row for side in sides[: whole + 1] for row in side(env)]
            rows = unique(rows, lambda row: row, types) if whole else rows
            return bounded(rows + [row for side in sides[whole + 1 :] for row in side(env)])

        columns = [kind.definition(column.name) for kind, column in zip(types, left.columns, strict=True)]
        plan = Plan(columns, types, find, [one for plan in plans for one in plan.references])
        return _arranged(plan, node, self._compiler(outer, named))


def _parts(node: exp.Expression) -> tuple[list[exp.Expression], int]:
    """The queries of a chain of UNIONs, and the number of the last one before which UNION isn't ALL, 0 for none."""
    if not isinstance(node, exp.Union):
        return [node], 0
    plain = isinstance(node.this, exp.Union) and not any(
        node.this.args.get(name) for name in ("order", "limit", "with_")
    )
    parts, whole = _parts(node.this) if plain else ([node.this], 0)
    parts.append(node.expression)
    return parts, len(parts) - 1 if node.args.get("distinct") else whole


def _conversion(plan: Plan, types: list[SqlType]) -> Callable[[Env], list[Row]]:
    """The plan's rows with values of those types."""

    def column(at: int) -> Expr:
        return converted(Expr(plan.types[at], lambda env: env.rows[0][at] if env.rows[0] else None), types[at])

    columns = [column(at) for at in range(len(types))]

    def rows(outer: Env) -> list[Row]:
        found = []
        for row in plan.rows(outer):
            spend()
            hold(BYTES_OF_A_RESULT)
            found.append(tuple(one.value(Env((row,))) for one in columns))
        return found

    return rows


def _arranged(plan: Plan, node: exp.Expression, compiler: Compiler) -> Plan:
    """With the ORDER BY and LIMIT of a whole UNION, or of what is in parentheses."""
    if not any(node.args.get(name) for name in ("order", "limit", "offset")):
        return plan
    columns = [Column(column.name, kind) for column, kind in zip(plan.columns, plan.types, strict=True)]
    compiler = replace(compiler, tables=[Table("", "", "", columns, list)])
    items = [compiler.compile(exp.column(exp.to_identifier(column.name))) for column in columns]
    order = ordering(node, compiler, items)

    def find(outer: Env) -> list[Row]:
        def env(row: Row) -> Env:
            return Env((row,), warnings=outer.warnings, outer=outer)

        return limited(ordered(plan.rows(outer), env, order), node)

    return Plan(plan.columns, plan.types, find, [*plan.references, *compiler.references])
