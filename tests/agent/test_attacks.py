"""Bytes and statements that nobody honest sends: nobody gets in, and who may nothing gets nothing."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pymysql
import pytest

from agents import RunningAgent
from innoclone.server.programs import Programs
from innoclone.wire import commands as com
from innoclone.wire.handshake import Err
from innoclone.wire.packets import split
from rawclient import Raw

PASSWORD = "geheim"
TRIES = 40


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    folder = tmp_path_factory.mktemp("agent")
    config = folder / "agent.toml"
    config.write_text("max_failed_logins = 100000\nconnect_timeout = 5\n")
    with RunningAgent(programs, folder / "state", f"--config={config}") as running:
        done = running.mysql(f"CREATE USER u IDENTIFIED BY '{PASSWORD}', other IDENTIFIED BY 'o'")
        assert done.returncode == 0, done.stderr
        yield running


def drained(sock: socket.socket) -> bytes:
    """All that comes until the other side closes, or is silent for a moment."""
    sock.settimeout(0.3)
    found = b""
    with contextlib.suppress(OSError):
        while piece := sock.recv(65536):
            found += piece
    return found


def alive(agent: RunningAgent) -> None:
    assert agent.process.poll() is None
    assert "Traceback" not in agent.log.read_text()
    with agent.connect("u", PASSWORD) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)


def got_in(sock: socket.socket) -> bool:
    """Whether a query is answered with rows."""
    with contextlib.suppress(OSError):
        sock.sendall(b"".join(split(com.Query("SELECT 'in' 'side'").serialize(), 0)))
    return b"inside" in drained(sock)


def test_random_bytes_instead_of_a_login(agent: RunningAgent) -> None:
    chance = random.Random(1)
    for _ in range(TRIES):
        with agent.raw() as sock:
            Raw(sock)
            data = chance.randbytes(chance.choice((0, 1, 4, 5, 36, 200, 70_000)))
            packets = data if chance.random() < 0.5 else b"".join(split(data, 1))
            with contextlib.suppress(OSError):
                sock.sendall(packets)
                sock.shutdown(socket.SHUT_WR)
            answer = drained(sock)
            assert answer[4:5] != b"\x00"
            assert b"Traceback" not in answer
    alive(agent)


def test_a_damaged_login_is_none(agent: RunningAgent) -> None:
    """A right answer to the greeting with bytes changed, cut, put in or left out."""
    agent.connect("u", PASSWORD).close()  # the fast path is open
    chance = random.Random(2)
    for number in range(TRIES):
        with agent.raw() as sock:
            raw = Raw(sock)
            login = bytearray(raw.response("u", "falsch"))
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(login))
                match chance.randrange(4):
                    case 0:
                        login[at] = chance.randrange(256)
                    case 1:
                        del login[at:]
                    case 2:
                        login[at:at] = chance.randbytes(chance.randint(1, 30))
                    case 3:
                        del login[at : at + 8]
                login = login or bytearray(b"\0")
            with contextlib.suppress(OSError):
                raw.send(bytes(login), 1)
                raw.send(chance.choice((b"", b"\x02", b"\x00", b"\x04", PASSWORD.encode() + b"\0")), 3)
            assert not got_in(sock), number
    alive(agent)


def test_random_commands_of_somebody_without_privileges(agent: RunningAgent) -> None:
    chance = random.Random(3)
    for _ in range(TRIES):
        with agent.raw() as sock:
            raw = Raw(sock)
            assert raw.log_in()[0] == 0
            for _ in range(5):
                body = chance.choice((
                    chance.randbytes(chance.randint(0, 60)), b"SELECT " + chance.randbytes(20),
                    chance.randbytes(4) + b"\0\1\0\0\0" + chance.randbytes(30), b"\1\0\0\0" + b"\xff" * 40,
                ))  # fmt: skip
                with contextlib.suppress(OSError):
                    raw.send(
                        bytes([chance.choice((3, 22, 23, 24, 25, 26, 28, 17, 4, 2, chance.randrange(2, 256)))]) + body,
                        0,
                    )
            answer = drained(sock)
            assert b"innoclone: see its log" not in answer
    alive(agent)


@pytest.mark.parametrize(
    "statement",
    ["CLONE LOCAL DATA DIRECTORY '/d'", "CLONE INSTANCE FROM a@b:1 IDENTIFIED BY 'x' DATA DIRECTORY '/d'",
     "CLONE INSTANCE FROM a@b:1 IDENTIFIED BY 'x'", "CLONE INSTANCE STOP", "SET GLOBAL clone_ddl_timeout = 1",
     "SET PERSIST clone_ddl_timeout = 1", "SET @x = 1, GLOBAL clone_ddl_timeout = 1", "RESET PERSIST",
     "FLUSH LOGS", "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", "UNINSTALL PLUGIN clone", "CREATE USER x",
     "ALTER USER other IDENTIFIED BY 'x'", "DROP USER other", "GRANT PROCESS ON *.* TO u",
     "REVOKE PROCESS ON *.* FROM u",
     "SHOW GRANTS FOR other", "SHOW ENGINE INNODB STATUS", "SHOW BINARY LOG STATUS", "KILL 1",
     "SELECT * FROM performance_schema.clone_status", "SELECT (SELECT COUNT(*) FROM performance_schema.clone_progress)",
     "WITH x AS (SELECT * FROM performance_schema.clone_status) SELECT 1 FROM x",
     "SELECT 1 UNION SELECT ID FROM performance_schema.clone_status",
     "SET @x = (SELECT COUNT(*) FROM performance_schema.clone_status)",
     "SHOW VARIABLES WHERE Value IN (SELECT SOURCE FROM performance_schema.clone_status)",
     "SELECT * FROM performance_schema.persisted_variables", "DESCRIBE performance_schema.clone_status",
     "SHOW CREATE TABLE performance_schema.clone_progress"],
)  # fmt: skip
def test_nothing_without_its_privilege(agent: RunningAgent, statement: str) -> None:
    with agent.root() as root, agent.connect("u", PASSWORD) as connection, connection.cursor() as cursor:
        statement = statement.replace("KILL 1", f"KILL {root.thread_id()}")
        with pytest.raises(pymysql.Error) as failed:
            cursor.execute(statement)
        assert failed.value.args[0] in (1227, 1142, 1044, 1045, 1095, 1141, 1235)
        root.ping(reconnect=False)


def test_what_everybody_sees_is_little(agent: RunningAgent) -> None:
    with agent.root(), agent.connect("u", PASSWORD) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW FULL PROCESSLIST")
        assert {row[1] for row in cursor.fetchall()} == {"u"}
        cursor.execute("SELECT DISTINCT USER FROM information_schema.processlist")
        assert cursor.fetchall() == (("u",),)
        cursor.execute("SELECT TABLE_SCHEMA FROM information_schema.tables GROUP BY TABLE_SCHEMA")
        assert cursor.fetchall() == (("information_schema",),)
        cursor.execute("SHOW TABLES FROM performance_schema")
        assert cursor.fetchall() == ()
        cursor.execute("SHOW GRANTS")
        assert cursor.fetchall() == (("GRANT USAGE ON *.* TO `u`@`%`",),)


def test_a_failed_change_of_user_leaves_nobody(agent: RunningAgent) -> None:
    with agent.raw() as sock:
        raw = Raw(sock)
        assert raw.log_in()[0] == 0
        raw.send(com.ChangeUser("root", b"").serialize(), 0)
        sequence, _ = raw.read()
        raw.send(b"\0", sequence + 1)
        assert Err.parse(raw.read()[1]).number == 1045
        assert not got_in(sock)


def test_who_may_create_accounts_takes_over_none_that_has_more(agent: RunningAgent) -> None:
    agent.rows("CREATE USER maker IDENTIFIED BY 'm', strong IDENTIFIED BY 's', weak IDENTIFIED BY 'w'")
    agent.rows("GRANT CREATE USER, PROCESS ON *.* TO maker WITH GRANT OPTION")
    agent.rows("GRANT CLONE_ADMIN, PROCESS ON *.* TO strong")
    agent.rows("GRANT PROCESS ON *.* TO weak")
    with agent.connect("strong", "s") as theirs, agent.connect("maker", "m") as connection:
        for statement in (
            "ALTER USER strong IDENTIFIED BY 'mine'", "DROP USER strong", "DROP USER weak, strong",
            "REVOKE PROCESS ON *.* FROM strong", "GRANT PROCESS ON *.* TO weak, strong",
            "ALTER USER root@localhost IDENTIFIED BY 'mine'",
        ):  # fmt: skip
            with connection.cursor() as cursor, pytest.raises(pymysql.Error) as failed:
                cursor.execute(statement)
            assert failed.value.args[0] in (1227, 1396), statement
        with connection.cursor() as cursor:
            with pytest.raises(pymysql.Error) as failed:
                cursor.execute(f"KILL {theirs.thread_id()}")
            assert failed.value.args[0] == 1095
            cursor.execute("ALTER USER weak IDENTIFIED BY 'other'")
            cursor.execute("DROP USER weak")
        theirs.ping(reconnect=False)
    agent.connect("strong", "s").close()
    agent.rows("GRANT CONNECTION_ADMIN ON *.* TO maker")
    with agent.connect("strong", "s") as theirs, agent.connect("maker", "m") as connection:
        with connection.cursor() as cursor, pytest.raises(pymysql.Error) as failed:
            cursor.execute(f"KILL {theirs.thread_id()}")
        assert failed.value.args[0] == 1227
        theirs.ping(reconnect=False)
    agent.rows("DROP USER maker, strong")


def test_names_longer_than_mysqls_are_refused(agent: RunningAgent) -> None:
    for name, what in ((f"'{'u' * 33}'", "user name"), (f"u@'{'%x' * 128}'", "host name")):
        with pytest.raises(pymysql.Error) as failed:
            agent.rows(f"CREATE USER {name}")
        assert failed.value.args[0] == 1470
        assert what in failed.value.args[1]
