"""Redo logs made for the tests: records, mini-transactions, blocks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from innoclone.innodb.binlogposition import Log

__all__ = ["BODY", "compressed", "log_of", "multi", "single", "string_write", "write"]

BODY = 496  # bytes of a block between header and trailer


def compressed(value: int) -> bytes:
    """As mach_write_compressed writes it."""
    for limit, size, mark in ((1 << 7, 1, 0), (1 << 14, 2, 0x80), (1 << 21, 3, 0xC0), (1 << 28, 4, 0xE0)):
        if value < limit:
            return (value | mark << 8 * (size - 1)).to_bytes(size, "big")
    for base, size, mark in ((0xFFFFFC00, 2, 0xF8), (0xFFFE0000, 3, 0xFC), (0xFF000000, 4, 0xFE)):
        if value >= base:
            return (value - base | mark << 8 * (size - 1)).to_bytes(size, "big")
    return b"\xf0" + value.to_bytes(4, "big")


def write(space: int, page: int, offset: int, value: int, size: int = 4) -> bytes:
    """A record that writes 1, 2 or 4 bytes."""
    return bytes((size,)) + compressed(space) + compressed(page) + struct.pack(">H", offset) + compressed(value)


def string_write(space: int, page: int, offset: int, content: bytes) -> bytes:
    """A record that writes a string."""
    place = struct.pack(">HH", offset, len(content))
    return b"\x1e" + compressed(space) + compressed(page) + place + content


def single(record: bytes) -> bytes:
    """A mini-transaction of one record."""
    return bytes((record[0] | 0x80,)) + record[1:]


def multi(*records: bytes) -> bytes:
    """A mini-transaction of several records."""
    return b"".join(records) + b"\x1f"


def log_of(mtrs: Sequence[bytes], *, start: int = 8192, cut: int = 0) -> Log:
    """Blocks that begin at LSN ``start``, a multiple of 512; ``cut`` bytes are missing at the end."""
    data, begins = b"".join(mtrs), []
    at = 0
    for mtr in mtrs:
        begins.append(at)
        at += len(mtr)
    data = data[: len(data) - cut]
    blocks = bytearray()
    for base in range(0, len(data), BODY):
        first = next((begin for begin in begins if base <= begin < base + BODY), None)
        group = 0 if first is None else 12 + first - base
        body = data[base : base + BODY]
        length = 512 if len(body) == BODY else 12 + len(body)
        blocks += struct.pack(">IHHI", 1, length, group, 1) + body.ljust(BODY, b"\0") + bytes(4)
    whole, rest = divmod(len(data), BODY)
    end = start + whole * 512 + (12 + rest if rest else 0)

    def read(lsn: int, size: int) -> bytes:
        assert lsn % 512 == 0
        assert size % 512 == 0
        found = bytes(blocks[lsn - start : lsn - start + size])
        assert len(found) == size, "read behind the end"
        return found

    return Log(read, start + 12, end)
