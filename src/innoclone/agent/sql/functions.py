"""The functions that a SELECT may call, by name: how many arguments they take, what they make of them; aggregates."""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import expressions as ops
from innoclone.agent.sql import values as t
from innoclone.agent.sql.budget import hold, size_of, spend
from innoclone.agent.sql.dates import DATES
from innoclone.agent.sql.expressions import LONGEST, Env, Expr, Function, constant, derived, known, plain, scalar
from innoclone.agent.sql.regexps import regexp_like
from innoclone.agent.sql.values import BIGINT, BOOL, DOUBLE, SqlType, Value, decimal, integer, varchar
from innoclone.wire.results import ColumnType

MOST_OF_BIGINT = 20  # digits and sign, from which FLOOR and CEIL stay a DECIMAL
INT10 = integer(10)
AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX", "ANY_VALUE")
MOST_BYTES = 1 << 20  # that GROUP_CONCAT gives, whatever group_concat_max_len is


def _is_real(kind: SqlType) -> bool:
    return kind.is_text or kind.kind in (ColumnType.DOUBLE, ColumnType.NULL)


def _truncated(value: float, count: int) -> float:
    scaled = value * 10.0**count
    return math.trunc(scaled) / 10.0**count if math.isfinite(scaled) else value


def _cut(number: Decimal, count: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-count), ROUND_DOWN)


def _to_places(
    exact: Callable[[Decimal, int], Decimal], double: Callable[[float, int], float], more: int,
    arg: Expr, places: Expr | None = None,
) -> Expr:  # fmt: skip
    """ROUND and TRUNCATE. The type has as many decimals as are asked for, where that is a constant."""
    places = places or constant(BIGINT, 0)
    asked = max(min(t.to_integer(places.known) or 0, 30), -30)
    kind = BIGINT
    if _is_real(arg.type):
        kind = DOUBLE
    elif arg.type.kind is ColumnType.NEWDECIMAL:
        kind = decimal(ops.digits_of(arg.type) + more, min(max(asked, 0), arg.type.decimals))

    def value(given: Value, count: Value) -> Value:
        number, wanted = t.to_number(given), max(min(t.to_integer(count) or 0, 30), -30)
        if kind is DOUBLE:
            return double(float(number or 0), wanted)
        found = exact(Decimal(number or 0), min(wanted, arg.type.decimals) if wanted > 0 else wanted)
        return int(found) if kind is BIGINT else found

    return scalar(kind, value, arg, places)


