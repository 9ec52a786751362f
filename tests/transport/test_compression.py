"""Compressed packets as a byte stream: any pieces, long messages, packets that lie, bombs, and a throttle's pace."""

from __future__ import annotations

import os
import resource
import threading
import zlib
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import packed
from innoclone.errors import NetworkError, ProtocolError
from innoclone.transport import compression
from innoclone.transport.compression import LARGE, MIN_COMPRESS, CompressedStream
from innoclone.wire.packets import MAX_PIECE, CompressedHeader

CONTENT = os.urandom(2000)


class Pipe:
    """The two ends of a compressed stream, without a socket."""

    def __init__(self, algorithm: str, wire: bytes = b"") -> None:
        self.wire = bytearray(wire)
        self.stream = CompressedStream(algorithm, 3, self._read, self.wire.extend)

    def _read(self, count: int) -> bytes:
        if len(self.wire) < count:
            raise NetworkError("no more")
        piece = bytes(self.wire[:count])
        del self.wire[:count]
        return piece

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.stream.read_some(count - len(data))
        return data


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
@settings(max_examples=30)
@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 3000).map(bytes)), max_size=8), st.integers(1, 700))
def test_what_is_compressed_comes_back_in_any_pieces(algorithm, messages, amount):
    pipe = Pipe(algorithm)
    for message in messages:
        pipe.stream.write(message)
    left = b"".join(messages)
    while left:
        wanted = min(amount, len(left))
        assert pipe.read(wanted) == left[:wanted]
        left = left[wanted:]


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
def test_a_long_message_is_compressed_in_several_packets(algorithm):
    pipe = Pipe(algorithm)
    message = bytes(MAX_PIECE) + CONTENT[:1000]
    pipe.stream.write(message)
    first = CompressedHeader.parse(bytes(pipe.wire[:7]))
    assert (first.sequence, first.plain_length) == (0, MAX_PIECE)
    assert CompressedHeader.parse(bytes(pipe.wire[7 + first.length :][:7])).sequence == 1
    assert pipe.read(len(message)) == message
    assert not pipe.wire


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_compressed_packet_is_read_or_refused(algorithm, body, plain):
    wire = len(body).to_bytes(3, "little") + b"\0" + plain.to_bytes(3, "little") + body
    try:
        piece = Pipe(algorithm, wire).stream.read_some(1000)
    except (ProtocolError, NetworkError):
        return
    assert len(piece) == (plain or len(body))


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
@pytest.mark.parametrize("announced", [60_000, 99_999, 100_001, MAX_PIECE])
def test_a_compressed_packet_of_another_length_than_announced(algorithm, announced):
    body = packed(algorithm, bytes(100_000))
    pipe = Pipe(algorithm, CompressedHeader(len(body), 0, announced).serialize() + body)
    with pytest.raises(ProtocolError):
        pipe.stream.read_some(1)


def bombs() -> Iterator[object]:
    """Packets that claim or hold far more than a packet may: 256 MiB of zeros."""
    huge = 1 << 28
    compressor = zlib.compressobj(9)
    block = bytes(1 << 20)
    zlib_bomb = b"".join(compressor.compress(block) for _ in range(huge >> 20)) + compressor.flush()
    yield pytest.param("zlib", zlib_bomb, id="zlib")
    chunker = zstandard.ZstdCompressor().compressobj(size=huge)
    zstd_bomb = b"".join(chunker.compress(block) for _ in range(huge >> 20)) + chunker.flush()
    yield pytest.param("zstd", zstd_bomb, id="zstd with its size")
    chunker = zstandard.ZstdCompressor().compressobj()
    zstd_bomb = b"".join(chunker.compress(block) for _ in range(huge >> 20)) + chunker.flush()
    yield pytest.param("zstd", zstd_bomb, id="zstd without its size")
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compress(CONTENT[:2000])
    yield pytest.param("zstd", wide, id="zstd with a window of 128 MiB")


@pytest.mark.parametrize(("algorithm", "bomb"), list(bombs()))
def test_a_bomb_is_refused_in_bounded_memory(algorithm, bomb):
    pipe = Pipe(algorithm, CompressedHeader(len(bomb), 0, MAX_PIECE).serialize() + bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ProtocolError):
        pipe.stream.read_some(1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB more than before"


def test_empty_compressed_packets_without_end():
    pipe = Pipe("zlib", CompressedHeader(0, 0, 0).serialize() * 10_000)
    with pytest.raises(ProtocolError):
        pipe.stream.read_some(1)


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
def test_what_is_short_or_does_not_shrink_is_stored(algorithm):
    """As MySQL does it: a plain length of 0 says so, and the count on the wire is the same."""
    for message in (bytes(MIN_COMPRESS - 1), CONTENT):
        pipe = Pipe(algorithm)
        pipe.stream.write(message, first=7)
        header = CompressedHeader.parse(bytes(pipe.wire[:7]))
        assert (header.length, header.sequence, header.plain_length) == (len(message), 7, 0)
        assert pipe.read(len(message)) == message
        assert pipe.stream.network == len(message)


def test_a_broken_packet_says_what_is_broken():
    for algorithm, body in (("zlib", b"\x78\x9c no deflate"), ("zstd", b"no frame at all")):
        pipe = Pipe(algorithm, CompressedHeader(len(body), 0, 100).serialize() + body)
        with pytest.raises(ProtocolError, match=f"broken {algorithm} packet") as caught:
            pipe.stream.read_some(1)
        assert (caught.value.code, caught.value.exit_status) == (3863, 8)


class Pace:
    """Counts what it is told."""

    piece = 100  # bytes

    def __init__(self) -> None:
        self.told: list[int] = []

    def moved(self, count: int) -> None:
        self.told.append(count)


@pytest.mark.parametrize("stored", [True, False])
def test_a_throttle_has_packets_read_by_its_pieces(stored):
    message = CONTENT if stored else bytes(200_000) + CONTENT
    pipe = Pipe("zlib")
    pipe.stream.write(message)
    on_the_wire = len(pipe.wire) - 7
    pipe.stream.throttle = pace = Pace()
    assert pipe.read(len(message)) == message
    assert sum(pace.told) == on_the_wire == pipe.stream.network
    assert max(pace.told) == pace.piece
    assert len(pace.told) == -(-on_the_wire // pace.piece)


def test_memory_is_given_back_when_a_packet_is_read_or_the_stream_is_closed(monkeypatch):
    """As many large packets as there is room for are in memory; one that is given up makes room for others."""
    rooms = threading.BoundedSemaphore(1)  # which raises when more is given back
    monkeypatch.setattr(compression, "_room", rooms)
    monkeypatch.setattr(compression, "ROOM_TIMEOUT", 0.01)
    large = bytes(LARGE + 1)

    def begun() -> Pipe:
        pipe = Pipe("zlib")
        pipe.stream.write(large)
        assert pipe.read(1) == b"\0"
        return pipe

    def is_free() -> bool:
        free = rooms.acquire(blocking=False)
        if free:
            rooms.release()
        return free

    first = begun()
    assert not is_free()
    assert begun().read(LARGE) == large[1:]  # without room it goes on after a while, and gives back none
    assert not is_free()
    assert first.read(LARGE) == large[1:]
    assert is_free()
    second = begun()
    assert not is_free()
    second.stream.close()
    second.stream.close()
    assert is_free()
