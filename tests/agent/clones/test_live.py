"""The guide's statements through the real client, against an agent and a stock donor."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from agent_clones import allow, clone_statement, ok, start_slow_clone, wait_until_it_copies
from agents import PATIENCE, RunningAgent, beside
from innoclone.files.marks import is_unfinished
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD

PROGRESS = (
    "SELECT CONCAT(ROUND(DATA/ESTIMATE*100,1),'%') as PROGRESS, STAGE, STATE, CONCAT(ROUND(DATA_SPEED/1024/1024,1),"
    "' MB/s') as SPEED, ERROR_MESSAGE FROM performance_schema.clone_progress"
)


@pytest.fixture
def agent(programs: Programs, tmp_path: Path, donor: Server) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path / "state", beside(donor, tmp_path)) as running:
        yield running


def test_a_remote_clone_and_what_the_tables_say_of_it(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    allow(agent, donor)
    target = tmp_path / "copy"
    ok(agent.mysql(clone_statement(donor, target)))
    assert (target / "ibdata1").is_file()
    assert not is_unfinished(target)
    number, state, source, destination, error = agent.rows(
        "SELECT ID, STATE, SOURCE, DESTINATION, ERROR_NO FROM performance_schema.clone_status"
    )[0]
    assert (number, state, destination, error) == (1, "Completed", f"{target}/", 0)
    assert source == f"{ACCOUNT}@127.0.0.1:{donor.port}"
    lines = ok(agent.mysql(PROGRESS)).splitlines()
    assert lines[0] == "PROGRESS\tSTAGE\tSTATE\tSPEED\tERROR_MESSAGE"
    assert lines[2].startswith("100.0%\tFILE COPY\tCompleted\t")
    assert [line.split("\t")[2] for line in lines[1:]] == [*["Completed"] * 5, *["Not Started"] * 2]


def test_a_refused_clone_is_none(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    """A directory that exists, or whose parent doesn't: as a server's, the tables tell of the clone before it."""
    (tmp_path / "full" / "mine").mkdir(parents=True)
    ok(agent.mysql(f"CLONE LOCAL DATA DIRECTORY = '{tmp_path}/copy'"))
    progress = "SELECT ID, STAGE, STATE, ESTIMATE, DATA, NETWORK FROM performance_schema.clone_progress"
    tables = ("SELECT * FROM performance_schema.clone_status", progress)
    before = [agent.rows(table) for table in tables]
    for directory, number in ((tmp_path / "full", 1007), (tmp_path / "none" / "copy", 1006)):
        done = agent.mysql(f"CLONE LOCAL DATA DIRECTORY = '{directory}'")
        assert f"ERROR {number} (HY000)" in done.stderr
        assert [agent.rows(table) for table in tables] == before
    assert agent.terminate() == 0
    with RunningAgent(agent._programs, agent.folder.parent) as second:
        assert [second.rows(table) for table in tables] == before


def test_a_local_clone(agent: RunningAgent, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    ok(agent.mysql(f"CLONE LOCAL DATA DIRECTORY = '{target}'"))
    assert not is_unfinished(target)
    rows = agent.rows("SELECT STATE, SOURCE FROM performance_schema.clone_status")
    assert rows == [("Completed", "LOCAL INSTANCE")]


def test_a_donor_that_is_not_listed_is_not_even_connected_to(
    agent: RunningAgent, donor: Server, tmp_path: Path
) -> None:
    done = agent.mysql(clone_statement(donor, tmp_path / "copy"))
    assert done.stderr == (
        f"ERROR 3869 (HY000) at line 1: Clone system configuration: 127.0.0.1:{donor.port} is not found in"
        " clone_valid_donor_list: \n"
    )
    assert agent.rows("SELECT COUNT(*) FROM performance_schema.clone_status") == [(0,)]


def test_a_wrong_password_for_the_donor_is_the_donors_error(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    allow(agent, donor)
    statement = clone_statement(donor, tmp_path / "copy").replace(PASSWORD, "geheim")
    done = agent.mysql(statement)
    assert done.stderr.startswith("ERROR 3862 (HY000) at line 1: Clone Donor Error: Connect failed: 1045 : ")
    failed = agent.rows("SELECT ERROR_NO, ERROR_MESSAGE FROM performance_schema.clone_status WHERE STATE = 'Failed'")
    assert failed[0][0] == 3862
    assert "geheim" not in done.stderr + agent.log.read_text() + failed[0][1]


def test_the_tables_are_the_plugins(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    """With one row, whose ID is 1, whatever was before; a clone that got nowhere has no stages."""
    allow(agent, donor)
    status = "SELECT ID, STATE, ERROR_NO FROM performance_schema.clone_status"
    progress = "SELECT ID, STAGE FROM performance_schema.clone_progress"
    agent.mysql(clone_statement(donor, tmp_path / "never").replace(PASSWORD, "wrong"))
    assert (agent.rows(status), agent.rows(progress)) == ([(1, "Failed", 3862)], [])
    ok(agent.mysql(clone_statement(donor, tmp_path / "copy")))
    assert agent.rows(status) == [(1, "Failed", 3862), (2, "Completed", 0)]
    assert {row[0] for row in agent.rows(progress)} == {2}
    ok(agent.mysql("SET GLOBAL clone_status_history = OFF"))
    assert agent.rows(status) == [(1, "Completed", 0)]
    assert {row[0] for row in agent.rows(progress)} == {1}
    agent.mysql(clone_statement(donor, tmp_path / "never").replace(PASSWORD, "wrong"))
    assert (agent.rows(status), agent.rows(progress)) == ([(1, "Failed", 3862)], [])


def test_stop_and_go_on(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    thread, errors = start_slow_clone(agent, donor, target)
    running = agent.rows("SELECT STATE, STAGE, END_TIME FROM performance_schema.clone_status")
    assert running == [("In Progress", "FILE COPY", None)]
    fast = "SELECT DATA_SPEED, NETWORK_SPEED FROM performance_schema.clone_progress WHERE DATA_SPEED > 0"
    end = time.monotonic() + PATIENCE
    while not (speeds := agent.rows(fast)):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert len(speeds) == 1  # of the stage that runs
    assert max(speeds[0]) < 1 << 30
    assert agent.mysql(clone_statement(donor, tmp_path / "other")).stderr.startswith("ERROR 3874 (HY000)")
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)
    assert [error.args[0] for error in errors] == [1317]
    assert is_unfinished(target)
    ok(agent.mysql("SET GLOBAL clone_max_data_bandwidth = 0"))
    ok(agent.mysql(clone_statement(donor, target)))
    assert not is_unfinished(target)
    rows = agent.rows("SELECT STATE, ERROR_NO FROM performance_schema.clone_status ORDER BY BEGIN_TIME")
    assert rows == [("Failed", 1317), ("Completed", 0)]
    assert agent.rows(fast) == []  # as a server's: speeds are those of the moment
    ok(agent.mysql("FLUSH LOGS"))
    assert agent.rows("SELECT * FROM performance_schema.clone_status") == []


def test_innoclone_stop_ends_the_clone_and_not_the_agent(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    thread, errors = start_slow_clone(agent, donor, target)
    command = [sys.executable, "-m", "innoclone", "stop", "--json", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert agent.process.poll() is None
    assert json.loads(done.stdout)["condition"] == "interrupted"
    assert is_unfinished(target)
    thread.join(PATIENCE)
    assert [error.args[0] for error in errors] == [1317]
    assert agent.rows("SELECT STATE, ERROR_NO FROM performance_schema.clone_status") == [("Failed", 1317)]
    ok(agent.mysql("SET GLOBAL clone_max_data_bandwidth = 0"))
    ok(agent.mysql(clone_statement(donor, target)))  # the same agent goes on
    assert not is_unfinished(target)


def test_the_binary_log_is_that_of_the_server_on_this_host(
    agent: RunningAgent, donor: Server, tmp_path: Path, programs: Programs
) -> None:
    """Never a clone's: the guide compares a clone's position with it."""
    for query in ("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"):
        with donor.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW BINARY LOG STATUS")
            assert agent.rows(query) == list(cursor.fetchall())
    config = tmp_path / "down.toml"
    config.write_text(f'[server]\nsocket = "{tmp_path / "none"}"\nuser = "root"\n')
    with RunningAgent(programs, tmp_path / "down", f"--config={config}") as down:
        with pytest.raises(pymysql.Error, match="can't be asked for its binary log") as refused:
            down.rows("SHOW MASTER STATUS")
        assert refused.value.args[0] == 1105


def test_kill_query_ends_a_clone_and_a_bandwidth_counts_at_once(
    agent: RunningAgent, donor: Server, tmp_path: Path
) -> None:
    thread, errors = start_slow_clone(agent, donor, tmp_path / "copy")
    processes = agent.rows("SHOW FULL PROCESSLIST")
    cloning = next(row for row in processes if row[7] and row[7].startswith("CLONE"))
    assert PASSWORD not in cloning[7]
    assert "IDENTIFIED BY <secret>" in cloning[7]
    ok(agent.mysql(f"KILL QUERY {cloning[0]}"))
    thread.join(PATIENCE)
    assert [error.args[0] for error in errors] == [1317]


def test_ctrl_c_in_the_client_ends_a_clone(
    agent: RunningAgent, donor: Server, tmp_path: Path, programs: Programs
) -> None:
    """The client answers it with KILL QUERY over a connection of its own."""
    assert programs.mysql is not None
    allow(agent, donor)
    ok(agent.mysql("SET GLOBAL clone_max_data_bandwidth = 4; SET GLOBAL clone_max_concurrency = 2"))
    client = subprocess.Popen(
        [*programs.mysql, "--no-defaults", f"--socket={agent.socket}", "--user=root", "-e",
         clone_statement(donor, tmp_path / "copy")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until_it_copies(agent)
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=PATIENCE)
    assert "ERROR 1317 (70100)" in said
    assert is_unfinished(tmp_path / "copy")


def test_sigterm_stops_a_clone_so_that_another_agent_goes_on(
    agent: RunningAgent, donor: Server, tmp_path: Path, programs: Programs
) -> None:
    target = tmp_path / "copy"
    thread, errors = start_slow_clone(agent, donor, target)
    assert agent.terminate() == 0
    thread.join(PATIENCE)
    assert errors
    assert is_unfinished(target)
    assert not agent.socket.exists()
    with RunningAgent(programs, tmp_path / "state") as second:
        rows = second.rows("SELECT STATE, ERROR_NO FROM performance_schema.clone_status")
        assert rows == [("Failed", 1317)]
        allow(second, donor)
        ok(second.mysql(clone_statement(donor, target)))
    assert not is_unfinished(target)


def test_a_killed_clone_is_shown_and_goes_on(
    agent: RunningAgent, donor: Server, tmp_path: Path, programs: Programs
) -> None:
    target = tmp_path / "copy"
    thread, _ = start_slow_clone(agent, donor, target)
    agent.kill_all()
    thread.join(PATIENCE)
    with RunningAgent(programs, tmp_path / "state") as second:
        assert second.rows("SELECT STATE FROM performance_schema.clone_status") == [("Failed",)]
        allow(second, donor)
        ok(second.mysql(clone_statement(donor, target)))
        assert second.rows("SELECT STATE FROM performance_schema.clone_status") == [("Failed",), ("Completed",)]
    assert not is_unfinished(target)


LOG = re.compile(
    r"^(Log sequence number|Log flushed up to|Pages flushed up to|Last checkpoint at) +(\d+)$", re.MULTILINE
)


def test_log_positions_are_those_of_the_server_or_else_of_the_newest_clone(
    agent: RunningAgent, donor: Server, tmp_path: Path, programs: Programs
) -> None:
    query = "SHOW ENGINE INNODB STATUS"
    kind, name, status = agent.rows(query)[0]
    assert (kind, name) == ("InnoDB", "")
    assert "BUFFER POOL AND MEMORY" in status
    flushed = int(dict(LOG.findall(status))["Log flushed up to"])
    with RunningAgent(programs, tmp_path / "alone") as alone:
        assert alone.rows(query) == []
        allow(alone, donor)
        ok(alone.mysql(clone_statement(donor, tmp_path / "copy")))
        where = alone.rows("SELECT BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status")
        with donor.connect() as connection, connection.cursor() as cursor:  # no server has been on the clone
            cursor.execute("SHOW BINARY LOG STATUS")
            assert where == [cursor.fetchall()[0][:2]]
        found = {name: int(number) for name, number in LOG.findall(alone.rows(query)[0][2])}
        assert len(found) == 4
        assert found["Last checkpoint at"] == found["Pages flushed up to"] <= found["Log sequence number"]
        assert flushed - (1 << 20) < found["Log flushed up to"] == found["Log sequence number"] < flushed + (1 << 20)
        (tmp_path / "copy").rename(tmp_path / "elsewhere")
        assert alone.rows(query) == []
