"""A SELECT's text becomes sqlglot's tree, and the names that MySQL gives to its columns.

MySQL's grammar without sqlglot's knowledge of functions: every function call stays what was typed, so that what it
does is decided in one place, `innoclone.front.agent.sql.functions`. A column without an alias is named by the source
text, which the tree does not keep; that comes from our own lexer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.mysql import MySQLParser

from innoclone.front.agent.faults import StatementError, syntax_error
from innoclone.front.agent.sql.lexer import Kind, Token

__all__ = ["Select", "parse_select"]

LONGEST, MOST_TOKENS = 1 << 16, 2000  # characters, words
DEEPEST = 50  # parentheses in one another; more would exhaust the parser's stack
KEPT = ("CAST", "CONVERT")


class _Parser(MySQLParser):
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {name: MySQLParser.FUNCTION_PARSERS[name] for name in KEPT}


class _Dialect(MySQL):
    Parser = _Parser


@dataclass(frozen=True)
class Select:
    """The tree, and for each expression of its list the name of the column (unused where it has an alias)."""

    tree: exp.Select
    names: list[str]


def parse_select(text: str, tokens: list[Token]) -> Select:
    """``tokens`` are those of ``text``. Raises error 1064, or 1235 for what MySQL has and we have not."""
    if len(text) > LONGEST or len(tokens) > MOST_TOKENS or _depth(tokens) > DEEPEST:
        raise StatementError(1235, "a SELECT as long or as deep as this one")
    if len(tokens) < 3:
        raise syntax_error(text, len(text))
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=_Dialect) if tree is not None]
    except ParseError as error:
        raise _syntax(text, tokens, error) from None
    except (TokenError, RecursionError, ValueError):
        raise syntax_error(text, tokens[-2].start) from None
    if len(trees) != 1:
        second = next(at for at, token in enumerate(tokens) if token.is_symbol(";"))
        raise syntax_error(text, tokens[second + 1].start)
    tree = trees[0]
    if not isinstance(tree, exp.Select):
        raise StatementError(1235, type(tree).__name__.upper())
    names = _names(text, tokens)
    if not tree.expressions or len(names) != len(tree.expressions):
        raise syntax_error(text, tokens[1].start)
    return Select(tree, names)


def _depth(tokens: list[Token]) -> int:
    depth = deepest = 0
    for token in tokens:
        if token.is_symbol("(") or token.is_word("CASE"):
            depth += 1
            deepest = max(deepest, depth)
        elif token.is_symbol(")") or token.is_word("END"):
            depth -= 1
    return deepest


def _syntax(text: str, tokens: list[Token], error: ParseError) -> StatementError:
    """Where sqlglot gave up; it names the token before the one that is missing."""
    found = error.errors[0] if error.errors else {}
    marked = str(found.get("highlight") or "")
    start = len(text) - len(marked) - len(str(found.get("end_context") or ""))
    if len(str(found.get("end_context") or "")) >= 100:  # sqlglot cuts it there
        start = text.find(marked + str(found["end_context"]))
    if "Unexpected token" not in str(found.get("description")):
        start = next((token.start for token in tokens if token.start > start), len(text))
    return syntax_error(text, max(start, 0))


_AFTER = ("FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "INTO", "UNION", "FOR", "LOCK", "WINDOW")
_BEFORE = (
    "ALL", "DISTINCT", "DISTINCTROW", "HIGH_PRIORITY", "STRAIGHT_JOIN", "SQL_SMALL_RESULT", "SQL_BIG_RESULT",
    "SQL_BUFFER_RESULT", "SQL_NO_CACHE", "SQL_CALC_FOUND_ROWS",
)  # fmt: skip


def _names(text: str, tokens: list[Token]) -> list[str]:
    """The source text of each expression of the list."""
    at, depth = 1, 0
    while tokens[at].kind is Kind.WORD and tokens[at].text.upper() in _BEFORE:
        at += 1
    items: list[list[Token]] = [[]]
    for token in tokens[at:]:
        if token.kind is Kind.END or (depth == 0 and token.is_symbol(";")):
            break
        if depth == 0 and token.kind is Kind.WORD and token.text.upper() in _AFTER and not _is_part(items[-1]):
            break
        if token.is_symbol("("):
            depth += 1
        elif token.is_symbol(")"):
            depth -= 1
        if depth == 0 and token.is_symbol(","):
            items.append([])
        else:
            items[-1].append(token)
    return [_name(text, item) for item in items if item]


def _is_part(item: list[Token]) -> bool:
    """After a dot any word is a name."""
    return bool(item) and item[-1].is_symbol(".")


def _name(text: str, item: list[Token]) -> str:
    last = item[-1]
    if len(item) == 1 and last.kind in (Kind.STRING, Kind.QUOTED):
        return last.text
    if last.kind in (Kind.WORD, Kind.QUOTED) and len(item) in (3, 5) and all(t.is_symbol(".") for t in item[1::2]):
        return last.text
    return text[item[0].start : last.end]
