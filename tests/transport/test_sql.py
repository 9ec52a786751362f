"""innoclone.transport.sql: what a server says, as errors of ours; its session; connections that break."""

from __future__ import annotations

import io
import threading

import pymysql
import pytest

from hostile_sql import EOF, HostileSql, Stranger, column
from innoclone.errors import (
    AccessDenied,
    AnswerTooLarge,
    ConnectFailed,
    ConnectionLimit,
    NetworkError,
    PrivilegeMissing,
    ProtocolError,
    SqlError,
)
from innoclone.server.mysqld import Server
from innoclone.transport.sql import LOST, Sql, own_server, sql_error, understood
from innoclone.transport.sqlsession import OWN_SERVER, READING, statement
from innoclone.wire.handshake import Err, Ok
from servers import endpoint_of


def test_a_lost_connection(donor: Server) -> None:
    """A network error with its hint, at once and at every later statement."""
    with Sql(endpoint_of(donor)) as sql:
        sql.shut()
        for _ in range(2):
            with pytest.raises(NetworkError):
                sql.rows("SELECT 1")


def test_a_damaged_answer(donor: Server) -> None:
    with Sql(endpoint_of(donor)) as sql:
        sql.connection._rfile = io.BytesIO(b"\1\0\0\1\1" + b"\2\0\0\2\x40x")  # one column; its name is cut short
        with pytest.raises(ProtocolError, match="damaged"):
            sql.rows("SELECT 1")


# ---- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "code", "message"),
    [
        ((1227, "you need RELOAD"), PrivilegeMissing, 1227, "you need RELOAD"),
        ((1045, "denied"), AccessDenied, 1045, "denied"),
        ((1820, "expired"), AccessDenied, 1045, "1820: expired"),
        ((1226, "has exceeded"), ConnectionLimit, 1226, "the server refused the connection: 1226: has exceeded"),
        ((1053, "shutdown"), ConnectFailed, 2003, "the server refused the connection: 1053: shutdown"),
        ((2006, "gone"), NetworkError, 1158, "gone"),
        ((2013, "lost"), NetworkError, 1158, "lost"),
        ((4031, "inactivity"), NetworkError, 1158, "inactivity"),
        ((1146, "no such\ntable"), SqlError, 1146, "1146: no such?table"),
        ((-1, "a sign"), SqlError, 65535, "65535: a sign"),
        (("no number",), SqlError, None, "0: no number"),
        ((), SqlError, None, "0: "),
    ],
)
def test_what_a_server_answers(arguments, kind, code, message):
    error = sql_error(pymysql.err.OperationalError(*arguments))
    assert type(error) is kind
    assert error.message == message
    assert code in (None, error.code)


def test_a_connection_that_was_lost_before():
    error = sql_error(pymysql.err.InterfaceError(0, ""))
    assert (type(error), error.message) == (NetworkError, LOST)


@pytest.mark.parametrize("wrong", [ZeroDivisionError, AttributeError, KeyError, IndexError, TypeError, ValueError])
def test_values_that_nobody_can_read(wrong):
    words = f"says of its version makes no sense: {wrong.__name__}"
    with pytest.raises(ProtocolError, match=words) as caught, understood("its version"):
        raise wrong
    assert caught.value.code == 3863
    with pytest.raises(RuntimeError), understood("its version"):
        raise RuntimeError


# ---- statements ------------------------------------------------------------------------------------------------


def answer(peer: Stranger, asked: str) -> None:
    """One or more results of a row that says what was asked; nothing to SET."""
    statements = asked.split(";")
    for number, one in enumerate(statements, 1):
        more = b"\xfe\0\0\x0a\0" if number < len(statements) else EOF
        if one.startswith("SET"):
            peer.send(Ok().serialize())
        elif one.startswith("WRONG"):
            peer.send(Err(1064, "42000", "syntax").serialize())
        elif one.startswith("NOTHING"):
            peer.send(b"\x01", column(), EOF, EOF)
        else:
            peer.send(b"\x01", column(), EOF, bytes([len(one)]) + one.encode(), more)


