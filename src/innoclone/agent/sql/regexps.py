"""REGEXP and the REGEXP_* functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.automaton import Automaton, Match, compiled
from innoclone.agent.sql.expressions import Expr, is_exact, scalar
from innoclone.agent.sql.types import BIGINT, BOOL, NOT_FIXED, SqlType, Value, varchar
from innoclone.agent.sql.values import to_integer, to_text
from innoclone.wire.results import ColumnType

__all__ = ["REGEXPS", "regexp_like"]

Maker = Callable[..., Expr]
LONGEST = 1 << 24  # characters that REGEXP_REPLACE may give, says MySQL


def _automaton(pattern: str, flags: str, *, exact: bool) -> Automaton:
    """``flags`` are those of MySQL's match type. Raises errors 1210, 3685 and the like."""
    ignore = not exact
    for flag in flags:
        if flag not in "cimnu":
            raise StatementError(1210, "regexp_like")
        ignore = flag == "i" if flag in "ci" else ignore
    return compiled(pattern, ignore_case=ignore, many_lines="m" in flags, dot_all="n" in flags)


def regexp_like(text: Expr, pattern: Expr, flags: Expr | None = None) -> Expr:
    """REGEXP and REGEXP_LIKE."""
    exact = is_exact(text, pattern)
    if (text.type.collation == "binary") != (pattern.type.collation == "binary"):
        raise StatementError(3995, *(_collation(one) for one in (text, pattern)))

    def value(given: Value, wanted: Value, *how: Value) -> Value:
        automaton = _automaton(to_text(wanted, pattern.type) or "", str(how[0]) if how else "", exact=exact)
        return int(automaton.search(to_text(given, text.type) or "", 0) is not None)

    return scalar(BOOL, value, text, pattern, *([flags] if flags is not None else []))


def _collation(arg: Expr) -> str:
    return {"": "utf8mb4_0900_ai_ci", "bin": "utf8mb4_bin"}.get(arg.type.collation, "binary")


def _matches(automaton: Automaton, text: str, start: int) -> Iterator[Match]:
    """One after another; an empty one moves on by a character."""
    while start <= len(text) and (found := automaton.search(text, start)) is not None:
        yield found
        start = found.end if found.end > found.begin else found.end + 1


def _start(text: str, position: Value, name: str) -> int:
    at = to_integer(position) or 0
    if not 1 <= at <= len(text) + 1:
        raise StatementError(3686)
    return at - 1


def _located(
    name: str, kind: Callable[[Expr], object], pick: Callable[[Match, str, int], Value], options: int
) -> Maker:
    """REGEXP_INSTR and REGEXP_SUBSTR: position, occurrence, [return option,] match type."""

    def make(text: Expr, pattern: Expr, *more: Expr) -> Expr:
        exact = is_exact(text, pattern)

        def value(given: Value, wanted: Value, *rest: Value) -> Value:
            whole = to_text(given, text.type) or ""
            position, occurrence, option = ([*rest[:options], 1, 1, 0][at] if at < len(rest[:options]) else default
                                            for at, default in enumerate((1, 1, 0)))  # fmt: skip
            flags = str(rest[options]) if len(rest) > options else ""
            automaton = _automaton(to_text(wanted, pattern.type) or "", flags, exact=exact)
            count = max(to_integer(occurrence) or 0, 1)
            for number, match in enumerate(_matches(automaton, whole, _start(whole, position, name)), 1):
                if number == count:
                    return pick(match, whole, to_integer(option) or 0)
            return pick(Match(-1, -1, ()), whole, 0)

        return scalar(kind(text), value, text, pattern, *more)  # type: ignore[arg-type]

    return make


def _replace(text: Expr, pattern: Expr, new: Expr, *more: Expr) -> Expr:
    exact = is_exact(text, pattern)

    def value(given: Value, wanted: Value, by: Value, *rest: Value) -> Value:
        whole, inserted = to_text(given, text.type) or "", to_text(by, new.type) or ""
        start = _start(whole, rest[0] if rest else 1, "regexp_replace")
        only = to_integer(rest[1]) or 0 if len(rest) > 1 else 0
        automaton = _automaton(to_text(wanted, pattern.type) or "", str(rest[2]) if len(rest) > 2 else "", exact=exact)
        parts, at, size = [whole[:start]], start, len(whole)
        for number, match in enumerate(_matches(automaton, whole, start), 1):
            if only and number != only:
                continue
            parts += [whole[at : match.begin], _filled(inserted, match, whole)]
            size += len(parts[-1])
            if size > LONGEST:
                return None
            at = match.end
        return "".join([*parts, whole[at:]])

    return scalar(SqlType(ColumnType.LONG_BLOB, LONGEST, NOT_FIXED), value, text, pattern, new, *more)


def _filled(template: str, match: Match, text: str) -> str:
    """``$1`` is what the first parentheses matched; a backslash makes the next character plain."""
    parts, at = [], 0
    while at < len(template):
        char = template[at]
        if char == "\\" and at + 1 < len(template):
            parts.append(template[at + 1])
            at += 2
        elif char == "$" and template[at + 1 : at + 2].isdigit():
            number = int(template[at + 1])
            spans = ((match.begin, match.end), *match.groups)
            if number >= len(spans):
                raise StatementError(3686)
            begin, end = spans[number]
            parts.append(text[begin:end] if begin >= 0 else "")
            at += 2
        elif char == "$":
            raise StatementError(3887)
        else:
            parts.append(char)
            at += 1
    return "".join(parts)


REGEXPS: dict[str, tuple[int, int | None, Maker]] = {
    "REGEXP_LIKE": (2, 3, regexp_like),
    "REGEXP_INSTR": (2, 6, _located(
        "regexp_instr", lambda _: BIGINT, lambda m, _, after: (m.end if after else m.begin) + 1, 3)),
    "REGEXP_SUBSTR": (2, 5, _located(
        "regexp_substr", lambda text: varchar(text.type.length),
        lambda m, text, _: text[m.begin : m.end] if m.begin >= 0 else None, 2)),
    "REGEXP_REPLACE": (3, 6, _replace),
}  # fmt: skip
