"""Text as one line for a terminal or a log, whoever wrote it."""

from __future__ import annotations

__all__ = ["LONGEST_TEXT", "escaped", "one_line"]

LONGEST_TEXT = 512  # characters, as many as clone_status.ERROR_MESSAGE holds


def escaped(text: str) -> str:
    r"""What isn't printable as ``\n`` or ``\x1b``, so that it can neither begin a line nor steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def one_line(text: str) -> str:
    """What a peer says: on one line, nothing but printable characters, not endless."""
    return "".join(char if char.isprintable() else "?" for char in text[:LONGEST_TEXT])
