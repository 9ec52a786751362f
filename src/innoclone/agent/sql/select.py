"""Planning a query: UNION, and the SELECTs that it is made of, with all their clauses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import Budget, current, hold, running, size_of, spend
from innoclone.agent.sql.compiling import Compiler
from innoclone.agent.sql.expressions import Env, Expr, converted, merged
from innoclone.agent.sql.joins import Catalog, joined, kept, sources
from innoclone.agent.sql.parsing import name_of
from innoclone.agent.sql.plans import Plan, Row, Session, Table
from innoclone.agent.sql.values import Column, SqlType, Value, sort_key, truth
from innoclone.wire.results import ColumnDefinition

BY_ZERO = 1365
ALLOWED = {
    "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "kind",
    "operation_modifiers",
}  # fmt: skip
UNITED = {"this", "expression", "distinct", "order", "limit", "offset"}
BYTES_OF_A_RESULT, BYTES_OF_A_KEY = 150, 150  # of a row, besides texts
T = TypeVar("T")
Order = list[tuple[Expr, bool]]  # and whether descending


@dataclass(frozen=True)
class Result:
    """Columns, rows of values, and the type of each column for their text form."""

    columns: list[ColumnDefinition]
    types: list[SqlType]
    rows: list[Row]
    warnings: list[tuple[int, str]]


@dataclass(frozen=True)
class _Item:
    """One column of the result."""

    expr: Expr
    definition: ColumnDefinition
    alias: str  # by which other clauses may call it


def _select(tree: exp.Select, empty: Compiler, catalog: Catalog) -> Plan:
    """``empty`` is a compiler without tables."""
    for name, value in tree.args.items():
        if value and name not in ALLOWED:
            raise StatementError(1235, f"SELECT with {name.rstrip('_').upper()}")
    if "SQL_CALC_FOUND_ROWS" in (tree.args.get("operation_modifiers") or ()) and tree.args.get("limit"):
        raise StatementError(1235, "SQL_CALC_FOUND_ROWS")
    tables, joins = sources(tree, catalog, lambda node: empty.subplan(node, None))
    compiler = replace(empty, tables=tables)
    items = list(_items(tree, tables, compiler))
    compiler.aliases = {item.alias.lower(): item.expr for item in items if item.alias}
    narrowing: exp.Expression | None = tree.args["where"].this if tree.args.get("where") else None
    where = compiler.within("where clause", tree.args.get("where"))
    exprs = [item.expr for item in items]
    groups = _group_by(tree.args.get("group"), compiler, exprs)
    having = compiler.within("having clause", tree.args.get("having"))
    order = _ordering(tree, compiler, exprs)
    combine = joined(tables, joins, compiler, narrowing)
    everything = [*exprs, *(expr for expr, _ in order), *([having] if having else [])]
    aggregated = bool(groups) or any(expr.is_aggregate for expr in everything)
    if aggregated and "ONLY_FULL_GROUP_BY" in compiler.session.settings.modes:
        _only_full_group_by(exprs, groups)

    def find(outer: Env) -> list[Row]:
        envs = kept((env for env in combine(outer) if where is None or truth(where.value(env))), len(tables))
        if aggregated:
            envs = list(_grouped(envs, groups, outer, len(tables)))
        found = []
        for env in envs:
            spend()
            if having is None or truth(having.value(env)):
                row = tuple(expr.value(env) for expr in exprs)
                hold(BYTES_OF_A_RESULT + sum(size_of(value) for value in row if isinstance(value, str)))
                found.append((row, env))
        if tree.args.get("distinct"):
            found = _unique(found, lambda pair: pair[0], [expr.type for expr in exprs])
        return _limited([row for row, _ in _ordered(found, lambda pair: pair[1], order)], tree)

    return Plan([item.definition for item in items], [expr.type for expr in exprs], find, compiler.references)


def _items(tree: exp.Select, tables: Sequence[Table], compiler: Compiler) -> Iterator[_Item]:
    for node in tree.expressions:
        alias = node.alias if isinstance(node, exp.Alias) else ""
        inner = node.this if isinstance(node, exp.Alias) else node
        if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
            yield from _all_columns(node.table if isinstance(node, exp.Column) else "", tables, compiler)
        elif len((expr := compiler.compile(inner)).columns) == 1 and isinstance(inner, exp.Column):
            yield _column(alias or name_of(node), expr, tables)
        else:
            yield _Item(expr, expr.type.definition(alias or name_of(node)), alias)


def _all_columns(wanted: str, tables: Sequence[Table], compiler: Compiler) -> Iterator[_Item]:
    """Those of ``*``, or of ``wanted.*``."""
    chosen = [table for table in tables if not wanted or table.alias.lower() == wanted.lower()]
    if not chosen:
        raise StatementError(1051, wanted) if wanted else StatementError(1096)
    for table in chosen:
        for column in table.columns:
            expr = compiler.compile(exp.column(exp.to_identifier(column.name), table=exp.to_identifier(table.alias)))
            yield _column(column.name, expr, tables)


def _column(name: str, expr: Expr, tables: Sequence[Table]) -> _Item:
    at, index, _ = next(iter(expr.columns))
    schema, table, original = tables[at].schema, tables[at].name, tables[at].columns[index].name
    definition = expr.type.definition(name, schema=schema, table=table, alias=tables[at].alias, original=original)
    return _Item(expr, definition, name)


def _by(node: exp.Expression, compiler: Compiler, items: Sequence[Expr], clause: str) -> Expr:
    """An expression of GROUP BY or ORDER BY; a number is a position in the list."""
    if isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit():
        if not 1 <= int(node.name) <= len(items):
            raise StatementError(1054, node.name, clause)
        return items[int(node.name) - 1]
    return replace(compiler, clause=clause).compile(node)


def _group_by(group: exp.Expression | None, compiler: Compiler, items: Sequence[Expr]) -> list[Expr]:
    if group is not None and any(value and name != "expressions" for name, value in group.args.items()):
        raise StatementError(1235, "GROUP BY with modifiers")
    return [_by(node, compiler, items, "group statement") for node in (group.expressions if group is not None else [])]


def _ordering(node: exp.Expression, compiler: Compiler, items: Sequence[Expr]) -> Order:
    """The ORDER BY of a query."""
    order = node.args.get("order")
    nodes = order.expressions if order is not None else []
    return [(_by(one.this, compiler, items, "order clause"), bool(one.args.get("desc"))) for one in nodes]


def _only_full_group_by(items: Sequence[Expr], groups: Sequence[Expr]) -> None:
    """Columns outside of aggregates must be those of GROUP BY."""
    grouped = frozenset().union(*(group.columns for group in groups))
    for number, item in enumerate(items, 1):
        for *_, shown in sorted(item.columns - grouped):
            raise StatementError(1055 if groups else 1140, number, shown)


def _grouped(rows: list[Env], groups: Sequence[Expr], outer: Env, tables: int) -> Iterator[Env]:
    found: dict[tuple[object, ...], list[Env]] = {}
    types = [group.type for group in groups]
    for env in rows:
        spend()
        found.setdefault(_keys([group.value(env) for group in groups], types), []).append(env)
    if not found and not groups:
        yield Env((None,) * tables, [], outer.warnings, outer)
    for group in found.values():
        yield Env(group[0].rows, group, outer.warnings, outer)


def _keys(values: Sequence[Value], types: Sequence[SqlType]) -> tuple[object, ...]:
    return tuple(sort_key(value, exact=bool(kind.collation)) for value, kind in zip(values, types, strict=True))


def _unique(rows: list[T], values: Callable[[T], Row], types: Sequence[SqlType]) -> list[T]:
    """The first of each that the collation takes for the same."""
    found: dict[tuple[object, ...], T] = {}
    for row in rows:
        spend()
        hold(BYTES_OF_A_KEY)
        found.setdefault(_keys(values(row), types), row)
    return list(found.values())


def _ordered(rows: list[T], env: Callable[[T], Env], order: Order) -> list[T]:
    """Sorted; equal ones keep their order."""
    for expr, descending in reversed(order):
        exact = bool(expr.type.collation)
        keyed = []
        for row in rows:
            spend()
            key = sort_key(expr.value(env(row)), exact=exact)
            hold(BYTES_OF_A_KEY + (size_of(key[1]) if isinstance(key[1], str) else 0))
            keyed.append((key, row))
        keyed.sort(key=lambda pair: pair[0], reverse=descending)
        rows = [row for _, row in keyed]
    return rows


def _limited(rows: list[Row], node: exp.Expression) -> list[Row]:
    """LIMIT and OFFSET of a query."""
    limit, offset = node.args.get("limit"), node.args.get("offset")
    first = _count(offset.expression) if offset is not None else 0
    return rows[first:] if limit is None else rows[first : first + _count(limit.expression)]


def _count(node: exp.Expression) -> int:
    if isinstance(node, exp.Paren):  # an argument
        return 0 if isinstance(node.this, exp.Null) else _count(node.this)
    if not isinstance(node, exp.Literal) or not node.name.isdigit():
        raise StatementError(1235, "LIMIT with anything but numbers")
    return int(node.name)


def run_select(tree: exp.Expr, session: Session, catalog: Catalog) -> Result:
    """A query's answer, within this thread's budget, or one of its own. Raises a `StatementError`."""
    if current() is None:
        with running(Budget()):
            return run_select(tree, session, catalog)
    try:
        plan = _plan(session, catalog, tree, None)
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


def _plan(session: Session, catalog: Catalog, node: exp.Expr, outer: Compiler | None) -> Plan:
    """``outer`` is the query around a subquery. Raises error 1235 for WITH and others."""
    planned = functools.partial(_plan, session, catalog)
    empty = Compiler(session, [], outer=outer, subplan=planned)
    if node.args.get("with_"):
        raise StatementError(1235, "WITH")
    if isinstance(node, exp.Select):
        return _select(node, empty, catalog)
    if isinstance(node, exp.Subquery) and not node.alias:
        return _arranged(planned(node.this, outer), node, empty)
    if isinstance(node, exp.Union):
        parts, whole = _parts(node)
        return _arranged(_union([planned(part, outer) for part in parts], whole), node, empty)
    raise StatementError(1235, type(node).__name__.upper())


def _union(plans: list[Plan], whole: int) -> Plan:
    """UNION, and UNION ALL behind number ``whole``: types that fit all, names of the first."""
    left = plans[0]
    if any(len(plan.types) != len(left.types) for plan in plans):
        raise StatementError(1222)
    types = [merged(kinds) for kinds in zip(*(plan.types for plan in plans), strict=True)]
    sides = [_conversion(plan, types) for plan in plans]

    def find(env: Env) -> list[Row]:
        rows = [row for side in sides[: whole + 1] for row in side(env)]
        rows = _unique(rows, lambda row: row, types) if whole else rows
        return rows + [row for side in sides[whole + 1 :] for row in side(env)]

    columns = [kind.definition(column.name) for kind, column in zip(types, left.columns, strict=True)]
    return Plan(columns, types, find, [one for plan in plans for one in plan.references])


def _parts(node: exp.Expression) -> tuple[list[exp.Expression], int]:
    """The queries of a chain of UNIONs, and the number of the last one before which UNION isn't ALL, 0 for none."""
    if any(value and name not in UNITED for name, value in node.args.items()):
        raise StatementError(1235, "this kind of UNION")
    is_chain = isinstance(node.this, exp.Union) and not any(node.this.args.get(name) for name in ("order", "limit"))
    parts, whole = _parts(node.this) if is_chain else ([node.this], 0)
    parts.append(node.expression)
    return parts, len(parts) - 1 if node.args.get("distinct") else whole


