"""Connections over real sockets: bytes that come in any pieces, packets of any length, compression that lies."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import zstandard

from hostile import CAPABILITIES, GREETING, Donor, Peer, exactly, packed
from hostile_sql import HostileSql, Stranger, good_login
from innoclone.errors import (
    AccessDenied,
    DonorError,
    Interrupted,
    NetworkError,
    ProtocolError,
    TlsFailed,
)
from innoclone.innodb.page import PageChecker
from innoclone.native.pages import Place
from innoclone.records.chunks import stamp
from innoclone.transport import connection as transport
from innoclone.transport.compression import CompressedStream
from innoclone.transport.connection import BEFORE_BULK, COM_QUERY, READ_AHEAD, Connection
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from innoclone.wire.handshake import AuthMoreData, Capability, Err, Ok
from innoclone.wire.packets import CompressedHeader, split
from innodb_pages import PLAIN, SPACE, make_file

CONTENT = os.urandom(1 << 20)


@contextmanager
def connected(
    serve: Callable[[socket.socket], None],
    folder: Path,
    *,
    compression: str = "off",
    timeout: float = 20.0,
    stopped: threading.Event | None = None,
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
    connection = Connection(Endpoint(socket=path), Compression(compression), timeout=timeout, stopped=stopped)
    try:
        yield connection
    finally:
        connection.close()
        thread.join()
        listener.close()
    assert not failures


# ---- bytes -----------------------------------------------------------------------------------------------


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


def test_what_was_read_ahead_is_readable(tmp_path):
    """So that a donor's second word is heard which came with its first."""
    ended = threading.Event()

    def serve(sock):
        sock.sendall(b"onetwo")
        ended.wait(20)

    with connected(serve, tmp_path) as connection:
        assert connection.read_exact(3) == b"one"
        assert connection.readable()
        assert connection.read_exact(3) == b"two"
        assert not connection.readable()
        ended.set()


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
def test_a_second_word_in_one_compressed_packet_is_readable(tmp_path, algorithm):
    """And one of a packet that was read ahead behind it; what was taken off the wire is no more on the wire."""
    ended = threading.Event()

    def serve(sock):
        wire = bytearray()
        stream = CompressedStream(algorithm, 3, lambda _: b"", wire.extend)
        stream.write(b"one" + b"two" * 100)
        stream.write(b"three" * 100)
        sock.sendall(wire)
        ended.wait(20)

    with connected(serve, tmp_path, compression=algorithm) as connection:
        assert connection.read_exact(3) == b"one"
        assert connection.readable()
        assert not connection.has_more_on_the_wire()
        assert connection.read_exact(300) == b"two" * 100
        assert connection.readable()
        assert connection.read_exact(500) == b"three" * 100
        assert not connection.readable()
        ended.set()


