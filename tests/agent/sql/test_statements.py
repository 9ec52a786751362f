"""The statement parser: what is understood, where MySQL's error 1064 points, and that no text breaks it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.grammar import parse_statement
from innoclone.agent.sql.lexer import Kind, masked, tokens_of
from innoclone.agent.sql.parsing import parse_select
from innoclone.agent.sql.statements import (
    AccountName,
    CloneInstance,
    CloneLocal,
    CloneStop,
    CreateUser,
    Filter,
    FlushLogs,
    Grant,
    InstallPlugin,
    Kill,
    Setting,
    SetVariables,
    Show,
    UserSpec,
)


def parse(text):
    return parse_statement(text, tokens_of(text))


def clone(directory="/d", ssl=None, host="h", password="p"):  # noqa: S107
    return CloneInstance("u", host, 3306, password, directory, ssl)


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("CLONE LOCAL DATA DIRECTORY = '/d'", CloneLocal("/d")),
        ("clone local data directory '/d' ;", CloneLocal("/d")),
        ('/* why */ Clone -- now\n LOCAL # here\n DATA DIRECTORY="/d"', CloneLocal("/d")),
        ("/*!80017 CLONE LOCAL */ DATA DIRECTORY = '/d' /*!99999 nonsense */", CloneLocal("/d")),
        ("CLONE LOCAL DATA DIRECTORY = '/a' '/b'", CloneLocal("/a/b")),
        ("CLONE LOCAL DATA DIRECTORY = X'2F64'", CloneLocal("/d")),
        ("CLONE LOCAL DATA DIRECTORY = n'/d'", CloneLocal("/d")),
        ("CLONE LOCAL DATA DIRECTORY = _utf8mb4'/it''s \\'\\\\'", CloneLocal("/it's '\\")),
        ("CLONE INSTANCE STOP", CloneStop()),
        ("CLONE INSTANCE FROM 'u'@'h':3306 IDENTIFIED BY 'p' DATA DIRECTORY = '/d'", clone()),
        ("CLONE INSTANCE FROM u@h:3306 IDENTIFIED BY 'p' DATA DIRECTORY '/d' REQUIRE SSL", clone(ssl=True)),
        ("CLONE INSTANCE FROM `u`@`h` : 3306 IDENTIFIED BY 'p' REQUIRE NO SSL", clone(None, ssl=False)),
        ("CLONE INSTANCE FROM u@10.0.0.1:3306 IDENTIFIED BY ''", clone(None, host="10.0.0.1", password="")),
        ("CLONE INSTANCE FROM u@db1.example.com:3306 IDENTIFIED BY 'p'", clone(None, host="db1.example.com")),
        ("INSTALL PLUGIN clone SONAME 'mysql_clone.so'", InstallPlugin("clone", "mysql_clone.so")),
        ("SET GLOBAL a = 1, @@global.b := 'x', PERSIST c = ON", SetVariables((
            Setting("global", "a", 1), Setting("global", "b", "x"), Setting("persist", "c", "ON")))),
        ("SET @@persist_only.a = DEFAULT", SetVariables((Setting("persist_only", "a", None, is_default=True),))),
        ("SET autocommit=0", SetVariables((Setting("session", "autocommit", 0),))),
        ("SHOW GLOBAL VARIABLES LIKE 'clone%'", Show("GLOBAL VARIABLES", Filter(like="clone%"))),
        ("SHOW VARIABLES WHERE a = 'b;' AND c;", Show("VARIABLES", Filter(where="a = 'b;' AND c"))),
        ("FLUSH LOGS", FlushLogs()), ("FLUSH NO_WRITE_TO_BINLOG LOGS", FlushLogs()),
        ("KILL QUERY 7", Kill(7, query_only=True)), ("KILL CONNECTION 7", Kill(7)),
        ("CREATE USER IF NOT EXISTS a@'%.x', b IDENTIFIED WITH caching_sha2_password BY 'p'", CreateUser(
            (UserSpec(AccountName("a", "%.x")), UserSpec(AccountName("b"), "p")), if_not_exists=True)),
        ("GRANT CLONE_ADMIN, Select ON *.* TO a WITH GRANT OPTION", Grant(
            ("CLONE_ADMIN", "SELECT"), "*.*", (AccountName("a"),), grant_option=True)),
    ],
)  # fmt: skip
def test_a_statement(text, statement):
    assert parse(text) == statement


@pytest.mark.parametrize(
    ("text", "near", "line"),
    [
        ("BLAH BLAH", "BLAH BLAH", 1),
        ("CLONE", "", 1),
        ("CLONE INSTANCE FROM u@h IDENTIFIED BY 'p'", "IDENTIFIED BY 'p'", 1),
        ("CLONE INSTANCE FROM\nu@h:3306\nIDENTIFIED 'p'", "'p'", 3),
        ("CLONE LOCAL DATA DIRECTORY = /d", "/d", 1),
        ("CLONE LOCAL DATA DIRECTORY = '/d' REQUIRE SSL", "REQUIRE SSL", 1),
        ("CLONE INSTANCE FROM u@h:99999 IDENTIFIED BY 'p'", "99999 IDENTIFIED BY 'p'", 1),
        ("CLONE INSTANCE FROM u@a-b:1 IDENTIFIED BY 'p'", "-b:1 IDENTIFIED BY 'p'", 1),
        ("CLONE INSTANCE STOP; SELECT 1", "SELECT 1", 1),
        ("CLONE LOCAL DATA DIRECTORY = '/d", "'/d", 1),
        ("SHOW FULL VARIABLES", "VARIABLES", 1),
        ("SET GLOBAL", "", 1),
        ("SELECT 'a", "'a", 1),
        ("/* no end", "/* no end", 1),
    ],
)
def test_error_1064_points_where_mysqls_does(text, near, line):
    with pytest.raises(StatementError) as wrong:
        parse(text)
    assert wrong.value.code == 1064
    assert wrong.value.message.endswith(f"near '{near}' at line {line}")


def test_passwords_are_nowhere():
    text = "CLONE INSTANCE FROM u@h:1 IDENTIFIED BY 'geheim' 'nis' DATA DIRECTORY = '/d'"
    assert "geheim" not in repr(parse(text))
    assert masked(text) == "CLONE INSTANCE FROM u@h:1 IDENTIFIED BY <secret> <secret> DATA DIRECTORY = '/d'"
    for hidden in (
        "create user a identified /* */ by X'41'", "ALTER USER a IDENTIFIED WITH x BY \"geheim\"",
        "PREPARE s FROM 'CREATE USER a IDENTIFIED BY X'", "SET @a = 'CREATE USER a IDENTIFIED BY geheim'",
        "CLONE INSTANCE FROM u@h:1 IDENTIFIED BY 'geheim", "CREATE USER a IDENTIFIED BY N'geheim', b",
        "/* was geheim */ CREATE USER a IDENTIFIED BY 'x' -- now geheim", "CREATE USER a IDENTIFIED BY 'x' # geheim",
        "CREATE USER a IDENTIFIED BY /*!50100 'geheim' */ /*!999999 geheim */", "SET PASSWORD = 'geheim'",
        "SET PASSWORD FOR a@h = 'geheim'", "ALTER USER a IDENTIFIED BY 'x' REPLACE 'geheim'",
        "CREATE USER a IDENTIFIED WITH p AS 'geheim'", "CHANGE REPLICATION SOURCE TO SOURCE_PASSWORD='geheim'",
    ):  # fmt: skip
        assert "geheim" not in masked(hidden)
        assert "41" not in masked(hidden)
    for shown in ("SELECT * FROM t ORDER BY a", "SELECT /* why */ REPLACE(a, 'x', 'y') AS 'z' -- so"):
        assert masked(shown) == shown


VOCABULARY = """
CLONE LOCAL INSTANCE FROM STOP DATA DIRECTORY = '/d' u @ h : 3306 IDENTIFIED BY REQUIRE NO SSL SET GLOBAL @@global.a ,
SHOW VARIABLES LIKE WHERE GRANT ON * . TO CREATE USER KILL SELECT CASE WHEN END ( ) NOT - + IN GROUP ORDER JOIN 1 1.5e3
'x' NULL COUNT ROUND AS LIMIT ; /* */ /*! -- ` ' ?
"""
WORDS = st.sampled_from(VOCABULARY.split())


@settings(deadline=None)
@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=60))
@example("SELECT " + "(" * 2000)
@example("SELECT " + "NOT " * 5000 + "1")
@example("SELECT " + "-" * 9000 + "1")
@example("SELECT " + "CASE WHEN " * 3000)
@example("SELECT 1" + "+1" * 20000)
@example("SELECT \ud800")
def test_any_text_is_a_statement_or_an_error(text):
    with contextlib.suppress(StatementError):
        tokens = tokens_of(text)
        assert [token.start for token in tokens] == sorted(token.start for token in tokens)
        if tokens[0].is_word("SELECT"):
            parse_select(text, tokens)
        elif tokens[0].kind is not Kind.END:
            parse_statement(text, tokens)
    masked(text)
