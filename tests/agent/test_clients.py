"""The usual clients against an agent: logins, cursors, prepared statements, and the commands behind their methods."""

from __future__ import annotations

import contextlib
import datetime
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import mysql.connector
import pymysql
import pytest
from mysql.connector.abstracts import MySQLConnectionAbstract
from pymysql import cursors

from agents import PATIENCE, RunningAgent
from innoclone.server.programs import Programs
from paths import RECORDED

PASSWORD = "geheim"
KINDS = ("pure", "cext", "pymysql")
Connect = Callable[..., Any]


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path_factory.mktemp("agent")) as running:
        done = running.mysql(
            f"CREATE USER u IDENTIFIED BY '{PASSWORD}', other IDENTIFIED BY 'o', free;"
            " GRANT SELECT ON performance_schema.* TO u; GRANT CONNECTION_ADMIN, PROCESS ON *.* TO u"
        )
        assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest, agent: RunningAgent) -> Iterator[Connect]:
    """Makes connections of one kind of client; all are closed at the end."""
    made: list[Any] = []

    def connector(user: str = "u", password: str = PASSWORD, *, tls: bool = True, **more: Any) -> Any:
        if request.param == "pymysql":
            secure = {"ssl": ssl._create_unverified_context()} if tls else {"ssl_disabled": True}  # noqa: S323
            made.append(agent.connect(user, password, **secure, **more))
        else:
            made.append(mysql.connector.connect(
                host="127.0.0.1", port=agent.port, user=user, password=password, ssl_disabled=not tls,
                use_pure=request.param == "pure", connection_timeout=PATIENCE, **more,
            ))  # fmt: skip
            assert isinstance(made[-1], mysql.connector.MySQLConnection) is (request.param == "pure")
        return made[-1]

    yield connector
    for connection in made:
        with contextlib.suppress(pymysql.Error):  # closed already
            connection.close()


def rows(connection: Any, query: str, *args: Any) -> list[tuple[Any, ...]]:
    cursor = connection.cursor()
    cursor.execute(query, *args)
    found = list(cursor.fetchall())
    cursor.close()
    return found


ERRORS = (mysql.connector.Error, pymysql.Error)


def number_of(error: Any) -> int:
    return int(error.args[0])


@pytest.mark.parametrize("tls", [True, False])
def test_logins(connect: Connect, agent: RunningAgent, request: pytest.FixtureRequest, tls: bool) -> None:
    agent.rows(f"ALTER USER u IDENTIFIED BY '{PASSWORD}'")  # nothing of it is remembered now
    if request.node.callspec.params["connect"] != "pymysql" and not tls:
        agent.connect("u", PASSWORD).close()  # without TLS Connector/Python knows the fast path only
    for _ in "in full, then by the fast path":
        assert rows(connect(tls=tls), "SELECT CURRENT_USER()") == [("u@%",)]
    assert rows(connect("free", "", tls=tls), "SELECT USER()") == [("free@127.0.0.1",)]
    for user, password in (("u", "falsch"), ("u", ""), ("nobody", "x"), ("free", "x")):
        with pytest.raises(ERRORS) as failed:
            connect(user, password, tls=tls)
        assert number_of(failed.value) in (1045, 2061)  # Connector/Python asks for TLS before it tries the password
    connect(tls=tls)  # the host is forgiven


def test_values_arrive_as_what_they_are(connect: Connect) -> None:
    query = (
        "SELECT 1, -5, 18446744073709551615, 1.50, 2.5e0, 'ü🙂', NULL, CAST('2026-11-23' AS DATE),"
        " CAST('2026-11-23 10:11:12.25' AS DATETIME(2)), CAST('-10:11:12' AS TIME), '' , YEAR('2026-11-23')"
    )
    assert rows(connect(), query) == [(
        1, -5, 18446744073709551615, Decimal("1.50"), 2.5, "ü🙂", None, datetime.date(2026, 11, 23),
        datetime.datetime(2026, 11, 23, 10, 11, 12, 250000), -datetime.timedelta(hours=10, minutes=11, seconds=12), "",
        2026,
    )]  # fmt: skip


def test_arguments_are_quoted_by_the_client(connect: Connect) -> None:
    text = 'it\'s \\ "quoted" \n \0 %s ü'
    assert rows(connect(), "SELECT %s, %s, %s", (text, 7, None)) == [(text, 7, None)]


