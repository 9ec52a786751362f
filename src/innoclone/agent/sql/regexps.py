"""REGEXP and the REGEXP_* functions, by the package ``regex``: like ICU, which MySQL uses, it goes back where a way
fails, takes the first way that fits, and has a time limit.

A pattern is spelled anew before, so that nothing in it means more or other to ``regex`` than to ICU: what is not known
to mean the same is refused with error 1235.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence

import regex

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import alone, spend
from innoclone.agent.sql.expressions import Expr, Function, is_exact, scalar
from innoclone.agent.sql.types import BIGINT, BOOL, NOT_FIXED, SqlType, Value, varchar
from innoclone.agent.sql.values import to_integer, to_text
from innoclone.wire.results import ColumnType

__all__ = ["REGEXPS", "compiled", "regexp_like", "searched"]

SECONDS = 0.032  # of one search: regexp_time_limit's default, in milliseconds
LONGEST_PATTERN, LONGEST = 1 << 12, 1 << 24  # characters: of a pattern, and that REGEXP_REPLACE may give, says MySQL
LARGE = (
    1000  # characters of a text, from which one search at a time is made: it may need a hundred times as much memory
)
STEP = 64  # characters that are looked at in a microsecond
ESCAPES = {"n": r"\n", "t": r"\t", "r": r"\r", "f": r"\f", "a": r"\a", "e": r"\x1b"} | {
    one: f"\\{one}" for one in "dDwWsS"
}
ASSERTED = {"b": r"\b", "B": r"\B", "A": r"\A", "z": r"\Z", "Z": r"(?=\n?\Z)"}
NAMED = {
    "alpha": r"\p{Alphabetic}", "digit": r"\p{Nd}", "alnum": r"\p{Alphabetic}\p{Nd}", "space": r"\s",
    "upper": r"\p{Uppercase}", "lower": r"\p{Lowercase}", "blank": r"\p{Zs}\t", "xdigit": r"\p{Nd}\p{Hex_Digit}",
    "punct": r"\p{P}", "cntrl": r"\p{Cc}",
}  # fmt: skip
SPECIAL = {one: one for one in "^$|)"} | {".": r"[^\n\r\x0b\x0c\x85\u2028\u2029]"}
FAULTS = {"unterminated character set": 3696, "bad character range": 3697, "missing )": 3691, "unbalanced": 3691,
          "min repeat": 3693}  # fmt: skip
_OUTSIDE = re.compile(
    r"\\(?P<escape>.?)|(?P<set>\[\^?)(?P<first>\]?)|(?P<group>\((?:\?.)?)"
    r"|(?P<times>(?:[*+?]|\{\d{1,5}(?:,\d{0,5})?\})[+?]?)|(?P<wrong>\{)|(?P<plain>.)",
    re.DOTALL,
)
_INSIDE = re.compile(
    r"\\(?P<escape>.?)|\[:(?P<name>\w+):\]|(?P<odd>\[|&&|--|-(?=\\[dDwWsS]))|(?P<close>\])|(?P<plain>.)", re.DOTALL
)


def _refused(what: str) -> StatementError:
    return StatementError(1235, f"{what} in a pattern")


def _escaped(char: str, *, in_set: bool) -> str:
    """What follows a backslash. Raises errors 3689, 1235."""
    if not char:
        raise StatementError(3689)
    found = ESCAPES.get(char) or (None if in_set else ASSERTED.get(char))
    if found is None and char.isalnum():
        raise _refused(f"\\{char}")
    return found or regex.escape(char)


def _spelled(pattern: str, *, dot_all: bool) -> str:
    """As ``regex`` is to read it. Raises MySQL's errors, and 1235 for what ICU knows and this doesn't."""
    parts: list[str] = []
    at, in_set, countable = 0, False, False  # whether a quantifier may follow
    while at < len(pattern) and (found := (_INSIDE if in_set else _OUTSIDE).match(pattern, at)) is not None:
        begin, at, before, countable = at, found.end(), countable, True
        kind, text = found.lastgroup, found[found.lastgroup or 0]
        if kind == "escape":
            parts.append(_escaped(text, in_set=in_set))
            countable = text not in ASSERTED
        elif kind == "first":
            in_set = True
            parts.append(found["set"] + "\\]" * bool(text))
        elif kind == "name" and text in NAMED:
            parts.append(NAMED[text])
        elif kind in ("name", "odd") or (kind == "group" and text not in ("(", "(?:", "(?>")):
            raise _refused(text)
        elif kind == "wrong":
            raise StatementError(3692)
        elif (kind == "times" and not before) or (text == "}" and not in_set):
            raise StatementError(3688, begin + 1)
        elif kind in ("close", "group", "times"):
            parts.append(text)
            in_set, countable = False, kind == "close"
        elif in_set:
            parts.append(text if text == "-" else regex.escape(text))
        else:
            parts.append("(?s:.)" if dot_all and text == "." else SPECIAL.get(text) or regex.escape(text))
            countable = text != "|"
    return "".join(parts)


@functools.lru_cache(maxsize=32)
def compiled(pattern: str, *, ignore_case: bool, many_lines: bool, dot_all: bool) -> regex.Pattern[str]:
    """Raises MySQL's errors for a wrong pattern, 1235 for what ICU understands and this doesn't."""
    if not pattern:
        raise StatementError(3685)
    if len(pattern) > LONGEST_PATTERN:
        raise StatementError(3699)
    spend(len(pattern) * 4)
    flags = regex.VERSION0 | regex.FULLCASE | regex.IGNORECASE * ignore_case | regex.MULTILINE * many_lines
    try:
        return regex.compile(_spelled(pattern, dot_all=dot_all), flags, cache_pattern=False)
    except RecursionError:
        raise _refused("groups as deep as these") from None
    except regex.error as error:
        number = next((number for begin, number in FAULTS.items() if str(error).startswith(begin)), 3688)
        raise StatementError(number, *[len(pattern)] * (number == 3688)) from None


def searched(pattern: regex.Pattern[str], text: str, start: int) -> regex.Match[str] | None:
    """The leftmost match from ``start`` on, and of those the one that the pattern prefers. Raises error 3699."""
    spend(1 + (len(text) - start) // STEP)
    if len(text) > LARGE:
        alone()
    try:
        return pattern.search(text, start, timeout=SECONDS)
    except (TimeoutError, MemoryError):
        raise StatementError(3699) from None


def _flagged(text: Expr, pattern: Expr, wanted: Value, flags: Value) -> regex.Pattern[str]:
    """``flags`` are those of MySQL's match type. Raises errors 1210, 3685 and the like."""
    ignore, flags = not is_exact(text, pattern), str(flags)
    if set(flags) - set("cimnu"):
        raise StatementError(1210, "regexp_like")
    for flag in flags:
        ignore = flag == "i" if flag in "ci" else ignore
    return compiled(
        to_text(wanted, pattern.type) or "", ignore_case=ignore, many_lines="m" in flags, dot_all="n" in flags
    )


