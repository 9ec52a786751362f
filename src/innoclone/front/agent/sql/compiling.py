"""From sqlglot's nodes to expressions: names are looked up, functions found, and what is not known is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlglot import exp

from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql import expressions as ops
from innoclone.front.agent.sql.expressions import Env, Expr, arithmetic, constant, scalar
from innoclone.front.agent.sql.functions import AGGREGATES, FUNCTIONS, aggregate
from innoclone.front.agent.sql.moments import timestampdiff
from innoclone.front.agent.sql.types import BIGINT, BOOL, NULL, Column, Value, varchar
from innoclone.front.agent.sql.values import truth

__all__ = ["Compiler", "Session", "Table"]


class Session(Protocol):
    """What a statement may ask about its session."""

    def function(self, name: str, decimals: int) -> Expr | None:
        """USER(), DATABASE(), NOW() and the like; None for a name that is none of them."""

    def variable(self, name: str) -> Expr:
        """``@@name``, with its scope if one was given. Raises error 1193."""


@dataclass(frozen=True)
class Table:
    """A table of the FROM clause, under the name that the statement gives it."""

    alias: str
    schema: str
    name: str
    columns: Sequence[Column]
    rows: Callable[[], Sequence[tuple[Value, ...]]]


KNOWN: dict[type[exp.Expression], set[str]] = {
    exp.Column: {"this", "table", "db"},
    exp.Literal: {"this", "is_string"},
    exp.Div: {"this", "expression", "typed", "safe"},
    exp.Concat: {"expressions", "coalesce", "safe"},
    exp.If: {"this", "true", "false"},
    exp.Case: {"this", "ifs", "default"},
    exp.Cast: {"this", "to"},
    exp.Between: {"this", "low", "high"},
    exp.In: {"this", "expressions"},
    exp.Like: {"this", "expression", "negate"},
    exp.SessionParameter: {"this", "kind"},
}
USUAL = {"this", "expression", "expressions"}
COMPARISONS: dict[type[exp.Expression], Callable[[int], bool]] = {
    exp.EQ: lambda order: order == 0,
    exp.NEQ: lambda order: order != 0,
    exp.GT: lambda order: order > 0,
    exp.GTE: lambda order: order >= 0,
    exp.LT: lambda order: order < 0,
    exp.LTE: lambda order: order <= 0,
}
SIGNS: dict[type[exp.Expression], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "DIV", exp.Mod: "%",
}  # fmt: skip
LOGIC: dict[type[exp.Expression], str] = {exp.And: "AND", exp.Or: "OR", exp.Xor: "XOR"}
NAMED: dict[type[exp.Expression], str] = {
    exp.CurrentTimestamp: "NOW", exp.CurrentDate: "CURDATE", exp.CurrentTime: "CURTIME",
    exp.CurrentUser: "CURRENT_USER", exp.CurrentDatetime: "NOW", exp.Localtime: "NOW", exp.Localtimestamp: "NOW",
    exp.CurrentSchema: "DATABASE", exp.CurrentVersion: "VERSION",
}  # fmt: skip


@dataclass
class Compiler:
    """Compiles the expressions of one SELECT; ``clause`` is MySQL's name of where the expression stands."""

    session: Session
    tables: Sequence[Table]
    clause: str = "field list"
    aliases: Mapping[str, Expr] = field(default_factory=dict)  # that may be used, by name in lower case

    def compile(self, node: exp.Expression) -> Expr:
        """Raises the errors that MySQL has for it."""
        kind = type(node)
        known = KNOWN.get(kind, USUAL)
        if any(value and name not in known for name, value in node.args.items()):
            raise self._unknown(node)
        if kind in SIGNS:
            return self._arithmetic(node)
        if kind in COMPARISONS:
            return ops.comparison(COMPARISONS[kind], *self._both(node))
        if kind in LOGIC:
            return ops.logical(LOGIC[kind], *self._both(node))
        if kind in NAMED:
            return self._function(NAMED[kind], [])
        return self._other(node)

    def _other(self, node: exp.Expression) -> Expr:
        match node:
            case exp.Column():
                return self._column(node)
            case exp.Literal():
                text = str(node.this)
                return constant(varchar(len(text)), text) if node.is_string else ops.literal_number(text)
            case exp.National() | exp.RawString():
                return constant(varchar(len(str(node.this))), str(node.this))
            case exp.HexString():
                text = bytes.fromhex(_even(str(node.this))).decode("utf-8", "replace")
                return constant(varchar(len(text)), text)
            case exp.BitString():
                return constant(BIGINT, int(str(node.this), 2))
            case exp.Introducer():
                return self.compile(node.args["expression"])
            case exp.Null():
                return constant(NULL, None)
            case exp.Boolean():
                return constant(BOOL, int(bool(node.this)))
            case exp.Paren():
                return self.compile(node.this)
            case exp.Neg():
                return ops.negative(self.compile(node.this))
            case exp.Not():
                return scalar(BOOL, lambda value: int(not truth(value)), self.compile(node.this))
            case exp.NullSafeEQ():
                return self._null_safe(*self._both(node))
            case exp.Is():
                return self._is(node)
            case exp.Between():
                return self._between(node)
            case exp.In():
                return ops.one_of(self.compile(node.this), [self.compile(one) for one in node.expressions])
            case exp.Like():
                return self._like(node)
            case exp.Escape():
                return self._escape(node)
            case exp.If():
                return self._case([node], None, node.args.get("false"))
            case exp.Case():
                return self._case(node.args["ifs"], node.this, node.args.get("default"))
            case exp.Cast():
                return ops.cast(self.compile(node.this), node.args["to"])
            case exp.Concat():  # 'a' 'b'
                return FUNCTIONS["CONCAT"][2](*(self.compile(one) for one in node.expressions))
            case exp.SessionParameter():
                scope = f"{node.args['kind']}." if node.args.get("kind") else ""
                return self.session.variable(scope.lower() + node.name.lower())
            case exp.Parameter():
                return constant(NULL, None)  # a user variable: none can be set here
            case exp.Anonymous():
                return self._function(str(node.this).upper(), list(node.expressions))
        raise self._unknown(node)

    def _unknown(self, node: exp.Expression) -> StatementError:
        return StatementError(1235, node.sql(dialect="mysql")[:80])

    def _both(self, node: exp.Expression) -> tuple[Expr, Expr]:
        return self.compile(node.this), self.compile(node.args["expression"])

    def _column(self, node: exp.Column) -> Expr:
        table, name = node.table.lower(), node.name.lower()
        full = ".".join(part for part in (node.db, node.table, node.name) if part)
        if not table and self.clause != "field list" and self.clause != "where clause" and name in self.aliases:
            return self.aliases[name]
        found = [
            (at, index, column)
            for at, source in enumerate(self.tables)
            if (not table or source.alias.lower() == table) and (not node.db or source.schema == node.db.lower())
            for index, column in enumerate(source.columns)
            if column.name.lower() == name
        ]
        if not found:
            if not table and name in self.aliases and self.clause != "where clause":
                return self.aliases[name]
            raise StatementError(1054, full, self.clause)
        if len(found) > 1:
            raise StatementError(1052, full, self.clause)
        at, index, column = found[0]

        def value(env: Env) -> Value:
            row = env.rows[at]
            return None if row is None else row[index]

        source = self.tables[at]
        shown = ".".join(part for part in (source.schema, source.alias, column.name) if part)
        return Expr(column.type, value, frozenset({(at, index, shown)}))

    def _arithmetic(self, node: exp.Expression) -> Expr:
        sign, right = SIGNS[type(node)], node.args["expression"]
        if isinstance(right, exp.Interval) and sign in "+-":
            return self._interval(node.this, right, -1 if sign == "-" else 1)
        if isinstance(node.this, exp.Interval) and sign == "+":
            return self._interval(right, node.this, 1)
        return arithmetic(sign, *self._both(node), f"({node.sql(dialect='mysql')})")

    def _interval(self, moment: exp.Expression, interval: exp.Interval, sign: int) -> Expr:
        unit = interval.args.get("unit")
        return ops.plus_interval(
            self.compile(moment), self.compile(interval.this), unit.name.upper() if unit else "", sign
        )

    def _null_safe(self, left: Expr, right: Expr) -> Expr:
        same = ops.comparison(lambda order: order == 0, left, right)

        def value(env: Env) -> Value:
            first, second = left.value(env), right.value(env)
            if first is None or second is None:
                return int(first is None and second is None)
            return same.value(env)

        return ops.derived(BOOL, value, (left, right))

    def _is(self, node: exp.Is) -> Expr:
        left, right = self.compile(node.this), node.args["expression"]
        if isinstance(right, exp.Null):
            return scalar(BOOL, lambda value: int(value is None), left, nulls=True)
        if isinstance(right, exp.Boolean):
            wanted = bool(right.this)
            return scalar(BOOL, lambda value: int(truth(value) is wanted), left, nulls=True)
        raise self._unknown(node)

    def _between(self, node: exp.Between) -> Expr:
        value, low, high = (self.compile(node.args[name]) for name in ("this", "low", "high"))
        above = ops.comparison(lambda order: order >= 0, value, low)
        return ops.logical("AND", above, ops.comparison(lambda order: order <= 0, value, high))

    def _like(self, node: exp.Like, escape: str = "\\") -> Expr:
        found = ops.like(*self._both(node), escape)
        return scalar(BOOL, lambda value: int(not value), found) if node.args.get("negate") else found

    def _escape(self, node: exp.Escape) -> Expr:
        escape = node.args["expression"]
        if isinstance(node.this, exp.Like) and isinstance(escape, exp.Literal) and len(str(escape.this)) <= 1:
            return self._like(node.this, str(escape.this))
        if isinstance(escape, exp.Literal) and len(str(escape.this)) > 1:
            raise StatementError(1210, "ESCAPE")
        raise self._unknown(node)

    def _case(
        self, branches: Sequence[exp.Expression], subject: exp.Expression | None, otherwise: exp.Expression | None
    ) -> Expr:
        compared = self.compile(subject) if subject is not None else None
        found = []
        for branch in branches:
            condition = self.compile(branch.this)
            if compared is not None:
                condition = ops.comparison(lambda order: order == 0, compared, condition)
            found.append((condition, self.compile(branch.args["true"])))
        return ops.case(found, constant(NULL, None) if otherwise is None else self.compile(otherwise))

    def _function(self, name: str, args: list[exp.Expression]) -> Expr:
        if name in AGGREGATES:
            return self._aggregate(name, args)
        if name == "TIMESTAMPDIFF" and len(args) == 3 and isinstance(args[0], exp.Column | exp.Var):
            return timestampdiff(args[0].name.upper(), self.compile(args[1]), self.compile(args[2]))
        if name in ("DATE_ADD", "DATE_SUB", "ADDDATE", "SUBDATE") and len(args) == 2:
            if isinstance(args[1], exp.Interval):
                return self._interval(args[0], args[1], -1 if "SUB" in name else 1)
            raise StatementError(1235, name)
        if name == "UNIX_TIMESTAMP" and not args:
            return FUNCTIONS[name][2](self._function("NOW", []))
        decimals = 0
        if name in ("NOW", "SYSDATE", "CURRENT_TIMESTAMP", "UTC_TIMESTAMP", "CURTIME") and args:
            decimals = int(args[0].name) if isinstance(args[0], exp.Literal) and args[0].name.isdigit() else 7
            if decimals > 6:
                raise StatementError(1235, f"{name} with that precision")
            args = []
        if not args and (found := self.session.function(name, decimals)) is not None:
            return found
        if name not in FUNCTIONS:
            raise StatementError(1305, "FUNCTION", name)
        least, most, make = FUNCTIONS[name]
        if len(args) < least or (most is not None and len(args) > most):
            raise StatementError(1582, name)
        return make(*(self.compile(arg) for arg in args))

    def _aggregate(self, name: str, args: list[exp.Expression]) -> Expr:
        if self.clause in ("where clause", "on clause", "group statement"):
            raise StatementError(1111)
        distinct = len(args) == 1 and isinstance(args[0], exp.Distinct)
        if distinct:
            args = args[0].expressions
        if len(args) != 1 or (isinstance(args[0], exp.Star) and (name != "COUNT" or distinct)):
            raise StatementError(1235, f"{name} of that")
        inner = None if isinstance(args[0], exp.Star) else self.compile(args[0])
        return aggregate(name, inner, distinct=distinct)


def _even(digits: str) -> str:
    return digits if len(digits) % 2 == 0 else "0" + digits