def test_errors_and_warnings(connect: Connect) -> None:
    connection = connect()
    for query, number in (("SELEC 1", 1064), ("SELECT nosuch", 1054), ("SELECT * FROM performance_schema.x", 1146),
                          ("CREATE USER x", 1227), ("SELECT 1; SELECT 2", 1064)):  # fmt: skip
        with pytest.raises(ERRORS) as failed:
            rows(connection, query)
        assert number_of(failed.value) == number
    assert rows(connection, "SELECT 1/0") == [(None,)]
    assert rows(connection, "SHOW WARNINGS") == [("Warning", 1365, "Division by 0")]
    assert rows(connection, "SHOW COUNT(*) WARNINGS") == [(1,)]


def test_transactions_and_schemas(connect: Connect) -> None:
    connection = connect(database="performance_schema", autocommit=False)
    assert rows(connection, "SELECT DATABASE(), @@autocommit") == [("performance_schema", 0)]
    connection.commit()
    connection.rollback()
    if isinstance(connection, MySQLConnectionAbstract):
        connection.start_transaction(isolation_level="READ COMMITTED", readonly=True)
        connection.database = "information_schema"
    else:
        connection.begin()
        connection.select_db("information_schema")
    assert rows(connection, "SELECT DATABASE()") == [("information_schema",)]
    with pytest.raises(ERRORS) as failed:
        connect(database="nosuch")
    assert number_of(failed.value) == 1049


def test_ping_reset_and_change_of_user(connect: Connect, agent: RunningAgent) -> None:
    connection = connect()
    connection.ping(reconnect=False)
    rows(connection, "SELECT @x := 5")
    if not isinstance(connection, MySQLConnectionAbstract):
        return  # PyMySQL has no method for the others
    assert rows(connection, "SELECT @x") == [(5,)]
    connection.cmd_reset_connection()
    assert rows(connection, "SELECT @x") == [(None,)]
    connection.cmd_change_user("other", "o", "information_schema")
    assert rows(connection, "SELECT CURRENT_USER(), DATABASE()") == [("other@%", "information_schema")]
    with pytest.raises(ERRORS) as failed:
        rows(connection, "SELECT * FROM performance_schema.clone_status")
    assert number_of(failed.value) == 1142
    with pytest.raises(ERRORS) as failed:
        connection.cmd_change_user("u", "falsch")
    assert number_of(failed.value) == 1045
    with pytest.raises(ERRORS):
        rows(connection, "SELECT 1")  # who fails is out


def test_statistics_and_kill(connect: Connect) -> None:
    connection, victim = connect(), connect()
    if isinstance(connection, MySQLConnectionAbstract):
        assert connection.cmd_statistics()["Uptime"] >= 0
        connection.cmd_process_kill(victim.connection_id)
    else:
        connection.kill(victim.thread_id())
    with pytest.raises(ERRORS):
        rows(victim, "SELECT 1")
    assert rows(connection, "SELECT 1") == [(1,)]


def test_prepared_statements(connect: Connect) -> None:
    connection = connect()
    if not isinstance(connection, MySQLConnectionAbstract):
        return  # PyMySQL has none
    cursor = connection.cursor(prepared=True)
    moment = datetime.datetime(2026, 11, 23, 10, 11, 12, 5000)
    query = "SELECT ?, ?, ?, ?, ?, ?, CONCAT(?, 'x'), VARIABLE_VALUE FROM performance_schema.global_variables " \
            "WHERE VARIABLE_NAME = ? LIMIT ?"  # fmt: skip
    for name, value in (("clone_max_concurrency", "16"), ("clone_ddl_timeout", "300")):
        cursor.execute(query, (1, 2.5, "it's ü\\", None, moment, b"raw", "y" * 70_000, name, 1))
        found = cursor.fetchall()
        assert found[0][:4] == (1, 2.5, "it's ü\\", None)
        assert str(found[0][4]) == str(moment)
        assert found[0][5] in ("raw", b"raw")
        assert (len(found[0][6]), found[0][7]) == (70_001, value)
    cursor.execute("SELECT DATA + ?, STAGE FROM performance_schema.clone_progress WHERE STATE = ?", (1, "Completed"))
    assert cursor.fetchall() == []
    with pytest.raises(ERRORS) as failed:
        cursor.execute("SELECT ? FROM nosuch.t", (1,))
    assert number_of(failed.value) == 1049
    cursor.close()
    plugin = connection.cursor(prepared=True)
    plugin.execute("SHOW VARIABLES LIKE 'clone_max_c%'")
    assert plugin.fetchall() == [("clone_max_concurrency", "16")]


