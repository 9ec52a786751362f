"""Connections over real sockets: bytes that come in any pieces, packets of any length, compression that lies."""

from __future__ import annotations

import os
import resource
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile import CAPABILITIES, GREETING, Donor, Peer
from innoclone.errors import ConnectFailed, NetworkError, ProtocolError
from innoclone.transport.compression import CompressedStream
from innoclone.transport.connection import BEFORE_BULK, READ_AHEAD, Connection
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.wire.handshake import AuthMoreData, Capability, Ok
from innoclone.wire.packets import MAX_PIECE, CompressedHeader, PacketHeader, split

CONTENT = os.urandom(1 << 20)


@contextmanager
def connected(
    serve: Callable[[socket.socket], None], folder: Path, *, compression: str = "off", timeout: float = 20.0
) -> Iterator[Connection]:
    """A connection to a server that lets us in and then does as ``serve`` says."""
    offered = {"zlib": Capability.COMPRESS, "zstd": Capability.ZSTD, "off": Capability(0)}[compression]
    path = folder / "socket"
    listener = socket.create_server(str(path), family=socket.AF_UNIX)
    failures: list[BaseException] = []

    def run() -> None:
        accepted, _ = listener.accept()
        with accepted:
            peer = Peer(accepted, "master", Donor())
            peer.send(replace(GREETING, capabilities=CAPABILITIES | offered).serialize())
            peer.receive()
            peer.send(AuthMoreData(b"\x03").serialize())
            peer.send(Ok().serialize())
            try:
                serve(accepted)
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    connection = Connection(Endpoint(socket=path), Compression(compression), timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()
        thread.join()
        listener.close()
    assert not failures


# ---- packets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 2 * MAX_PIECE - 1, 2 * MAX_PIECE])
def test_long_payloads_are_split(length):
    """MySQL's rule: a piece of 0xFFFFFF bytes is followed by another, be it empty."""
    pieces = list(split(bytes(length), sequence=255))
    headers = [PacketHeader.parse(piece) for piece in pieces[::2]]
    assert sum(header.length for header in headers) == length
    assert len(headers) == length // MAX_PIECE + 1
    assert [header.sequence for header in headers] == [255, 0, 1][: len(headers)]
    assert [header.is_continued for header in headers] == [True] * (len(headers) - 1) + [False]
    assert [len(piece) for piece in pieces[1::2]] == [header.length for header in headers]


@pytest.mark.parametrize("pieces", [[len(CONTENT)], [1] * 3000, [3, 65533, 1, 65536, 65537, 100000], [4, 4, 4, 7, 9]])
def test_bytes_come_in_any_pieces(tmp_path, pieces):
    """However they arrive, they are read as they were asked for, in whatever amounts."""

    def serve(sock: socket.socket) -> None:
        at = 0
        for size in pieces:
            sock.sendall(CONTENT[at : at + size])
            at += size
        sock.sendall(CONTENT[at:])

    with connected(serve, tmp_path) as connection:
        assert connection.read_exact(1) == CONTENT[:1]
        assert connection.read_exact(READ_AHEAD) == CONTENT[1 : READ_AHEAD + 1]
        assert connection.read_exact(READ_AHEAD + 1) == CONTENT[READ_AHEAD + 1 : 2 * READ_AHEAD + 2]
        assert connection.read_exact(0) == b""
        buffer = bytearray(len(CONTENT) - 2 * READ_AHEAD - 2)
        connection.read_into(memoryview(buffer))
        assert buffer == CONTENT[2 * READ_AHEAD + 2 :]
        with pytest.raises(NetworkError):
            connection.read_exact(1)


@pytest.mark.parametrize("read_ahead", [READ_AHEAD, BEFORE_BULK, 0])
@pytest.mark.parametrize("first", [1, 4, 5000, READ_AHEAD])
def test_splice_takes_the_read_ahead_bytes_too(tmp_path, read_ahead, first):
    """Into a file, at an offset; the bytes behind are still there for the next read."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    middle = slice(first, first + 900_000)
    with connected(lambda sock: sock.sendall(CONTENT), tmp_path) as connection:
        connection.read_ahead = read_ahead
        assert connection.can_splice
        assert connection.read_exact(first) == CONTENT[:first]
        fd = os.open(path, os.O_RDWR)
        connection.splice(fd, 50, 900_000)
        assert connection.read_exact(len(CONTENT) - middle.stop) == CONTENT[middle.stop :]
        os.close(fd)
    assert path.read_bytes() == bytes(50) + CONTENT[middle]


def test_a_splice_of_less_than_was_read_ahead(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with connected(lambda sock: sock.sendall(CONTENT[:1000]), tmp_path) as connection:
        assert connection.read_exact(10) == CONTENT[:10]
        fd = os.open(path, os.O_RDWR)
        connection.splice(fd, 0, 20)
        os.close(fd)
        assert connection.read_exact(970) == CONTENT[30:1000]
    assert path.read_bytes() == CONTENT[10:30]


@pytest.mark.parametrize("way", ["read", "splice"])
def test_a_connection_that_ends_in_the_middle(tmp_path, way):
    path = tmp_path / "file"
    path.touch()
    with connected(lambda sock: sock.sendall(bytes(10)), tmp_path) as connection:
        fd = os.open(path, os.O_RDWR)
        with pytest.raises(NetworkError):
            connection.read_exact(11) if way == "read" else connection.splice(fd, 0, 11)
        os.close(fd)


@pytest.mark.parametrize("way", ["read", "splice"])
def test_a_connection_that_is_shut_by_another_thread(tmp_path, way):
    path = tmp_path / "file"
    path.touch()
    release = threading.Event()
    with connected(lambda _: (release.wait(), None)[1], tmp_path) as connection:
        fd = os.open(path, os.O_RDWR)
        timer = threading.Timer(0.1, connection.shut)
        timer.start()
        with pytest.raises(NetworkError):
            connection.read_exact(1) if way == "read" else connection.splice(fd, 0, 1)
        timer.join()
        os.close(fd)
        release.set()


def test_a_control_packet_is_bounded(tmp_path):
    with connected(lambda sock: sock.sendall(b"\x01\0\x10\0"), tmp_path) as connection, pytest.raises(ProtocolError):
        connection.read_packet()


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "", "no-such-host.invalid"])
def test_a_host_name_that_is_none(host):
    with pytest.raises(ConnectFailed):
        Connection(Endpoint(host, 1), Compression(), timeout=1)


# ---- compression -------------------------------------------------------------------------------------------


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


def packed(algorithm: str, data: bytes) -> bytes:
    return zlib.compress(data, 9) if algorithm == "zlib" else zstandard.ZstdCompressor().compress(data)


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
def test_packets_lie_across_compressed_ones(tmp_path, algorithm):
    """A packet may begin in one compressed packet and end in a later one, stored or compressed, byte by byte."""
    message = b"".join(split(CONTENT[:5000])) + b"".join(split(bytes(3000)))
    wire = b""
    for at in range(0, 200):
        wire += CompressedHeader(1, 0, 0).serialize() + message[at : at + 1]
    for at in range(200, len(message), 777):
        body = packed(algorithm, message[at : at + 777])
        wire += CompressedHeader(len(body), 0, len(message[at : at + 777])).serialize() + body

    with connected(lambda sock: sock.sendall(wire), tmp_path, compression=algorithm) as connection:
        assert connection.compression == algorithm
        assert not connection.can_splice
        assert connection.read_packet() == CONTENT[:5000]
        header = connection.read_header()
        buffer = bytearray(header.length)
        connection.read_into(memoryview(buffer))
        assert buffer == bytes(3000)
