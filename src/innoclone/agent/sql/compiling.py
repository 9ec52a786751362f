"""From sqlglot's nodes to expressions: names are looked up, functions found, and what is not known is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import expressions as ops
from innoclone.agent.sql.aggregates import AGGREGATES, aggregate, group_concat
from innoclone.agent.sql.budget import spend
from innoclone.agent.sql.casts import cast, collated
from innoclone.agent.sql.dates import ZONED, extract, plus_interval, timestampdiff
from innoclone.agent.sql.expressions import Env, Expr, constant, scalar
from innoclone.agent.sql.functions import FUNCTIONS
from innoclone.agent.sql.lexer import NO_BACKSLASH_ESCAPES
from innoclone.agent.sql.plans import Plan, exists, quantified, scalar_subquery
from innoclone.agent.sql.regexps import regexp_like
from innoclone.agent.sql.scope import Session, Table
from innoclone.agent.sql.types import BOOL, NULL, Value, integer, varchar
from innoclone.agent.sql.values import truth

__all__ = ["Compiler"]

BITS_OF_A_NUMBER = 64
UNGROUPED = ("where clause", "on clause", "group statement")  # where there are no aggregates
KNOWN: dict[type[exp.Expression], set[str]] = {
    exp.Column: {"this", "table", "db"},
    exp.Literal: {"this", "is_string"},
    exp.Div: {"this", "expression", "typed", "safe"},
    exp.DPipe: {"this", "expression", "safe"},
    exp.Concat: {"expressions", "coalesce", "safe"},
    exp.If: {"this", "true", "false"},
    exp.Case: {"this", "ifs", "default"},
    exp.Cast: {"this", "to"},
    exp.Trim: {"this", "expression", "position"},
    exp.Substring: {"this", "start", "length"},
    exp.StrPosition: {"this", "substr"},
    exp.GroupConcat: {"this", "separator"},
    exp.Subquery: {"this", "order", "limit", "offset"},
    exp.Between: {"this", "low", "high"},
    exp.In: {"this", "expressions", "query"},
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
BITS: dict[type[exp.Expression], str] = {
    exp.BitwiseAnd: "&", exp.BitwiseOr: "|", exp.BitwiseXor: "^", exp.BitwiseLeftShift: "<<",
    exp.BitwiseRightShift: ">>",
}  # fmt: skip
LOGIC: dict[type[exp.Expression], str] = {exp.And: "AND", exp.Or: "OR", exp.Xor: "XOR"}
NAMED: dict[type[exp.Expression], str] = {
    exp.CurrentTimestamp: "NOW", exp.CurrentDate: "CURDATE", exp.CurrentTime: "CURTIME",
    exp.CurrentUser: "CURRENT_USER", exp.CurrentDatetime: "NOW", exp.Localtime: "NOW", exp.Localtimestamp: "NOW",
    exp.CurrentSchema: "DATABASE", exp.CurrentVersion: "VERSION",
}  # fmt: skip


@dataclass
class Compiler:
    """Compiles the expressions of one SELECT; ``clause`` is MySQL's name of where the expression stands.

    ``outer`` is the query around a subquery, ``references`` what of that was used, ``named`` the tables of WITH.
    """

    session: Session
    tables: Sequence[Table]
    clause: str = "field list"
    aliases: Mapping[str, Expr] = field(default_factory=dict)  # that may be used, by name in lower case
    shared: frozenset[str] = frozenset()  # columns of USING
    outer: Compiler | None = None
    named: Mapping[str, Plan] = field(default_factory=dict)
    subplan: Callable[[exp.Expression, Compiler | None, Mapping[str, Plan]], Plan] = field(kw_only=True)
    references: list[Expr] = field(default_factory=list)

    def compile(self, node: exp.Expression) -> Expr:
        """Raises the errors that MySQL has for it."""
        spend(10)
        kind = type(node)
        known = KNOWN.get(kind, USUAL)
        if any(value and name not in known for name, value in node.args.items()):
            raise self._unknown(node)
        if kind in SIGNS:
            return self._arithmetic(node)
        if kind in COMPARISONS:
            return self._comparison(node)
        if kind in BITS:
            return ops.bitwise(BITS[kind], *self._both(node))
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
                digits = "0" * (len(str(node.this)) % 2) + str(node.this)
                text = bytes.fromhex(digits).decode("utf-8", "replace")
                return constant(replace(varchar(len(str(node.this)) // 2), collation="binary"), text)
            case exp.BitString():
                if len(str(node.this)) > BITS_OF_A_NUMBER:
                    raise StatementError(1235, f"a value of more than {BITS_OF_A_NUMBER} bits")
                return constant(integer(len(str(node.this))), int(str(node.this), 2))
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
                return self._in(node)
            case exp.Subquery() | exp.Select() | exp.Union():
                return scalar_subquery(self._plan(node))
            case exp.Exists():
                return exists(self._plan(node.this))
            case exp.Like():
                return self._like(node)
            case exp.Escape():
                return self._escape(node)
            case exp.If():
                return self._case([node], None, node.args.get("false"))
            case exp.Case():
                return self._case(node.args["ifs"], node.this, node.args.get("default"))
            case exp.Cast():
                return cast(self.compile(node.this), node.args["to"])
            case exp.Collate():
                return collated(self.compile(node.this), node.args["expression"].name)
            case exp.RegexpLike():
                return regexp_like(*self._both(node))
            case exp.BitwiseNot():
                return ops.bitwise("~", self.compile(node.this))
            case exp.DPipe():  # of PIPES_AS_CONCAT
                return FUNCTIONS["CONCAT"][2](*self._both(node))
            case exp.Concat():  # 'a' 'b'
                return FUNCTIONS["CONCAT"][2](*(self.compile(one) for one in node.expressions))
            case exp.SessionParameter():
                scope = f"{node.args['kind']}." if node.args.get("kind") else ""
                return self.session.variable(scope.lower() + node.name.lower())
            case exp.Parameter():
                return self.session.user_variable(node.name)
            case exp.PropertyEQ() if isinstance(node.this, exp.Parameter):
                return self.session.assign(node.this.name, self.compile(node.args["expression"]))
            case exp.Anonymous():
                return self._function(str(node.this).upper(), list(node.expressions))
            case exp.Trim() | exp.Substring() | exp.StrPosition() | exp.Extract() | exp.GroupConcat():
                return self._worded(node)
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
        spend(sum(len(source.columns) for source in self.tables) // 4)
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
            if not table and name in ("utc_date", "utc_time", "utc_timestamp") and not node.this.quoted:
                return self._function(name.upper(), [])
            return self._outer_column(node, full)
        if len(found) > 1 and (table or name not in self.shared):
            raise StatementError(1052, full, self.clause)
        at, index, column = found[0]

        def value(env: Env) -> Value:
            row = env.rows[at]
            return None if row is None else row[index]

        source = self.tables[at]
        shown = ".".join(part for part in (source.schema, source.alias, column.name) if part)
        return Expr(column.type, value, frozenset({(at, index, shown)}))

    def _outer_column(self, node: exp.Column, full: str) -> Expr:
        """A column of a query around this one."""
        try:
            found = self.outer._column(node) if self.outer is not None else None
        except StatementError as error:
            if error.code != 1054:
                raise
            found = None
        if found is None:
            raise StatementError(1054, full, self.clause)
        self.references.append(found)
        return Expr(found.type, lambda env: found.value(env.outer) if env.outer is not None else None)

    def _plan(self, node: exp.Expression) -> Plan:
        return self.subplan(node, self, self.named)

    def _comparison(self, node: exp.Expression) -> Expr:
        """Also with ANY or ALL rows of a subquery."""
        test, right = COMPARISONS[type(node)], node.args["expression"]
        if isinstance(node.this, exp.Tuple) and isinstance(right, exp.Tuple):
            return self._rows_compared(node, list(node.this.expressions), list(right.expressions))
        if isinstance(right, exp.Any | exp.All):
            return quantified(test, self.compile(node.this), self._plan(right.this), every=isinstance(right, exp.All))
        return ops.comparison(test, *self._both(node))

    def _rows_compared(self, node: exp.Expression, left: list[exp.Expression], right: list[exp.Expression]) -> Expr:
        """``(a, b) = (c, d)``. Raises errors 1235, 1241."""
        if not isinstance(node, exp.EQ | exp.NEQ | exp.In):
            raise self._unknown(node)
        if len(left) != len(right):
            raise StatementError(1241, len(left))
        pairs = [exp.EQ(this=one, expression=other) for one, other in zip(left, right, strict=True)]
        same = functools.reduce(lambda a, b: ops.logical("AND", a, b), [self.compile(pair) for pair in pairs])
        return scalar(BOOL, lambda value: int(not truth(value)), same) if isinstance(node, exp.NEQ) else same

    def _in(self, node: exp.In) -> Expr:
        query = node.args.get("query")
        if query is not None:
            return quantified(COMPARISONS[exp.EQ], self.compile(node.this), self._plan(query), every=False)
        if isinstance(node.this, exp.Tuple) and all(isinstance(one, exp.Tuple) for one in node.expressions):
            row = list(node.this.expressions)
            found = [self._rows_compared(node, row, list(one.expressions)) for one in node.expressions]
            return functools.reduce(lambda a, b: ops.logical("OR", a, b), found)
        return ops.one_of(self.compile(node.this), [self.compile(one) for one in node.expressions])

    def _worded(self, node: exp.Expression) -> Expr:
        """Functions whose arguments have words between them."""
        match node:
            case exp.Trim():
                side = str(node.args.get("position") or "")
                name = {"LEADING": "LTRIM", "TRAILING": "RTRIM"}.get(side.upper(), "TRIM")
                return FUNCTIONS[name][2](*(self.compile(node.args[one]) for one in ("this", "expression") if
                                            node.args.get(one) is not None))  # fmt: skip
            case exp.Substring():
                return self._function("SUBSTRING", [node.args[one] for one in ("this", "start", "length") if
                                                    node.args.get(one) is not None])  # fmt: skip
            case exp.StrPosition():
                return self._function("LOCATE", [node.args["substr"], node.this])
            case exp.Extract():
                return extract(node.name.upper(), self.compile(node.args["expression"]))
        return self._group_concat(node)

    def _arithmetic(self, node: exp.Expression) -> Expr:
        sign, right = SIGNS[type(node)], node.args["expression"]
        if isinstance(right, exp.Interval) and sign in "+-":
            return self._interval(node.this, right, -1 if sign == "-" else 1)
        if isinstance(node.this, exp.Interval) and sign == "+":
            return self._interval(right, node.this, 1)
        left, other = (self._number(node.this), self._number(right))
        return ops.arithmetic(sign, left, other, f"({node.sql(dialect='mysql')})")

    def _number(self, node: exp.Expression) -> Expr:
        """In arithmetic a hexadecimal literal is a number."""
        if not isinstance(node, exp.HexString):
            return self.compile(node)
        if len(str(node.this)) > BITS_OF_A_NUMBER // 4:
            raise StatementError(1235, f"a number of more than {BITS_OF_A_NUMBER} bits")
        return constant(integer(len(str(node.this))), int(str(node.this) or "0", 16))

    def _interval(self, moment: exp.Expression, interval: exp.Interval, sign: int) -> Expr:
        unit = interval.args.get("unit")
        return plus_interval(self.compile(moment), self.compile(interval.this), unit.name.upper() if unit else "", sign)

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

    def _like(self, node: exp.Like, escape: str | None = None) -> Expr:
        if escape is None:
            escape = "" if NO_BACKSLASH_ESCAPES in self.session.settings.modes else "\\"
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
            if name in ("ADDDATE", "SUBDATE"):
                return plus_interval(self.compile(args[0]), self.compile(args[1]), "DAY", -1 if "SUB" in name else 1)
            raise StatementError(1235, name)
        if name == "TIMESTAMPADD" and len(args) == 3 and isinstance(args[0], exp.Column | exp.Var):
            unit = args[0].name.upper().removeprefix("SQL_TSI_")
            return plus_interval(self.compile(args[2]), self.compile(args[1]), unit, 1)
        if name == "UNIX_TIMESTAMP" and not args:
            return self._function(name, [exp.Anonymous(this="NOW")])
        decimals = 0
        if name in ("NOW", "SYSDATE", "CURRENT_TIMESTAMP", "UTC_TIMESTAMP", "CURTIME", "UTC_TIME") and args:
            decimals = int(args[0].name) if isinstance(args[0], exp.Literal) and args[0].name.isdigit() else 7
            if decimals > 6:
                raise StatementError(1235, f"{name} with that precision")
            args = []
        if not args and (found := self.session.function(name, decimals)) is not None:
            return found
        if name not in FUNCTIONS:
            schema = self.session.schema
            raise StatementError(1305, "FUNCTION", f"{schema}.{name}" if schema else name)
        least, most, make = FUNCTIONS[name] if name not in ZONED else ZONED[name](self.session.settings.zone)
        if len(args) < least or (most is not None and len(args) > most):
            raise StatementError(1582, name)
        return make(*(self.compile(arg) for arg in args))

    def _aggregate(self, name: str, args: list[exp.Expression]) -> Expr:
        if self.clause in UNGROUPED:
            raise StatementError(1111)
        distinct = len(args) == 1 and isinstance(args[0], exp.Distinct)
        if distinct:
            args = args[0].expressions
        if len(args) != 1 and not (name == "COUNT" and distinct and args):
            raise StatementError(1582, name)
        if isinstance(args[0], exp.Star):
            if name != "COUNT" or distinct:
                raise StatementError(1235, f"{name}(*)")
            return aggregate(name, [], distinct=False)
        return aggregate(name, [self.compile(arg) for arg in args], distinct=distinct)

    def _group_concat(self, node: exp.Expression) -> Expr:
        if self.clause in UNGROUPED:
            raise StatementError(1111)
        inner, order = node.this, []
        if isinstance(inner, exp.Order):
            order = [(self.compile(one.this), bool(one.args.get("desc"))) for one in inner.expressions]
            inner = inner.this
        distinct = isinstance(inner, exp.Distinct)
        parts = inner.expressions if distinct else [inner]
        if len(parts) == 1 and isinstance(parts[0], exp.Concat):  # as sqlglot joins several
            parts = parts[0].expressions
        separator = node.args.get("separator")
        return group_concat(
            [self.compile(part) for part in parts], order, "," if separator is None else separator.name,
            distinct=distinct, most=self.session.settings.concat_length,
        )  # fmt: skip
