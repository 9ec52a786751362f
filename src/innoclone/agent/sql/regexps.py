"""REGEXP and the REGEXP_* functions, by the package ``regex``: like ICU, which MySQL uses, it goes back where a way
fails, takes the first way that fits, and has a time limit.

A pattern is spelled anew before, so that nothing in it means more or other to ``regex`` than to ICU: what is not known
to mean the same is refused with error 1235.
"""

from __future__ import annotations

import functools
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
LONGEST_PATTERN = 1 << 12  # characters
LONGEST = 1 << 24  # characters that REGEXP_REPLACE may give, says MySQL
STEP = 64  # characters that are looked at in a microsecond
MOST_TIMES = 1 << 16  # of {m,n}
LINE_END = r"\n\r\x0b\x0c\x85\u2028\u2029"
ESCAPES = {"n": r"\n", "t": r"\t", "r": r"\r", "f": r"\f", "a": r"\a", "e": r"\x1b"}
SHORT = "dDwWsS"
ASSERTED = {"b": r"\b", "B": r"\B", "A": r"\A", "z": r"\Z", "Z": r"(?=\n?\Z)"}
NAMED = {
    "alpha": r"\p{Alphabetic}", "digit": r"\p{Nd}", "alnum": r"\p{Alphabetic}\p{Nd}", "space": r"\s",
    "upper": r"\p{Uppercase}", "lower": r"\p{Lowercase}", "blank": r"\p{Zs}\t", "xdigit": r"\p{Nd}\p{Hex_Digit}",
    "punct": r"\p{P}", "cntrl": r"\p{Cc}",
}  # fmt: skip
_TOKEN = re.compile(
    r"\\(?P<escape>.?)|\[(?P<set>\^?)|(?P<group>\((?:\?(?:<[=!]|.))?)|(?P<close>\))"
    r"|(?P<times>[*+?]|\{(?P<least>\d*)(?P<more>,?)(?P<most>\d*)\}|\{)(?P<how>[+?]?)|(?P<plain>.)",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\(?P<escape>.?)|\[:(?P<name>\^?\w+):\]|(?P<odd>\[|&&|--)|(?P<plain>.)", re.DOTALL)


def _refused(what: str) -> StatementError:
    return StatementError(1235, f"{what} in a pattern")


def _escaped(char: str) -> str:
    """What follows a backslash, in a set or outside. Raises errors 3689, 1235."""
    if not char:
        raise StatementError(3689)
    if char in SHORT:
        return "\\" + char
    if char.isalnum() and char not in ESCAPES:
        raise _refused(f"\\{char}")
    return ESCAPES.get(char) or regex.escape(char)


def _set(pattern: str, at: int) -> tuple[str, int]:
    """The members of a set that begin there, and where it ends. Raises errors 3696, 3697, 1235."""
    parts: list[str] = []
    begin, low, ranged = at, "", False  # a range's first character; whether a hyphen came behind it
    while (found := _MEMBER.match(pattern, at)) is not None:
        at = found.end()
        char = found["plain"]
        if char == "]" and found.start() > begin:
            return "".join([*parts, r"\-" * ranged]), at
        if found["odd"]:
            raise _refused("a set in a set")
        if char == "-" and low and not ranged and pattern[at : at + 1] != "]":
            ranged = True
            continue
        if found["name"]:
            if found["name"] not in NAMED:
                raise _refused(f"[:{found['name']}:]")
            part = NAMED[found["name"]]
        else:
            part = _escaped(found["escape"]) if char is None else regex.escape(char)
        if ranged:
            if char is None:
                raise _refused("such a range")
            if char < low:
                raise StatementError(3697)
            parts.append("-")
        parts.append(part)
        low, ranged = ("", False) if ranged or char is None else (char, False)
    raise StatementError(3696)


def _counted(found: re.Match[str]) -> str:
    """A quantifier. Raises errors 3692, 3693, 3699."""
    if found["times"].startswith("{"):
        if not found["least"] or (found["most"] and not found["more"]):
            raise StatementError(3692)
        least, most = int(found["least"]), int(found["most"] or found["least"])
        if most < least:
            raise StatementError(3693)
        if max(least, most) > MOST_TIMES:
            raise StatementError(3699)
    return found["times"] + found["how"]


def _spelled(pattern: str, *, dot_all: bool) -> str:
    """As ``regex`` is to read it. Raises MySQL's errors for a wrong pattern, 1235 for what ICU knows and this doesn't."""
    parts: list[str] = []
    at = depth = 0
    countable = False  # whether a quantifier may follow
    while at < len(pattern) and (found := _TOKEN.match(pattern, at)) is not None:
        at, before, countable = found.end(), countable, True
        if found["set"] is not None:
            members, at = _set(pattern, at)
            parts.append(f"[{found['set']}{members}]")
        elif found["group"]:
            if found["group"] not in ("(", "(?:", "(?>"):
                raise _refused(found["group"])
            parts.append(found["group"])
            depth, countable = depth + 1, False
        elif found["close"]:
            parts.append(")")
            depth -= 1
            if depth < 0:
                raise StatementError(3691)
        elif found["times"]:
            if not before:
                raise StatementError(3688, found.start() + 1)
            parts.append(_counted(found))
            countable = False
        elif found["escape"] is not None:
            is_asserted = found["escape"] and found["escape"] in ASSERTED
            parts.append(ASSERTED[found["escape"]] if is_asserted else _escaped(found["escape"]))
            countable = not is_asserted
        else:
            char = found["plain"]
            special = {"^": "^", "|": "|", "$": "$", ".": "(?s:.)" if dot_all else f"[^{LINE_END}]"}
            parts.append(special.get(char) or regex.escape(char))
            countable = char != "|"
            if char == "}":
                raise StatementError(3688, found.start() + 1)
    if depth:
        raise StatementError(3691)
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
    except regex.error:
        raise StatementError(3688, len(pattern)) from None


def searched(pattern: regex.Pattern[str], text: str, start: int) -> regex.Match[str] | None:
    """The leftmost match from ``start`` on, and of those the one that the pattern prefers. Raises error 3699."""
    spend(1 + (len(text) - start) // STEP)
    if len(text) > 1000:
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


def _located(kind: Callable[[Expr], SqlType], options: int, pick: Callable[..., Value], absent: Value) -> Function:
    """REGEXP_INSTR and REGEXP_SUBSTR: position, occurrence, [return option,] match type."""

    def make(text: Expr, pattern: Expr, *more: Expr) -> Expr:
        def value(given: Value, wanted: Value, *rest: Value) -> Value:
            position, occurrence, option = (*rest[:options], *(1, 1, 0)[len(rest[:options]) :])
            program = _flagged(text, pattern, wanted, rest[options] if len(rest) > options else "")
            matches = _matches(program, to_text(given, text.type) or "", position)
            count = max(to_integer(occurrence) or 0, 1)
            found = next((match for number, match in enumerate(matches, 1) if number == count), None)
            return absent if found is None else pick(found, to_integer(option))

        return scalar(kind(text), value, text, pattern, *more)

    return 2, 3 + options, make


def _replace(text: Expr, pattern: Expr, new: Expr, *more: Expr) -> Expr:
    def value(given: Value, wanted: Value, by: Value, *rest: Value) -> Value:
        position, occurrence, flags = (*rest, *(1, 0, "")[len(rest) :])
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
    "REGEXP_SUBSTR": _located(lambda text: varchar(text.type.length), 2, lambda match, _: match[0], None),
}  # fmt: skip