@pytest.fixture(params=["library", "Python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who receives many bytes."""
    if request.param == "Python":
        monkeypatch.setattr(transport, "library", None)
    elif transport.library is None:
        pytest.skip("the native library is not there")
    return str(request.param)


@pytest.mark.parametrize("read_ahead", [READ_AHEAD, BEFORE_BULK, 0])
@pytest.mark.parametrize("first", [1, 4, 5000, READ_AHEAD])
def test_a_block_has_the_read_ahead_bytes_too(tmp_path, way, read_ahead, first):
    """They may be all of it; the bytes behind are still there for the next read."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    for size in (900_000, 20):
        view = memoryview(bytearray(size))
        with (
            connected(lambda sock: sock.sendall(CONTENT), tmp_path) as connection,
            path.open("rb+") as file,
        ):
            connection.read_ahead = read_ahead
            assert connection.read_exact(first) == CONTENT[:first]
            done = connection.receive(view, place=Place(file.fileno(), 50, direct=False))
            assert (done is not None and done.is_written) == (way == "library")
            assert connection.read_exact(len(CONTENT) - first - size) == CONTENT[first + size :]
        assert view == CONTENT[first : first + size]
        if way == "library":
            assert path.read_bytes()[50 : 50 + size] == view
        (tmp_path / "socket").unlink()


def test_the_pages_of_a_block_are_looked_at(tmp_path):
    """By the library; and more than it takes at once is Python's."""
    if transport.library is None:
        pytest.skip("the native library is not there")
    data = make_file(PLAIN, 20)
    data[3 * 16384 + 50] ^= 1
    pages = PageChecker(PLAIN, SPACE).pages
    with connected(lambda sock: sock.sendall(bytes(data) + bytes(transport.MOST + 1)), tmp_path) as connection:
        view = memoryview(bytearray(len(data)))
        done = connection.receive(view, pages)
        assert done is not None
        assert (done.unusual, done.stamps, done.is_written) == ([3], stamp(view, 16384), False)
        assert connection.receive(memoryview(bytearray(transport.MOST + 1)), pages) is None


def test_each_byte_ends_a_silence(tmp_path, monkeypatch):
    """What counts is the time without a byte, not how long it takes in all."""
    monkeypatch.setattr(transport, "POLL", 0.25)
    with silent(tmp_path, timeout=1) as connection:
        answers = iter([TimeoutError(), TimeoutError(), TimeoutError(), 7] * 3 + [TimeoutError()] * 4)

        def read() -> int:
            answer = next(answers)
            if isinstance(answer, int):
                return answer
            raise answer

        assert [connection._patiently(read) for _ in range(3)] == [7, 7, 7]
        with pytest.raises(NetworkError, match="sent nothing for 1 s"):
            connection._patiently(read)


READS: dict[str, Callable[[Connection], object]] = {
    "few": lambda connection: connection.read_exact(11),
    "many": lambda connection: connection.read_exact(2 * READ_AHEAD),
    "block": lambda connection: connection.receive(memoryview(bytearray(11))),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_connection_that_ends_in_the_middle(tmp_path, way, read):
    with (
        connected(lambda sock: sock.sendall(bytes(10)), tmp_path) as connection,
        pytest.raises(NetworkError, match="closed the connection"),
    ):
        read(connection)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_connection_that_is_shut_by_another_thread(tmp_path, way, read):
    release = threading.Event()
    with connected(lambda _: (release.wait(), None)[1], tmp_path) as connection:
        timer = threading.Timer(0.1, connection.shut)
        timer.start()
        with pytest.raises(NetworkError):
            read(connection)
        timer.join()
        release.set()


def test_a_control_packet_is_bounded(tmp_path):
    with connected(lambda sock: sock.sendall(b"\x01\0\x10\0"), tmp_path) as connection, pytest.raises(ProtocolError):
        connection.read_packet()


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
        assert connection.read_packet() == CONTENT[:5000]
        header = connection.read_header()
        buffer = bytearray(header.length)
        assert connection.receive(memoryview(buffer)) is None
        assert buffer == bytes(3000)


# ---- silence, stops, errors ----------------------------------------------------------------------------------


@contextmanager
def silent(folder: Path, **options: Any) -> Iterator[Connection]:
    """A connection to a server that says no more after the login."""
    release = threading.Event()
    with connected(lambda _: (release.wait(), None)[1], folder, **options) as connection:
        try:
            yield connection
        finally:
            release.set()


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_silence_is_a_network_failure(tmp_path, way, read):
    with silent(tmp_path, timeout=0.05) as connection:
        assert not connection.readable()
        with pytest.raises(NetworkError, match=r"sent nothing for 0\.05 s") as caught:
            read(connection)
        assert (caught.value.code, caught.value.retryable) == (1158, True)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_stop_ends_a_read_that_waits(tmp_path, monkeypatch, way, read):
    monkeypatch.setattr(transport, "POLL", 0.01)
    stopped = threading.Event()
    stopped.set()
    with silent(tmp_path, stopped=stopped) as connection, pytest.raises(Interrupted):
        read(connection)


def test_a_peer_that_reads_nothing(tmp_path):
    """A write is given up like a read."""
    with silent(tmp_path, timeout=0.05) as connection, pytest.raises(NetworkError):
        connection.write_bytes(bytes(64 << 20))


def test_what_comes_is_seen(tmp_path):
    with connected(lambda sock: sock.sendall(b"x"), tmp_path) as connection:
        assert connection.read_exact(1) == b"x"
        with pytest.raises(NetworkError, match="closed the connection"):
            connection.read_exact(1)
        assert connection.readable(), "the end"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Ok().serialize(), None, ""),
        (Err(1064, "42000", "syntax").serialize(), DonorError, "donor error 1064: syntax"),
        (Err(1820, "HY000", "expired").serialize(), AccessDenied, "1820: expired"),
        (b"\x01", ProtocolError, "command 0e: answer 01"),
        (b"", ProtocolError, "answer of no bytes"),
    ],
)
def test_the_answer_to_a_command(tmp_path, answer, kind, words):
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        heard.append(sock.recv(100))
        sock.sendall(b"".join(split(answer, 1)))
        heard.append(sock.recv(100))

    with connected(serve, tmp_path) as connection:
        if kind is None:
            connection.command(b"\x0e")
        else:
            with pytest.raises(kind, match=words):
                connection.command(b"\x0e")
        assert connection.network == len(answer) + CAME_WITH_LOGIN
        connection.quit()
    assert heard == [b"\1\0\0\0\x0e", b"\1\0\0\0\x01"], "the command, and COM_QUIT"


