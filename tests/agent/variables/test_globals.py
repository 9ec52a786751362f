"""The clone_* variables beside those of a real plugin, and what each of them does to a clone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection

from agent_answers import OURS, answer
from agents import RunningAgent, beside
from innoclone.commands.options import LocalOptions
from innoclone.files.copying import Method, copy_file
from innoclone.receive.link import buffer_size
from innoclone.records.limits import BUFFER, Limits
from innoclone.records.manifest import read_manifest
from innoclone.records.units import MIB
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD, ServerFactory

NAMES = (
    "clone_autotune_concurrency", "clone_block_ddl", "clone_buffer_size", "clone_ddl_timeout",
    "clone_delay_after_data_drop", "clone_donor_timeout_after_network_failure", "clone_enable_compression",
    "clone_max_concurrency", "clone_max_data_bandwidth", "clone_max_network_bandwidth", "clone_ssl_ca",
    "clone_ssl_cert", "clone_ssl_key", "clone_valid_donor_list",
)  # fmt: skip
VALUES = (
    "0", "1", "2", "-1", "16", "31", "129", "3601", "2592001", "4194304", "4194305", "1048575", "268435456",
    "268435457", "1.5", "1e3", "'x'", "''", "NULL", "ON", "off", "TRUE", "DEFAULT", "99999999999999999999", "'ON'",
    "'/a/b.pem'", "'h:3306'", "'h:3306,i:3307'", "'h:3306, i:3307'", "'h:'", "':1'", "'h'", "'h:3306,'", "'h:99999'",
    "1 + 1", "@@port * 0 + 3", "(SELECT 5)", "CONCAT('h', ':1')",
)  # fmt: skip
BYTES = ("clone_max_data_bandwidth", "clone_max_network_bandwidth")


@pytest.fixture(scope="module")
def real(make_module_server: ServerFactory) -> Iterator[Connection[Any]]:
    connection = make_module_server().connect()
    yield connection
    connection.close()


@pytest.fixture
def agent(programs: Programs, tmp_path: Path, donor: Server) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path / "state", beside(donor, tmp_path)) as running:
        done = running.mysql(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{donor.port}'")
        assert done.returncode == 0, done.stderr
        yield running


def of(donor: Server, target: Path) -> str:
    return f"CLONE INSTANCE FROM {ACCOUNT}@127.0.0.1:{donor.port} IDENTIFIED BY '{PASSWORD}' DATA DIRECTORY '{target}'"


def clone(agent: RunningAgent, donor: Server, target: Path) -> None:
    done = agent.mysql(of(donor, target))
    assert done.returncode == 0, done.stderr


def test_defaults_are_the_plugins(agent: RunningAgent, real: Connection[Any]) -> None:
    agent.rows("SET GLOBAL clone_valid_donor_list = DEFAULT")
    query = "SHOW GLOBAL VARIABLES WHERE Variable_name LIKE 'clone%' AND Variable_name NOT IN " + repr(OURS)
    with agent.root() as connection:
        for one in (query, *(f"SELECT @@{name}" for name in NAMES)):
            assert answer(connection, one) == answer(real, one)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_taken_and_refused_as_by_the_plugin(agent: RunningAgent, real: Connection[Any], name: str) -> None:
    different = []
    agent.rows("SET GLOBAL clone_valid_donor_list = DEFAULT")
    with agent.root() as connection:
        for value in VALUES:
            if name in BYTES and value in ("2592001", "4194304", "4194305", "268435456", "268435457", "99999"):
                continue  # bytes per second to the agent (E2)
            statements = [f"SET GLOBAL {name} = {value}", f"SELECT @@{name}", f"SHOW VARIABLES LIKE '{name}'"]
            for statement in statements:
                ours, theirs = answer(connection, statement), answer(real, statement)
                if ours != theirs:
                    different.append((statement, ours, theirs))
        for statement in (
            f"SET {name} = 1", f"SET SESSION {name} = 1", f"SELECT @@session.{name}", f"SET PERSIST {name} = DEFAULT",
            f"RESET PERSIST {name}", f"RESET PERSIST {name}", f"RESET PERSIST IF EXISTS {name}",
            f"SET @@global.{name} = @@global.{name}", "SELECT @@clone_max_concurrency",
            f"SET GLOBAL clone_max_concurrency = 9, {name} = DEFAULT, GLOBAL {name}x = 1",
            f"SET PERSIST_ONLY {name} = DEFAULT", "RESET PERSIST", f"SELECT @@{name}x",
        ):  # fmt: skip
            ours, theirs = answer(connection, statement), answer(real, statement)
            if ours != theirs:
                different.append((statement, ours, theirs))
        real.cursor().execute(f"SET GLOBAL {name} = DEFAULT")
    for statement, ours, theirs in different:
        print(f"{statement}\n  ours   {ours}\n  theirs {theirs}")
    assert different == []


def test_autotune_decides_about_connections(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    agent.rows("SET GLOBAL clone_max_concurrency = 3")
    clone(agent, donor, tmp_path / "a")
    assert read_manifest(tmp_path / "a")["options"]["threads"] == "auto"
    threads = "SELECT MAX(THREADS) FROM performance_schema.clone_progress WHERE STAGE = 'FILE COPY'"
    assert agent.rows(threads)[0][0] <= 3
    agent.rows("SET GLOBAL clone_autotune_concurrency = OFF")
    clone(agent, donor, tmp_path / "b")
    assert read_manifest(tmp_path / "b")["options"]["threads"] == 3
    assert agent.rows(threads) == [(3,)]


def test_autotune_decides_about_files_of_a_local_clone(agent: RunningAgent, tmp_path: Path) -> None:
    threads = "SELECT MAX(THREADS) FROM performance_schema.clone_progress WHERE STAGE = 'FILE COPY'"
    agent.rows(f"CLONE LOCAL DATA DIRECTORY = '{tmp_path}/a'")
    assert agent.rows(threads) == [(LocalOptions.threads,)]
    agent.rows("SET GLOBAL clone_autotune_concurrency = OFF, clone_max_concurrency = 7")
    agent.rows(f"CLONE LOCAL DATA DIRECTORY = '{tmp_path}/b'")
    assert agent.rows(threads) == [(7,)]


def test_the_buffer_size_bounds_what_is_moved_at_once(tmp_path: Path) -> None:
    assert buffer_size(BUFFER, 16) == MIB  # as without the variable
    assert [buffer_size(size * MIB, 16) for size in (1, 2, 4, 256)] == [MIB // 4, MIB // 2, MIB, MIB]
    assert [buffer_size(size * MIB, 128) for size in (1, 8, 32, 256)] == [MIB // 8, MIB // 4, MIB, MIB]
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 16 * 1024)
    for size in (1, 3, 256):
        pieces: list[int] = []
        with source.open("rb") as read, target.open("wb") as write:
            copy_file(
                read.fileno(), write.fileno(), pieces.append, methods=(Method.KERNEL,),
                piece=Limits(buffer=size * MIB).buffer,
            )  # fmt: skip
        assert sum(pieces) == 4 * MIB
        assert max(pieces) <= min(size, 4) * MIB


def test_persisted_values_survive_the_agent(agent: RunningAgent, programs: Programs, tmp_path: Path) -> None:
    agent.rows("SET PERSIST clone_max_concurrency = 7, PERSIST clone_error_numbering = 'guide', GLOBAL clone_boot = ON")
    agent.rows("SET PERSIST_ONLY clone_ddl_timeout = 11")
    assert agent.rows("SELECT @@clone_max_concurrency, @@clone_ddl_timeout") == [(7, 300)]
    kept = [("clone_ddl_timeout", "11"), ("clone_error_numbering", "guide"), ("clone_max_concurrency", "7")]
    assert agent.rows("SELECT * FROM performance_schema.persisted_variables") == kept
    agent.kill_all()
    with RunningAgent(programs, tmp_path / "state") as second:
        assert second.rows("SELECT * FROM performance_schema.persisted_variables") == kept
        query = "SELECT @@clone_max_concurrency, @@clone_ddl_timeout, @@clone_error_numbering, @@clone_boot"
        assert second.rows(query) == [(7, 11, "guide", 0)]
        second.rows("RESET PERSIST")
        assert second.rows(query) == [(7, 11, "guide", 0)]
        assert second.terminate() == 0
    with RunningAgent(programs, tmp_path / "state") as third:
        assert third.rows(query) == [(16, 300, "mysql", 0)]


def test_with_clone_boot_a_server_is_started_on_the_clone(
    agent: RunningAgent, donor: Server, programs: Programs, tmp_path: Path
) -> None:
    agent.rows("SET GLOBAL clone_boot = ON")
    clone(agent, donor, tmp_path / "c")
    stages = agent.rows(
        "SELECT STAGE, STATE FROM performance_schema.clone_progress WHERE STAGE IN ('RESTART','RECOVERY')"
    )
    assert sorted(stages) == [("RECOVERY", "Completed"), ("RESTART", "Completed")]
    file, position = agent.rows("SELECT BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status")[0]
    with donor.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW BINARY LOG STATUS")
        assert (file, position) == cursor.fetchall()[0][:2]
    # The private server was nobody's; with a UUID of its own the clone is updated only where that is wished.
    clone(agent, donor, tmp_path / "c")
    for statement in (of(donor, tmp_path / "c"), f"CLONE LOCAL DATA DIRECTORY = '{tmp_path}/c'"):
        (tmp_path / "c" / "auto.cnf").write_text("[auto]\n")
        agent.rows("SET GLOBAL clone_boot = OFF, clone_discard_changes = OFF")
        done = agent.mysql(statement)
        assert "ERROR 1007" in done.stderr
        assert "auto.cnf" in done.stderr
        assert "or say SET GLOBAL clone_discard_changes = ON if" in agent.log.read_text()
        agent.rows("SET GLOBAL clone_discard_changes = ON")
        assert agent.mysql(statement).returncode == 0
        assert not (tmp_path / "c" / "auto.cnf").exists()
    assert "--discard-changes" not in agent.log.read_text()
    assert agent.terminate() == 0
    with RunningAgent(programs, tmp_path / "state") as alone:  # which knows of no server, and the clone is none
        assert {row[0] for row in alone.rows("SELECT BINLOG_FILE FROM performance_schema.clone_status")} == {file}
        assert alone.rows("SHOW BINARY LOG STATUS") == []


def failed(agent: RunningAgent, statement: str) -> tuple[int, int]:
    """The number that the client sees, and that of the table."""
    with agent.root() as connection, connection.cursor() as cursor, pytest.raises(pymysql.Error) as error:
        cursor.execute(statement)
    return error.value.args[0], agent.rows("SELECT ERROR_NO FROM performance_schema.clone_status ORDER BY ID")[-1][0]


def test_errors_may_have_the_guides_numbers(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    wrong = f"CLONE INSTANCE FROM {ACCOUNT}@127.0.0.1:{donor.port} IDENTIFIED BY 'no' DATA DIRECTORY '{tmp_path}/c'"
    agent.rows(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:1,127.0.0.1:{donor.port}'")
    nobody = f"CLONE INSTANCE FROM u@127.0.0.1:1 IDENTIFIED BY 'no' DATA DIRECTORY '{tmp_path}/c'"
    assert [failed(agent, wrong), failed(agent, nobody)] == [(3862, 3862)] * 2
    agent.rows("SET GLOBAL clone_error_numbering = 'guide', clone_donor_timeout_after_network_failure = 0")
    assert failed(agent, wrong) == (3875, 3875)  # privileges
    assert failed(agent, nobody) == (3868, 3868)  # network
    agent.rows("SET GLOBAL clone_max_data_bandwidth = 4")
    statement = wrong.replace("'no'", f"'{PASSWORD}'")
    numbers: list[tuple[int, int]] = []
    thread = threading.Thread(target=lambda: numbers.append(failed(agent, statement)))
    thread.start()
    while agent.rows("SELECT COUNT(*) FROM performance_schema.clone_progress WHERE DATA > 0") == [(0,)]:
        pass
    agent.rows("CLONE INSTANCE STOP")
    thread.join()
    assert numbers == [(3862, 3862)]  # interrupted
    before = agent.rows("SELECT ERROR_NO FROM performance_schema.clone_status")
    agent.rows("SET GLOBAL clone_error_numbering = 'mysql'")
    assert agent.rows("SELECT ERROR_NO FROM performance_schema.clone_status") != before