def test_prepared_statements_of_text(connect: Connect, agent: RunningAgent) -> None:
    """The only ones of PyMySQL and of the ``mysql`` client."""
    connection = connect()
    for statement in (
        "SET @a = 5, @b = 'it''s', @q = 'SELECT @@clone_max_concurrency'", "PREPARE s FROM 'SELECT ? + 1, ?, ?'",
        "PREPARE Q FROM @q", "SET @q = NULL",
    ):  # fmt: skip
        rows_of_nothing(connection, statement)
    assert rows(connection, "EXECUTE S USING @a, @b, @nothing") == [(6, "it's", None)]
    assert rows(connection, "EXECUTE q") == [(16,)]
    rows_of_nothing(connection, "DEALLOCATE PREPARE s")
    for statement, number in (("EXECUTE s", 1243), ("EXECUTE q USING @a", 1210), ("DROP PREPARE s", 1243),
                              ("PREPARE s FROM 'SELEC 1'", 1064), ("PREPARE s FROM 'EXECUTE q'", 1295),
                              ("PREPARE s FROM ''", 1065)):  # fmt: skip
        with pytest.raises(ERRORS) as failed:
            rows_of_nothing(connection, statement)
        assert number_of(failed.value) == number
    text = "PREPARE s FROM 'SELECT ?'; SET @a = 'x'; EXECUTE s USING @a; DEALLOCATE PREPARE s"
    assert agent.mysql(text, *agent.tcp("u", PASSWORD)).stdout == "?\nx\n"


def rows_of_nothing(connection: Any, statement: str) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statement)


def test_cursors_of_every_type(connect: Connect) -> None:
    connection, query = connect(), "SELECT 1 a, 'x' b UNION SELECT 2, 'y'"
    if isinstance(connection, MySQLConnectionAbstract):
        options: list[dict[str, Any]] = [
            {}, {"buffered": True}, {"dictionary": True}, {"raw": True},
            {"buffered": True, "dictionary": True}, {"prepared": True, "dictionary": True},
        ]  # fmt: skip
        made = [connection.cursor(**option) for option in options]
    else:
        kinds = (cursors.Cursor, cursors.DictCursor, cursors.SSCursor, cursors.SSDictCursor)
        made = [connection.cursor(kind) for kind in kinds]
    for cursor in made:
        cursor.execute(query)
        assert [column[0] for column in cursor.description] == ["a", "b"]
        first, second = cursor.fetchone(), cursor.fetchmany(1)
        values = list(first.values()) if isinstance(first, dict) else list(first)
        assert [v.decode() if isinstance(v, (bytes, bytearray)) else str(v) for v in values] == ["1", "x"]
        assert len(second) == 1
        assert not cursor.fetchone()
        cursor.close()


def test_a_client_that_waits_ends_with_kill_query(connect: Connect, agent: RunningAgent) -> None:
    """A statement that looks at more rows than anybody waits for."""
    connection = connect()
    tables = ", ".join(f"information_schema.columns c{n}" for n in range(2))
    caught: list[int] = []

    def run() -> None:
        try:
            rows(connection, f"SELECT COUNT(*) FROM {tables} WHERE c0.COLUMN_NAME REGEXP '(a|b|c|d|e)+(x|y|z)$'")
        except ERRORS as error:
            caught.append(number_of(error))

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + PATIENCE
    while thread.is_alive() and time.monotonic() < end:
        for row in agent.rows("SHOW FULL PROCESSLIST"):
            if row[7] and "c0.COLUMN_NAME" in row[7]:
                agent.rows(f"KILL QUERY {row[0]}")
        time.sleep(0.02)
    thread.join()
    assert caught in ([1317], [1104], [3699])


def test_what_drivers_and_graphical_tools_ask(agent: RunningAgent) -> None:
    text = (RECORDED / "client-queries.txt").read_text()
    failed = []
    with agent.root() as connection, connection.cursor() as cursor:
        for query in text.splitlines():
            try:
                cursor.execute(query)
                cursor.fetchall()
            except pymysql.Error as error:
                if not query.startswith("-- "):
                    failed.append((query, error.args))
    assert failed == []


def test_a_thousand_logins(connect: Connect) -> None:
    for at in range(1000):
        connection = connect(tls=at % 20 == 0)
        assert rows(connection, "SELECT 1") == [(1,)]
        connection.close()
