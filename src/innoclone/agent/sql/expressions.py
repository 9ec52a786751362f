"""Expressions of a SELECT: a type, and a function of the row; operators, and what functions are made of. As in MySQL a
quotient has four decimals more than its dividend, a DECIMAL never becomes a double by itself, and NULL spreads."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import values as t
from innoclone.agent.sql.budget import hold, size_of, spend
from innoclone.agent.sql.values import BIGINT, BOOL, DOUBLE, NULL, SqlType, Value, decimal, integer, varchar
from innoclone.wire.results import ColumnType

MOMENTS = {ColumnType.TIMESTAMP, ColumnType.DATETIME, ColumnType.DATE}
DIVISION_DECIMALS = 4  # div_precision_increment
LARGEST = (1 << 64) - 1
SMALLEST = -(1 << 63)
MOST_WARNINGS = 1024  # max_error_count
LONGEST = 1 << 20  # characters of a text that a function makes
LARGE = 1 << 12  # characters of a text from which its memory counts while it is only an argument
STEP = 64  # characters that a function looks at in a microsecond


@dataclass(slots=True)
class Env:
    """Where an expression is evaluated: a row of each table; in an aggregated query also the rows of the group."""

    rows: tuple[tuple[Value, ...] | None, ...]
    group: list[Env] | None = None
    warnings: list[tuple[int, str]] = field(default_factory=list)
    outer: Env | None = None  # of the query that this one is a subquery of

    def warn(self, number: int, message: str) -> None:
        """One more warning, if there aren't too many."""
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append((number, message))


@dataclass(frozen=True)
class Expr:
    """An expression. ``columns`` are those used outside of aggregates (table, column, name)."""

    type: SqlType
    value: Callable[[Env], Value]
    columns: frozenset[tuple[int, int, str]] = frozenset()
    is_aggregate: bool = False
    is_constant: bool = False

    @property
    def known(self) -> Value:
        """A constant's value; NULL for anything else."""
        return self.value(Env(())) if self.is_constant else None


def constant(kind: SqlType, value: Value) -> Expr:
    """The same for every row."""
    return Expr(kind, lambda _: value, is_constant=True)


