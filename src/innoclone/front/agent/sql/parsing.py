"""A SELECT's text becomes sqlglot's tree, and the names that MySQL gives to its columns.

MySQL's grammar without sqlglot's knowledge of functions: every function call stays what was typed, so that what it
does is decided in one place, `innoclone.front.agent.sql.functions`. A column without an alias is named by the source
text, which is noted in the tree.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import TokenType

from innoclone.front.agent.faults import StatementError, syntax_error
from innoclone.front.agent.sql.lexer import Kind, Token, tokens_of

__all__ = ["is_query", "name_of", "parse_select"]

LONGEST, MOST_TOKENS = 1 << 16, 2000  # characters, words
DEEPEST = 50  # parentheses in one another; more would exhaust the parser's stack
KEPT = ("CAST", "CONVERT", "EXTRACT", "GROUP_CONCAT", "POSITION", "SUBSTRING", "SUBSTR", "TRIM")
NAME = "name"  # in a node's meta: the column's
ARGUMENT = "argument"  # where a question mark stands
SOURCE = "source"  # in a node's meta: where its text begins and ends


class _Parser(MySQLParser):
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {name: MySQLParser.FUNCTION_PARSERS[name] for name in KEPT}

    PLACEHOLDER_PARSERS: ClassVar[dict[Any, Any]] = {
        **MySQLParser.PLACEHOLDER_PARSERS, TokenType.PLACEHOLDER: lambda self: self._parse_argument(),
    }  # fmt: skip

    def _parse_argument(self) -> exp.Expr:
        node = exp.Placeholder()
        node.meta[ARGUMENT] = self._prev.start
        return node

    def _parse_projections(self) -> tuple[list[exp.Expr], list[exp.Expr] | None]:
        return self._parse_csv(self._parse_projection), None

    def _parse_projection(self) -> exp.Expr | None:
        begin = self._curr
        node = self._parse_expression()
        if node is not None:
            node.meta[SOURCE] = (begin.start, self._prev.end + 1)
        return node


class _Dialect(MySQL):
    Parser = _Parser


def is_query(tokens: list[Token]) -> bool:
    """Whether a statement begins as one that `parse_select` reads."""
    first = next((token for token in tokens if not token.is_symbol("(")), tokens[-1])
    return first.is_word("SELECT") or first.is_word("WITH")


def parse_select(text: str, tokens: list[Token], arguments: Sequence[str] = ()) -> exp.Expr:
    """A SELECT, UNION or WITH; `name_of` tells the names of its columns. ``tokens`` are those of ``text``.

    ``arguments`` are literals for its question marks.
    Raises error 1064, or 1235 for what MySQL has and we have not.
    """
    if len(text) > LONGEST or len(tokens) > MOST_TOKENS or _depth(tokens) > DEEPEST:
        raise StatementError(1235, "a SELECT as long or as deep as this one")
    if len(tokens) < 3:
        raise syntax_error(text, len(text))
    try:
        trees = [tree for tree in sqlglot.parse(_plain(text, tokens), dialect=_Dialect) if tree is not None]
    except ParseError as error:
        raise _syntax(text, tokens, error) from None
    except RecursionError:
        raise StatementError(1235, "a SELECT as deep as this one") from None
    except (TokenError, ValueError):
        raise syntax_error(text, tokens[-2].start) from None
    if len(trees) != 1:
        second = next(at for at, token in enumerate(tokens) if token.is_symbol(";"))
        raise syntax_error(text, tokens[second + 1].start)
    tree = trees[0]
    if not isinstance(tree, exp.Query):
        raise StatementError(1235, type(tree).__name__.upper())
    starts = [token.start for token in tokens]
    for select in tree.find_all(exp.Select):
        if not select.expressions:
            raise syntax_error(text, tokens[1].start)
        for node in select.expressions:
            begin, end = node.meta[SOURCE]
            node.meta[NAME] = _name(text, tokens[bisect_left(starts, begin) : bisect_left(starts, end)])
    marks = [token.start for token in tokens if token.is_symbol("?")]
    if len(marks) > len(arguments):
        raise syntax_error(text, marks[len(arguments)])
    return tree.transform(_filled, dict(zip(marks, arguments, strict=True)), copy=False) if marks else tree


def _filled(node: exp.Expr, arguments: Mapping[int, str]) -> exp.Expr:
    """A literal in the place of a question mark."""
    if not isinstance(node, exp.Placeholder):
        return node
    literal = arguments[node.meta[ARGUMENT]]
    found: exp.Expr = exp.Null()
    if literal.startswith("'"):
        found = exp.Literal.string(tokens_of(literal)[0].text)
    elif literal != "NULL":
        found = exp.Literal.number(literal.removeprefix("-"))
        found = exp.Neg(this=found) if literal.startswith("-") else found
    found.meta.update(node.meta)
    return found


def name_of(node: exp.Expr) -> str:
    """The name of a column without an alias: as it was typed."""
    return str(node.meta[NAME])


def _plain(text: str, tokens: list[Token]) -> str:
    """Blanks for comments, also around those that MySQL executes; everything else stays at its place."""
    parts, at = [], 0
    for token in tokens:
        between = text[at : token.start]
        parts += [re.sub(r"\S", " ", between), text[token.start : token.end]]
        at = token.end
    return "".join(parts)


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


def _name(text: str, item: list[Token]) -> str:
    last = item[-1]
    first = item[0]
    if all(token.kind is Kind.STRING and text[token.start] not in "xX0" for token in item):
        return first.text
    if len(item) == 1 and last.kind is Kind.QUOTED:
        return last.text
    if last.kind in (Kind.WORD, Kind.QUOTED) and len(item) in (3, 5) and all(t.is_symbol(".") for t in item[1::2]):
        return last.text
    return text[item[0].start : last.end]
