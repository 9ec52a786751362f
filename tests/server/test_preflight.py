"""A donor's global variables change nothing of what is found on it, said of it, or cloned from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from clones import clone_server, rows
from innoclone.commands.options import VerifyOptions
from innoclone.commands.verify import VerifyReport, verify
from innoclone.errors import ConnectFailed, EncryptionNeedsTls
from innoclone.server.mysqld import Server
from innoclone.server.preflight import DonorFacts, check
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from innoclone.transport.sql import Sql
from innoclone.verification.compare import Outcome
from keyring import restarted_with_keyring
from servers import ServerFactory, endpoint_of

LARGEST_NUMBER = 63  # of a word that is tried
NO_SESSION = (1228, 1229, 1238)  # "is a GLOBAL variable", "... read only"
TOO_SMALL = ("max_allowed_packet",)  # a donor with less than 2 MiB can't be cloned, and check says so
# Those that the bounds in performance_schema don't tell, and what is odd for them.
ODD = {
    "sql_mode": "'ANSI,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE,PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION'",
    "time_zone": "'-11:30'",
    "character_set_client": "latin1",
    "character_set_results": "ucs2",
    "character_set_connection": "utf32",
    "collation_connection": "latin1_general_cs",
    "default_storage_engine": "MyISAM",
    "lc_messages": "ja_JP",
    "lc_time_names": "ru_RU",
    "completion_type": "'RELEASE'",
    "transaction_isolation": "'READ-UNCOMMITTED'",
    "sql_select_limit": "7",
    "max_join_size": "3",
    "max_execution_time": "1",
    "group_concat_max_len": "4",
    "use_secondary_engine": "FORCED",
    "terminology_use_previous": "BEFORE_8_0_26",
    "optimizer_switch": "'derived_merge=off,semijoin=off,materialization=off,index_merge=off,use_invisible_indexes=on'",
    "session_track_system_variables": "'*'",
    "session_track_gtids": "ALL_GTIDS",
    "session_track_transaction_info": "CHARACTERISTICS",
    "autocommit": "0",
    "wait_timeout": "1",
}


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A donor with more of everything than the smallest limits let through, and a file outside."""
    outside = tmp_path_factory.mktemp("outside")
    donor: Server = make_module_server(f"--innodb-directories={outside}")
    for number in range(5):
        rows(donor, f"CREATE DATABASE s{number}")
        rows(donor, f"CREATE TABLE s{number}.t (id INT PRIMARY KEY, at TIMESTAMP, word VARCHAR(200), f FLOAT)")
        rows(
            donor, f"INSERT INTO s{number}.t VALUES (1, '2020-01-01', 'ü', 1.1), (2, '2021-06-01', REPEAT('x', 90), 2)"
        )
        rows(donor, f"CREATE VIEW s{number}.v AS SELECT word FROM s{number}.t")
    rows(donor, f"CREATE TABLE s0.away (id INT PRIMARY KEY) DATA DIRECTORY='{outside}'")
    rows(donor, "CREATE TABLE s1.mine (id INT) ENGINE=MyISAM")
    return donor


def values_of(server: Server, which: str) -> dict[str, str]:
    """For every global variable that a session inherits its smallest, largest or an odd value."""
    found = {}
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT g.VARIABLE_NAME, g.VARIABLE_VALUE, i.MIN_VALUE, i.MAX_VALUE"
            " FROM performance_schema.global_variables g JOIN performance_schema.variables_info i USING (VARIABLE_NAME)"
        )
        for name, value, least, most in cursor.fetchall():
            try:
                cursor.execute(f"SET SESSION `{name}` = @@SESSION.`{name}`")
            except pymysql.err.MySQLError as error:
                if error.args[0] in NO_SESSION:
                    continue
            if name in TOO_SMALL:
                continue
            if which == "odd":
                found[name] = ODD.get(name, "")
            elif (least, most) != ("0", "0") and most:
                found[name] = least if which == "smallest" else most
            elif value in ("ON", "OFF"):
                found[name] = "0" if value == "ON" else "1"
            else:
                found[name] = word_of(cursor, name, last=which == "largest")
    return {name: value for name, value in found.items() if value}


def word_of(cursor: pymysql.cursors.Cursor, name: str, *, last: bool) -> str:
    """The number of the first or last of a variable's words, or set of flags; empty for free text."""
    numbers = range(LARGEST_NUMBER, -1, -1) if last else range(LARGEST_NUMBER + 1)
    for number in numbers:
        with contextlib.suppress(pymysql.err.MySQLError):
            cursor.execute(f"SET GLOBAL `{name}` = {number}")
            cursor.execute(f"SET GLOBAL `{name}` = DEFAULT")
            return str(number)
    return ""