def regexp_like(text: Expr, pattern: Expr, *flags: Expr) -> Expr:
    """REGEXP and REGEXP_LIKE."""
    if (text.type.collation == "binary") != (pattern.type.collation == "binary"):
        names = {"": "utf8mb4_0900_ai_ci", "bin": "utf8mb4_bin"}
        raise StatementError(3995, *(names.get(one.type.collation, "binary") for one in (text, pattern)))

    def value(given: Value, wanted: Value, how: Value = "") -> Value:
        found = searched(_flagged(text, pattern, wanted, how), to_text(given, text.type) or "", 0)
        return int(found is not None)

    return scalar(BOOL, value, text, pattern, *flags)


def _matches(pattern: regex.Pattern[str], text: str, position: Value) -> Iterator[regex.Match[str]]:
    """One after another; an empty one moves on by a character. Raises error 3686."""
    start = (to_integer(position) or 0) - 1
    if not 0 <= start <= len(text):
        raise StatementError(3686)
    while start <= len(text) and (found := searched(pattern, text, start)) is not None:
        yield found
        start = found.end() if found.end() > found.start() else found.end() + 1


def _filled_up(given: Sequence[Value], *defaults: Value) -> list[Value]:
    return [*given, *defaults[len(given) :]]


def _located(kind: Callable[[Expr], SqlType], options: int, pick: Callable[..., Value], absent: Value) -> Function:
    """REGEXP_INSTR and REGEXP_SUBSTR: position, occurrence, [return option,] match type."""

    def make(text: Expr, pattern: Expr, *more: Expr) -> Expr:
        def value(given: Value, wanted: Value, *rest: Value) -> Value:
            position, occurrence, *option, flags = _filled_up(rest, 1, 1, *[0] * (options - 2), "")
            program = _flagged(text, pattern, wanted, flags)
            matches = _matches(program, to_text(given, text.type) or "", position)
            found = next(itertools.islice(matches, min(max(to_integer(occurrence) or 0, 1), LONGEST) - 1, None), None)
            return absent if found is None else pick(found, *map(to_integer, option))

        return scalar(kind(text), value, text, pattern, *more)

    return 2, 3 + options, make


def _replace(text: Expr, pattern: Expr, new: Expr, *more: Expr) -> Expr:
    def value(given: Value, wanted: Value, by: Value, *rest: Value) -> Value:
        position, occurrence, flags = _filled_up(rest, 1, 0, "")
        whole, inserted = to_text(given, text.type) or "", to_text(by, new.type) or ""
        if not whole:  # MySQL doesn't look for anything there
            return ""
        only = to_integer(occurrence)
        parts, at, size = [], 0, len(whole)
        for number, match in enumerate(_matches(_flagged(text, pattern, wanted, flags), whole, position), 1):
            if only and number != only:
                continue
            parts += [whole[at : match.start()], _filled(inserted, [match[0], *match.groups()])]
            at, size = match.end(), size + len(parts[-1])
            if size > LONGEST:
                return None
        return "".join([*parts, whole[at:]])

    return scalar(SqlType(ColumnType.LONG_BLOB, LONGEST, NOT_FIXED), value, text, pattern, new, *more)


def _filled(template: str, groups: Sequence[str | None]) -> str:
    """``$1`` is what the first parentheses matched; a backslash makes the next character plain. Errors 3686, 3887."""

    def part(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        if not found[2]:
            raise StatementError(3887)
        if int(found[2]) >= len(groups):
            raise StatementError(3686)
        return groups[int(found[2])] or ""

    return re.sub(r"\\(.)|\$(\d?)", part, template, flags=re.DOTALL | re.ASCII)


REGEXPS: dict[str, Function] = {
    "REGEXP_LIKE": (2, 3, regexp_like), "REGEXP_REPLACE": (3, 6, _replace),
    "REGEXP_INSTR": _located(
        lambda _: BIGINT, 3, lambda match, after: (match.end() if after else match.start()) + 1, 0),
    "REGEXP_SUBSTR": _located(lambda text: varchar(text.type.length), 2, lambda match: match[0], None),
}  # fmt: skip
