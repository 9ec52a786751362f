"""From sqlglot's nodes to expressions: names are looked up, functions found, and what is not known is refused."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import expressions as ops
from innoclone.agent.sql.budget import spend
from innoclone.agent.sql.dates import ZONED, cast, plus_interval, timestampdiff
from innoclone.agent.sql.expressions import Env, Expr, constant, scalar
from innoclone.agent.sql.functions import AGGREGATES, FUNCTIONS, aggregate, group_concat
from innoclone.agent.sql.lexer import NO_BACKSLASH_ESCAPES
from innoclone.agent.sql.plans import Plan, Session, Table, exists, in_subquery, scalar_subquery
from innoclone.agent.sql.regexps import regexp_like
from innoclone.agent.sql.values import BOOL, NULL, Value, integer, truth, varchar

BITS_OF_A_NUMBER = 64
UNGROUPED = ("where clause", "on clause", "group statement")  # where there are no aggregates
MOMENTARY = ("NOW", "SYSDATE", "CURRENT_TIMESTAMP", "UTC_TIMESTAMP", "CURTIME", "UTC_TIME")  # with their decimals
Node = exp.Expression
KNOWN: dict[type[Node], str] = {  # a node's arguments that are understood
    exp.Column: "this table db", exp.Literal: "this is_string", exp.Div: "this expression typed safe",
    exp.DPipe: "this expression safe", exp.Concat: "expressions coalesce safe", exp.If: "this true false",
    exp.Case: "this ifs default", exp.Cast: "this to", exp.Trim: "this expression position",
    exp.Substring: "this start length", exp.GroupConcat: "this separator",
    exp.Subquery: "this order limit offset", exp.Between: "this low high", exp.In: "this expressions query",
    exp.Like: "this expression negate", exp.SessionParameter: "this kind",
}  # fmt: skip
USUAL = "this expression expressions"
COMPARISONS: dict[type[Node], Callable[[int, int], bool]] = {
    exp.EQ: operator.eq, exp.NEQ: operator.ne, exp.GT: operator.gt, exp.GTE: operator.ge, exp.LT: operator.lt,
    exp.LTE: operator.le,
}  # fmt: skip
SIGNS: dict[type[Node], str] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.IntDiv: "DIV", exp.Mod: "%",
}  # fmt: skip
PAIRS: dict[type[Node], Callable[[Expr, Expr], Expr]] = {
    exp.And: functools.partial(ops.logical, "AND"), exp.Or: functools.partial(ops.logical, "OR"),
    exp.Xor: functools.partial(ops.logical, "XOR"), exp.RegexpLike: regexp_like,
    exp.DPipe: FUNCTIONS["CONCAT"][2],  # of PIPES_AS_CONCAT
}  # fmt: skip
NAMED: dict[type[Node], str] = {
    exp.CurrentTimestamp: "NOW", exp.CurrentDate: "CURDATE", exp.CurrentTime: "CURTIME",
    exp.CurrentUser: "CURRENT_USER", exp.CurrentDatetime: "NOW", exp.Localtime: "NOW", exp.Localtimestamp: "NOW",
    exp.CurrentSchema: "DATABASE", exp.CurrentVersion: "VERSION",
}  # fmt: skip


@dataclass
class Compiler:
    """Compiles the expressions of one SELECT; ``clause`` is MySQL's name of where the expression stands.

    ``outer`` is the query around a subquery, ``references`` what of that was used.
    """

    session: Session
    tables: Sequence[Table]
    clause: str = "field list"
    aliases: Mapping[str, Expr] = field(default_factory=dict)  # that may be used, by name in lower case
    outer: Compiler | None = None
    subplan: Callable[[Node, Compiler | None], Plan] = field(kw_only=True)
    references: list[Expr] = field(default_factory=list)

    def compile(self, node: Node) -> Expr:
        """Raises the errors that MySQL has for it."""
        spend(10)
        kind = type(node)
        known = KNOWN.get(kind, USUAL).split()
        if any(value and name not in known for name, value in node.args.items()):
            raise self._unknown(node)
        if kind in SIGNS:
            return self._arithmetic(node)
        if kind in COMPARISONS:
            return self._comparison(node)
        if kind in PAIRS:
            return PAIRS[kind](*self._both(node))
        if kind in NAMED:
            return self._function(NAMED[kind], [])
        make = _MAKERS.get(kind)
        if make is None:
            raise self._unknown(node)
        return make(self, node)

    def within(self, clause: str, node: Node | None) -> Expr | None:
        """The expression of a clause, if there is one."""
        return None if node is None else replace(self, clause=clause).compile(node.this)

    def _all(self, nodes: Sequence[Node | None]) -> list[Expr]:
        return [self.compile(node) for node in nodes if node is not None]

    def _unknown(self, node: Node) -> StatementError:
        return StatementError(1235, node.sql(dialect="mysql")[:80])

    def _both(self, node: Node) -> tuple[Expr, Expr]:
        return self.compile(node.this), self.compile(node.args["expression"])

    def _literal(self, node: Node) -> Expr:
        text = str(node.this)
        is_number = isinstance(node, exp.Literal) and not node.is_string
        return ops.literal_number(text) if is_number else constant(varchar(len(text)), text)

    def _hexadecimal(self, node: Node) -> Expr:
        digits = "0" * (len(str(node.this)) % 2) + str(node.this)
        text = bytes.fromhex(digits).decode("utf-8", "replace")
        return constant(replace(varchar(len(str(node.this)) // 2), collation="binary"), text)

    def _number(self, node: Node) -> Expr:
        """In arithmetic a hexadecimal literal is a number; b'101' is one everywhere."""
        if not isinstance(node, exp.HexString | exp.BitString):
            return self.compile(node)
        digits, base = str(node.this), 16 if isinstance(node, exp.HexString) else 2
        if len(digits) * (4 if base == 16 else 1) > BITS_OF_A_NUMBER:
            raise StatementError(1235, f"a number of more than {BITS_OF_A_NUMBER} bits")
        return constant(integer(len(digits)), int(digits or "0", base))

    def _column(self, node: Node) -> Expr:
        assert isinstance(node, exp.Column)
        table, name = node.table.lower(), node.name.lower()
        full = ".".join(part for part in (node.db, node.table, node.name) if part)
        if not table and self.clause not in ("field list", "where clause") and name in self.aliases:
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
        if len(found) > 1:
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

    def _plan(self, node: Node) -> Plan:
        return self.subplan(node, self)

    def _comparison(self, node: Node) -> Expr:
        right = node.args["expression"]
        if isinstance(node.this, exp.Tuple) and isinstance(right, exp.Tuple):
            return self._rows_compared(node, list(node.this.expressions), list(right.expressions))
        return ops.comparison(COMPARISONS[type(node)], *self._both(node))

    def _rows_compared(self, node: Node, left: list[Node], right: list[Node]) -> Expr:
        """``(a, b) = (c, d)``. Raises errors 1235, 1241."""
        if not isinstance(node, exp.EQ | exp.NEQ | exp.In):
            raise self._unknown(node)
        if len(left) != len(right):
            raise StatementError(1241, len(left))
        pairs = [ops.comparison(operator.eq, *pair) for pair in zip(self._all(left), self._all(right), strict=True)]
        same = functools.reduce(PAIRS[exp.And], pairs)
        return ops.negation(same) if isinstance(node, exp.NEQ) else same

    def _in(self, node: Node) -> Expr:
        query = node.args.get("query")
        if query is not None:
            return in_subquery(self.compile(node.this), self._plan(query))
        if isinstance(node.this, exp.Tuple) and all(isinstance(one, exp.Tuple) for one in node.expressions):
            row = list(node.this.expressions)
            found = [self._rows_compared(node, row, list(one.expressions)) for one in node.expressions]
            return functools.reduce(PAIRS[exp.Or], found)
        return ops.one_of(self.compile(node.this), self._all(node.expressions))

    def _trim(self, node: Node) -> Expr:
        side = str(node.args.get("position") or "")
        name = {"LEADING": "LTRIM", "TRAILING": "RTRIM"}.get(side.upper(), "TRIM")
        return FUNCTIONS[name][2](*self._all([node.this, node.args.get("expression")]))

    def _arithmetic(self, node: Node) -> Expr:
        sign, right = SIGNS[type(node)], node.args["expression"]
        if isinstance(right, exp.Interval) and sign in "+-":
            return self._interval(node.this, right, -1 if sign == "-" else 1)
        if isinstance(node.this, exp.Interval) and sign == "+":
            return self._interval(right, node.this, 1)
        return ops.arithmetic(sign, self._number(node.this), self._number(right), f"({node.sql(dialect='mysql')})")

    def _interval(self, moment: Node, interval: exp.Interval, sign: int) -> Expr:
        unit = interval.args.get("unit")
        name = unit.name.upper() if unit else ""
        return plus_interval(self.compile(moment), self.compile(interval.this), name, sign)

    def _is(self, node: Node) -> Expr:
        left, right = self.compile(node.this), node.args["expression"]
        if not isinstance(right, exp.Null | exp.Boolean):
            raise self._unknown(node)
        wanted = bool(right.this) if isinstance(right, exp.Boolean) else None
        return scalar(BOOL, lambda value: int(truth(value) is wanted), left, nulls=True)

    def _between(self, node: Node) -> Expr:
        value, low, high = self._all([node.args[name] for name in ("this", "low", "high")])
        return ops.logical("AND", ops.comparison(operator.ge, value, low), ops.comparison(operator.le, value, high))

    def _like(self, node: Node) -> Expr:
        escape = "" if NO_BACKSLASH_ESCAPES in self.session.settings.modes else "\\"
        found = ops.like(*self._both(node), escape)
        return ops.negation(found) if node.args.get("negate") else found

    def _case(self, branches: Sequence[Node], subject: Node | None, otherwise: Node | None) -> Expr:
        compared = self.compile(subject) if subject is not None else None
        found = []
        for branch in branches:
            condition = self.compile(branch.this)
            if compared is not None:
                condition = ops.comparison(operator.eq, compared, condition)
            found.append((condition, self.compile(branch.args["true"])))
        return ops.case(found, constant(NULL, None) if otherwise is None else self.compile(otherwise))

    def _system_variable(self, node: Node) -> Expr:
        scope = f"{node.args['kind']}." if node.args.get("kind") else ""
        return constant(*self.session.variable(scope.lower() + node.name.lower()))

    def _user_variable(self, node: Node) -> Expr:
        kind, _ = self.session.user_variable(node.name)
        return Expr(kind, lambda _: self.session.user_variable(node.name)[1])

    def _assignment(self, node: Node) -> Expr:
        if not isinstance(node.this, exp.Parameter):
            raise self._unknown(node)
        given, name = self.compile(node.args["expression"]), node.this.name

        def value(env: Env) -> Value:
            found = given.value(env)
            self.session.assign(name, given.type, found)
            return found

        return ops.derived(given.type, value, (given,))

    def _function(self, name: str, args: list[Node]) -> Expr:
        if name in AGGREGATES:
            return self._aggregate(name, args)
        if name == "TIMESTAMPDIFF" and len(args) == 3 and isinstance(args[0], exp.Column | exp.Var):
            return timestampdiff(args[0].name.upper(), *self._all(args[1:]))
        if name in ("DATE_ADD", "DATE_SUB", "ADDDATE", "SUBDATE") and len(args) == 2:
            if not isinstance(args[1], exp.Interval):
                raise StatementError(1235, name)
            return self._interval(args[0], args[1], -1 if "SUB" in name else 1)
        if name == "UNIX_TIMESTAMP" and not args:
            return self._function(name, [exp.Anonymous(this="NOW")])
        decimals = 0
        if name in MOMENTARY and args:
            decimals = int(args[0].name) if isinstance(args[0], exp.Literal) and args[0].name.isdigit() else 7
            if decimals > 6:
                raise StatementError(1235, f"{name} with that precision")
            args = []
        if not args and (found := self.session.function(name, decimals)) is not None:
            return constant(*found)
        if name not in FUNCTIONS:
            schema = self.session.schema
            raise StatementError(1305, "FUNCTION", f"{schema}.{name}" if schema else name)
        least, most, make = FUNCTIONS[name] if name not in ZONED else ZONED[name](self.session.settings.zone)
        if len(args) < least or (most is not None and len(args) > most):
            raise StatementError(1582, name)
        return make(*self._all(args))

    def _aggregate(self, name: str, args: list[Node]) -> Expr:
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
        return aggregate(name, self._all(args), distinct=distinct)

    def _group_concat(self, node: Node) -> Expr:
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
            self._all(parts), order, "," if separator is None else separator.name, distinct=distinct,
            most=self.session.settings.concat_length,
        )  # fmt: skip


_MAKERS: dict[type[Node], Callable[[Compiler, Node], Expr]] = {
    exp.Column: Compiler._column, exp.Literal: Compiler._literal, exp.National: Compiler._literal,
    exp.RawString: Compiler._literal, exp.HexString: Compiler._hexadecimal, exp.BitString: Compiler._number,
    exp.Introducer: lambda own, node: own.compile(node.args["expression"]),
    exp.Null: lambda *_: constant(NULL, None),
    exp.Boolean: lambda _, node: constant(BOOL, int(bool(node.this))),
    exp.Paren: lambda own, node: own.compile(node.this),
    exp.Neg: lambda own, node: ops.negative(own.compile(node.this)),
    exp.Not: lambda own, node: ops.negation(own.compile(node.this)), exp.Is: Compiler._is,
    exp.Between: Compiler._between, exp.In: Compiler._in, exp.Like: Compiler._like,
    **dict.fromkeys((exp.Subquery, exp.Select, exp.Union), lambda own, node: scalar_subquery(own._plan(node))),
    exp.Exists: lambda own, node: exists(own._plan(node.this)),
    exp.If: lambda own, node: own._case([node], None, node.args.get("false")),
    exp.Case: lambda own, node: own._case(node.args["ifs"], node.this, node.args.get("default")),
    exp.Cast: lambda own, node: cast(own.compile(node.this), node.args["to"]),
    exp.Concat: lambda own, node: FUNCTIONS["CONCAT"][2](*own._all(node.expressions)),  # 'a' 'b'
    exp.SessionParameter: Compiler._system_variable, exp.PropertyEQ: Compiler._assignment,
    exp.Parameter: Compiler._user_variable,
    exp.Anonymous: lambda own, node: own._function(str(node.this).upper(), list(node.expressions)),
    exp.Trim: Compiler._trim, exp.GroupConcat: Compiler._group_concat,
    exp.Substring: lambda own, node: FUNCTIONS["SUBSTRING"][2](
        *own._all([node.args.get(name) for name in ("this", "start", "length")])),
}  # fmt: skip
