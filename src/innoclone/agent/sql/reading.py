"""Reading a statement's words one after another, also by patterns that look like the manual's syntax."""

from __future__ import annotations

from typing import Any

from innoclone.agent.faults import StatementError, syntax_error
from innoclone.agent.sql.lexer import Kind, Token


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
