"""Redo logs made for the tests: records, mini-transactions, blocks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from crc32c import crc32c

from innoclone.innodb.binlogposition import Log
from innoclone.innodb.space import KIB

__all__ = [
    "BODY", "compressed", "log_block", "log_of", "multi", "redo_file", "single", "string_write", "with_crc", "write",
]  # fmt: skip

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


def with_crc(block: bytes) -> bytes:
    """A block of 512 bytes with its checksum."""
    return block[:508] + struct.pack(">I", crc32c(block[:508]))


def log_block(lsn: int, length: int = 512) -> bytes:
    """The block that begins at ``lsn``, with ``length`` bytes of log."""
    number = lsn // 512
    head = struct.pack(">IHHI", 1 + number % (1 << 30), length, 0, 1 + number // (1 << 30))
    return with_crc((head + b"\x5a" * (length - 12)).ljust(512, b"\0"))


def redo_file(
    start: int, blocks: int, *, checkpoint: int = 0, flags: int = 0, uuid: int = 77, last_length: int = 512
) -> bytes:
    """A redo file of 64 KiB: header, ``blocks`` blocks of log, zeros."""
    head = with_crc(struct.pack(">IIQ32sI", 6, uuid, start, b"MySQL 9.7.4", flags).ljust(512, b"\0"))
    checkpoint_block = with_crc(struct.pack(">8xQ", checkpoint).ljust(512, b"\0")) if checkpoint else bytes(512)
    log = [log_block(start + 512 * index) for index in range(blocks - 1)]
    log.append(log_block(start + 512 * (blocks - 1), last_length))
    return (head + checkpoint_block + bytes(1024) + b"".join(log)).ljust(64 * KIB, b"\0")
