"""Values of prepared statements: parameters that a client binds, and rows in binary form.

Source: MySQL's protocol documentation ("Binary Protocol Resultset", "Binary Protocol Value").
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, lenenc_bytes
from innoclone.wire.results import ColumnType as T

__all__ = ["BinaryRow", "Parameters", "Value", "parse_parameters"]

Value = int | float | bytes | datetime | date | timedelta | None
"""Text and decimals are bytes."""

_INTEGERS = {T.TINY: 1, T.SHORT: 2, T.YEAR: 2, T.LONG: 4, T.INT24: 4, T.LONGLONG: 8}
_TEXTS = {
    T.STRING, T.VARCHAR, T.VAR_STRING, T.ENUM, T.SET, T.LONG_BLOB, T.MEDIUM_BLOB, T.BLOB, T.TINY_BLOB, T.BIT,
    T.DECIMAL, T.NEWDECIMAL, T.JSON,
}  # fmt: skip
UNSIGNED = 0x80


def _read(reader: Reader, kind: T, unsigned: bool) -> Value:
    if kind in _INTEGERS:
        return int.from_bytes(reader.take(_INTEGERS[kind], "integer"), "little", signed=not unsigned)
    if kind is T.FLOAT:
        return float(struct.unpack("<f", reader.take(4, "float"))[0])
    if kind is T.DOUBLE:
        return float(struct.unpack("<d", reader.take(8, "double"))[0])
    if kind in _TEXTS:
        return reader.lenenc_bytes("text")
    if kind in (T.DATE, T.DATETIME, T.TIMESTAMP):
        return _read_moment(reader, kind)
    if kind is T.TIME:
        return _read_time(reader)
    return None  # T.NULL


def _read_moment(reader: Reader, kind: T) -> datetime | date:
    piece = Reader(reader.take(reader.u8("length of a date"), "date"), "date")
    if piece.left not in (0, 4, 7, 11):
        raise ProtocolError(f"a date of {piece.left} bytes")
    if not piece.left:
        raise ProtocolError("a date of zeros is not supported")
    year, month, day = piece.u16le("year"), piece.u8("month"), piece.u8("day")
    hour, minute, second = (piece.u8("time") for _ in range(3)) if piece.left else (0, 0, 0)
    fraction = piece.u32le("microseconds") if piece.left else 0
    try:
        moment = datetime(year, month, day, hour, minute, second, fraction)
    except ValueError as error:
        raise ProtocolError(f"a date that does not exist: {error}") from error
    return moment.date() if kind is T.DATE else moment


def _read_time(reader: Reader) -> timedelta:
    piece = Reader(reader.take(reader.u8("length of a time"), "time"), "time")
    if piece.left not in (0, 8, 12):
        raise ProtocolError(f"a time of {piece.left} bytes")
    if not piece.left:
        return timedelta()
    negative, days = piece.u8("sign"), piece.u32le("days")
    hours, minutes, seconds = piece.u8("hours"), piece.u8("minutes"), piece.u8("seconds")
    fraction = piece.u32le("microseconds") if piece.left else 0
    if days > 34:  # 838:59:59 is the largest that MySQL has
        raise ProtocolError(f"a time of {days} days")
    value = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, microseconds=fraction)
    return -value if negative else value


def _write(value: Value, kind: T) -> bytes:
    if isinstance(value, bytes):
        return lenenc_bytes(value)
    if isinstance(value, int):
        width = _INTEGERS[kind]
        return (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    if isinstance(value, float):
        return struct.pack("<f" if kind is T.FLOAT else "<d", value)
    if isinstance(value, datetime):
        head = value.year.to_bytes(2, "little") + bytes([value.month, value.day])
        clock = bytes([value.hour, value.minute, value.second])
        if value.microsecond:
            return b"\x0b" + head + clock + value.microsecond.to_bytes(4, "little")
        return b"\x07" + head + clock if any(clock) else b"\x04" + head
    if isinstance(value, date):
        return b"\x04" + value.year.to_bytes(2, "little") + bytes([value.month, value.day])
    if isinstance(value, timedelta):
        return _write_time(value)
    raise TypeError(f"{type(value).__name__} has no binary form")


def _write_time(value: timedelta) -> bytes:
    if not value:
        return b"\0"
    size = abs(value)
    minutes, seconds = divmod(size.seconds, 60)
    head = bytes([value < timedelta()]) + size.days.to_bytes(4, "little")
    clock = head + bytes([minutes // 60, minutes % 60, seconds])
    if size.microseconds:
        return b"\x0c" + clock + size.microseconds.to_bytes(4, "little")
    return b"\x08" + clock


@dataclass(frozen=True)
class BinaryRow:
    """A row of a prepared statement; to be read or written its columns' types must be known."""

    values: tuple[Value, ...]

    @classmethod
    def parse(cls, payload: bytes, types: Sequence[tuple[T, bool]]) -> BinaryRow:
        """From a packet that starts with 00; ``types`` are types and whether they are unsigned."""
        reader = Reader(payload[1:], "binary row")
        nulls = reader.take((len(types) + 9) // 8, "NULL bitmap")
        values = [
            None if nulls[(at + 2) // 8] >> ((at + 2) % 8) & 1 else _read(reader, kind, unsigned)
            for at, (kind, unsigned) in enumerate(types)
        ]
        reader.end()
        return cls(tuple(values))

    def serialize(self, types: Sequence[tuple[T, bool]]) -> bytes:
        """To a packet."""
        nulls = bytearray((len(types) + 9) // 8)
        written = []
        for at, (value, (kind, _)) in enumerate(zip(self.values, types, strict=True)):
            if value is None:
                nulls[(at + 2) // 8] |= 1 << (at + 2) % 8
            else:
                written.append(_write(value, kind))
        return b"\0" + bytes(nulls) + b"".join(written)


@dataclass(frozen=True)
class Parameters:
    """What a client bound: values, and their types for a later execution that does not repeat them."""

    values: tuple[Value, ...]
    types: tuple[tuple[T, bool], ...]

    def serialize(self) -> bytes:
        """As in COM_STMT_EXECUTE, with the types."""
        if not self.types:
            return b""
        nulls = bytearray((len(self.types) + 7) // 8)
        for at, value in enumerate(self.values):
            if value is None:
                nulls[at // 8] |= 1 << at % 8
        types = b"".join(bytes([kind, UNSIGNED if unsigned else 0]) for kind, unsigned in self.types)
        pairs = zip(self.values, self.types, strict=True)
        return bytes(nulls) + b"\1" + types + b"".join(_write(v, kind) for v, (kind, _) in pairs if v is not None)


def parse_parameters(
    data: bytes, count: int, known: tuple[tuple[T, bool], ...] = (), sent_before: frozenset[int] = frozenset()
) -> Parameters:
    """``count`` parameters of COM_STMT_EXECUTE. ``known``: the types of the last execution; ``sent_before``: parameters
    whose value came as long data and is not here (None stands for it)."""
    if not count:
        return Parameters((), ())
    reader = Reader(data, "parameters")
    nulls = reader.take((count + 7) // 8, "NULL bitmap")
    types = known
    if reader.u8("whether types follow"):
        types = tuple(_read_type(reader) for _ in range(count))
    if len(types) != count:
        raise ProtocolError(f"parameters: {len(types)} types for {count}")
    values = [
        None if nulls[at // 8] >> (at % 8) & 1 or at in sent_before else _read(reader, kind, unsigned)
        for at, (kind, unsigned) in enumerate(types)
    ]
    reader.end()
    return Parameters(tuple(values), types)


def _read_type(reader: Reader) -> tuple[T, bool]:
    number, flags = reader.u8("type"), reader.u8("type flags")
    try:
        return T(number), bool(flags & UNSIGNED)
    except ValueError as error:
        raise ProtocolError(f"parameters: no type {number}") from error
