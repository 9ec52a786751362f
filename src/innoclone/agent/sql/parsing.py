"""A SELECT's text becomes sqlglot's tree, without what sqlglot knows of functions: what a call does is decided in one
place, `innoclone.agent.sql.functions`. A column without an alias is named by the text, which is noted in the tree."""

from __future__ import annotations

import itertools
import re
import secrets
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ParseError, TokenError
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import TokenType

from innoclone.agent.faults import StatementError, syntax_error
from innoclone.agent.sql.budget import spend
from innoclone.agent.sql.lexer import ANSI_QUOTES, NO_BACKSLASH_ESCAPES, NO_MODES, Kind, Modes, Token, tokens_of

LONGEST, MOST_TOKENS = 1 << 16, 2000  # characters, words
PIPES_AS_CONCAT = "PIPES_AS_CONCAT"
DEEPEST = 50  # parentheses in one another; more would exhaust the parser's stack
KEPT = ("CAST", "CONVERT", "EXTRACT", "GROUP_CONCAT", "POSITION", "SUBSTRING", "SUBSTR", "TRIM")
NAME = "name"  # in a node's meta: the column's
SOURCE = "source"  # in a node's meta: where its text begins and ends


class _Parser(MySQLParser):
    FUNCTIONS: ClassVar[dict[str, Any]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {name: MySQLParser.FUNCTION_PARSERS[name] for name in KEPT}

    def _advance(self, times: int = 1) -> None:
        """Every way that the parser tries goes through here, also those that it goes back from."""
        spend(4)
        super()._advance(times)

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


class _PipesParser(_Parser):
    def _parse_factor_operand(self) -> exp.Expr | None:
        """``||`` binds tighter than any other operator of two operands."""
        found = super()._parse_factor_operand()
        while self._match(TokenType.DPIPE):
            found = self.expression(exp.DPipe(this=found, expression=super()._parse_factor_operand()))
        return found


class _PipesDialect(MySQL):
    Parser = _PipesParser


def is_query(tokens: list[Token]) -> bool:
    """Whether a statement begins as one that `parse_select` reads."""
    first = next((token for token in tokens if not token.is_symbol("(")), tokens[-1])
    return first.is_word("SELECT") or first.is_word("WITH")


def parse_select(text: str, tokens: list[Token], arguments: Sequence[str] = (), modes: Modes = NO_MODES) -> exp.Expr:
    """A SELECT or UNION; `name_of` tells the names of its columns. ``tokens`` are those of ``text``, ``arguments`` are
    literals for its question marks, ``modes`` those of sql_mode. Raises error 1064, or 1235 for what we have not."""
    if len(text) > LONGEST or len(tokens) > MOST_TOKENS or _depth(tokens) > DEEPEST:
        raise StatementError(1235, "a SELECT as long or as deep as this one")
    if len(tokens) < 3:
        raise syntax_error(text, len(text))
    texts: dict[str, str] = {}  # of arguments, by what stands for them
    plain, starts = _plain(text, tokens, iter(arguments), modes, texts)
    dialect = _PipesDialect if PIPES_AS_CONCAT in modes else _Dialect
    try:
        trees = [tree for tree in sqlglot.parse(plain, dialect=dialect) if tree is not None]
    except ParseError as error:
        raise _syntax(text, tokens, plain, starts, error) from None
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
    for select in tree.find_all(exp.Select):
        if not select.expressions:
            raise syntax_error(text, tokens[1].start)
        for node in select.expressions:
            begin, end = node.meta[SOURCE]
            node.meta[NAME] = _name(text, tokens[bisect_left(starts, begin) : bisect_left(starts, end)])
    for node in tree.find_all(exp.Literal) if texts else ():
        node.set("this", texts.get(node.name, node.name))
    return tree


def name_of(node: exp.Expr) -> str:
    """The name of a column without an alias: as it was typed."""
    return str(node.meta[NAME])


def _plain(
    text: str, tokens: list[Token], arguments: Iterator[str], modes: Modes, texts: dict[str, str]
) -> tuple[str, list[int]]:
    """The text as it would be without ``modes`` and with its arguments, and where each token stands in it.

    Blanks for comments, also around those that MySQL executes. Raises error 1064 for a missing argument.
    """
    parts, starts, at, size = [], [], 0, 0
    for token in tokens:
        blanks = re.sub(r"\S", " ", text[at : token.start])
        starts.append(size + len(blanks))
        if token.is_symbol("?"):
            if (literal := next(arguments, None)) is None:
                raise syntax_error(text, token.start)
            if (first := tokens_of(literal, modes)[0]).kind is Kind.STRING:  # sqlglot would take long for a long one
                texts[key := secrets.token_hex(8)] = first.text
                literal = f"'{key}'"
            parts += [blanks, f"({literal})"]
        else:
            parts += [blanks, _spelled(text[token.start : token.end], token, modes)]
        size += len(parts[-1]) + len(blanks)
        at = token.end
    return "".join(parts), starts


def _spelled(written: str, token: Token, modes: Modes) -> str:
    if token.kind is Kind.QUOTED and ANSI_QUOTES in modes and written.startswith('"'):
        return "`" + token.text.replace("`", "``") + "`"
    if token.kind is Kind.STRING and NO_BACKSLASH_ESCAPES in modes and "\\" in written:
        return written.replace("\\", "\\\\")
    return written


def _depth(tokens: list[Token]) -> int:
    steps = (
        int(one.is_symbol("(") or one.is_word("CASE")) - int(one.is_symbol(")") or one.is_word("END")) for one in tokens
    )
    return max(itertools.accumulate(steps), default=0)


def _syntax(text: str, tokens: list[Token], plain: str, starts: list[int], error: ParseError) -> StatementError:
    """Where sqlglot gave up, reading ``plain``; it names the token before the one that is missing."""
    found = error.errors[0] if error.errors else {}
    lines = plain.split("\n")[: int(found.get("line") or 1)]
    start = sum(len(line) + 1 for line in lines[:-1]) + int(found.get("col") or 0) - len(found.get("highlight") or "")
    number = bisect_left(starts, start)
    if "Unexpected token" not in str(found.get("description")):
        number += number < len(starts) and starts[number] == start
    return syntax_error(text, tokens[number].start if number < len(tokens) else len(text))


def _name(text: str, item: list[Token]) -> str:
    first, last = item[0], item[-1]
    if all(token.kind is Kind.STRING and text[token.start] not in "xX0" for token in item):
        return first.text
    if len(item) == 1 and last.kind is Kind.QUOTED:
        return last.text
    if last.kind in (Kind.WORD, Kind.QUOTED) and len(item) in (3, 5) and all(t.is_symbol(".") for t in item[1::2]):
        return last.text
    return text[first.start : last.end]
