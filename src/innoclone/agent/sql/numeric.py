"""Functions and operators of numbers, beside those of `innoclone.agent.sql.functions`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

from innoclone.agent.sql.expressions import LARGEST, Expr, derived, scalar
from innoclone.agent.sql.types import BIGINT, DOUBLE, UNSIGNED, Value
from innoclone.agent.sql.values import to_integer, to_number

__all__ = ["NUMERIC", "bitwise", "complement"]

Maker = Callable[..., Expr]
_BITWISE: dict[str, Callable[[int, int], int]] = {
    "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b if b < 64 else 0, ">>": lambda a, b: a >> b if b < 64 else 0,
}  # fmt: skip


def _bits(value: Value) -> int:
    return (to_integer(value) or 0) & LARGEST


def bitwise(sign: str, left: Expr, right: Expr) -> Expr:
    """``& | ^ << >>`` on 64 bits without a sign."""
    operate = _BITWISE[sign]
    return scalar(UNSIGNED, lambda a, b: operate(_bits(a), _bits(b)) & LARGEST, left, right)


def complement(arg: Expr) -> Expr:
    """``~x``."""
    return scalar(UNSIGNED, lambda value: ~_bits(value) & LARGEST, arg)


def _real(function: Callable[[float], float]) -> Maker:
    """A function of a double; NULL where it isn't defined."""

    def value(given: Value) -> Value:
        try:
            found = function(float(to_number(given) or 0))
        except (ValueError, ZeroDivisionError):
            return None
        return found if math.isfinite(found) else None

    return lambda arg: scalar(DOUBLE, value, arg)


def _log(first: Expr, second: Expr | None = None) -> Expr:
    if second is None:
        return _real(math.log)(first)

    def value(base: Value, given: Value) -> Value:
        try:
            return math.log(float(to_number(given) or 0)) / math.log(float(to_number(base) or 0))
        except (ValueError, ZeroDivisionError):
            return None

    return scalar(DOUBLE, value, first, second)


def _sign(arg: Expr) -> Expr:
    def value(given: Value) -> Value:
        number = to_number(given) or 0
        return (number > 0) - (number < 0)

    return scalar(BIGINT, value, arg)


def _atan2(first: Expr, second: Expr) -> Expr:
    return scalar(DOUBLE, lambda a, b: math.atan2(float(to_number(a) or 0), float(to_number(b) or 0)), first, second)


NUMERIC: dict[str, tuple[int, int | None, Maker]] = {
    "SQRT": (1, 1, _real(math.sqrt)), "EXP": (1, 1, _real(math.exp)), "LN": (1, 1, _real(math.log)),
    "LOG": (1, 2, _log), "LOG2": (1, 1, _real(math.log2)), "LOG10": (1, 1, _real(math.log10)),
    "SIN": (1, 1, _real(math.sin)), "COS": (1, 1, _real(math.cos)), "TAN": (1, 1, _real(math.tan)),
    "COT": (1, 1, _real(lambda number: 1 / math.tan(number))), "ASIN": (1, 1, _real(math.asin)),
    "ACOS": (1, 1, _real(math.acos)), "ATAN": (1, 1, _real(math.atan)), "ATAN2": (2, 2, _atan2),
    "RADIANS": (1, 1, _real(math.radians)), "DEGREES": (1, 1, _real(math.degrees)),
    "PI": (0, 0, lambda: derived(replace(DOUBLE, length=8, decimals=6), lambda _: math.pi, [])),
    "RAND": (0, 0, lambda: derived(DOUBLE, lambda _: random.random(), [])),  # noqa: S311
    "SIGN": (1, 1, _sign),
    "BIT_COUNT": (1, 1, lambda arg: scalar(BIGINT, lambda value: _bits(value).bit_count(), arg)),
}  # fmt: skip