def scalar(kind: SqlType, function: Callable[..., Value], *args: Expr, nulls: bool = False) -> Expr:
    """A function of values; NULL for a NULL argument, unless it takes ``nulls`` itself, and for a text too long."""

    def value(env: Env) -> Value:
        values, large = [], 0
        for arg in args:
            given = arg.value(env)
            values.append(given)
            if isinstance(given, str) and len(given) > STEP:
                spend(len(given) // STEP)
                if len(given) > LARGE:
                    large += size_of(given)
                    hold(size_of(given))
        spend()
        found = None if not nulls and None in values else function(*values)
        if large:
            hold(-large)
        return found if not isinstance(found, str) or len(found) <= LONGEST else None

    return derived(kind, value, args)


def derived(kind: SqlType, value: Callable[[Env], Value], args: Iterable[Expr]) -> Expr:
    """An expression made of others."""
    args = list(args)
    columns = frozenset().union(*(arg.columns for arg in args))
    is_constant = bool(args) and all(arg.is_constant for arg in args)
    return Expr(kind, value, columns, any(arg.is_aggregate for arg in args), is_constant)


Function = tuple[int, int | None, Callable[..., Expr]]
"""How many arguments a function takes at least and at most, and what makes an expression of them."""
_READERS: dict[str, Callable[[Value, Expr], Any]] = {
    "t": lambda value, arg: t.to_text(value, arg.type), "i": lambda value, _: t.to_integer(value),
    "b": lambda value, arg: (t.to_text(value, arg.type) or "").encode("utf-8", "surrogateescape"),
    "n": lambda value, _: t.to_number(value), "m": lambda value, _: t.to_moment(value),
    "d": lambda value, _: t.to_duration(t.to_moment(value) or value),
}  # fmt: skip


def plain(takes: str, kind: SqlType | Callable[..., SqlType], function: Callable[..., Value]) -> Function:
    """A function of values, each read as ``takes`` says: text, bytes, integer, number, moment or duration, and NULL for
    what is none of that. What stands behind ``?`` may be left out; ``*`` is for any more."""
    letters = takes.rstrip("*").replace("?", "")

    def make(*args: Expr) -> Expr:
        pairs = list(zip((_READERS[one] for one in letters.ljust(len(args), letters[-1])), args, strict=False))

        def value(*given: Value) -> Value:
            values = [read(one, arg) for one, (read, arg) in zip(given, pairs, strict=True)]
            return None if None in values else function(*values)

        return scalar(kind if isinstance(kind, SqlType) else kind(*args), value, *args)

    return len(takes.rstrip("*").partition("?")[0]), None if takes.endswith("*") else len(letters), make


def known(count: Expr, otherwise: int) -> int:
    """A length that is a constant."""
    size = t.to_integer(count.known)
    return otherwise if size is None else max(min(size, LONGEST), 0)


def digits_of(kind: SqlType) -> int:
    """Digits before the point."""
    if kind.kind is ColumnType.NEWDECIMAL:
        return kind.length - kind.decimals - (2 if kind.decimals else 1)
    return min(kind.length, 20) if not kind.is_integer or kind.unsigned else max(min(kind.length - 1, 20), 1)


def _class(kind: SqlType) -> str:
    """How arithmetic takes it."""
    if kind.is_text or kind.kind in (ColumnType.DOUBLE, ColumnType.NULL):
        return "double"
    if kind.kind is ColumnType.NEWDECIMAL or (kind.kind in t.TEMPORAL and kind.decimals):
        return "decimal"
    return "integer"


def arithmetic(sign: str, left: Expr, right: Expr, source: str = "") -> Expr:
    """``+ - * / DIV %`` on numbers."""
    kinds = {_class(left.type), _class(right.type)}
    scales = [0 if _class(arg.type) == "integer" else arg.type.decimals for arg in (left, right)]
    digits = [digits_of(arg.type) for arg in (left, right)]
    unsigned = any(arg.type.unsigned for arg in (left, right))
    if sign == "DIV":
        kind = integer(digits[0], unsigned=unsigned)
    elif "double" in kinds:
        kind = DOUBLE
    elif sign == "/":
        kind = decimal(digits[0] + scales[1], scales[0] + DIVISION_DECIMALS)
    elif "decimal" not in kinds:
        most = sum(digits) if sign == "*" else max(digits) + (sign != "%")
        kind = integer(most, unsigned=unsigned)
    elif sign == "*":
        kind = decimal(sum(digits), sum(scales))
    else:
        kind = decimal(max(digits) + 1, max(scales))

    def value(env: Env) -> Value:
        spend()
        first, second = t.to_number(left.value(env)), t.to_number(right.value(env))
        if first is None or second is None:
            return None
        if sign in ("/", "DIV", "%") and not second:
            env.warn(1365, "Division by 0")
            return None
        if kind is DOUBLE:
            return _finite(_ON_DOUBLES[sign](float(first), float(second)), source)
        found = _ON_DECIMALS[sign](*(Decimal(repr(n) if isinstance(n, float) else n) for n in (first, second)))
        if kind.kind is ColumnType.NEWDECIMAL:
            return t.rounded(found, kind.decimals)
        whole = int(found)
        if not SMALLEST <= whole <= LARGEST:
            raise StatementError(1690, "BIGINT", source)
        return whole

    return derived(kind, value, (left, right))


def _finite(value: float, source: str) -> float:
    if not math.isfinite(value):
        raise StatementError(1690, "DOUBLE", source)
    return value


_ON_DOUBLES: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": math.fmod,
}  # fmt: skip
_ON_DECIMALS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": t.EXACT.add, "-": t.EXACT.subtract, "*": t.EXACT.multiply, "/": t.EXACT.divide, "DIV": t.EXACT.divide_int,
    "%": t.EXACT.remainder,
}  # fmt: skip


def merged(types: Iterable[SqlType]) -> SqlType:
    """The type of a value that has one of these, as of IF and CASE."""
    known = [kind for kind in types if kind.kind is not ColumnType.NULL]
    if not known:
        return NULL
    decimals, widest = max(kind.decimals for kind in known), max(known, key=lambda kind: kind.length)
    if len({kind.kind for kind in known}) == 1 and known[0].kind is not ColumnType.NEWDECIMAL:
        if known[0].is_text and widest.kind not in t.BLOBS:
            return _text_type(known)
        return widest
    if {kind.kind for kind in known} <= MOMENTS:
        return t.datetime_type(decimals)
    classes = {"text" if kind.is_text or kind.kind in t.TEMPORAL else _class(kind) for kind in known}
    if "text" in classes:
        return _text_type(known)
    if "double" in classes:
        return DOUBLE
    if "decimal" in classes:
        return decimal(max(map(digits_of, known)), decimals)
    return replace(BIGINT, length=widest.length)


def _text_type(kinds: Sequence[SqlType]) -> SqlType:
    """CHAR if no other text is among them; of the strictest collation."""
    is_char = all(kind.kind is ColumnType.STRING for kind in kinds if kind.is_text)
    found = varchar(max(kind.length for kind in kinds))
    found = replace(found, collation=max(kind.collation for kind in kinds))
    return replace(found, kind=ColumnType.STRING) if is_char and any(kind.is_text for kind in kinds) else found


