"""Words of a statement, as MySQL's lexer cuts them: comments, quotes, hex and national strings, numbers, symbols."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from innoclone.front.agent.faults import syntax_error

__all__ = ["Kind", "Token", "tokens_of"]


class Kind(enum.Enum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted name"
    STRING = "string"
    NUMBER = "number"
    VARIABLE = "variable"  # @@name or @@global.name; the text is what follows the @@
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True)
class Token:
    """``text`` is the meaning (a string without its quotes), ``start`` and ``end`` where it stands."""

    kind: Kind
    text: str
    start: int
    end: int

    def is_word(self, word: str) -> bool:
        """An unquoted word; ``word`` in capitals."""
        return self.kind is Kind.WORD and self.text.upper() == word

    def is_symbol(self, symbol: str) -> bool:
        """That symbol."""
        return self.kind is Kind.SYMBOL and self.text == symbol


SERVER = 90704  # version that /*!50100 ... */ is compared with
_BLANK = re.compile(r"\s+")
_LINE_COMMENT = re.compile(r"(#|--(?=\s|$))[^\n]*")
_EXECUTED = re.compile(r"/\*!(\d{5,6})?")
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w$])", re.ASCII)
_HEX = re.compile(r"0x([0-9a-fA-F]+)(?![\w$])|[xX]'((?:[0-9a-fA-F]{2})*)'")
_BITS = re.compile(r"0b([01]+)(?![\w$])|[bB]'([01]*)'")
_WORD = re.compile(r"[\w$\u0080-\uffff]+")
_VARIABLE = re.compile(r"@@((?:global|session|local|persist|persist_only)\s*\.\s*)?(`[^`]+`|[\w$.]+)", re.IGNORECASE)
_SYMBOL = re.compile(r"<=>|->>|<<|>>|<=|>=|<>|!=|:=|\|\||&&|->|[-+*/%=<>!~|&^(),.;@?:{}]")
_PREFIXED = re.compile(r"[nN](?=')|_[a-z0-9]+\s*(?=['\"])")
_ESCAPES = {"0": "\0", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "Z": "\x1a", "%": "\\%", "_": "\\_"}


def tokens_of(text: str) -> list[Token]:
    """All tokens, the last one of kind END. Raises error 1064 for what is none."""
    found: list[Token] = []
    at, executed = 0, 0
    while at < len(text):
        if (blank := _BLANK.match(text, at) or _LINE_COMMENT.match(text, at)) is not None:
            at = blank.end()
        elif executed and text.startswith("*/", at):
            at, executed = at + 2, executed - 1
        elif (comment := _EXECUTED.match(text, at)) is not None and int(comment[1] or 0) <= SERVER:
            at, executed = comment.end(), executed + 1
        elif text.startswith("/*", at):
            end = text.find("*/", at + 2)
            if end < 0:
                raise syntax_error(text, at)
            at = end + 2
        else:
            token = _token(text, at)
            found.append(token)
            at = token.end
    return [*found, Token(Kind.END, "", len(text), len(text))]


def _token(text: str, at: int) -> Token:
    if (prefix := _PREFIXED.match(text, at)) is not None:
        inner = _quoted(text, prefix.end())
        return Token(inner.kind, inner.text, at, inner.end)
    if text[at] in "'\"`":
        return _quoted(text, at)
    if (found := _HEX.match(text, at)) is not None:
        digits = found[1] or found[2] or ""
        raw = bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
        return Token(Kind.STRING, raw.decode("utf-8", "surrogateescape"), at, found.end())
    if (found := _BITS.match(text, at)) is not None:
        return Token(Kind.NUMBER, str(int(found[1] or found[2] or "0", 2)), at, found.end())
    if (found := _NUMBER.match(text, at)) is not None and not (text[at] == "." and at and text[at - 1] in "`\"'"):
        return Token(Kind.NUMBER, found[0], at, found.end())
    if (found := _VARIABLE.match(text, at)) is not None:
        scope = re.sub(r"\s", "", found[1] or "")
        return Token(Kind.VARIABLE, (scope + found[2].strip("`")).lower(), at, found.end())
    if (found := _WORD.match(text, at)) is not None:
        return Token(Kind.WORD, found[0], at, found.end())
    if (found := _SYMBOL.match(text, at)) is not None:
        return Token(Kind.SYMBOL, found[0], at, found.end())
    raise syntax_error(text, at)


def _quoted(text: str, start: int) -> Token:
    quote, at = text[start], start + 1
    kind = Kind.QUOTED if quote == "`" else Kind.STRING
    parts: list[str] = []
    while at < len(text):
        char = text[at]
        if char == quote:
            if text.startswith(quote, at + 1):
                parts.append(quote)
                at += 2
                continue
            return Token(kind, "".join(parts), start, at + 1)
        if char == "\\" and quote != "`" and at + 1 < len(text):
            parts.append(_ESCAPES.get(text[at + 1], text[at + 1]))
            at += 2
            continue
        parts.append(char)
        at += 1
    raise syntax_error(text, start)
