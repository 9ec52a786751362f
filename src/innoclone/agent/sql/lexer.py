"""Words of a statement, as MySQL's lexer cuts them; statements as they may be shown, without passwords; and what reads
words one after another, also by patterns that look like the manual's syntax."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from innoclone.agent.faults import StatementError, syntax_error
from innoclone.agent.sql.budget import spend

Modes = frozenset[str]  # of sql_mode, in capitals
ANSI_QUOTES, NO_BACKSLASH_ESCAPES = "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"
NO_MODES: Modes = frozenset()
MOST_TOKENS = 20_000  # of a statement
MASK = "<secret>"
SHOWN, READ = 1000, 2000  # characters of a statement that is shown
Kind = enum.Enum("Kind", "WORD QUOTED STRING NUMBER VARIABLE SYMBOL END")
"""What a token is; QUOTED is a name, VARIABLE ``@@name`` or ``@@global.name``, of which the text is what follows @@."""


@dataclass(frozen=True, slots=True)
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


LARGEST = (1 << 64) - 1
SERVER = 90704  # version that /*!50100 ... */ is compared with
_BLANK = re.compile(r"\s+")
_LINE_COMMENT = re.compile(r"(#|--(?=\s|$))[^\n]*")
_EXECUTED = re.compile(r"/\*!(\d{5,6})?")
_NUMBER = re.compile(r"(\d++(\.\d*+)?|\.\d++)([eE][+-]?\d++)?(?![\w$])", re.ASCII)
_HEX = re.compile(r"0x([0-9a-fA-F]++)(?![\w$])|[xX]'((?:[0-9a-fA-F]{2})*)'")
_BITS = re.compile(r"0b([01]++)(?![\w$])|[bB]'([01]*)'")
_WORD = re.compile(r"[\w$\u0080-\uffff]+")
_VARIABLE = re.compile(r"@@((?:global|session|local|persist|persist_only)\s*\.\s*)?(`[^`]+`|[\w$.]+)", re.IGNORECASE)
_SYMBOL = re.compile(r"<=>|->>|<<|>>|<=|>=|<>|!=|:=|\|\||&&|->|[-+*/%=<>!~|&^(),.;@?:{}]")
_PREFIXED = re.compile(r"[nN](?=')|_[a-z0-9]+\s*(?=['\"])")
_PAUSE = {
    (quote, escapes): re.compile(f"[{quote}\\\\]" if escapes else quote)
    for quote in "'\"`"
    for escapes in (True, False)
}  # where something else than plain text comes in what is quoted
_ESCAPES = {"0": "\0", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "Z": "\x1a", "%": "\\%", "_": "\\_"}


def tokens_of(text: str, modes: Modes = NO_MODES) -> list[Token]:
    """All tokens, the last one of kind END. Raises error 1064 for what is none, 1235 for too many."""
    found: list[Token] = []
    for token in lexed(text, modes):
        found.append(token)
        if len(found) > MOST_TOKENS:
            raise StatementError(1235, "a statement as long as this one")
    return found


def text_literal(text: str, modes: Modes) -> str:
    """A string that is read back as that text."""
    if NO_BACKSLASH_ESCAPES not in modes:
        text = text.replace("\\", "\\\\")
    return "'" + text.replace("'", "''") + "'"


def lexed(text: str, modes: Modes = NO_MODES) -> Iterator[Token]:
    """One token after another, the last one of kind END. Raises error 1064 for what is none."""
    at, executed = 0, 0
    while at < len(text):
        spend(3)
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
            token = _token(text, at, modes)
            yield token
            at = token.end
    yield Token(Kind.END, "", len(text), len(text))


def _token(text: str, at: int, modes: Modes) -> Token:
    if (prefix := _PREFIXED.match(text, at)) is not None:
        inner = _quoted(text, prefix.end(), modes)
        return Token(inner.kind, inner.text, at, inner.end)
    if text[at] in "'\"`":
        return _quoted(text, at, modes)
    if (found := _HEX.match(text, at)) is not None:
        digits = found[1] or found[2] or ""
        raw = bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
        return Token(Kind.STRING, raw.decode("utf-8", "surrogateescape"), at, found.end())
    if (found := _BITS.match(text, at)) is not None:
        return Token(Kind.NUMBER, str(min(int(found[1] or found[2] or "0", 2), LARGEST)), at, found.end())
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


def _quoted(text: str, start: int, modes: Modes) -> Token:
    quote, at = text[start], start + 1
    kind = Kind.QUOTED if quote == "`" or (quote == '"' and ANSI_QUOTES in modes) else Kind.STRING
    pause = _PAUSE[quote, kind is Kind.STRING and NO_BACKSLASH_ESCAPES not in modes]
    parts: list[str] = []
    while (found := pause.search(text, at)) is not None:
        spend()
        parts.append(text[at : found.start()])
        at = found.end()
        following = text[at : at + 1]
        if found[0] == quote and following != quote:
            return Token(kind, "".join(parts), start, at)
        if not following:
            break
        parts.append(quote if found[0] == quote else _ESCAPES.get(following, following))
        at += 1
    raise syntax_error(text, start)


def masked(text: str, modes: Modes = NO_MODES) -> str:
    """The text with MySQL's own mask in place of each string that is or may be a password, and of every comment beside
    one; all of a text that can't be read. Of a long text the begin is read, and what follows may have a password."""
    tokens: list[Token] = []
    begin = text[:READ]
    is_whole = len(begin) == len(text)
    try:
        tokens.extend(lexed(begin, modes))
    except StatementError:
        if is_whole:
            return MASK
    secrets = list(_are_secrets(tokens))
    if is_whole and not any(secrets):
        return text[:SHOWN]
    parts, at = [], 0
    for token, is_secret in zip(tokens, secrets, strict=True):
        between = text[at : token.start]
        parts.append(f" {MASK} " if between.strip() else between)  # what isn't blank is a comment
        parts.append(MASK if is_secret else text[token.start : token.end])
        at = token.end
    return "".join(parts).strip()[:SHOWN]


