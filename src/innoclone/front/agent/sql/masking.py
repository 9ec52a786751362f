"""Statements as they may be shown: SHOW PROCESSLIST and the log never have a password."""

from __future__ import annotations

from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql.lexer import NO_MODES, Kind, Modes, Token, lexed

__all__ = ["masked"]

MASK = "<secret>"
SHOWN, READ = 1000, 2000  # characters


def masked(text: str, modes: Modes = NO_MODES) -> str:
    """The text with MySQL's own mask in place of each string that follows BY; all of a text that can't be read."""
    tokens: list[Token] = []
    begin = text[:READ]
    try:
        tokens.extend(lexed(begin, modes))
    except StatementError:
        if len(begin) == len(text):
            return MASK
    parts, at, secret = [], 0, False
    for token in tokens:
        if token.kind is Kind.STRING and (secret or "identified" in token.text.lower()):  # a statement in a string
            parts += [text[at : token.start], MASK]
            at = token.end
        elif not token.is_word("BY"):
            secret = False
        if token.is_word("BY"):
            secret = True
    return ("".join(parts) + text[at : tokens[-1].end if tokens else 0])[:SHOWN]
