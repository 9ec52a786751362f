"""Regular expressions in time that grows with the text, whatever the pattern: all ways are followed side by side.

Python's ``re`` goes back when a way fails, which some patterns make it do for years; a client must not be able to ask
for that. The syntax is ICU's, which MySQL uses, without what would need to go back: no references to groups, no
looking around.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.budget import spend

__all__ = ["Automaton", "Match", "compiled"]

MOST_STEPS = 2000  # of a program; {m,n} is written out
MOST_WORK = 20_000_000  # steps times characters
MOST_GROUPS = 100
LONGEST = 1 << 13  # characters of a pattern
Test = Callable[[str], bool]
_CLASSES: dict[str, Test] = {
    "alpha": str.isalpha, "digit": str.isdigit, "alnum": str.isalnum, "space": str.isspace, "upper": str.isupper,
    "lower": str.islower, "blank": lambda c: c in " \t", "xdigit": lambda c: c in "0123456789abcdefABCDEF",
    "punct": lambda c: c.isprintable() and not c.isalnum() and not c.isspace(), "print": str.isprintable,
    "cntrl": lambda c: not c.isprintable() and not c.isspace(), "graph": lambda c: c.isprintable() and not c.isspace(),
}  # fmt: skip
_SHORT: dict[str, Test] = {"d": str.isdigit, "w": lambda c: c.isalnum() or c == "_", "s": str.isspace}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}


@dataclass(frozen=True)
class Match:
    """``groups`` are the parentheses' places, (-1, -1) for one that took no part."""

    begin: int
    end: int
    groups: tuple[tuple[int, int], ...]


@dataclass
class _Step:
    """One instruction: a character's test, a fork (the first way is preferred), an assertion, a mark, or the end.

    ``ways`` are relative until the program is whole, so that a part may stand anywhere, and more than once.
    """

    kind: str
    test: Test | None = None
    ways: list[int] = field(default_factory=list)
    what: str = ""
    slot: int = 0


