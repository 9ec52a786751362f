"""A client's connection as a server sees it, met by clients that stall, lie about lengths, or leave."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from innoclone.errors import NetworkError
from innoclone.transport.listening import server_context
from innoclone.transport.served import WRITE_AT_ONCE, OutOfOrder, PacketTooLarge, ServedConnection, nonce
from innoclone.wire.packets import MAX_PIECE
from rawclient import Packets

MOST = 1 << 20  # bytes of a packet


@contextmanager
def served(*, timeout: float = 20.0, most: int = MOST, tcp: bool = False) -> Iterator[tuple[ServedConnection, Packets]]:
    """A connection, and its client."""
    if tcp:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            ours = listener.accept()[0]
    else:
        ours, client = socket.socketpair()
    client.settimeout(20)
    connection = ServedConnection(ours, most=most, timeout=timeout)
    try:
        yield connection, Packets(client)
    finally:
        connection.close()
        client.close()


def test_nonces_are_random_and_printable():
    found = {nonce() for _ in range(200)}
    assert len(found) == 200
    assert {len(each) for each in found} == {20}
    assert set(b"".join(found)) <= set(range(33, 127)) - {ord("$")}


def test_who_is_there():
    with served() as (connection, _):
        assert (connection.peer_uid, connection.peer_host) == (os.getuid(), "localhost")
    with served(tcp=True) as (connection, _):
        assert (connection.peer_uid, connection.peer_host) == (None, "127.0.0.1")
        assert connection.cipher == ("", "")


def test_packets_in_order():
    with served() as (connection, client):
        client.send(b"hello", 0)
        assert connection.read() == b"hello"
        connection.write([b"a", b"", bytes(WRITE_AT_ONCE)])
        assert [client.read() for _ in range(3)] == [(1, b"a"), (2, b""), (3, bytes(WRITE_AT_ONCE))]
        client.send(b"next", 4)
        assert connection.read() == b"next"
        assert connection.received == 4 + 5 + 4 + 4
        assert connection.sent == 3 * 4 + 1 + WRITE_AT_ONCE
        connection.write([])
        client.sock.close()
        assert connection.read() is None


def test_a_payload_of_several_pieces():
    """Both ways, and the numbers go on behind it."""
    with served(most=MAX_PIECE + 10) as (connection, client):
        long = os.urandom(MAX_PIECE) + b"tail"
        sender = threading.Thread(target=client.send, args=[long, 0])
        sender.start()
        assert connection.read() == long
        sender.join()
        assert connection.sequence == 2
        sender = threading.Thread(target=connection.write, args=[[bytes(MAX_PIECE), b"end"]])
        sender.start()
        assert [(number, len(payload)) for number, payload in (client.read() for _ in range(3))] == [
            (2, MAX_PIECE), (3, 0), (4, 3),
        ]  # fmt: skip
        sender.join()


@pytest.mark.parametrize(
    ("sent", "kind", "words"),
    [
        (b"\x01\0\0\x01x", OutOfOrder, "packet 1 where 0 was due"),
        (b"\xff\xff\xff\0", PacketTooLarge, "more than 1048576 bytes"),
        ((MOST + 1).to_bytes(3, "little") + b"\0", PacketTooLarge, "more than"),
        (b"\x05\0\0\0abc", NetworkError, "in the middle of a packet"),
        (b"\x05\0", NetworkError, "in the middle of a packet"),
    ],
)
def test_what_no_honest_client_sends(sent, kind, words):
    """Nothing is read of what is too long, so the memory that a header can take is bounded."""
    with served() as (connection, client):
        client.sock.sendall(sent)
        client.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(kind, match=words):
            connection.read()


def test_a_piece_that_makes_it_too_long():
    with served(most=MAX_PIECE + 3) as (connection, client):

        def send() -> None:
            client.send(bytes(MAX_PIECE + 4), 0)
            client.sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        with pytest.raises(PacketTooLarge):
            connection.read()
        connection.drain(MAX_PIECE, 20)
        sender.join()


@pytest.mark.parametrize("begun", [b"", b"\x05\0\0\0ab"])
def test_silence(begun):
    """There is a time to be idle, and one for the rest of what has begun."""
    with served() as (connection, client):
        connection.set_timeouts(20 if begun else 0.02, 0.02 if begun else 20, 20)
        client.sock.sendall(begun)
        with pytest.raises(NetworkError, match="can't read from the client: timed out") as caught:
            connection.read()
        assert caught.value.code == 1158


def test_a_client_that_reads_nothing():
    with served() as (connection, _):
        connection.set_timeout(0.02)
        with pytest.raises(NetworkError, match="can't write to the client"):
            connection.write([bytes(1 << 20)] * 64)


def test_a_deadline_is_not_stretched_by_bytes():
    """A byte each time would keep a mere timeout away for ever."""
    with served() as (connection, client):
        connection.set_deadline(0.2)
        stop = threading.Event()

        def drip() -> None:
            client.sock.sendall(b"\xff\xff\x0f\0")
            while not stop.wait(0.01):
                client.sock.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(NetworkError):
            connection.read()
        stop.set()
        dripping.join()
        connection.set_deadline(-1)
        with pytest.raises(NetworkError, match="took too long"):
            connection.read()


def test_a_deadline_that_is_over_ends_with_new_timeouts():
    with served() as (connection, client):
        client.send(b"hello", 0)
        connection.set_deadline(-1)
        with pytest.raises(NetworkError, match="took too long"):
            connection.read()
        connection.set_timeout(20)
        assert connection.read() == b"hello"


def test_shut_wakes_a_read():
    with served() as (connection, _):
        read: list[bytes | None] = [b""]
        waiting = threading.Thread(target=lambda: read.append(connection.read()))
        waiting.start()
        connection.shut()
        waiting.join(20)
        assert read == [b"", None]
        connection.close()
        connection.shut()  # says nothing


def test_the_last_word_arrives_though_the_client_still_sends():
    """Closing at once would reset the connection, and lose the error that says why."""
    with served(tcp=True, most=10) as (connection, client):
        client.sock.sendall(b"\xff\xff\x0f\0" + bytes(200_000))
        with pytest.raises(PacketTooLarge):
            connection.read()
        connection.write([b"why"])
        connection.drain(100_000, 0.2)  # no more than that
        assert client.read() == (1, b"why")
        client.sock.sendall(bytes(10))
        client.sock.shutdown(socket.SHUT_WR)
        connection.drain(1 << 30, 20)
        assert client.sock.recv(1) == b""
        client.sock.close()
        connection.close()
        connection.drain(10, 0.1)  # says nothing


# ---- TLS -------------------------------------------------------------------------------------------------------


def test_tls(certificates):
    with served(tcp=True) as (connection, client):
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        started = threading.Thread(
            target=connection.start_tls, args=[server_context(certificates / "server.pem", certificates / "server.key")]
        )
        started.start()
        secure = Packets(context.wrap_socket(client.sock, server_hostname="localhost"))
        started.join()
        assert connection.is_tls
        assert connection.cipher == (secure.sock.cipher()[0], secure.sock.version())
        secure.send(b"hello", 0)
        assert connection.read() == b"hello"
        connection.write([b"world"])
        assert secure.read() == (1, b"world")
        secure.sock.close()


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.0\r\n\r\n", b"", None])
def test_tls_that_fails(certificates, hello):
    """Something else is said, nothing more, or nothing at all."""
    with served() as (connection, client):
        if hello is None:
            connection.set_timeout(0.02)
        else:
            client.sock.sendall(hello)
            client.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(NetworkError, match="TLS failed"):
            connection.start_tls(server_context(certificates / "server.pem", certificates / "server.key"))
        assert not connection.is_tls