@contextmanager
def set_globally(server: Server, values: dict[str, str]) -> Iterator[list[str]]:
    """Meanwhile the server has these global values; which of them it took. Ours is the one session that has not."""
    before, taken = {}, []
    with server.connect() as connection, connection.cursor() as cursor:
        for name in values:
            cursor.execute(f"SELECT @@GLOBAL.`{name}`")
            before[name] = cursor.fetchall()[0][0]
        for name, value in values.items():
            with contextlib.suppress(pymysql.err.MySQLError):
                cursor.execute(f"SET GLOBAL `{name}` = {value}")
                taken.append(name)
        try:
            yield taken
        finally:
            for name in taken:
                cursor.execute(f"SET GLOBAL `{name}` = %s", (before[name],))


def said(facts: DonorFacts) -> object:
    """What a check says, without the values that were set."""
    return facts.good, facts.notes, [(type(p), p.message) for p in facts.problems], sorted(facts.outside)


def found(report: VerifyReport) -> object:
    return str(report), report.position, sorted(map(str, (*report.tables, *report.objects)))


def test_settings_of_the_donor_change_nothing(server: Server, tmp_path: Path) -> None:
    outside = Path(next(iter(check(endpoint_of(server), None).outside))).parents[1]
    base, again = tmp_path / "base", tmp_path / "again"
    clone_server(server, base, map_paths=((str(outside), str(tmp_path / "mapped")),))
    facts, report = said(check(endpoint_of(server), None)), verify(VerifyOptions(base, endpoint_of(server)))
    assert report.count(Outcome.EQUAL) == 6
    for which in ("smallest", "largest", "odd"):
        values = values_of(server, which)
        assert len(values) > (20 if which == "odd" else 100)
        with set_globally(server, values) as taken:
            assert set(values) == set(taken), which
            assert said(check(endpoint_of(server), None)) == facts, which
            if which == "smallest":
                clone_server(server, again, map_paths=((str(outside), str(tmp_path / "mapped-again")),))
            compared = again if which == "smallest" else base
            assert found(verify(VerifyOptions(compared, endpoint_of(server)))) == found(report), which


def test_encryption_is_seen_whatever_the_limit(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    folder = tmp_path / "keyring"
    folder.mkdir()
    with restarted_with_keyring(programs, make_server(), folder) as server:
        rows(server, "CREATE DATABASE secret")
        for number in range(3):
            rows(server, f"CREATE TABLE secret.t{number} (id INT PRIMARY KEY) ENCRYPTION='Y'")
        for limit in (0, 3, 20):
            with set_globally(server, {"sql_select_limit": str(limit)}):
                problems = check(endpoint_of(server, ssl_mode=SslMode.DISABLED), None).problems
                assert check(endpoint_of(server), None).problems == []
            assert [type(problem) for problem in problems] == [EncryptionNeedsTls]
            assert "3 encrypted tablespaces" in problems[0].message


@pytest.mark.parametrize(
    "command",
    [
        "SELECT 1; SELECT 2",
        "SET sql_select_limit = 2, autocommit = 0, completion_type = 2, sql_mode = ''ANSI'', time_zone = ''+05:00''",
        "SET NAMES latin1; SET timestamp = 1; START TRANSACTION",
    ],
)
def test_an_init_connect(server: Server, command: str) -> None:
    before = said(check(endpoint_of(server), None))
    with set_globally(server, {"init_connect": f"'{command}'"}):
        assert said(check(endpoint_of(server), None)) == before
        with Sql(endpoint_of(server)) as sql:
            assert sql.value("SELECT COUNT(*) FROM information_schema.TABLES") > 100
            assert len(sql.rows("SHOW GLOBAL VARIABLES")) > 100
            assert sql.value("SELECT UNIX_TIMESTAMP()") > 1_000_000_000


def test_an_init_connect_that_fails(server: Server) -> None:
    with set_globally(server, {"init_connect": "'SELECT nonsense'"}), pytest.raises(ConnectFailed) as caught:
        check(endpoint_of(server), None)
    assert "1184" in caught.value.message
    assert "init_connect" in caught.value.advice


def test_offline_and_read_only(server: Server, tmp_path: Path) -> None:
    with set_globally(server, {"offline_mode": "1"}), pytest.raises(ConnectFailed) as caught:
        check(endpoint_of(server), None)
    assert "3032" in caught.value.message
    assert "CONNECTION_ADMIN" in caught.value.advice
    before = said(check(endpoint_of(server), None))
    with set_globally(server, {"read_only": "1", "super_read_only": "1"}):
        assert said(check(endpoint_of(server), None)) == before
