"""The functions that a SELECT may call, by name: how many arguments they take, and what they make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.dates import DATES
from innoclone.agent.sql.expressions import (
    LONGEST,
    Env,
    Expr,
    arithmetic,
    case,
    constant,
    converted,
    derived,
    digits_of,
    merged,
    scalar,
)
from innoclone.agent.sql.moments import MOMENTS
from innoclone.agent.sql.numeric import NUMERIC
from innoclone.agent.sql.regexps import REGEXPS
from innoclone.agent.sql.texts import TEXTS
from innoclone.agent.sql.types import (
    BIGINT,
    BOOL,
    DOUBLE,
    MOST_DECIMALS,
    TEMPORAL,
    SqlType,
    Value,
    decimal,
    integer,
    varchar,
)
from innoclone.agent.sql.values import (
    compare,
    rounded,
    to_integer,
    to_number,
    to_text,
)
from innoclone.wire.results import ColumnType

__all__ = ["FUNCTIONS"]

MOST_OF_BIGINT = 20  # digits and sign, from which FLOOR and CEIL stay a DECIMAL
Maker = Callable[..., Expr]


def _text(arg: Expr) -> Callable[[Value], str]:
    return lambda value: to_text(value, arg.type) or ""


def _of_text(arg: Expr, function: Callable[[str], Value], kind: SqlType | None = None) -> Expr:
    text = _text(arg)
    return scalar(kind or varchar(arg.type.length), lambda value: function(text(value)), arg)


def _round(arg: Expr, places: Expr | None = None) -> Expr:
    return _to_places(arg, places, lambda number, count: rounded(number, count), _round_double, 1)


def _truncate(arg: Expr, places: Expr) -> Expr:
    def cut(number: Decimal, count: int) -> Decimal:
        return number.quantize(Decimal(1).scaleb(-count), ROUND_DOWN)

    return _to_places(arg, places, cut, _truncate_double)


def _truncate_double(value: float, count: int) -> float:
    scaled = value * 10.0**count
    return math.trunc(scaled) / 10.0**count if math.isfinite(scaled) else value


def _round_double(value: float, count: int) -> float:
    return float(round(value, count))  # half to even, as rint(3)


def _to_places(
    arg: Expr,
    places: Expr | None,
    exact: Callable[[Decimal, int], Decimal],
    double: Callable[[float, int], float],
    more: int = 0,
) -> Expr:
    """ROUND and TRUNCATE. The type has as many decimals as are asked for, where that is a constant."""
    places = places or constant(BIGINT, 0)
    asked = to_integer(places.known) or 0
    asked = max(min(asked, 30), -30)
    if arg.type.is_text or arg.type.kind in (ColumnType.DOUBLE, ColumnType.NULL):
        kind = DOUBLE
    elif arg.type.kind is ColumnType.NEWDECIMAL:
        kind = decimal(digits_of(arg.type) + more, min(max(asked, 0), arg.type.decimals))
    else:
        kind = BIGINT

    def value(given: Value, count: Value) -> Value:
        number, wanted = to_number(given), max(min(to_integer(count) or 0, 30), -30)
        if kind is DOUBLE:
            return double(float(number or 0), wanted)
        found = exact(Decimal(number or 0), min(wanted, arg.type.decimals) if wanted > 0 else wanted)
        return int(found) if kind is BIGINT else found

    return scalar(kind, value, arg, places)


def _whole(mode: str) -> Maker:
    def make(arg: Expr) -> Expr:
        def value(given: Value) -> Value:
            number = to_number(given)
            if isinstance(number, float):
                return float(math.floor(number) if mode == ROUND_FLOOR else math.ceil(number))
            return int(Decimal(number or 0).to_integral_value(mode))

        kind = arg.type
        if kind.is_text or kind.kind in (ColumnType.DOUBLE, ColumnType.NULL):
            return scalar(DOUBLE, value, arg)
        large = kind.kind is ColumnType.NEWDECIMAL and kind.length - kind.decimals >= MOST_OF_BIGINT
        return scalar(decimal(digits_of(kind) + 1, 0) if large else BIGINT, value, arg)

    return make


def _abs(arg: Expr) -> Expr:
    kind = DOUBLE if arg.type.is_text or arg.type.kind in (*TEMPORAL, ColumnType.NULL) else arg.type
    kind = replace(kind, kind=ColumnType.LONGLONG) if kind.is_integer else kind

    def value(given: Value) -> Value:
        number = to_number(given) or 0
        return -number if number < 0 else number

    return scalar(kind, value, arg)


def _joined(separator: str, words: list[str]) -> str | None:
    return separator.join(words) if sum(map(len, words)) + len(separator) * len(words) <= LONGEST else None


def _concat(*args: Expr) -> Expr:
    kind = varchar(sum(arg.type.length for arg in args))
    return scalar(
        kind, lambda *given: _joined("", [to_text(v, a.type) or "" for v, a in zip(given, args, strict=True)]), *args
    )


def _concat_ws(*args: Expr) -> Expr:
    def value(*given: Value) -> Value:
        if given[0] is None:
            return None
        pairs = list(zip(given, args, strict=True))
        words = [to_text(v, a.type) or "" for v, a in pairs[1:] if v is not None]
        return _joined(to_text(given[0], args[0].type) or "", words)

    size = sum(arg.type.length for arg in args[1:]) + args[0].type.length * (len(args) - 2)
    return scalar(varchar(size), value, *args, nulls=True)


def _coalesce(*args: Expr) -> Expr:
    kind = merged(arg.type for arg in args)
    choices = [converted(arg, kind) for arg in args]
    return derived(kind, lambda env: next((v for c in choices if (v := c.value(env)) is not None), None), choices)


def _nullif(left: Expr, right: Expr) -> Expr:
    def value(env: Env) -> Value:
        given = left.value(env)
        return None if compare(given, right.value(env)) == 0 else given

    return derived(left.type, value, (left, right))


def _extreme(sign: int) -> Maker:
    def make(*args: Expr) -> Expr:
        kind = merged(arg.type for arg in args)

        def value(*given: Value) -> Value:
            best = given[0]
            for one in given[1:]:
                if (compare(one, best) or 0) * sign > 0:
                    best = one
            return best

        return scalar(kind, value, *(converted(arg, kind) for arg in args))

    return make


def _pad(*, left: bool) -> Maker:
    def make(arg: Expr, length: Expr, filler: Expr) -> Expr:
        def value(given: Value, wanted: Value, fill: Value) -> Value:
            text, size, pad = _text(arg)(given), to_integer(wanted) or 0, _text(filler)(fill)
            if size < 0 or size > LONGEST or (not pad and size > len(text)):
                return None
            more = (pad * (size // max(len(pad), 1) + 1))[: max(size - len(text), 0)]
            return (more + text[:size]) if left else (text[:size] + more)

        return scalar(varchar(_known(length, arg.type.length)), value, arg, length, filler)

    return make


def _known(count: Expr, otherwise: int) -> int:
    """A length that is a constant."""
    size = to_integer(count.known) if count.is_constant else None
    return otherwise if size is None else max(min(size, LONGEST), 0)


def _repeat(arg: Expr, times: Expr) -> Expr:
    def value(given: Value, count: Value) -> Value:
        text, number = _text(arg)(given), max(to_integer(count) or 0, 0)
        return text * number if len(text) * number <= LONGEST else None

    return scalar(varchar(arg.type.length * _known(times, 1)), value, arg, times)


def _substring(arg: Expr, start: Expr, length: Expr | None = None) -> Expr:
    def value(given: Value, begin: Value, *size: Value) -> Value:
        text, at = _text(arg)(given), to_integer(begin) or 0
        at = at - 1 if at > 0 else len(text) + at if at < 0 else len(text)
        if at < 0:
            return ""
        return text[at:] if not size else text[at : at + max(to_integer(size[0]) or 0, 0)]

    begin, most = to_integer(start.known) or 1, arg.type.length
    most = max(most - begin + 1, 0) if begin > 0 else min(most, -begin)
    most = min(most, _known(length, most)) if length else most
    return scalar(varchar(most), value, arg, start, *([length] if length else []))


def _replace(arg: Expr, old: Expr, new: Expr) -> Expr:
    def value(given: Value, what: Value, by: Value) -> Value:
        text, wanted = _text(arg)(given), _text(old)(what)
        inserted = _text(new)(by)
        if not wanted or len(text) + text.count(wanted) * (len(inserted) - len(wanted)) > LONGEST:
            return None if wanted else text
        return text.replace(wanted, inserted)

    return scalar(varchar(arg.type.length), value, arg, old, new)


def _format(arg: Expr, places: Expr) -> Expr:
    def value(given: Value, count: Value) -> Value:
        number = to_number(given) or 0
        wanted = max(min(to_integer(count) or 0, 30), 0)
        return f"{rounded(Decimal(repr(number)) if isinstance(number, float) else number, wanted):,.{wanted}f}"

    size = arg.type.length
    return scalar(varchar(size + size // 3 + 1 + MOST_DECIMALS + 1), value, arg, places)


def _truth(arg: Expr) -> Expr:
    return scalar(BOOL, lambda given: int(given is None), arg, nulls=True)


def _power(base: Expr, exponent: Expr) -> Expr:
    def value(first: Value, second: Value) -> Value:
        try:
            return math.pow(to_number(first) or 0, to_number(second) or 0)
        except (OverflowError, ValueError):
            raise StatementError(1690, "DOUBLE", "pow()") from None

    return scalar(DOUBLE, value, base, exponent)


FUNCTIONS: dict[str, tuple[int, int | None, Maker]] = {
    "ROUND": (1, 2, _round), "TRUNCATE": (2, 2, _truncate), "ABS": (1, 1, _abs),
    "FLOOR": (1, 1, _whole(ROUND_FLOOR)), "CEIL": (1, 1, _whole(ROUND_CEILING)),
    "CEILING": (1, 1, _whole(ROUND_CEILING)),
    "MOD": (2, 2, lambda a, b: arithmetic("%", a, b)), "POW": (2, 2, _power), "POWER": (2, 2, _power),
    "CONCAT": (1, None, _concat), "CONCAT_WS": (2, None, _concat_ws), "COALESCE": (1, None, _coalesce),
    "IFNULL": (2, 2, _coalesce), "NULLIF": (2, 2, _nullif), "ISNULL": (1, 1, _truth),
    "IF": (3, 3, lambda test, yes, no: case([(test, yes)], no)),
    "GREATEST": (2, None, _extreme(1)), "LEAST": (2, None, _extreme(-1)),
    "LPAD": (3, 3, _pad(left=True)), "RPAD": (3, 3, _pad(left=False)), "REPEAT": (2, 2, _repeat),
    "SUBSTRING": (2, 3, _substring), "SUBSTR": (2, 3, _substring), "MID": (3, 3, _substring),
    "LEFT": (2, 2, lambda text, size: _substring(text, constant(BIGINT, 1), size)),
    "RIGHT": (2, 2, lambda text, size: scalar(
        varchar(min(text.type.length, _known(size, text.type.length))),
        lambda t, n: _text(text)(t)[-n:] if (n := to_integer(n) or 0) > 0 else "", text, size)),
    "REPLACE": (3, 3, _replace), "FORMAT": (2, 2, _format),
    "UPPER": (1, 1, lambda a: _of_text(a, str.upper)), "UCASE": (1, 1, lambda a: _of_text(a, str.upper)),
    "LOWER": (1, 1, lambda a: _of_text(a, str.lower)), "LCASE": (1, 1, lambda a: _of_text(a, str.lower)),
    "LENGTH": (1, 1, lambda a: _of_text(a, lambda text: len(text.encode("utf-8", "surrogateescape")), integer(10))),
    "CHAR_LENGTH": (1, 1, lambda a: _of_text(a, len, integer(10))),
    **MOMENTS, **DATES, **TEXTS, **NUMERIC, **REGEXPS,
}  # fmt: skip
