"""What a server answers with rows: column definitions, rows as text, EOF, and the head of a prepared statement.

Source: MySQL's protocol documentation ("Text Resultset", "COM_STMT_PREPARE Response"), field_types.h for the types.
CLIENT_DEPRECATE_EOF is not assumed: columns and rows each end with an EOF packet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, lenenc_bytes, text, u16le, u32le
from innoclone.wire.handshake import UTF8MB4_0900_AI_CI

__all__ = [
    "BINARY", "ColumnDefinition", "ColumnFlag", "ColumnType", "Eof", "PrepareOk", "ServerStatus", "TextRow",
]  # fmt: skip

BINARY = 63  # collation of what is not text


class ColumnType(enum.IntEnum):
    """Types by their protocol names (enum_field_types)."""

    DECIMAL = 0
    TINY = 1
    SHORT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    NULL = 6
    TIMESTAMP = 7
    LONGLONG = 8
    INT24 = 9
    DATE = 10
    TIME = 11
    DATETIME = 12
    YEAR = 13
    VARCHAR = 15
    BIT = 16
    JSON = 245
    NEWDECIMAL = 246
    ENUM = 247
    SET = 248
    TINY_BLOB = 249
    MEDIUM_BLOB = 250
    LONG_BLOB = 251
    BLOB = 252
    VAR_STRING = 253
    STRING = 254


class ColumnFlag(enum.IntFlag):
    """Flags of a column (mysql_com.h)."""

    NOT_NULL = 1
    BLOB = 16
    UNSIGNED = 32
    BINARY = 128
    NUM = 32768


class ServerStatus(enum.IntFlag):
    """Status flags in OK and EOF packets (SERVER_STATUS_...)."""

    AUTOCOMMIT = 2
    MORE_RESULTS = 8
    NO_BACKSLASH_ESCAPES = 512


NO_FLAGS = ColumnFlag(0)


@dataclass(frozen=True)
class ColumnDefinition:
    """A column of a result. ``length`` is in bytes of the text form; ``decimals`` 31 where there is no fixed number."""

    name: str
    type: ColumnType
    schema: str = ""
    table: str = ""
    original_table: str = ""
    original_name: str = ""
    collation: int = UTF8MB4_0900_AI_CI
    length: int = 0
    flags: ColumnFlag = NO_FLAGS
    decimals: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> ColumnDefinition:
        """From a packet."""
        reader = Reader(payload, "column definition")
        names = [text(reader.lenenc_bytes(what), f"column definition: {what}") for what in _NAMES]
        if reader.lenenc("length of the rest") != 12:
            raise ProtocolError("column definition: the fixed part is not of 12 bytes")
        collation, length = reader.u16le("collation"), reader.u32le("length")
        number, flags, decimals = reader.u8("type"), reader.u16le("flags"), reader.u8("decimals")
        reader.take(2, "filler")
        try:
            kind = ColumnType(number)
        except ValueError as error:
            raise ProtocolError(f"column definition: no type {number}") from error
        _, schema, table, original_table, name, original_name = names
        return cls(
            name=name, type=kind, schema=schema, table=table, original_table=original_table,
            original_name=original_name, collation=collation, length=length, flags=ColumnFlag(flags),
            decimals=decimals,
        )  # fmt: skip

    def serialize(self) -> bytes:
        """To a packet."""
        names = ("def", self.schema, self.table, self.original_table, self.name, self.original_name)
        return b"".join((
            *(lenenc_bytes(name.encode()) for name in names), b"\x0c", u16le(self.collation), u32le(self.length),
            bytes([self.type]), u16le(self.flags), bytes([self.decimals]), b"\0\0",
        ))  # fmt: skip


_NAMES = ("catalog", "schema", "table", "original table", "name", "original name")


@dataclass(frozen=True)
class TextRow:
    """A row, each value in its text form, None for NULL."""

    values: tuple[bytes | None, ...]

    @classmethod
    def parse(cls, payload: bytes) -> TextRow:
        """From a packet."""
        values: list[bytes | None] = []
        reader = Reader(payload, "row")
        while reader.left:
            if reader.peek() == 0xFB:
                reader.take(1, "NULL")
                values.append(None)
            else:
                values.append(reader.lenenc_bytes("value"))
        return cls(tuple(values))

    def serialize(self) -> bytes:
        """To a packet."""
        return b"".join(b"\xfb" if value is None else lenenc_bytes(value) for value in self.values)


@dataclass(frozen=True)
class Eof:
    """The end of the columns or of the rows."""

    status: int = ServerStatus.AUTOCOMMIT
    warnings: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> Eof:
        """From a packet that starts with fe."""
        reader = Reader(payload[1:], "EOF packet")
        warnings = reader.u16le("warnings")
        return cls(reader.u16le("status"), warnings)

    def serialize(self) -> bytes:
        """To a packet."""
        return b"\xfe" + u16le(self.warnings) + u16le(self.status)


@dataclass(frozen=True)
class PrepareOk:
    """A statement was prepared: its number, and how many columns and parameters it has."""

    number: int
    columns: int
    parameters: int
    warnings: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> PrepareOk:
        """From a packet that starts with 00."""
        reader = Reader(payload[1:], "answer to a prepare")
        number, columns, parameters = reader.u32le("number"), reader.u16le("columns"), reader.u16le("parameters")
        reader.take(1, "filler")
        return cls(number, columns, parameters, reader.u16le("warnings"))

    def serialize(self) -> bytes:
        """To a packet."""
        counts = u16le(self.columns) + u16le(self.parameters)
        return b"\0" + u32le(self.number) + counts + b"\0" + u16le(self.warnings)