def _whole(mode: str, arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        number = t.to_number(given)
        if isinstance(number, float):
            return float(math.floor(number) if mode == ROUND_FLOOR else math.ceil(number))
        return int(Decimal(number or 0).to_integral_value(mode))

    kind = arg.type
    if _is_real(kind):
        return scalar(DOUBLE, value, arg)
    large = kind.kind is ColumnType.NEWDECIMAL and kind.length - kind.decimals >= MOST_OF_BIGINT
    return scalar(decimal(ops.digits_of(kind) + 1, 0) if large else BIGINT, value, arg)


def _of_abs(arg: Expr) -> SqlType:
    kind = DOUBLE if _is_real(arg.type) or arg.type.kind in t.TEMPORAL else arg.type
    return replace(kind, kind=ColumnType.LONGLONG) if kind.is_integer else kind


def _power(base: float, exponent: float) -> Value:
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        raise StatementError(1690, "DOUBLE", "pow()") from None


def _coalesce(*args: Expr) -> Expr:
    kind = ops.merged(arg.type for arg in args)
    choices = [ops.converted(arg, kind) for arg in args]
    return derived(kind, lambda env: next((v for c in choices if (v := c.value(env)) is not None), None), choices)


def _nullif(left: Expr, right: Expr) -> Expr:
    def value(env: Env) -> Value:
        given = left.value(env)
        return None if t.compare(given, right.value(env)) == 0 else given

    return derived(left.type, value, (left, right))


def _extreme(sign: int, *args: Expr) -> Expr:
    kind = ops.merged(arg.type for arg in args)

    def best(*given: Value) -> Value:
        return functools.reduce(lambda a, b: b if (t.compare(b, a) or 0) * sign > 0 else a, given)

    return scalar(kind, best, *(ops.converted(arg, kind) for arg in args))


def _field(wanted: Expr, *others: Expr) -> Expr:
    exact = ops.is_exact(wanted, *others)

    def value(env: Env) -> Value:
        given = wanted.value(env)
        return next((n for n, one in enumerate(others, 1) if t.compare(given, one.value(env), exact=exact) == 0), 0)

    return derived(INT10, value, [wanted, *others])


def _same(arg: Expr, *_: Expr) -> SqlType:
    """The type of a text that is no longer than the first argument."""
    return varchar(arg.type.length)


def _joined(separator: str, *words: str) -> str | None:
    return separator.join(words) if sum(map(len, words)) + len(separator) * len(words) <= LONGEST else None


def _concat_ws(*args: Expr) -> Expr:
    def value(*given: Value) -> Value:
        texts = [t.to_text(one, arg.type) for one, arg in zip(given, args, strict=True)]
        return None if texts[0] is None else _joined(texts[0], *(text for text in texts[1:] if text is not None))

    size = sum(arg.type.length for arg in args[1:]) + args[0].type.length * (len(args) - 2)
    return scalar(varchar(size), value, *args, nulls=True)


def _padded(text: str, size: int, pad: str, *, left: bool) -> str | None:
    if size < 0 or size > LONGEST or (not pad and size > len(text)):
        return None
    more = (pad * (size // max(len(pad), 1) + 1))[: max(size - len(text), 0)]
    return (more + text[:size]) if left else (text[:size] + more)


def _substring(text: str, begin: int, size: int = LONGEST) -> str:
    at = begin - 1 if begin > 0 else len(text) + begin if begin < 0 else len(text)
    return text[at : at + max(size, 0)] if at >= 0 else ""


def _of_substring(arg: Expr, start: Expr, length: Expr | None = None) -> SqlType:
    begin, most = t.to_integer(start.known) or 1, arg.type.length
    most = max(most - begin + 1, 0) if begin > 0 else min(most, -begin)
    return varchar(min(most, known(length, most)) if length else most)


def _of_right(arg: Expr, size: Expr) -> SqlType:
    return varchar(min(arg.type.length, known(size, arg.type.length)))


def _replaced(text: str, old: str, new: str) -> str | None:
    if not old:
        return text
    return text.replace(old, new) if len(text) + text.count(old) * (len(new) - len(old)) <= LONGEST else None


def _formatted(number: int | Decimal | float, places: int) -> str:
    wanted = max(min(places, 30), 0)
    return f"{t.rounded(Decimal(repr(number)) if isinstance(number, float) else number, wanted):,.{wanted}f}"


def _of_format(arg: Expr, _: Expr) -> SqlType:
    return varchar(arg.type.length + arg.type.length // 3 + 1 + t.MOST_DECIMALS + 1)


def _trimmed(text: str, cut: str = " ", *, left: bool = True, right: bool = True) -> str:
    begin, end = 0, len(text)
    while left and cut and text.startswith(cut, begin):
        begin += len(cut)
        spend()
    while right and cut and text.endswith(cut, begin, end):
        end -= len(cut)
        spend()
    return text[begin:end]


def _substring_index(text: str, cut: str, wanted: int) -> Value:
    if not cut or not wanted:
        return ""
    passed = wanted if wanted > 0 else text.count(cut) + wanted + 1  # delimiters up to the one that is looked for
    if passed <= 0:
        return text
    at = -len(cut)
    for _ in range(passed):
        spend()
        at = text.find(cut, at + len(cut))
        if at < 0:
            return text
    return text[:at] if wanted > 0 else text[at + len(cut) :]


def _format_bytes(count: int) -> Value:
    number = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(number) < 1024:
            return f"{number:4.0f} {unit}" if unit == "bytes" else f"{number:4.2f} {unit}"
        number /= 1024
    if abs(number) >= 100_000:
        raise StatementError(1235, "FORMAT_BYTES of that")
    return f"{number:4.2f} EiB"


def aggregate(name: str, args: Sequence[Expr], *, distinct: bool) -> Expr:
    """An aggregate by its name, over the rows of a group; COUNT(*) has no ``args``, others may have several."""
    if not args:
        return Expr(BIGINT, lambda env: len(env.group or ()), is_aggregate=True)
    _check(args)
    return _count(args, distinct=distinct) if name == "COUNT" else _of_one(name, args[0], distinct=distinct)


def _check(args: Sequence[Expr]) -> None:
    """Raises error 1111 for an aggregate of an aggregate."""
    if any(arg.is_aggregate for arg in args):
        raise StatementError(1111)


def _rows(env: Env, args: Sequence[Expr]) -> list[list[Value]]:
    """The arguments' values for each row where none is NULL."""
    found = []
    for row in env.group or ():
        spend()
        values = [arg.value(row) for arg in args]
        if None not in values:
            found.append(values)
    return found


def _key(args: Sequence[Expr], values: Sequence[Value]) -> tuple[tuple[int, object], ...]:
    return tuple(t.sort_key(one, exact=bool(arg.type.collation)) for arg, one in zip(args, values, strict=True))


def _count(args: Sequence[Expr], *, distinct: bool) -> Expr:
    def value(env: Env) -> Value:
        rows = _rows(env, args)
        return len({_key(args, row) for row in rows}) if distinct else len(rows)

    return Expr(BIGINT, value, is_aggregate=True)


def _of_one(name: str, arg: Expr, *, distinct: bool) -> Expr:
    exact = arg.type.is_integer or arg.type.kind is ColumnType.NEWDECIMAL or arg.type.kind in t.TEMPORAL
    kind = arg.type
    if name in ("SUM", "AVG"):
        more, digits = (ops.DIVISION_DECIMALS, 0) if name == "AVG" else (0, 22)
        kind = decimal(ops.digits_of(arg.type) + digits, arg.type.decimals + more) if exact else DOUBLE

    def value(env: Env) -> Value:
        if name == "ANY_VALUE":
            return arg.value(env.group[0]) if env.group else None
        values = [row[0] for row in _rows(env, [arg])]
        if distinct:
            values = list({_key([arg], [one]): one for one in values}.values())
        if not values:
            return None
        if name in ("MIN", "MAX"):
            return (min if name == "MIN" else max)(values, key=lambda one: _key([arg], [one]))
        numbers = [t.to_number(one) for one in values]
        if not exact:
            total = math.fsum(float(n or 0) for n in numbers)
            return total if name == "SUM" else total / len(numbers)
        whole = sum((Decimal(n or 0) for n in numbers), Decimal(0))
        return t.rounded(whole if name == "SUM" else whole / len(numbers), kind.decimals)

    return Expr(kind, value, is_aggregate=True)


def group_concat(
    args: Sequence[Expr], order: Sequence[tuple[Expr, bool]], separator: str, *, distinct: bool, most: int
) -> Expr:
    """GROUP_CONCAT: each row's ``args`` one after another, but for those with a NULL; cut behind ``most`` bytes."""
    _check(args)
    most = min(most, MOST_BYTES)

    def value(env: Env) -> Value:
        rows = list(env.group or ())
        for expr, descending in reversed(order):
            spend(len(rows))
            rows.sort(key=lambda row, expr=expr: _key([expr], [expr.value(row)]), reverse=descending)  # type: ignore[misc]
        texts: dict[object, str] = {}
        size = 0
        for number, row in enumerate(rows):
            spend()
            values = [arg.value(row) for arg in args]
            key: object = _key(args, values) if distinct else number
            if None not in values and key not in texts:
                texts[key] = "".join(t.to_text(v, a.type) or "" for v, a in zip(values, args, strict=True))
                size += len(_raw(texts[key])) + (len(_raw(separator)) if len(texts) > 1 else 0)
                hold(size_of(texts[key]))
            if size > most:
                break
        if not texts:
            return None
        raw = _raw(separator.join(texts.values()))
        if len(raw) > most:
            env.warn(1260, f"Row {len(texts)} was cut by GROUP_CONCAT()")
        return raw[:most].decode("utf-8", "ignore") if len(raw) > most else raw.decode("utf-8", "surrogateescape")

    return Expr(SqlType(ColumnType.LONG_BLOB, 16384, t.NOT_FIXED), value, is_aggregate=True)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


FUNCTIONS: dict[str, Function] = {
    "ROUND": (1, 2, functools.partial(_to_places, t.rounded, round, 1)),
    "TRUNCATE": (2, 2, functools.partial(_to_places, _cut, _truncated, 0)),
    "ABS": plain("n", _of_abs, abs),
    "FLOOR": (1, 1, functools.partial(_whole, ROUND_FLOOR)), "CEIL": (1, 1, functools.partial(_whole, ROUND_CEILING)),
    "MOD": (2, 2, lambda a, b: ops.arithmetic("%", a, b)), "POW": plain("nn", DOUBLE, _power),
    "COALESCE": (1, None, _coalesce), "IFNULL": (2, 2, _coalesce), "NULLIF": (2, 2, _nullif),
    "ISNULL": (1, 1, lambda arg: scalar(BOOL, lambda given: int(given is None), arg, nulls=True)),
    "IF": (3, 3, lambda test, yes, no: ops.case([(test, yes)], no)), "FIELD": (2, None, _field),
    "GREATEST": (2, None, functools.partial(_extreme, 1)), "LEAST": (2, None, functools.partial(_extreme, -1)),
    "CONCAT": plain("t*", lambda *args: varchar(sum(arg.type.length for arg in args)), functools.partial(_joined, "")),
    "CONCAT_WS": (2, None, _concat_ws),
    "LPAD": plain("tit", lambda a, size, _: varchar(known(size, a.type.length)),
                  functools.partial(_padded, left=True)),
    "RPAD": plain("tit", lambda a, size, _: varchar(known(size, a.type.length)),
                  functools.partial(_padded, left=False)),
    "REPEAT": plain("ti", lambda a, times: varchar(a.type.length * known(times, 1)),
                    lambda text, times: text * times if len(text) * times <= LONGEST else None),
    "SUBSTRING": plain("ti?i", _of_substring, _substring), "MID": plain("tii", _of_substring, _substring),
    "LEFT": plain("ti", _of_right, lambda text, size: text[: max(size, 0)]),
    "RIGHT": plain("ti", _of_right, lambda text, size: text[-size:] if size > 0 else ""),
    "REPLACE": plain("ttt", _same, _replaced), "FORMAT": plain("ni", _of_format, _formatted),
    "UPPER": plain("t", _same, str.upper), "LOWER": plain("t", _same, str.lower),
    "LENGTH": plain("b", INT10, len), "CHAR_LENGTH": plain("t", INT10, len),
    "TRIM": plain("t?t", _same, _trimmed),
    "LTRIM": (1, 1, plain("t?t", _same, functools.partial(_trimmed, right=False))[2]),  # TRIM(LEADING x FROM y) has two
    "RTRIM": (1, 1, plain("t?t", _same, functools.partial(_trimmed, left=False))[2]),
    "SUBSTRING_INDEX": plain("tti", _same, _substring_index),
    "UUID": (0, 0, lambda: derived(varchar(36), lambda _: str(uuid.uuid1()), ())),
    "FORMAT_BYTES": plain("i", varchar(11), _format_bytes), "REGEXP_LIKE": (2, 3, regexp_like), **DATES,
}  # fmt: skip
for _other, _name in {"CEILING": "CEIL", "POWER": "POW", "SUBSTR": "SUBSTRING", "UCASE": "UPPER", "LCASE": "LOWER",
                      "OCTET_LENGTH": "LENGTH", "CHARACTER_LENGTH": "CHAR_LENGTH"}.items():  # fmt: skip
    FUNCTIONS[_other] = FUNCTIONS[_name]