def _are_secrets(tokens: Sequence[Token]) -> Iterator[bool]:
    """Strings behind BY, behind AS and REPLACE of an account, behind a word like PASSWORD in the rest of its statement;
    and a statement with an account's password that is a string itself."""
    before, by, identified, password = "", False, False, False
    for token in tokens:
        word = token.text.upper() if token.kind in (Kind.WORD, Kind.VARIABLE) else ""
        behind = by or password or (identified and before in ("AS", "REPLACE"))
        yield token.kind is Kind.STRING and (behind or "identified" in token.text.lower())
        over = token.is_symbol(";")
        by = word == "BY" or (by and token.kind is Kind.STRING)
        identified = not over and (identified or word == "IDENTIFIED")
        password = not over and (password or word.endswith("PASSWORD"))
        before = word


class WordReader:
    """Takes tokens one after another; what doesn't fit is error 1064 at its place."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        """``tokens`` are those of ``text``."""
        self.text, self.tokens, self.at = text, tokens, 0

    @property
    def token(self) -> Token:
        """The next one."""
        return self.tokens[self.at]

    @property
    def at_end(self) -> bool:
        """Nothing comes but perhaps a semicolon."""
        return self.token.kind is Kind.END or self.token.is_symbol(";")

    def wrong(self, token: Token | None = None) -> StatementError:
        """Error 1064 at that token, or the next."""
        return syntax_error(self.text, (token or self.token).start)

    def next(self) -> Token:
        """Take one; the end stays."""
        token = self.token
        self.at += token.kind is not Kind.END
        return token

    def sees(self, *words: str) -> bool:
        """Whether the next words or symbols are these; they stay."""
        found = self.tokens[self.at : self.at + len(words)]
        return len(found) == len(words) and all(
            token.is_word(word) or token.is_symbol(word) for token, word in zip(found, words, strict=True)
        )

    def takes(self, words: str) -> bool:
        """Whether the next words or symbols are these, with blanks between, which are then taken."""
        found = self.sees(*words.split())
        self.at += len(words.split()) if found else 0
        return found

    def taken(self, *choices: str) -> str:
        """The first of the choices that comes, which is then taken; nothing for none."""
        return next((words for words in choices if self.takes(words)), "")

    def need(self, words: str) -> None:
        """These words or symbols must come."""
        for word in words.split():
            if not self.takes(word):
                raise self.wrong()

    def follow(self, pattern: str) -> list[Any]:
        """Read what the pattern says, and give what was read: words and symbols in capitals must come, ``A/B?`` may
        come, and whether it does is given; a name in small letters is a method of the reader's, of whose results
        ``name,`` gives all in a list with commas, and ``name/A/B?`` gives one, or None without A B."""
        found: list[Any] = []
        for part in pattern.split():
            name, *words = part.rstrip("?,").split("/")
            if not name.islower():
                if part.endswith("?"):
                    found.append(self.takes(" ".join([name, *words])))
                else:
                    self.need(name)
            elif words and not self.takes(" ".join(words)):
                found.append(None)
            else:
                found.append(self.listed(name) if part.endswith(",") else getattr(self, name)())
        return found

    def listed(self, name: str) -> tuple[Any, ...]:
        """What that method reads, with commas between."""
        found = [getattr(self, name)()]
        while self.takes(","):
            found.append(getattr(self, name)())
        return tuple(found)

    def string(self) -> str:
        """A string; several in a row are one."""
        if self.token.kind is not Kind.STRING:
            raise self.wrong()
        text = self.next().text
        while self.token.kind is Kind.STRING:  # 'a' 'b'
            text += self.next().text
        return text

    def name(self) -> str:
        """A name, quoted or not."""
        if self.token.kind not in (Kind.WORD, Kind.QUOTED):
            raise self.wrong()
        return self.next().text

    def name_or_string(self) -> str:
        """Either."""
        return self.string() if self.token.kind is Kind.STRING else self.name()

    def variable(self) -> str:
        """``@name``."""
        self.need("@")
        return self.name_or_string()

    def number(self) -> int:
        """A whole number."""
        if self.token.kind is not Kind.NUMBER or not self.token.text.isdigit():
            raise self.wrong()
        return int(self.next().text[:20])

    def end(self) -> None:
        """Nothing may follow but one semicolon."""
        self.takes(";")
        if self.token.kind is not Kind.END:
            raise self.wrong()