def converted(arg: Expr, kind: SqlType) -> Expr:
    """The same value as one of ``kind``, which `merged` gave."""
    if arg.type == kind or arg.type.kind is ColumnType.NULL:
        return arg

    def value(env: Env) -> Value:
        given = arg.value(env)
        if given is None:
            return None
        if kind.is_text:
            return t.to_text(given, arg.type)
        if kind.kind is ColumnType.DOUBLE:
            return float(t.to_number(given) or 0)
        if kind.kind is ColumnType.NEWDECIMAL and isinstance(given, int | Decimal):
            return Decimal(given)
        if kind.kind is ColumnType.DATETIME:
            return t.to_moment(given)
        return given

    return derived(kind, value, (arg,))


def is_exact(*args: Expr) -> bool:
    """Whether texts are compared as they are, since one of them has such a collation."""
    return any(arg.type.collation for arg in args)


def comparison(test: Callable[[int, int], bool], left: Expr, right: Expr) -> Expr:
    """1, 0 or NULL."""
    exact = is_exact(left, right)

    def value(env: Env) -> Value:
        spend()
        try:
            order = t.compare(left.value(env), right.value(env), exact=exact)
        except StatementError as error:
            raise _of_kind(error, left, right) from None
        return None if order is None else int(test(order, 0))

    return derived(BOOL, value, (left, right))


def _of_kind(error: StatementError, *args: Expr) -> StatementError:
    """Error 1525 with the name of what text should have been."""
    kinds = [arg.type.kind for arg in args if arg.type.kind in MOMENTS]
    words = error.message.rpartition("'")[0].partition(": '")[2]
    return StatementError(1525, kinds[0].name, words) if kinds and error.code == 1525 else error


def negation(arg: Expr) -> Expr:
    """NOT."""
    return scalar(BOOL, lambda value: int(not t.truth(value)), arg)


def logical(sign: str, left: Expr, right: Expr) -> Expr:
    """AND, OR, XOR with three values."""
    stop = {"AND": False, "OR": True}.get(sign)  # with which on either side the other doesn't count

    def value(env: Env) -> Value:
        spend()
        found = [t.truth(left.value(env))]
        if stop is None or found[0] is not stop:
            found.append(t.truth(right.value(env)))
        if stop is not None and stop in found:
            return int(stop)
        if None in found:
            return None
        return int(found[0] is not found[1]) if stop is None else int(not stop)

    return derived(BOOL, value, (left, right))


def case(conditions: list[tuple[Expr, Expr]], default: Expr) -> Expr:
    """CASE and IF."""
    kind = merged([result.type for _, result in conditions] + [default.type])
    branches = [(condition, converted(result, kind)) for condition, result in conditions]
    otherwise = converted(default, kind)

    def value(env: Env) -> Value:
        spend(len(branches))
        chosen = next((result for condition, result in branches if t.truth(condition.value(env))), otherwise)
        found = chosen.value(env)
        return t.Unscaled(found) if isinstance(found, Decimal) else found

    return derived(kind, value, [part for branch in branches for part in branch] + [otherwise])


def one_of(left: Expr, choices: list[Expr]) -> Expr:
    """IN with three values."""
    exact = is_exact(left, *choices)

    def value(env: Env) -> Value:
        spend(len(choices))
        given = left.value(env)
        orders = [t.compare(given, choice.value(env), exact=exact) for choice in choices]
        if 0 in orders:
            return 1
        return None if None in orders else 0

    return derived(BOOL, value, [left, *choices])


def like(left: Expr, pattern: Expr, escape: str = "\\") -> Expr:
    """LIKE."""
    exact = is_exact(left, pattern)
    test = plain("tt", BOOL, lambda text, wanted: int(t.is_like(text, wanted, escape, exact=exact)))
    return test[2](left, pattern)


def negative(arg: Expr) -> Expr:
    """``-x``."""
    kind = arg.type if _class(arg.type) != "double" and arg.type.kind not in t.TEMPORAL else DOUBLE
    kind = replace(kind, kind=ColumnType.LONGLONG) if kind.is_integer else kind
    return plain("n", kind, operator.neg)[2](arg)


def literal_number(text: str) -> Expr:
    """A number as it was typed."""
    if "e" in text.lower():
        return constant(replace(DOUBLE, length=len(text)), _finite(float(text), text))
    if "." in text:
        whole, _, fraction = text.partition(".")
        return constant(decimal(len(whole) or 1, len(fraction)), Decimal(text))
    number = int(text) if len(text) <= 65 else None
    if number is None:
        raise StatementError(1235, f"a number of {len(text)} digits")
    if number > LARGEST:
        return constant(decimal(len(text), 0), Decimal(text))
    return constant(integer(len(text)), number)
