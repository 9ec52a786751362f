"""FROM: which tables are read, and the combinations of their rows that the ON clauses allow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import hold, look_at
from innoclone.agent.sql.compiling import Compiler
from innoclone.agent.sql.expressions import Env, Expr
from innoclone.agent.sql.plans import Plan, Row, Table
from innoclone.agent.sql.values import truth

BYTES_OF_A_ROW = 150  # of a combination of rows, with what it is evaluated in; and for each of its tables
BYTES_OF_A_TABLE = 8
JOINED = ("this", "side", "kind", "on")  # what we know of a join
Rows = tuple[Row | None, ...]  # of each table one


class Catalog(Protocol):
    """Where tables come from."""

    def table(self, schema: str, name: str, alias: str) -> Table:
        """A table that may be read. Raises errors 1046, 1049, 1142, 1146."""


def sources(
    tree: exp.Select, catalog: Catalog, plan: Callable[[exp.Expression], Plan]
) -> tuple[list[Table], list[exp.Join]]:
    """The tables of FROM, and the joins between them; ``plan`` is for derived tables."""
    joins: list[exp.Join] = tree.args.get("joins") or []
    begin = tree.args.get("from_")
    if begin is None:
        return [], []
    found: list[Table] = []
    for node in (begin.this, *(join.this for join in joins)):
        if isinstance(node, exp.Table) and node.name.upper() == "DUAL" and not joins and not node.db:
            return [], []
        table = _table(node, catalog, plan)
        if any(other.alias.lower() == table.alias.lower() for other in found):
            raise StatementError(1066, table.alias)
        found.append(table)
    return found, joins


def _table(node: exp.Expression, catalog: Catalog, plan: Callable[[exp.Expression], Plan]) -> Table:
    is_plain = not any(value and name not in ("this", "db", "alias") for name, value in node.args.items())
    alias = node.args.get("alias")
    if not is_plain or (alias is not None and alias.args.get("columns")):
        raise StatementError(1235, "this kind of table in FROM")
    if isinstance(node, exp.Subquery):
        if not node.alias:
            raise StatementError(1248)
        derived = plan(node.this)
        return Table(node.alias, "", node.alias, derived.as_columns(), lambda: derived.rows(Env(())))
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise StatementError(1235, "this kind of table in FROM")
    return catalog.table(node.db, node.name, node.alias or node.name)


def joined(
    tables: Sequence[Table], joins: Sequence[exp.Join], compiler: Compiler, where: exp.Expression | None
) -> Callable[[Env], Iterator[Env]]:
    """A function that gives all combinations of rows that the ON clauses allow, for a row of the outer query.

    The order is that of MySQL's hash join where two tables are joined by equality: the table that WHERE narrows (else
    the left one) is put into the hash table, and comes out of it newest first for each row of the other.
    """
    steps = [_Step(None, False, "")]
    for at, join in enumerate(joins, 1):
        condition, left = _condition(join)
        narrowed = replace(compiler, tables=tables[: at + 1], clause="on clause")
        by_hash = len(tables) == 2 and not left and _is_equality(condition, where)
        hashed = "" if not by_hash else "right" if where is not None and _narrows(where, *tables) else "left"
        steps.append(_Step(narrowed.compile(condition) if condition else None, left, hashed))

    def find(outer: Env) -> Iterator[Env]:
        found: Iterator[Rows] = iter([()])
        for table, step in zip(tables, steps, strict=False):  # SELECT 1 has no table
            found = step.combined(found, table.rows(), outer)
        for rows in found:
            yield Env(rows, warnings=outer.warnings, outer=outer)

    return find


def kept(envs: Iterable[Env], tables: int) -> list[Env]:
    """A list of them, whose memory counts."""
    found = []
    for env in envs:
        hold(BYTES_OF_A_ROW + BYTES_OF_A_TABLE * tables)
        found.append(env)
    return found


@dataclass(frozen=True)
class _Step:
    """One join: its ON clause, whether it is a LEFT JOIN, and which side is put into a hash table, if any."""

    test: Expr | None
    left: bool
    hashed: str

    def combined(self, before: Iterator[Rows], rows: Sequence[Row], outer: Env) -> Iterator[Rows]:
        """Each of ``before`` with each row that the ON clause allows; of a LEFT JOIN with None where there is none."""
        if self.hashed == "left":
            earlier = list(before)[::-1]
            yield from (both for row in rows for one in earlier if self._allows(both := (*one, row), outer))
            return
        for one in before:
            matched = False
            for row in rows[::-1] if self.hashed else rows:
                if self._allows((*one, row), outer):
                    matched = True
                    yield (*one, row)
            if self.left and not matched:
                yield (*one, None)

    def _allows(self, rows: Rows, outer: Env) -> bool:
        look_at()
        return self.test is None or bool(truth(self.test.value(Env(rows, warnings=outer.warnings, outer=outer))))


def _condition(join: exp.Join) -> tuple[exp.Expression | None, bool]:
    """The ON clause, and whether it is a LEFT JOIN. Raises error 1235 for USING and other kinds."""
    side, kind = (str(join.args.get(name) or "").upper() for name in ("side", "kind"))
    is_known = side in ("", "LEFT") and kind in ("", "INNER", "CROSS", "OUTER", "STRAIGHT_JOIN")
    if not is_known or any(value and name not in JOINED for name, value in join.args.items()):
        raise StatementError(1235, "this kind of JOIN")
    return join.args.get("on"), side == "LEFT"


def _is_equality(condition: exp.Expression | None, where: exp.Expression | None) -> bool:
    parts = [part for node in (condition, where) if node is not None for part in node.find_all(exp.EQ)]
    return any(isinstance(p.this, exp.Column) and isinstance(p.expression, exp.Column) for p in parts)


def _narrows(where: exp.Expression, other: Table, table: Table) -> bool:
    """Whether WHERE speaks of that table alone."""
    names = {column.name.lower() for column in table.columns} - {column.name.lower() for column in other.columns}
    columns = list(where.find_all(exp.Column))
    return bool(columns) and all(
        one.table.lower() == table.alias.lower() or (not one.table and one.name.lower() in names) for one in columns
    )
