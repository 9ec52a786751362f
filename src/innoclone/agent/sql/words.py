"""Reading a statement's words one after another: what every part of the grammar is made of."""

from __future__ import annotations

from innoclone.agent.faults import StatementError, syntax_error
from innoclone.agent.sql.lexer import Kind, Token

__all__ = ["WordReader"]


class WordReader:
    """Takes tokens one after another; what doesn't fit is error 1064 at its place."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        """``tokens`` are those of ``text``."""
        self.text, self.tokens, self.at = text, tokens, 0

    @property
    def token(self) -> Token:
        """The next one."""
        return self.tokens[self.at]

    def wrong(self, token: Token | None = None) -> StatementError:
        """Error 1064 at that token, or the next."""
        return syntax_error(self.text, (token or self.token).start)

    def next(self) -> Token:
        """Take one; the end stays."""
        token = self.token
        if token.kind is not Kind.END:
            self.at += 1
        return token

    def sees(self, *words: str) -> bool:
        """Whether the next words are these; they stay."""
        return all(
            self.at + n < len(self.tokens) and self.tokens[self.at + n].is_word(word) for n, word in enumerate(words)
        )

    def takes(self, *words: str) -> bool:
        """Whether the next words are these, which are then taken."""
        found = self.sees(*words)
        self.at += len(words) if found else 0
        return found

    def need(self, *words: str) -> None:
        """These words must come."""
        for word in words:
            if not self.takes(word):
                raise self.wrong()

    def takes_symbol(self, *symbols: str) -> bool:
        """Whether one of these symbols comes, which is then taken."""
        found = self.token.kind is Kind.SYMBOL and self.token.text in symbols
        self.at += found
        return found

    def need_symbol(self, symbol: str) -> None:
        """That symbol must come."""
        if not self.takes_symbol(symbol):
            raise self.wrong()

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

    def number(self) -> int:
        """A whole number."""
        if self.token.kind is not Kind.NUMBER or not self.token.text.isdigit():
            raise self.wrong()
        return int(self.next().text[:20])

    def end(self) -> None:
        """Nothing may follow but one semicolon."""
        self.takes_symbol(";")
        if self.token.kind is not Kind.END:
            raise self.wrong()
