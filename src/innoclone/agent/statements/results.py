"""What a statement comes back with, as packets: OK, or columns and rows in text or binary form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from innoclone.agent.sql import Column, SqlType, Value, hold, size_of, spend, text_of
from innoclone.agent.variables.kinds import Note
from innoclone.wire import binary
from innoclone.wire.codec import lenenc
from innoclone.wire.handshake import Ok
from innoclone.wire.results import ColumnDefinition, ColumnType, Eof, ServerStatus, TextRow

__all__ = ["Answer", "Done", "Rows", "packets", "table"]


@dataclass(frozen=True)
class Done:
    """OK."""

    affected: int = 0
    info: str = ""
    notes: list[Note] = field(default_factory=list)
    keeps_notes: bool = False


@dataclass(frozen=True)
class Rows:
    """A result."""

    columns: list[ColumnDefinition]
    types: list[SqlType]
    rows: Sequence[tuple[Value, ...]]
    notes: list[Note] = field(default_factory=list)
    keeps_notes: bool = False  # SHOW WARNINGS leaves them for the next one


Answer = Done | Rows


def table(columns: Sequence[Column], rows: Sequence[tuple[Value, ...]], *, keeps_notes: bool = False) -> Rows:
    """A result of a SHOW."""
    definitions = [column.type.definition(column.name) for column in columns]
    return Rows(definitions, [column.type for column in columns], rows, keeps_notes=keeps_notes)


def packets(
    answer: Answer, warnings: int, *, in_binary: bool = False, status: ServerStatus = ServerStatus.AUTOCOMMIT
) -> list[bytes]:
    """All packets of the answer; ``warnings`` is how many SHOW WARNINGS has, ``status`` the session's."""
    warnings = min(warnings, 0xFFFF)
    if isinstance(answer, Done):
        return [Ok(status, answer.affected, warnings, answer.info).serialize()]
    end = Eof(status, warnings).serialize()
    found = [lenenc(len(answer.columns)), *(column.serialize() for column in answer.columns), end]
    for row in answer.rows:
        spend(len(row))
        found.append(_row(row, answer, in_binary=in_binary))
        hold(size_of("") + len(found[-1]))
    return [*found, end]


def _row(row: tuple[Value, ...], answer: Rows, *, in_binary: bool) -> bytes:
    if in_binary:
        kinds = [(column.type, False) for column in answer.columns]
        values = [_binary(value, kind) for value, kind in zip(row, answer.types, strict=True)]
        return binary.BinaryRow(tuple(values)).serialize(kinds)
    texts = [text_of(_fitted(value, kind), kind) for value, kind in zip(row, answer.types, strict=True)]
    return TextRow(tuple(None if text is None else _bytes(text) for text in texts)).serialize()


def _fitted(value: Value, kind: SqlType) -> Value:
    """The number that the type promises, where an expression has another kind of number."""
    if isinstance(value, int | Decimal | float):
        if kind.kind is ColumnType.DOUBLE:
            return float(value)
        if kind.kind is ColumnType.NEWDECIMAL:
            return value if isinstance(value, Decimal) else Decimal(value)
        if kind.is_integer:
            return int(value)
    return value


def _binary(given: Value, kind: SqlType) -> binary.Value:
    value = _fitted(given, kind)
    if isinstance(value, str | Decimal) or kind.is_text:
        text = text_of(value, kind)
        return None if text is None else _bytes(text)
    return value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
