"""The SQL client that bounds what an answer costs, met by a scripted server: whatever comes, an error with a number."""

from __future__ import annotations

import threading

import pymysql
import pytest

from hostile import Gone
from hostile_sql import EOF, Answer, HostileSql, Stranger, column
from innoclone.errors import AnswerTooLarge, ConnectFailed, ConnectionLimit, NetworkError, NotMySQL, ProtocolError
from innoclone.transport import sqlclient
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sqlclient import MOST_COLUMNS, MOST_RESULTS, SqlClient
from innoclone.wire.handshake import Err, Ok

MOST = 1 << 23  # bytes that an answer may take
ER_CLIENT_INTERACTION_TIMEOUT = 4031


def saying(*payloads: bytes) -> Answer:
    return lambda peer, _statement: peer.send(*payloads)


def client(endpoint: Endpoint) -> SqlClient:
    return SqlClient(endpoint, several=True, most=MOST)


def ask(answer: Answer) -> list[tuple[object, ...]]:
    """The rows of an answer."""
    with HostileSql(answer=answer) as server:
        connection = client(server.endpoint())
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return list(cursor.fetchall())


def test_rows():
    assert ask(saying(b"\x01", column(), EOF, b"\x03abc", b"\xfb", EOF)) == [("abc",), (None,)]
    assert ask(saying(Ok().serialize())) == []


def test_a_row_of_several_packets(monkeypatch):
    """Its pieces are put together, and counted together."""
    from innoclone.wire import packets

    monkeypatch.setattr(packets, "MAX_PIECE", 1000)
    with HostileSql(answer=saying(b"\x01", column(), EOF)) as server:
        connection = client(server.endpoint())

        def answer(peer: Stranger, _statement: str) -> None:
            row = b"\xfc" + (2500).to_bytes(2, "little") + b"x" * 2500
            peer.send(b"\x01", column(), EOF)
            for at in range(0, len(row), 1000):
                piece = row[at : at + 1000]
                peer.raw(len(piece).to_bytes(3, "little") + bytes([peer.sequence]) + piece)
                peer.sequence += 1
            peer.send(EOF)

        server.answer = answer
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == (("x" * 2500,),)
        connection.close()


def endless_rows(peer: Stranger, _statement: str) -> None:
    peer.send(b"\x01", column(), EOF)
    while True:
        peer.send(b"\x03abc")


def unending_row(peer: Stranger, _statement: str) -> None:
    peer.send(b"\x01", column(), EOF)
    peer.raw(b"\xff\xff\xff\x04" + bytes(1 << 16))


