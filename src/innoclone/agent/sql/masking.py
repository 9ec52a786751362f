"""Statements as they may be shown: SHOW PROCESSLIST and the log never have a password."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.lexer import NO_MODES, Kind, Modes, Token, lexed

__all__ = ["masked"]

MASK = "<secret>"
SHOWN, READ = 1000, 2000  # characters


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