CAME_WITH_LOGIN = sum(len(what.serialize()) for what in (GREETING, AuthMoreData(b"\x03"), Ok()))  # bytes of payload


def test_quit_on_a_dead_connection_says_nothing(tmp_path):
    with connected(lambda _: None, tmp_path) as connection:
        connection.shut()
        connection.quit()
        connection.shut()
        connection.close()


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
def test_a_command_goes_compressed(tmp_path, algorithm):
    """It is one message of the inner stream, and what is slowed down is told to the throttle."""
    query = b"\x03" + b"SELECT 1 " * 100
    heard = bytearray()

    def serve(sock: socket.socket) -> None:
        header = CompressedHeader.parse(exactly(sock, 7))
        body = exactly(sock, header.length)
        heard.extend(zlib.decompress(body) if algorithm == "zlib" else zstandard.ZstdDecompressor().decompress(body))
        body = packed(algorithm, b"".join(split(Ok().serialize() + bytes(100), 1)))
        sock.sendall(CompressedHeader(len(body), 1, len(Ok().serialize()) + 104).serialize() + body)

    class Pace:
        piece, moved_bytes = 10, 0

        def moved(self, count: int) -> None:
            self.moved_bytes += count

    pace = Pace()
    with connected(serve, tmp_path, compression=algorithm) as connection:
        before = connection.network
        connection.slow_down(pace)
        connection.command(query)
        assert pace.moved_bytes == connection.network - before > 0
    assert heard == b"".join(split(query))


def test_a_plain_connection_is_not_slowed_down_here(tmp_path):
    with connected(lambda sock: sock.sendall(b"abc"), tmp_path) as connection:
        connection.slow_down(cast(Any, None))
        assert connection.read_exact(3) == b"abc"
        assert connection.compression == "off"


# ---- TLS -------------------------------------------------------------------------------------------------------


def tls_server(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    return context


def test_blocks_over_tls(certificates, tmp_path, way):
    """The same bytes either way; silence and the end, too, are as without TLS."""
    hang_up = threading.Event()

    def answer(peer: Stranger, _statement: str) -> None:
        peer.raw(CONTENT)
        hang_up.wait(20)
        peer.sock.close()

    with HostileSql(good_login, answer, tls=tls_server(certificates)) as server:
        to = server.endpoint(ssl_mode=SslMode.VERIFY_IDENTITY, ssl_ca=certificates / "ca.pem")
        with Connection(to, Compression(), timeout=20) as connection:
            assert connection.cipher.startswith("TLSv1.")
            connection.write_packet(bytes([COM_QUERY]) + b"all")
            buffer = bytearray(len(CONTENT))
            with (tmp_path / "file").open("wb") as file:
                done = connection.receive(memoryview(buffer), place=Place(file.fileno(), 0, direct=False))
            assert buffer == CONTENT
            assert (done is not None and done.is_written) == (way == "library")
            assert way == "Python" or (tmp_path / "file").read_bytes() == CONTENT
            connection.set_timeout(0.05)
            for read in READS.values():
                with pytest.raises(NetworkError, match="sent nothing"):
                    read(connection)
            hang_up.set()
            connection.set_timeout(20)
            for read in READS.values():
                with pytest.raises(NetworkError):
                    read(connection)


def test_bytes_that_were_changed_on_the_way_of_tls(certificates):
    def answer(peer: Stranger, _statement: str) -> None:
        os.write(peer.sock.fileno(), b"\x17\x03\x03\0\x20" + os.urandom(32))

    with (
        HostileSql(good_login, answer, tls=tls_server(certificates)) as server,
        Connection(server.endpoint(ssl_mode=SslMode.REQUIRED), Compression(), timeout=20) as connection,
    ):
        connection.write_packet(bytes([COM_QUERY]) + b"all")
        with pytest.raises(TlsFailed, match="broke: ") as caught:
            connection.read_exact(1)
        assert caught.value.code == 2026