def test_statements():
    with HostileSql(answer=answer) as server, Sql(server.endpoint(), several=True, read_timeout=20) as sql:
        assert sql.rows("SELECT 1") == [("SELECT 1",)]
        assert sql.rows("SELECT %s", ("it's",)) == [("SELECT 'it\\'s'",)]
        assert sql.value("SELECT 2") == "SELECT 2"
        assert sql.value("NOTHING") is None
        assert sql.results("A;B;C") == [[("A",)], [("B",)], [("C",)]]
        for ask in (sql.rows, sql.results):
            with pytest.raises(SqlError, match="1064: syntax") as caught:
                ask("WRONG")
            assert caught.value.code == 1064
        sql.close()
        sql.close()
        with pytest.raises(NetworkError, match=LOST):
            sql.rows("SELECT 1")


def test_an_answer_that_takes_too_much():
    with (
        HostileSql(answer=answer) as server,
        Sql(server.endpoint(), most=500) as sql,
        pytest.raises(AnswerTooLarge),
    ):
        sql.rows("S" * 200)


def test_shut_from_another_thread():
    asked, release = threading.Event(), threading.Event()

    def hang(_peer: Stranger, _asked: str) -> None:
        asked.set()
        release.wait(20)

    with HostileSql() as server, Sql(server.endpoint()) as sql:
        server.answer = hang
        stopper = threading.Thread(target=lambda: (asked.wait(20), sql.shut()))
        stopper.start()
        with pytest.raises(NetworkError):
            sql.rows("SELECT 1")
        release.set()
        stopper.join()


# ---- sessions --------------------------------------------------------------------------------------------------


def refusing(seen: list[str], *refusals: tuple[str, int]) -> HostileSql:
    """A server that answers statements with such a word with such a number, and all others with OK."""

    def answer(peer: Stranger, asked: str) -> None:
        seen.append(asked)
        found = next((number for word, number in refusals if word in asked), 0)
        peer.send(Err(found, "HY000", "no").serialize() if found else Ok().serialize())

    return HostileSql(answer=answer)


def test_what_a_server_does_not_know_is_left_out():
    seen: list[str] = []
    with refusing(seen, ("lc_messages", 1193), ("use_secondary_engine", 1227)) as server:
        Sql(server.endpoint()).close()
    assert seen == [statement(READING), *(statement((setting,)) for setting in READING)]


def test_a_transaction_that_an_init_connect_began_is_ended():
    seen: list[str] = []

    def answer(peer: Stranger, asked: str) -> None:
        seen.append(asked)
        peer.send(Err(1766, "HY000", "in a transaction").serialize() if len(seen) == 1 else Ok().serialize())

    with HostileSql(answer=answer) as server:
        Sql(server.endpoint()).close()
    assert seen == [statement(READING), "ROLLBACK AND NO CHAIN NO RELEASE", statement(READING)]


@pytest.mark.parametrize(
    ("refusals", "kind"),
    [
        ([("SET", 1146)], SqlError),
        ([("NAMES utf8mb4 COLLATE utf8mb4_0900_ai_ci,", 1193), ("sql_mode", 1146)], SqlError),
        ([("SET", 1820)], AccessDenied),
    ],
)
def test_what_else_is_refused_ends_the_login(refusals, kind):
    with refusing([], *refusals) as server, pytest.raises(kind):
        Sql(server.endpoint())


@pytest.mark.parametrize(("user", "settings"), [("root", OWN_SERVER), ("clone", READING)])
def test_a_server_of_our_own(tmp_path, user, settings):
    seen: list[str] = []
    path = tmp_path / "s"
    server = refusing(seen)
    server.path, server.login = path, lambda peer: peer.send(Ok().serialize())  # no password: nothing is proven
    with server:
        own_server(path, user).close()
    assert statement(settings) in seen


def test_something_else_at_our_own_socket(tmp_path):
    """PyMySQL fails with any exception then; one of its own comes out."""
    with pytest.raises(pymysql.err.OperationalError, match="Can't connect"):
        own_server(tmp_path / "missing")
    path = tmp_path / "s"
    with HostileSql(path=path) as server:
        server.greeting = Ok()  # type: ignore[assignment]
        with pytest.raises(pymysql.MySQLError):
            own_server(path)
