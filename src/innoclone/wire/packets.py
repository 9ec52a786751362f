"""Framing of the classic protocol: packet headers, splitting of long payloads, the compressed packet layer.

Source: MySQL's protocol documentation ("Packets", "Compression") and net_serv.cc for what is checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from innoclone.errors import ProtocolError

__all__ = ["COMPRESSED_HEADER", "HEADER", "MAX_PIECE", "CompressedHeader", "PacketHeader", "split"]

HEADER = 4  # bytes: u24 length, u8 sequence
COMPRESSED_HEADER = 7  # bytes: u24 compressed length, u8 sequence, u24 length before compression (0 = stored)
_WORD = struct.Struct("<I")
MAX_PIECE = 0xFFFFFF  # a payload this long or longer goes on in the next packet


class PacketHeader(NamedTuple):
    """Header of one packet: payload length in bytes and sequence number."""

    length: int
    sequence: int

    @classmethod
    def parse(cls, data: bytes | memoryview) -> PacketHeader:
        """From exactly four bytes."""
        (word,) = _WORD.unpack(data)
        return cls(word & 0xFFFFFF, word >> 24)

    def serialize(self) -> bytes:
        """To four bytes."""
        return self.length.to_bytes(3, "little") + bytes([self.sequence])

    @property
    def is_continued(self) -> bool:
        """The payload goes on in the next packet."""
        return self.length == MAX_PIECE


class CompressedHeader(NamedTuple):
    """Header of one compressed packet; ``plain_length`` 0 means that the bytes are stored as they are."""

    length: int
    sequence: int
    plain_length: int

    @classmethod
    def parse(cls, data: bytes | memoryview) -> CompressedHeader:
        """From exactly seven bytes."""
        length, plain = int.from_bytes(bytes(data[:3]), "little"), int.from_bytes(bytes(data[4:7]), "little")
        if plain and plain < length // 2:  # a real compressor never makes data twice as long
            raise ProtocolError(f"compressed packet of {length} bytes claims {plain} bytes of content")
        return cls(length, data[3], plain)

    def serialize(self) -> bytes:
        """To seven bytes."""
        return self.length.to_bytes(3, "little") + bytes([self.sequence]) + self.plain_length.to_bytes(3, "little")


def split(payload: bytes, sequence: int = 0) -> Iterator[bytes]:
    """Header and piece by turns; a payload whose length is a multiple of `MAX_PIECE` ends with an empty piece."""
    at = 0
    while True:
        piece = payload[at : at + MAX_PIECE]
        yield PacketHeader(len(piece), sequence & 0xFF).serialize()
        yield piece
        at += len(piece)
        sequence += 1
        if len(piece) < MAX_PIECE:
            return
