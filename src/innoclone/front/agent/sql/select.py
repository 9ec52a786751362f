"""Running a SELECT: FROM and joins, WHERE, groups, HAVING, the list, DISTINCT, ORDER BY, LIMIT."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlglot import exp

from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql.compiling import Compiler, Session, Table
from innoclone.front.agent.sql.expressions import Env, Expr
from innoclone.front.agent.sql.parsing import Select
from innoclone.front.agent.sql.types import SqlType, Value
from innoclone.front.agent.sql.values import sort_key, truth
from innoclone.wire.results import ColumnDefinition

__all__ = ["Catalog", "Result", "run_select"]

MOST_ROWS = 1_000_000  # that joins may look at
ALLOWED = {"expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "kind"}


class Catalog(Protocol):
    """Where tables come from."""

    def table(self, schema: str, name: str, alias: str) -> Table:
        """A table that may be read. Raises errors 1046, 1049, 1142, 1146."""


@dataclass(frozen=True)
class Result:
    """Columns, rows of values, and the type of each column for their text form."""

    columns: list[ColumnDefinition]
    types: list[SqlType]
    rows: list[tuple[Value, ...]]
    warnings: list[tuple[int, str]]


@dataclass(frozen=True)
class _Item:
    """One column of the result."""

    expr: Expr
    definition: ColumnDefinition
    alias: str  # by which other clauses may call it


def run_select(select: Select, session: Session, catalog: Catalog, *, check: Callable[[], None]) -> Result:
    """``check`` is called now and then, and raises to end the statement. Raises a `StatementError`."""
    try:
        return _run(select, session, catalog, check)
    except RecursionError:
        raise StatementError(1235, "a SELECT as deep as this one") from None
    except ArithmeticError:  # Python's numbers have another largest one
        raise StatementError(1690, "DOUBLE", select.names[0]) from None


def _run(select: Select, session: Session, catalog: Catalog, check: Callable[[], None]) -> Result:
    tree = select.tree
    for name, value in tree.args.items():
        if value and name not in ALLOWED:
            raise StatementError(1235, f"SELECT with {name.rstrip('_').upper()}")
    sources, joins = _sources(tree, catalog)
    compiler = Compiler(session, sources)
    items = list(_items(select, sources, compiler))
    compiler.aliases = {item.alias.lower(): item.expr for item in items if item.alias}
    where = _clause(tree, "where", compiler, "where clause")
    groups = _group_by(tree, compiler, items)
    having = _clause(tree, "having", compiler, "having clause")
    order = _order_by(tree, compiler, items)
    aggregated = bool(groups) or any(e.is_aggregate for e in [i.expr for i in items] + [o for o, _ in order])
    aggregated = aggregated or (having is not None and having.is_aggregate)
    if aggregated:
        _only_full_group_by(items, groups)

    warnings: list[tuple[int, str]] = []
    rows = _joined(sources, joins, compiler, (where is not None and tree.args["where"].this) or None, warnings, check)
    kept = [env for env in rows if where is None or truth(where.value(env))]
    envs = list(_grouped(kept, groups, warnings, len(sources))) if aggregated else kept
    if having is not None:
        envs = [env for env in envs if truth(having.value(env))]
    found = []
    for env in envs:
        check()
        found.append((tuple(item.expr.value(env) for item in items), env))
    if tree.args.get("distinct"):
        found = list({tuple(map(sort_key, row)): (row, env) for row, env in reversed(found)}.values())[::-1]
    for expr, descending in reversed(order):
        found.sort(key=lambda pair, expr=expr: sort_key(expr.value(pair[1])), reverse=descending)  # type: ignore[misc]
    values = _limited([row for row, _ in found], tree)
    return Result([item.definition for item in items], [item.expr.type for item in items], values, warnings)


def _sources(tree: exp.Select, catalog: Catalog) -> tuple[list[Table], list[exp.Join]]:
    joins: list[exp.Join] = tree.args.get("joins") or []
    begin = tree.args.get("from_")
    if begin is None:
        return [], []
    found: list[Table] = []
    for node in (begin.this, *(join.this for join in joins)):
        if isinstance(node, exp.Table) and node.name.upper() == "DUAL" and not joins and not node.db:
            return [], []
        if not isinstance(node, exp.Table) or any(v and k not in ("this", "db", "alias") for k, v in node.args.items()):
            raise StatementError(1235, "this kind of table in FROM")
        table = catalog.table(node.db, node.name, node.alias or node.name)
        if any(other.alias.lower() == table.alias.lower() for other in found):
            raise StatementError(1066, table.alias)
        found.append(table)
    return found, joins


def _items(select: Select, sources: Sequence[Table], compiler: Compiler) -> Iterator[_Item]:
    for node, name in zip(select.tree.expressions, select.names, strict=True):
        star = isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))
        if star:
            yield from _all_columns(node, sources, compiler)
            continue
        alias = node.alias if isinstance(node, exp.Alias) else ""
        inner = node.this if isinstance(node, exp.Alias) else node
        expr = compiler.compile(inner)
        if isinstance(inner, exp.Column) and len(expr.columns) == 1:
            yield _column(alias or name, expr, sources)
        else:
            yield _Item(expr, expr.type.definition(alias or name), alias)


def _all_columns(node: exp.Expression, sources: Sequence[Table], compiler: Compiler) -> Iterator[_Item]:
    wanted = node.table if isinstance(node, exp.Column) else ""
    chosen = [table for table in sources if not wanted or table.alias.lower() == wanted.lower()]
    if not chosen:
        raise StatementError(1051, wanted) if wanted else StatementError(1096)
    for table in chosen:
        for column in table.columns:
            expr = compiler.compile(exp.column(exp.to_identifier(column.name), table=exp.to_identifier(table.alias)))
            yield _column(column.name, expr, sources)


def _column(name: str, expr: Expr, sources: Sequence[Table]) -> _Item:
    at, index, _ = next(iter(expr.columns))
    table = sources[at]
    definition = expr.type.definition(
        name, schema=table.schema, table=table.name, alias=table.alias, original=table.columns[index].name
    )
    return _Item(expr, definition, name)


def _clause(tree: exp.Select, name: str, compiler: Compiler, clause: str) -> Expr | None:
    node = tree.args.get(name)
    if node is None:
        return None
    return replace(compiler, clause=clause).compile(node.this)


def _by(node: exp.Expression, compiler: Compiler, items: Sequence[_Item], clause: str) -> Expr:
    """An expression of GROUP BY or ORDER BY; a number is a position in the list."""
    if isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit():
        if not 1 <= int(node.name) <= len(items):
            raise StatementError(1054, node.name, clause)
        return items[int(node.name) - 1].expr
    return replace(compiler, clause=clause).compile(node)


def _group_by(tree: exp.Select, compiler: Compiler, items: Sequence[_Item]) -> list[Expr]:
    group = tree.args.get("group")
    if group is None:
        return []
    if any(value and name != "expressions" for name, value in group.args.items()):
        raise StatementError(1235, "GROUP BY with modifiers")
    return [_by(node, compiler, items, "group statement") for node in group.expressions]


def _order_by(tree: exp.Select, compiler: Compiler, items: Sequence[_Item]) -> list[tuple[Expr, bool]]:
    order = tree.args.get("order")
    nodes = order.expressions if order is not None else []
    return [(_by(node.this, compiler, items, "order clause"), bool(node.args.get("desc"))) for node in nodes]


def _only_full_group_by(items: Sequence[_Item], groups: Sequence[Expr]) -> None:
    """Columns outside of aggregates must be those of GROUP BY."""
    grouped = frozenset().union(*(group.columns for group in groups)) if groups else frozenset()
    for number, item in enumerate(items, 1):
        for *_, shown in sorted(item.expr.columns - grouped):
            raise StatementError(1055, number, shown) if groups else StatementError(1140, number, shown)


def _grouped(rows: list[Env], groups: Sequence[Expr], warnings: list[tuple[int, str]], tables: int) -> Iterator[Env]:
    found: dict[tuple[object, ...], list[Env]] = {}
    for env in rows:
        found.setdefault(tuple(sort_key(group.value(env)) for group in groups), []).append(env)
    if not found and not groups:
        yield Env((None,) * tables, [], warnings)
    for group in found.values():
        yield Env(group[0].rows, group, warnings)


def _joined(
    sources: Sequence[Table],
    joins: Sequence[exp.Join],
    compiler: Compiler,
    where: exp.Expression | None,
    warnings: list[tuple[int, str]],
    check: Callable[[], None],
) -> list[Env]:
    """All combinations of rows that the ON clauses allow.

    The order is that of MySQL's hash join where two tables are joined by equality: the table that WHERE narrows (else
    the left one) is put into the hash table, and comes out of it newest first for each row of the other.
    """
    if not sources:
        return [Env((), warnings=warnings)]
    found: list[tuple[tuple[Value, ...] | None, ...]] = [(row,) for row in sources[0].rows()]
    looked_at = 0
    for at, join in enumerate(joins, 1):
        condition, left = _condition(join, sources[: at + 1], compiler)
        rows = sources[at].rows()
        by_hash = len(sources) == 2 and not left and _is_equality(condition, where, sources)
        builds_right = by_hash and _narrows(where, sources[1], sources)
        new: list[tuple[tuple[Value, ...] | None, ...]] = []
        pairs: Iterator[tuple[tuple[tuple[Value, ...] | None, ...], tuple[Value, ...]]]
        if builds_right:
            pairs = ((one, row) for one in found for row in reversed(rows))
        elif by_hash:
            pairs = ((one, row) for row in rows for one in reversed(found))
        else:
            pairs = itertools.product(found, rows)
        test = replace(compiler, tables=sources[: at + 1], clause="on clause").compile(condition) if condition else None
        matched: set[int] = set()
        for one, row in pairs:
            looked_at += 1
            if looked_at > MOST_ROWS:
                raise StatementError(1104)
            if looked_at % 1000 == 0:
                check()
            if test is None or truth(test.value(Env((*one, row), warnings=warnings))):
                matched.add(id(one))
                new.append((*one, row))
        if left:
            new = _with_unmatched(found, new, matched)
        found = new
    return [Env(row, warnings=warnings) for row in found]


def _with_unmatched(
    before: list[tuple[tuple[Value, ...] | None, ...]],
    joined: list[tuple[tuple[Value, ...] | None, ...]],
    matched: set[int],
) -> list[tuple[tuple[Value, ...] | None, ...]]:
    """LEFT JOIN: rows without a partner stay, at their place."""
    rest = iter(joined)
    following = next(rest, None)
    found: list[tuple[tuple[Value, ...] | None, ...]] = []
    for one in before:
        if id(one) not in matched:
            found.append((*one, None))
            continue
        while following is not None and all(a is b for a, b in zip(one, following, strict=False)):
            found.append(following)
            following = next(rest, None)
    return found


def _condition(join: exp.Join, sources: Sequence[Table], compiler: Compiler) -> tuple[exp.Expression | None, bool]:
    """The ON clause (USING as one), and whether it is a LEFT JOIN."""
    side, kind = str(join.args.get("side") or "").upper(), str(join.args.get("kind") or "").upper()
    known = {"this", "side", "kind", "on", "using"}
    if side not in ("", "LEFT") or kind not in ("", "INNER", "CROSS", "OUTER") or any(
        value and name not in known for name, value in join.args.items()
    ):  # fmt: skip
        raise StatementError(1235, "this kind of JOIN")
    condition: exp.Expression | None = join.args.get("on")
    for name in join.args.get("using") or []:
        left = next((t for t in sources[:-1] if any(c.name.lower() == name.name.lower() for c in t.columns)), None)
        if left is None:
            raise StatementError(1054, name.name, "from clause")
        same = exp.EQ(
            this=exp.column(name.copy(), table=exp.to_identifier(left.alias)),
            expression=exp.column(name.copy(), table=exp.to_identifier(sources[-1].alias)),
        )
        condition = same if condition is None else exp.And(this=condition, expression=same)
    return condition, side == "LEFT"


def _is_equality(condition: exp.Expression | None, where: exp.Expression | None, sources: Sequence[Table]) -> bool:
    parts = [part for node in (condition, where) if node is not None for part in node.find_all(exp.EQ)]
    return any(isinstance(p.this, exp.Column) and isinstance(p.expression, exp.Column) for p in parts)


def _narrows(where: exp.Expression | None, table: Table, sources: Sequence[Table]) -> bool:
    """Whether WHERE speaks of that table alone."""
    if where is None:
        return False
    other = next(source for source in sources if source is not table)
    names = {column.name.lower() for column in table.columns} - {column.name.lower() for column in other.columns}
    columns = list(where.find_all(exp.Column))
    mine = [c for c in columns if c.table.lower() == table.alias.lower() or (not c.table and c.name.lower() in names)]
    return bool(mine) and len(mine) == len(columns)


def _limited(rows: list[tuple[Value, ...]], tree: exp.Select) -> list[tuple[Value, ...]]:
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    first = _count(offset.expression) if offset is not None else 0
    return rows[first:] if limit is None else rows[first : first + _count(limit.expression)]


def _count(node: exp.Expression) -> int:
    if not isinstance(node, exp.Literal) or not node.name.isdigit():
        raise StatementError(1235, "LIMIT with anything but numbers")
    return int(node.name)