class Automaton:
    """A pattern's program, and its search."""

    def __init__(self, steps: list[_Step], groups: int, *, many_lines: bool) -> None:
        """``groups`` is the number of parentheses."""
        self._steps, self._groups, self._many_lines = steps, groups, many_lines

    def search(self, text: str, start: int) -> Match | None:
        """The leftmost match from ``start`` on, and of those the one that the pattern prefers. Raises error 3699."""
        if len(self._steps) * (len(text) - start + 1) > MOST_WORK:
            raise StatementError(3699)
        found: tuple[int, ...] | None = None
        threads: list[tuple[int, tuple[int, ...]]] = []
        empty = (-1,) * (2 * self._groups + 2)
        for at in range(start, len(text) + 1):
            seen: set[int] = set()
            ready: list[tuple[int, tuple[int, ...]]] = []
            for step, marks in threads:
                self._follow(step, marks, at, text, seen, ready)
            if found is None:
                self._follow(0, empty, at, text, seen, ready)
            spend(len(seen) * (self._groups // 10 + 1) + 1)
            threads = []
            for step, marks in ready:
                one = self._steps[step]
                if one.kind == "end":
                    found = marks
                    break  # what follows is preferred less
                if at < len(text) and one.test is not None and one.test(text[at]):
                    threads.append((step + 1, marks))
            if not threads and found is not None:
                break
        if found is None:
            return None
        pairs = [(found[at], found[at + 1]) for at in range(0, len(found), 2)]
        return Match(*pairs[0], tuple(pairs[1:]))

    def _follow(
        self, first: int, marks: tuple[int, ...], at: int, text: str, seen: set[int],
        ready: list[tuple[int, tuple[int, ...]]],
    ) -> None:  # fmt: skip
        """To the steps that take a character, in order of preference."""
        pending = [(first, marks)]
        while pending:
            number, marks = pending.pop()
            if number in seen:
                continue
            seen.add(number)
            step = self._steps[number]
            if step.kind == "fork":
                pending += [(way, marks) for way in reversed(step.ways)]
            elif step.kind == "mark":
                pending.append((number + 1, (*marks[: step.slot], at, *marks[step.slot + 1 :])))
            elif step.kind == "assert":
                if self._holds(step.what, text, at):
                    pending.append((number + 1, marks))
            else:
                ready.append((number, marks))

    def _holds(self, what: str, text: str, at: int) -> bool:
        before, after = at > 0, at < len(text)
        if what == "^":
            return not before or (self._many_lines and text[at - 1] == "\n")
        if what == "$":
            return not after or (text[at] == "\n" and (self._many_lines or at == len(text) - 1))
        if what in "Az":
            return not before if what == "A" else not after
        if what == "Z":
            return not after or (text[at] == "\n" and at == len(text) - 1)
        border = (before and _SHORT["w"](text[at - 1])) != (after and _SHORT["w"](text[at]))
        return border if what == "b" else not border


class _Parser:
    """From a pattern to steps: each method appends those of what it reads."""

    def __init__(self, pattern: str, *, ignore_case: bool, dot_all: bool) -> None:
        self.pattern, self.at, self.groups = pattern, 0, 0
        self.ignore_case, self.dot_all = ignore_case, dot_all
        self.depth = 0

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        self.at += 1
        return char

    def alternatives(self) -> list[_Step]:
        self.depth += 1
        if self.depth > 50:
            raise StatementError(1235, "a pattern as deep as this one")
        found = self.sequence()
        while self.peek() == "|":
            self.at += 1
            other = self.sequence()
            found = [
                _Step("fork", ways=[1, len(found) + 2]), *found, _Step("fork", ways=[len(other) + 1]), *other
            ]  # fmt: skip
        self.depth -= 1
        return found

    def sequence(self) -> list[_Step]:
        found: list[_Step] = []
        while self.peek() not in ("", "|", ")"):
            found += self.repeated()
            if len(found) > MOST_STEPS:
                raise StatementError(3699)
        return found

    def repeated(self) -> list[_Step]:
        part = self.atom()
        while (char := self.peek()) and char in "*+?{":
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self.counts()
            self.at += char != "{"
            lazy = self.peek() == "?"
            self.at += lazy
            if self.peek() == "+":
                raise StatementError(1235, "a possessive quantifier")
            part = self.times(part, least, most, lazy=lazy)
        return part

    def counts(self) -> tuple[int, int | None]:
        end = self.pattern.find("}", self.at)
        numbers = self.pattern[self.at + 1 : end].split(",")
        if end < 0 or len(numbers) > 2 or not numbers[0].isdigit() or not (numbers[-1].isdigit() or not numbers[-1]):
            raise StatementError(3692)
        self.at = end + 1
        least, most = int(numbers[0]), int(numbers[-1]) if numbers[-1] else None
        if most is not None and most < least:
            raise StatementError(3693)
        if max(least, most or 0) > MOST_STEPS:
            raise StatementError(3699)
        return least, most

    def times(self, part: list[_Step], least: int, most: int | None, *, lazy: bool) -> list[_Step]:
        def fork(on: int, out: int) -> _Step:
            return _Step("fork", ways=[out, on] if lazy else [on, out])

        if (max(least, most or 0) + 1) * (len(part) + 1) > MOST_STEPS:
            raise StatementError(3699)
        found = part * least
        if most is None:
            return [*found, fork(1, len(part) + 2), *part, _Step("fork", ways=[-len(part) - 1])]
        more = most - least
        for rest in range(more, 0, -1):
            found += [fork(1, rest * (len(part) + 1)), *part]
        return found

    def atom(self) -> list[_Step]:
        char = self.take()
        if char == "(":
            return self.group()
        if char == "[":
            return [_Step("char", test=self.bracket())]
        if char == ".":
            dot_all = self.dot_all
            return [_Step("char", test=lambda c: dot_all or c not in "\n\r\x0b\x0c\x85\u2028\u2029")]
        if char in "^$":
            return [_Step("assert", what=char)]
        if char in "*+?{":
            raise StatementError(3688, self.at)
        if char == "\\":
            return self.escape()
        return [_Step("char", test=self.same(char))]

    def same(self, char: str) -> Test:
        if self.ignore_case:
            wanted = char.casefold()
            return lambda c: c.casefold() == wanted
        return lambda c: c == char

    def group(self) -> list[_Step]:
        marked = True
        if self.peek() == "?":
            if self.pattern[self.at + 1 : self.at + 2] != ":":
                raise StatementError(1235, "such a group in a pattern")
            self.at += 2
            marked = False
        number = self.groups = self.groups + marked
        if number > MOST_GROUPS:
            raise StatementError(3699)
        inner = self.alternatives()
        if self.take() != ")":
            raise StatementError(3691)
        if not marked:
            return inner
        return [_Step("mark", slot=2 * number), *inner, _Step("mark", slot=2 * number + 1)]

    def escape(self) -> list[_Step]:
        char = self.take()
        if not char:
            raise StatementError(3689)
        if char in "bBAzZ":
            return [_Step("assert", what=char)]
        return [_Step("char", test=self.escaped(char))]

    def escaped(self, char: str) -> Test:
        if char.lower() in _SHORT:
            test = _SHORT[char.lower()]
            return test if char.islower() else lambda c: not test(c)
        if char.isalnum() and char not in _ESCAPES:
            raise StatementError(1235, f"\\{char} in a pattern")
        return self.same(_ESCAPES.get(char, char))

    def bracket(self) -> Test:
        negated = self.peek() == "^"
        self.at += negated
        tests: list[Test] = []
        first = True
        while (char := self.take()) != "]" or first:
            first = False
            if not char:
                raise StatementError(3696)
            if char == "[":
                tests.append(self.named_class())
            elif char == "\\":
                tests.append(self.escaped(self.take() or "]"))
            elif char == "&" and self.peek() == "&":
                raise StatementError(1235, "&& in a pattern")
            elif self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                tests.append(self.between(char, self.take()))
            else:
                tests.append(self.same(char))
        return lambda c: any(test(c) for test in tests) is not negated

    def between(self, low: str, high: str) -> Test:
        if high == "\\" or high < low:
            raise StatementError(3697) if high != "\\" else StatementError(1235, "an escape in a range")
        if self.ignore_case:
            return lambda c: low <= c <= high or low <= c.lower() <= high or low <= c.upper() <= high
        return lambda c: low <= c <= high

    def named_class(self) -> Test:
        end = self.pattern.find(":]", self.at)
        name = self.pattern[self.at + 1 : end] if self.peek() == ":" and end > 0 else ""
        negated = name.startswith("^")
        if name.removeprefix("^") not in _CLASSES:
            raise StatementError(1235, "a set in a set in a pattern")
        self.at = end + 2
        test = _CLASSES[name.removeprefix("^")]
        if self.ignore_case and name in ("upper", "lower"):
            test = str.isalpha
        return lambda c: test(c) is not negated


@functools.lru_cache(maxsize=32)
def compiled(pattern: str, *, ignore_case: bool, many_lines: bool, dot_all: bool) -> Automaton:
    """Raises MySQL's errors for a wrong pattern, 1235 for what ICU understands and this doesn't."""
    if not pattern:
        raise StatementError(3685)
    if len(pattern) > LONGEST:
        raise StatementError(3699)
    parser = _Parser(pattern, ignore_case=ignore_case, dot_all=dot_all)
    steps = parser.alternatives()
    if parser.at < len(pattern):
        raise StatementError(3691)
    steps = [_Step("mark", slot=0), *steps, _Step("mark", slot=1), _Step("end")]
    placed = [_Step(s.kind, s.test, [at + way for way in s.ways], s.what, s.slot) for at, s in enumerate(steps)]
    return Automaton(placed, parser.groups, many_lines=many_lines)
