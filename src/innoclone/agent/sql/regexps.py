"""REGEXP and REGEXP_LIKE, by the package ``regex``: like MySQL's ICU it goes back where a way fails, takes the first
way that fits, and has a time limit. What isn't known to mean the same to both is refused with error 1235."""

from __future__ import annotations

import functools
import re

import regex

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import alone, spend
from innoclone.agent.sql.expressions import Expr, is_exact, plain
from innoclone.agent.sql.values import BOOL, Value

SECONDS = 0.032  # of one search: regexp_time_limit's default, in milliseconds
LONGEST = 1 << 10  # characters of a pattern
MOST_STEPS = 1 << 12  # of a pattern whose {m,n} are written out, as regex does it
MOST_WORK = 1 << 26  # characters of a pattern times those of a text: large sets are searched without a look at the time
LARGE = 1000  # characters of a text that is searched alone: for each a hundred bytes of memory may be needed
STEP = 64  # characters that are looked at in a microsecond
ESCAPES = {one: f"\\{one}" for one in "ntrfadDwWsS"} | {"e": r"\x1b"}
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
    sizes, last, counted = [0], 0, 0  # steps in each open group, in this part, and in the one before
    while at < len(pattern) and (found := (_INSIDE if in_set else _OUTSIDE).match(pattern, at)) is not None:
        begin, at, before, countable = at, found.end(), countable, True
        kind, text = found.lastgroup, found[found.lastgroup or 0]
        last = last + 1 if in_set else 1
        sizes[-1] += kind != "times"
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
        elif kind == "times":
            parts.append(text)
            countable = False
            sizes[-1] += counted * max(map(int, re.findall(r"\d+", text)), default=1)
            if sum(sizes) > MOST_STEPS:
                raise StatementError(3699)
        elif kind in ("close", "group"):
            parts.append(text)
            in_set, countable = False, kind == "close"
            sizes += [0] * (kind == "group")
        elif in_set:
            parts.append(text if text == "-" else regex.escape(text))
        else:
            parts.append("(?s:.)" if dot_all and text == "." else SPECIAL.get(text) or regex.escape(text))
            countable = text != "|"
            if text == ")" and len(sizes) > 1:
                last = sizes.pop() + 1
                sizes[-1] += last
        counted = last
    return "".join(parts)


@functools.lru_cache(maxsize=32)
def compiled(pattern: str, *, ignore_case: bool, many_lines: bool, dot_all: bool) -> regex.Pattern[str]:
    """Raises MySQL's errors for a wrong pattern, 1235 for what ICU understands and this doesn't."""
    if not pattern:
        raise StatementError(3685)
    if len(pattern) > LONGEST:
        raise StatementError(3699)
    spend(len(pattern) * 100)
    flags = regex.VERSION0 | regex.FULLCASE | regex.IGNORECASE * ignore_case | regex.MULTILINE * many_lines
    try:
        return regex.compile(_spelled(pattern, dot_all=dot_all), flags, cache_pattern=False)
    except RecursionError:
        raise _refused("groups as deep as these") from None
    except regex.error as error:
        number = next((number for begin, number in FAULTS.items() if str(error).startswith(begin)), 3688)
        raise StatementError(number, *[len(pattern)] * (number == 3688)) from None


def is_found(pattern: regex.Pattern[str], text: str) -> bool:
    """Whether it matches somewhere. Raises error 3699."""
    spend(1 + len(text) // STEP)
    if len(pattern.pattern) * len(text) > MOST_WORK:
        raise StatementError(3699)
    if len(text) > LARGE:
        alone()
    try:
        return pattern.search(text, timeout=SECONDS) is not None
    except (TimeoutError, MemoryError):
        raise StatementError(3699) from None


def regexp_like(text: Expr, pattern: Expr, *flags: Expr) -> Expr:
    """REGEXP and REGEXP_LIKE; ``flags`` are MySQL's match type. Raises errors 1210, 3685 and the like, 3995."""
    exact = is_exact(text, pattern)
    if (text.type.collation == "binary") != (pattern.type.collation == "binary"):
        names = {"": "utf8mb4_0900_ai_ci", "bin": "utf8mb4_bin"}
        raise StatementError(3995, *(names.get(one.type.collation, "binary") for one in (text, pattern)))

    def value(given: str, wanted: str, how: str = "") -> Value:
        if set(how) - set("cimnu"):
            raise StatementError(1210, "regexp_like")
        ignore = not exact if not set(how) & set("ci") else how.rfind("i") > how.rfind("c")
        return int(is_found(compiled(wanted, ignore_case=ignore, many_lines="m" in how, dot_all="n" in how), given))

    return plain("tt?t", BOOL, value)[2](text, pattern, *flags)