@pytest.mark.parametrize(
    ("answer", "kind", "number", "words"),
    [
        (endless_rows, AnswerTooLarge, 2020, f"more than {MOST} bytes"),
        (unending_row, AnswerTooLarge, 2020, f"more than {MOST} bytes"),
        (saying(b"\xfb/etc/shadow"), ProtocolError, 3863, "a file of this host"),
        (saying(b"\xfd\xff\xff\xff", *[column()] * (MOST_COLUMNS + 1)), ProtocolError, 3863, "4096 columns"),
        (saying(b"\x01", column()[:7]), ProtocolError, 3863, "damaged"),
        (saying(b"\x01", column(), EOF, b"\x05x\xff\xfe\xfdy", EOF), ProtocolError, 3863, "UnicodeDecodeError"),
        (lambda peer, _: peer.raw(b"\x01\0\0\x05\x01"), ProtocolError, 3863, "packet 5 of an answer comes as 1"),
        (lambda peer, _: peer.raw(b"\x01\0\0\0\x01"), ProtocolError, 3863, "packet 0 of an answer comes as 1"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be(answer, kind, number, words):
    """The connection is over then: nothing behind it could be trusted."""
    with HostileSql(answer=answer) as server:
        connection = client(server.endpoint())
        with connection.cursor() as cursor:
            with pytest.raises(kind, match=words) as caught:
                cursor.execute("SELECT 1")
            assert caught.value.code == number
            assert not connection.open
            with pytest.raises(pymysql.MySQLError):
                cursor.execute("SELECT 1")
        connection.shut()  # says nothing


def test_one_row_that_is_longer_than_any(monkeypatch):
    monkeypatch.setattr(sqlclient, "LONGEST_PACKET", 1000)
    with pytest.raises(AnswerTooLarge, match="a row of more than 1000 bytes"):
        ask(saying(b"\x01", column(), EOF, bytes(1001)))


def test_results_without_end():
    more = Ok(status=8 | 2).serialize()
    with HostileSql(answer=lambda peer, _: peer.send(*[more] * (MOST_RESULTS + 1))) as server:
        connection = client(server.endpoint())
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            for _ in range(MOST_RESULTS - 1):
                assert cursor.nextset()
            with pytest.raises(ProtocolError, match="without end"):
                cursor.nextset()


def test_an_error_is_the_servers():
    for answer in (
        saying(Err(1064, "42000", "syntax").serialize()),
        saying(b"\x01", column(), EOF, Err(1064, "42000", "syntax").serialize()),
    ):
        with pytest.raises(pymysql.MySQLError) as caught:
            ask(answer)
        assert caught.value.args == (1064, "syntax")


def test_a_server_that_ends_a_connection_says_why():
    """It does before it is asked anything, so with number 0."""
    payload = Err(ER_CLIENT_INTERACTION_TIMEOUT, "HY000", "inactivity").serialize()
    with pytest.raises(pymysql.MySQLError) as caught:
        ask(lambda peer, _: peer.raw(len(payload).to_bytes(3, "little") + b"\0" + payload))
    assert caught.value.args == (4031, "inactivity")


@pytest.mark.parametrize("piece", [b"", b"\x05\0", b"\x05\0\0\x01ab"])
def test_a_connection_that_ends(piece):
    def answer(peer: Stranger, _statement: str) -> None:
        peer.raw(piece)
        peer.sock.shutdown(2)

    with pytest.raises(pymysql.OperationalError, match="Lost connection") as caught:
        ask(answer)
    assert caught.value.args[0] == 2013


def test_silence():
    """For as long as was said, also where it was said between two statements."""
    release = threading.Event()
    with HostileSql(answer=lambda *_: (release.wait(20), None)[1]) as server:
        for say in (lambda it: it.wait(0.05), lambda it: setattr(it, "_read_timeout", 0.05)):
            connection = client(server.endpoint())
            say(connection)
            with connection.cursor() as cursor, pytest.raises(pymysql.OperationalError, match="timed out"):
                cursor.execute("SELECT 1")
        release.set()


def test_shut_wakes_a_statement():
    asked, release = threading.Event(), threading.Event()

    def answer(_peer: Stranger, _statement: str) -> None:
        asked.set()
        release.wait(20)

    with HostileSql(answer=answer) as server:
        connection = client(server.endpoint())
        stopper = threading.Thread(target=lambda: (asked.wait(20), connection.shut()))
        stopper.start()
        with connection.cursor() as cursor, pytest.raises(pymysql.OperationalError):
            cursor.execute("SELECT 1")
        release.set()
        stopper.join()


# ---- logins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "kind", "words"),
    [
        (lambda peer: peer.raw(b"\x01\0\x01\x02"), ProtocolError, "65537 bytes during the login"),
        (lambda peer: peer.sock.shutdown(2), NetworkError, "closed the connection"),
        (lambda peer: peer.server.release.wait(20), NetworkError, r"sent nothing for 0\.1 s"),
    ],
)
def test_a_login_that_goes_wrong(login, kind, words):
    with HostileSql(login) as server:
        server.release = threading.Event()
        with pytest.raises(kind, match=words):
            client(server.endpoint(connect_timeout=0.1))
        server.release.set()


def test_a_login_that_is_reset():
    """Then the error says what the system says."""

    def login(peer: Stranger) -> None:
        peer.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER, no time
        peer.sock.close()

    with HostileSql(login) as server, pytest.raises(NetworkError, match="reset by peer"):
        client(server.endpoint())


def test_a_server_that_takes_no_more():
    with HostileSql() as server:
        server.greeting = Err(1040, "08004", "Too many connections")
        with pytest.raises(ConnectionLimit, match="1040") as caught:
            client(server.endpoint())
        assert caught.value.code == 1040


@pytest.mark.parametrize(
    ("said", "kind"), [(b"SSH-2.0-x\r\n", NotMySQL), (b"\x03\0\0\0abc", NotMySQL), (b"", ConnectFailed)]
)
def test_a_peer_that_is_no_server(monkeypatch, said, kind):
    def instead(peer: Stranger, *_payloads: bytes) -> None:
        peer.raw(said)
        raise Gone

    monkeypatch.setattr(Stranger, "send", instead)
    with HostileSql() as server, pytest.raises(kind):
        client(server.endpoint())
