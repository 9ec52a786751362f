"""The compressed packet layer as a byte stream: reads and writes inner bytes, counts what is on the wire."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from innoclone.errors import ProtocolError
from innoclone.wire.packets import COMPRESSED_HEADER, MAX_PIECE, CompressedHeader

__all__ = ["CompressedStream", "Throttle"]

MOST_EMPTY = 100  # packets in a row that may be empty; a server sends none
MIN_COMPRESS = 50  # shorter payloads are stored (MIN_COMPRESS_LENGTH in my_compress)


class Throttle(Protocol):
    """Slows the reading of compressed packets down; what is in them, and how much, is only known when they are read."""

    @property
    def piece(self) -> int:
        """Bytes to read at once."""

    def moved(self, count: int) -> None:
        """``count`` bytes were read; returns when the next may be."""


class CompressedStream:
    """Inner bytes out of compressed packets, and back. ``read_exact`` and ``write`` move the outer bytes."""

    def __init__(
        self, algorithm: str, level: int, read_exact: Callable[[int], bytes], write: Callable[[bytes], None]
    ) -> None:
        self.algorithm, self._level = algorithm, level
        self._read_exact, self._write = read_exact, write
        self._inner = memoryview(b"")
        self._unzstd = zstandard.ZstdDecompressor(max_window_size=1 << 27) if algorithm == "zstd" else None
        self._zstd = zstandard.ZstdCompressor(level=level) if algorithm == "zstd" else None
        self.network = 0  # payload bytes of compressed packets read so far
        self.throttle: Throttle | None = None

    def read_some(self, limit: int) -> memoryview:
        """At least one and at most ``limit`` inner bytes."""
        for _ in range(MOST_EMPTY):
            if self._inner:
                break
            self._inner = memoryview(self._next())
        else:
            raise ProtocolError("compressed packets without content, one after the other")
        piece, self._inner = self._inner[:limit], self._inner[limit:]
        return piece

    def write(self, data: bytes) -> None:
        """Send inner bytes; each call starts a new message, whose compressed sequence begins at 0."""
        for sequence, at in enumerate(range(0, len(data), MAX_PIECE)):
            piece = data[at : at + MAX_PIECE]
            packed = self._compress(piece) if len(piece) >= MIN_COMPRESS else piece
            plain = len(piece) if len(packed) < len(piece) else 0
            body = packed if plain else piece
            self._write(CompressedHeader(len(body), sequence & 0xFF, plain).serialize() + body)

    def _next(self) -> bytes:
        header = CompressedHeader.parse(self._read_exact(COMPRESSED_HEADER))
        body = self._body(header.length)
        if not header.plain_length:
            return body
        plain = self._decompress(body, header.plain_length)
        if len(plain) != header.plain_length:
            raise ProtocolError(f"compressed packet gave {len(plain)} bytes, {header.plain_length} were announced")
        return plain

    def _body(self, length: int) -> bytes:
        if self.throttle is None:
            self.network += length
            return self._read_exact(length)
        pieces = []
        while length:
            pieces.append(piece := self._read_exact(min(length, self.throttle.piece)))
            length -= len(piece)
            self.network += len(piece)
            self.throttle.moved(len(piece))
        return b"".join(pieces)

    def _decompress(self, body: bytes, length: int) -> bytes:
        try:
            if self._unzstd is not None:
                frame = zstandard.get_frame_parameters(body)
                if frame.content_size not in (length, zstandard.CONTENTSIZE_UNKNOWN):
                    raise ProtocolError(f"zstd frame of {frame.content_size} bytes, {length} were announced")
                return self._unzstd.decompress(body, max_output_size=length)
            # One byte more than announced shows a stream that is too long, without inflating all of it.
            return zlib.decompressobj().decompress(body, length + 1)
        except (zlib.error, zstandard.ZstdError) as error:
            raise ProtocolError(f"broken {self.algorithm} packet: {error}") from error

    def _compress(self, piece: bytes) -> bytes:
        return self._zstd.compress(piece) if self._zstd is not None else zlib.compress(piece)
