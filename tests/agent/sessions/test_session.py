"""The variables of a session beside those of a real server: what may be set, how it is refused, and what it changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_NO_BACKSLASH_ESCAPES

from agent_answers import OURS, answer
from agents import PATIENCE, RunningAgent
from innoclone.server.programs import Programs
from servers import ServerFactory

VALUES = (
    "0", "1", "-1", "2", "3", "1.5", "'x'", "''", "NULL", "ON", "off", "TRUE", "DEFAULT", "99999999999999999999", "'1'",
    "1 + 1", "1000", "CONCAT('O', 'N')",
)  # fmt: skip
MORE = {
    "sql_mode": (
        "'ANSI_QUOTES'", "'ansi'", "'ANSI_QUOTES,,x'", "'TRADITIONAL'", "'ansi_quotes, x'", "'ANSI_QUOTES '", "7", "9",
        "'STRICT_TRANS_TABLES'", "'NO_ZERO_DATE,STRICT_ALL_TABLES'", "'NO_AUTO_CREATE_USER'", "'NO_AUTO_VALUE_ON_ZERO'",
        "'STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO'", "CONCAT(@@sql_mode, ',ANSI')",
        "'ALLOW_INVALID_DATES'", "'HIGH_NOT_PRECEDENCE'",
    ),
    "time_zone": (
        "'SYSTEM'", "'system'", "'+02:00'", "'+2:00'", "'+002:0'", "'-00:00'", "'+14:00'", "'+14:01'", "'-13:59'",
        "'-14:00'", "'+05:60'", "'+ 5:00'", "'+05:00:00'", "'5:00'", "'utc'", "'Europe/Berlin'",
    ),
    "transaction_isolation": ("'READ-COMMITTED'", "serializable", "'READ COMMITTED'", "4"),
    "session_track_gtids": ("own_gtid", "'ALL_GTIDS'"),
    "character_set_client": ("utf8mb4", "'utf8'", "utf8mb3", "latin1", "binary", "ucs2", "'utf8mb4_bin'"),
    "character_set_connection": ("utf8mb4", "'UTF8'", "latin1", "ucs2"),
    "character_set_results": ("utf8mb4", "'utf8'", "latin1", "binary"),
    "collation_connection": (
        "utf8mb4_general_ci", "'utf8mb4_unicode_ci'", "utf8mb4_0900_ai_ci", "utf8mb3_general_ci", "utf8mb4_bin",
        "latin1_swedish_ci", "'nope_ci'", "utf8mb4",
    ),
    "wait_timeout": ("31536000", "31536001"), "max_execution_time": ("4294967296", "-5"),
}  # fmt: skip
NOT_THE_SAME = {  # values that are about the server itself
    "datadir", "hostname", "license", "max_allowed_packet", "port", "server_id", "socket", "system_time_zone",
    "version", "version_comment", "version_compile_machine", "version_compile_os", "log_bin", "character_set_system",
    "binlog_format",
}  # fmt: skip
INVERTED = ("foreign_key_checks", "unique_checks")  # a real server takes DEFAULT for OFF, though they are ON


@pytest.fixture(scope="module")
def agent(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path_factory.mktemp("agent") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Iterator[Connection[Any]]:
    connection = make_module_server().connect()
    yield connection
    connection.close()


@pytest.fixture
def real(server: Connection[Any]) -> Connection[Any]:
    """As a client gets it that says nothing of itself."""
    begin(server)
    return server


@pytest.fixture
def ours(agent: RunningAgent) -> Iterator[Connection[Any]]:
    with agent.root() as connection:
        begin(connection)
        yield connection


def begin(connection: Connection[Any]) -> None:
    connection._execute_command(0x1F, b"")  # type: ignore[attr-defined]  # COM_RESET_CONNECTION
    connection._read_ok_packet()  # type: ignore[attr-defined]
    answer(connection, "SET NAMES utf8mb4")


def different(ours: Connection[Any], real: Connection[Any], *statements: str) -> list[tuple[str, Any, Any]]:
    pairs = [(one, answer(ours, one), answer(real, one)) for one in statements]
    return [(one, mine, theirs) for one, mine, theirs in pairs if mine != theirs]


def test_every_variable_is_set_and_refused_as_by_a_server(ours: Connection[Any], real: Connection[Any]) -> None:
    """What a server takes may be error 1235 here; what it refuses is refused with the same words."""
    names = [row[0] for row in answer(ours, "SHOW VARIABLES")[1] if not row[0].startswith("clone_")]
    refused, wrong = set(), []
    for name in names:
        for value in (*VALUES, *MORE.get(name, ())):
            if value == "DEFAULT" and name in INVERTED:
                continue
            statement = f"SET SESSION {name} = {value}"
            mine, theirs = answer(ours, statement), answer(real, statement)
            if mine[0] == 1235 and (not isinstance(theirs[0], int) or theirs[0] == 1229):
                refused.add((name, value))
                begin(real)
            elif mine != theirs:
                wrong.append((statement, mine, theirs))
            elif not isinstance(mine[0], int) and name not in NOT_THE_SAME and name != "max_join_size":
                wrong += different(ours, real, f"SELECT @@{name}, @@session.{name}", f"SHOW VARIABLES LIKE '{name}'")
        begin(ours)
        begin(real)
    for one in wrong:
        print(one)
    assert wrong == []
    assert {name for name, _ in refused} == {
        "auto_increment_increment", "binlog_format",
        "character_set_client", "character_set_connection", "character_set_database",
        "character_set_filesystem", "character_set_results", "character_set_server", "collation_connection",
        "collation_database", "collation_server", "sql_mode",
    }  # fmt: skip
    modes = {value for name, value in refused if name == "sql_mode"}
    assert modes == {"'ALLOW_INVALID_DATES'", "'HIGH_NOT_PRECEDENCE'"}


def test_scopes_are_a_servers(ours: Connection[Any], real: Connection[Any]) -> None:
    names = [row[0] for row in answer(ours, "SHOW VARIABLES")[1]]
    assert len(names) > 70
    wrong = []
    for name in names:
        if name in OURS:
            continue
        for scope in ("session", "global"):
            mine, theirs = answer(ours, f"SELECT @@{scope}.{name}"), answer(real, f"SELECT @@{scope}.{name}")
            if (mine[0] if isinstance(mine[0], int) else 0) != (theirs[0] if isinstance(theirs[0], int) else 0):
                wrong.append((scope, name, mine, theirs))
    assert wrong == []


EFFECTS: list[tuple[str, ...]] = [
    ("SET time_zone = '+05:30'", "SELECT FROM_UNIXTIME(0), UNIX_TIMESTAMP('1970-01-01 05:30:01'), @@time_zone",
     "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW()), TIMEDIFF(CURTIME(), UTC_TIME()) IN ('05:30', '-18:30')",
     "SELECT @@global.time_zone", "SHOW VARIABLES LIKE 'time_zone'",
     "SELECT UNIX_TIMESTAMP(NOW()) - UNIX_TIMESTAMP(), UNIX_TIMESTAMP(FROM_UNIXTIME(1234567890))"),
    ("SET time_zone = '-13:59'", "SELECT FROM_UNIXTIME(86400 * 365.25)"),
    ("SET sql_select_limit = 2", "SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3",
     "(SELECT 1) UNION ALL (SELECT 2) UNION ALL (SELECT 3)", "(SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 LIMIT 3)",
     "SELECT * FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) x LIMIT 3",
     "SELECT COUNT(*) FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) x", "SHOW VARIABLES LIKE 'char%'",
     "SHOW VARIABLES WHERE Variable_name LIKE 'char%'", "SET @x = 5", "SELECT @x", "SHOW DATABASES LIKE '%schema'"),
    ("SET sql_select_limit = 0", "SELECT 1", "SELECT 1 LIMIT 1", "SET @x = 1 + 1", "SET sql_select_limit = DEFAULT",
     "SELECT @x"),
    ("SET group_concat_max_len = 10",
     "SELECT GROUP_CONCAT(x) FROM (SELECT 'aaaaaaaa' x UNION ALL SELECT 'bbbb' UNION ALL SELECT 'cccccc') y",
     "SELECT GROUP_CONCAT(x) FROM (SELECT 'äöüäöü' x UNION ALL SELECT 'bbbb') y"),
    ("SET group_concat_max_len = 100000", "SELECT LENGTH(GROUP_CONCAT(REPEAT('x', 50000), 'y'))"),
    ("SET sql_mode = 'ANSI_QUOTES'", 'SELECT "x"', "SELECT 1 AS \"a b\", 'y'", 'SELECT "a""b" FROM (SELECT 1 "a""b") x',
     'SELECT COUNT("SCHEMA_NAME") > 1 FROM information_schema."SCHEMATA"', 'SET @"v" = 3', 'SELECT @"v", @v',
     'SELECT 1 AS "a\\"', 'SHOW VARIABLES LIKE "version"', "SHOW DATABASES LIKE 'information%'",
     'SET time_zone = "SYSTEM"', 'SET "time_zone" = \'SYSTEM\'', 'SELECT 1 AS "`x`"', 'SELECT "'),
    ("SET sql_mode = 'PIPES_AS_CONCAT'", "SELECT 1||0", "SELECT 'a'||'b'||NULL", "SELECT 1 || 2 = 12", "SELECT -1||2",
     "SELECT 1||2+3", "SELECT NOT 1||1", "SELECT 2*1||1", "SELECT 'a'||'b'||'c' LIKE 'abc' AND 1"),
    ("SET sql_mode = ''", "SELECT 1/0", "SELECT 5 % 0", "SELECT \"x\", 'a\\nb'"),
    ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SELECT 'a\\n', '\\'", "SELECT 'a_' LIKE 'a\\_'",
     "SELECT 'a\\_' LIKE 'a\\_'", "SELECT 'it''s \\' = 'it''s \\', '\\\\'",
     "SELECT '\\', 'b' FROM (SELECT 1) x WHERE '\\' <> 'c'", "SET @b = 'x\\'", "SELECT @b", "SELECT '\\' 'y', 1 +",
     "PREPARE s FROM 'SELECT ?, ''\\'''", "EXECUTE s USING @b"),
    ("SET sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'", "SELECT 'a\\'||\"b\" FROM (SELECT 1 AS \"b\") x"),
    ("SET sql_mode = ''", "SELECT x, COUNT(*) FROM (SELECT 1 x UNION ALL SELECT 2) y",
     "SELECT x, y FROM (SELECT 1 x, 2 y UNION ALL SELECT 1, 3) z GROUP BY x"),
    ("SET sql_mode = 'ERROR_FOR_DIVISION_BY_ZERO'", "SELECT 1/0"),
    ("SET sql_mode = 'STRICT_ALL_TABLES'", "SET group_concat_max_len = 1", "SET max_execution_time = -1",
     "SELECT @@group_concat_max_len"),
    ("SET max_join_size = 1000", "SELECT @@sql_big_selects", "SET max_join_size = DEFAULT", "SELECT @@sql_big_selects"),
    ("SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci",
     "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection",
     "SET NAMES utf8", "SELECT @@character_set_client, @@character_set_connection, @@collation_connection, 'é'",
     "SET NAMES nope", "SET NAMES utf8mb4 COLLATE nope", "SET NAMES utf8mb4 COLLATE latin1_bin", "SET NAMES ucs2",
     "SET NAMES DEFAULT", "SELECT @@character_set_client, @@collation_connection", "SET CHARACTER SET 'utf8'",
     "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection",
     "SET CHARACTER SET DEFAULT", "SELECT @@character_set_client, @@character_set_results",
     "SET character_set_results = NULL", "SELECT @@character_set_results, 'é'",
     "SET collation_connection = utf8mb3_general_ci", "SELECT @@character_set_connection",
     "SET character_set_connection = utf8mb4", "SELECT @@collation_connection"),
    ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SELECT @@transaction_isolation",
     "SET TRANSACTION READ ONLY", "SELECT @@transaction_isolation, @@transaction_read_only",
     "SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE", "SELECT @@transaction_isolation",
     "SELECT @@transaction_read_only", "SET SESSION TRANSACTION NOPE", "SET SESSION TRANSACTION READ ONLY, READ WRITE",
     "SET TRANSACTION ISOLATION LEVEL NOPE", "SET LOCAL TRANSACTION READ WRITE", "SELECT @@transaction_read_only"),
    ("SET @@session.sql_notes = 0", "SET sql_notes = 1, autocommit = 0, autocommit = 1, @x = 7", "SELECT @x",
     "SET sql_notes = 0, wait_timeout = 'x'", "SELECT @@sql_notes", "SET @@global.nope = 1", "SET nope = 1"),
    ("SET GLOBAL time_zone = 'nope'", "SET GLOBAL time_zone = 'SYSTEM'", "SET GLOBAL sql_log_bin = 0",
     "SET GLOBAL group_concat_max_len = 1024", "SET SESSION max_connections = 5", "SET max_allowed_packet = 1024",
     "SET SESSION version = 'x'", "SELECT @@global.sql_log_bin", "SELECT @@session.port", "SET read_only = 1",
     "SET GLOBAL read_only = 0", "SET GLOBAL super_read_only = OFF", "SET GLOBAL init_connect = ''"),
]  # fmt: skip


@pytest.mark.parametrize("statements", EFFECTS, ids=[one[0] for one in EFFECTS])
def test_what_is_set_counts_as_in_a_server(
    ours: Connection[Any], real: Connection[Any], statements: tuple[str, ...]
) -> None:
    wrong = different(ours, real, *statements)
    for one in wrong:
        print(one)
    assert wrong == []


def test_times_of_tables_are_of_the_sessions_zone(agent: RunningAgent, ours: Connection[Any]) -> None:
    query = "SELECT CREATE_TIME FROM information_schema.tables LIMIT 1"
    answer(ours, "SET time_zone = '+00:00'")
    utc = answer(ours, query)[1][0][0]
    answer(ours, "SET time_zone = '+03:00'")
    there = answer(ours, query)[1][0][0]
    assert 3 * 3600 - 2 <= (there - utc).total_seconds() <= 3 * 3600 + 2  # it is now less the uptime
    assert answer(ours, "SELECT ABS(TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()) - 10800) < 2")[1] == ((1,),)


@pytest.mark.parametrize(
    "statement",
    ["SET NAMES latin1", "SET character_set_results = latin1", "SET sql_mode = 'ALLOW_INVALID_DATES'",
     "SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET GLOBAL time_zone = '+02:00'", "SET GLOBAL max_connections = 5",
     "SET PERSIST group_concat_max_len = 1024", "SET GLOBAL read_only = ON", "SET collation_server = utf8mb4_bin"],
)  # fmt: skip
def test_what_would_have_no_effect_is_refused(ours: Connection[Any], statement: str) -> None:
    assert answer(ours, statement)[0] == 1235


def test_a_client_knows_how_to_quote(ours: Connection[Any]) -> None:
    """Clients escape by the status that comes with each answer."""
    hostile = "x\\' OR '1'='1"
    with ours.cursor() as cursor:
        cursor.execute("SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
        assert ours.server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES
        cursor.execute("SELECT %s, 1", (hostile,))
        assert cursor.fetchall() == ((hostile, 1),)
        cursor.execute("SET autocommit = 0")
        assert not ours.get_autocommit()
        cursor.execute("SET sql_mode = '', autocommit = 1")
        assert not ours.server_status & SERVER_STATUS_NO_BACKSLASH_ESCAPES
        assert ours.get_autocommit()
        cursor.execute("SELECT %s, 1", (hostile,))
        assert cursor.fetchall() == ((hostile, 1),)


def test_a_secret_is_masked_however_it_is_quoted(agent: RunningAgent, ours: Connection[Any]) -> None:
    """With the escapes of the session: else the second password would be outside of a string."""
    answer(ours, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
    answer(ours, "CREATE USER a1 IDENTIFIED BY 'geheim1\\', a2 IDENTIFIED BY 'geheim2'")
    answer(ours, "CREATE USER " + "a" * 990 + ", a3 IDENTIFIED BY 'geheim3', a4 IDENTIFIED BY 'geheim4'")
    assert "geheim" not in agent.log.read_text()


def test_max_execution_time_and_join_size_end_a_select(ours: Connection[Any]) -> None:
    query = "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b"
    answer(ours, "SET max_execution_time = 1")
    assert answer(ours, query)[0] == 3024
    answer(ours, "SET max_execution_time = 0")
    assert answer(ours, query.replace("SELECT", "SELECT /*+ MAX_EXECUTION_TIME(1) */", 1))[0] == 3024
    answer(ours, "SET max_join_size = 1000")
    assert answer(ours, query)[0] == 1104


def test_a_session_ends_after_its_wait_timeout(agent: RunningAgent) -> None:
    with agent.root() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION wait_timeout = 1")
        end = time.monotonic() + PATIENCE
        while agent.rows("SELECT COUNT(*) FROM information_schema.processlist") != [(1,)]:
            assert time.monotonic() < end
            time.sleep(0.1)
        with pytest.raises(pymysql.Error):
            cursor.execute("SELECT 1")


def test_who_does_not_read_an_answer_holds_nothing(agent: RunningAgent) -> None:
    """KILL ends a session that can't be rid of its rows."""
    connection = agent.root()
    number = connection.thread_id()
    connection._execute_command(  # type: ignore[attr-defined]
        3, "SELECT REPEAT('x', 1000000) FROM information_schema.columns LIMIT 40"
    )
    end = time.monotonic() + PATIENCE
    while threading.active_count() and agent.rows(
        f"SELECT COUNT(*) FROM information_schema.processlist WHERE ID = {number}"
    ) == [(1,)]:
        agent.mysql(f"KILL {number}")
        assert time.monotonic() < end
    connection._force_close()  # type: ignore[attr-defined]