def _conversion(plan: Plan, types: list[SqlType]) -> Callable[[Env], list[Row]]:
    """The plan's rows with values of those types."""
    places = [Expr(kind, lambda env, at=at: (env.rows[0] or ())[at]) for at, kind in enumerate(plan.types)]  # type: ignore[misc]
    columns = [converted(place, kind) for place, kind in zip(places, types, strict=True)]

    def rows(outer: Env) -> list[Row]:
        found = plan.rows(outer)
        spend(len(found))
        hold(BYTES_OF_A_RESULT * len(found))
        return [tuple(one.value(Env((row,))) for one in columns) for row in found]

    return rows


def _arranged(plan: Plan, node: exp.Expression, compiler: Compiler) -> Plan:
    """With the ORDER BY and LIMIT of a whole UNION, or of what is in parentheses."""
    if not any(node.args.get(name) for name in ("order", "limit", "offset")):
        return plan
    columns = [Column(column.name, kind) for column, kind in zip(plan.columns, plan.types, strict=True)]
    compiler = replace(compiler, tables=[Table("", "", "", columns, list)])
    items = [compiler.compile(exp.column(exp.to_identifier(column.name))) for column in columns]
    order = _ordering(node, compiler, items)

    def find(outer: Env) -> list[Row]:
        def env(row: Row) -> Env:
            return Env((row,), warnings=outer.warnings, outer=outer)

        return _limited(_ordered(plan.rows(outer), env, order), node)

    return Plan(plan.columns, plan.types, find, [*plan.references, *compiler.references])
