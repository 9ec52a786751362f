"""The compressed packet layer as a byte stream: reads and writes inner bytes, counts what is on the wire."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from innoclone.errors import ProtocolError
from innoclone.wire.packets import COMPRESSED_HEADER, MAX_PIECE, CompressedHeader

__all__ = ["CompressedStream", "Throttle"]

MOST_EMPTY = 100  # packets in a row that may be empty; a server sends none
LARGE = 64 << 10  # bytes of a packet that counts where memory is concerned
ROOM_TIMEOUT = 1.0  # seconds to wait for room; who has it may wait for others, so it is no condition
MIN_COMPRESS = 50  # shorter payloads are stored (MIN_COMPRESS_LENGTH in my_compress)


# A packet is decompressed as a whole, 1 MiB as a rule, and stays in memory until it is written. So many may do so at
# once in this process, however many connections there are and however slow the disk is.
_room = threading.Semaphore(16)
_idle: list[zstandard.ZstdDecompressor] = []  # each is used by one thread at a time, and takes 160 KiB


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
        self,
        algorithm: str,
        level: int,
        read_exact: Callable[[int], bytes | bytearray],
        write: Callable[[bytes], None],
    ) -> None:
        self.algorithm, self._level = algorithm, level
        self._read_exact, self._write = read_exact, write
        self._inner = memoryview(b"")
        self._stored = 0  # bytes of a packet that is not compressed which are still to be read
        self._has_room = False
        self._zstd = zstandard.ZstdCompressor(level=level) if algorithm == "zstd" else None
        self.network = 0  # payload bytes of compressed packets read so far
        self.throttle: Throttle | None = None

    @property
    def holds_bytes(self) -> bool:
        """Whether inner bytes are here that were not read yet: more than one message may come in one packet."""
        return bool(self._inner)

    def read_some(self, limit: int) -> memoryview:
        """At least one and at most ``limit`` inner bytes."""
        for _ in range(MOST_EMPTY):
            if self._inner:
                break
            if self._stored:
                return self._read_stored(limit)
            self._inner = memoryview(self._next())
        else:
            raise ProtocolError("compressed packets without content, one after the other")
        piece, self._inner = self._inner[:limit], self._inner[limit:]
        if not self._inner:
            self.close()
        return piece

    def write(self, data: bytes, first: int = 0) -> None:
        """Send inner bytes; each call starts a new message, whose compressed sequence begins at ``first``."""
        for sequence, at in enumerate(range(0, len(data), MAX_PIECE), first):
            piece = data[at : at + MAX_PIECE]
            packed = self._compress(piece) if len(piece) >= MIN_COMPRESS else piece
            plain = len(piece) if len(packed) < len(piece) else 0
            body = packed if plain else piece
            self._write(CompressedHeader(len(body), sequence & 0xFF, plain).serialize() + body)

    def close(self) -> None:
        """Free the memory of what was not read."""
        self._inner = memoryview(b"")  # an empty part of a packet would keep the whole
        if self._has_room:
            self._has_room = False
            _room.release()

    def _next(self) -> bytes:
        header = CompressedHeader.parse(bytes(self._read_exact(COMPRESSED_HEADER)))
        if not header.plain_length:
            self._stored = header.length
            return b""
        body = self._body(header.length)
        if header.plain_length > LARGE:
            self._has_room = _room.acquire(timeout=ROOM_TIMEOUT)
        plain = self._decompress(body, header.plain_length)
        if len(plain) != header.plain_length:
            raise ProtocolError(f"compressed packet gave {len(plain)} bytes, {header.plain_length} were announced")
        return plain

    def _read_stored(self, limit: int) -> memoryview:
        piece = self._piece(min(limit, self._stored))
        self._stored -= len(piece)
        return memoryview(piece)

    def _body(self, length: int) -> bytes | bytearray:
        first = self._piece(length)
        if len(first) == length:
            return first
        pieces, length = [first], length - len(first)
        while length:
            pieces.append(piece := self._piece(length))
            length -= len(piece)
        return b"".join(pieces)

    def _piece(self, length: int) -> bytes | bytearray:
        """Up to ``length`` bytes off the wire, as many as the throttle wants at once."""
        piece = self._read_exact(min(length, self.throttle.piece) if self.throttle is not None else length)
        self.network += len(piece)
        if self.throttle is not None:
            self.throttle.moved(len(piece))
        return piece

    def _decompress(self, body: bytes | bytearray, length: int) -> bytes:
        try:
            if self.algorithm == "zstd":
                frame = zstandard.get_frame_parameters(body)
                if frame.content_size not in (length, zstandard.CONTENTSIZE_UNKNOWN):
                    raise ProtocolError(f"zstd frame of {frame.content_size} bytes, {length} were announced")
                try:
                    tool = _idle.pop()
                except IndexError:
                    tool = zstandard.ZstdDecompressor(max_window_size=1 << 27)
                try:
                    return tool.decompress(body, max_output_size=length)
                finally:
                    _idle.append(tool)
            # One byte more than announced shows a stream that is too long, without inflating all of it.
            return zlib.decompressobj().decompress(body, length + 1)
        except (zlib.error, zstandard.ZstdError) as error:
            raise ProtocolError(f"broken {self.algorithm} packet: {error}") from error

    def _compress(self, piece: bytes) -> bytes:
        return self._zstd.compress(piece) if self._zstd is not None else zlib.compress(piece)
