"""Values written into a statement's text, so that our lexer reads them back as the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import Modes, datetime_type, text_literal, text_of, time_type

__all__ = ["decimal_literal", "literal", "with_literals"]


def with_literals(text: str, places: Sequence[int], literals: Sequence[str]) -> str:
    """The text with literals at the places of its question marks."""
    parts, at = [], 0
    for place, one in zip(places, literals, strict=True):
        parts += [text[at:place], one]
        at = place + 1
    return "".join(parts) + text[at:]


def literal(value: str | int | float | Decimal | datetime | date | timedelta | None, modes: Modes) -> str:
    """Of any value but bytes; ``modes`` say how a text is written."""
    if value is None:
        return "NULL"
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, float):
        return repr(value) if "e" in repr(value) else f"{value!r}e0"
    if isinstance(value, datetime):
        return f"'{text_of(value, datetime_type(6 if value.microsecond else 0))}'"
    if isinstance(value, date):
        return f"'{value.isoformat()}'"
    if isinstance(value, timedelta):
        return f"'{text_of(value, time_type(6 if value.microseconds else 0))}'"
    return text_literal(value, modes)


def decimal_literal(text: str) -> str:
    """A DECIMAL comes as text; nothing but digits may go into a statement without quotes. Raises error 1210."""
    digits = text.removeprefix("-").replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()):
        raise StatementError(1210, "EXECUTE")
    return text
