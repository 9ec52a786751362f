"""A managed server's data is replaced through the agent, as a stock server does it; and what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pymysql
import pytest

from agents import RunningAgent
from clones import rows
from innoclone.agent.settings import read_settings
from innoclone.errors import (
    UsageError,
)
from innoclone.files.base import server_process
from innoclone.files.marks import is_unfinished
from innoclone.records.status import CLONE_STAGES, Stage
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.settings.managedtable import read_managed
from managed import MakeManaged, ManagedServer, assert_new, assert_old
from servers import PASSWORD

StartAgent = Callable[[ManagedServer], RunningAgent]


# ---- through the agent ------------------------------------------------------------------------------------------


def statement(small_donor: Server) -> str:
    return f"CLONE INSTANCE FROM '{ACCOUNT}'@'127.0.0.1':{small_donor.port} IDENTIFIED BY '{PASSWORD}'"


@pytest.fixture
def start_agent(programs: Programs, tmp_path: Path, small_donor: Server) -> Iterator[StartAgent]:
    agents: list[RunningAgent] = []

    def start(server: ManagedServer) -> RunningAgent:
        config = tmp_path / "agent.toml"
        config.write_text(server.toml())
        agent = RunningAgent(programs, tmp_path / "state", f"--config={config}")
        agents.append(agent)
        agent.rows(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{small_donor.port}'")
        return agent

    yield start
    for agent in agents:
        agent.__exit__(None, None, None)


def test_in_place_as_a_stock_server_does_it(
    make_managed: MakeManaged, small_donor: Server, start_agent: StartAgent
) -> None:
    server = make_managed()
    (server.data / "my.cnf").write_text("# the server's own\n")
    (server.data / "scripts").mkdir()
    (server.data / "scripts" / "backup.sh").write_text("true\n")
    server.run("SET PERSIST max_connections = 88", "FLUSH BINARY LOGS", "CREATE USER nobody")
    kept = {name: (server.data / name).read_bytes() for name in ("auto.cnf", "mysqld-auto.cnf", "ca.pem", "my.cnf")}
    process = server_process(server.data)
    agent = start_agent(server)
    done = agent.mysql("SET GLOBAL clone_keep_old_data = ON; " + statement(small_donor))
    assert done.returncode == 0, done.stderr
    assert_new(server)
    assert server_process(server.data) != process
    assert {name: (server.data / name).read_bytes() for name in kept} == kept
    assert (server.data / "scripts" / "backup.sh").read_text() == "true\n"
    assert server.run("SELECT @@max_connections") == [(88,)]
    # The donor's position, and its GTIDs; the server's own binary log begins anew.
    name, position, gtids = agent.rows(
        "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status"
    )[0]
    there = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    assert (name, position, gtids) == (there[0], there[1], there[4])
    assert server.run("SELECT @@gtid_executed, @@gtid_purged") == [(gtids, gtids)]
    assert server.run("SHOW BINARY LOGS")[0][0] == "recbin.000001"
    assert agent.rows("SHOW BINARY LOG STATUS") == server.run("SHOW BINARY LOG STATUS")
    shown = agent.rows("SELECT STATE, DESTINATION, ERROR_NO FROM performance_schema.clone_status")
    assert shown == server.run("SELECT STATE, DESTINATION, ERROR_NO FROM performance_schema.clone_status")
    stages = agent.rows("SELECT STAGE, STATE, BEGIN_TIME, END_TIME FROM performance_schema.clone_progress")
    assert [row[:2] for row in stages] == [
        (stage.value, "Not Started" if stage is Stage.DROP_DATA else "Completed") for stage in CLONE_STAGES
    ]
    times = [moment for row in stages[1:] for moment in row[2:]]
    assert times == sorted(times)
    old = list(server.places.folder.glob("old-*"))
    assert len(old) == 1
    assert (old[0] / "mine" / "t.ibd").is_file()
    assert (old[0] / "recbin.000002").is_file()


@pytest.mark.parametrize("how", ["CLONE INSTANCE STOP", "innoclone stop", "SIGTERM"])
def test_the_statement_can_be_stopped_and_given_again(
    make_managed: MakeManaged, small_donor: Server, start_agent: StartAgent, how: str
) -> None:
    server = make_managed()
    agent = start_agent(server)
    agent.rows("SET GLOBAL clone_max_data_bandwidth = 4")
    agent.rows("SET GLOBAL clone_max_concurrency = 1")
    errors: list[pymysql.Error] = []

    def run() -> None:
        with agent.root() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(statement(small_donor))
            except pymysql.Error as error:
                errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not agent.rows("SELECT 1 FROM performance_schema.clone_progress WHERE STAGE = 'FILE COPY' AND DATA > 0"):
        time.sleep(0.05)
    if how == "SIGTERM":
        assert agent.terminate() == 0
    elif how == "innoclone stop":
        done = subprocess.run(
            [sys.executable, "-m", "innoclone", "stop", str(server.data)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"has ended its work on {server.data}" in done.stderr
        assert agent.process.poll() is None
    else:
        agent.rows(how)
    thread.join(60)
    assert errors
    assert_old(server)
    assert is_unfinished(server.places.new)
    agent = start_agent(server) if how == "SIGTERM" else agent
    agent.rows("SET GLOBAL clone_max_data_bandwidth = 0")
    done = agent.mysql(statement(small_donor) + "; SHOW WARNINGS")
    assert done.returncode == 0, done.stderr
    assert "anew" not in done.stdout  # it went on
    assert_new(server)
    states = agent.rows("SELECT STATE, DESTINATION FROM performance_schema.clone_status")
    assert states == [("Failed", "LOCAL INSTANCE"), ("Completed", "LOCAL INSTANCE")]
    assert [path.name for path in server.places.folder.iterdir() if path.is_dir()] == []


SETTLED = re.compile("a broken off replacement was (undone|completed)")


def kill_at(when: str, server: ManagedServer, folder: Path, *, with_agent: bool) -> None:
    """Let the server be stopped and started by commands of which one kills the clone's process, the first time, and the
    agent before it."""
    script = folder / "control"
    script.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, signal, subprocess, sys, time\n"
        f"killed = pathlib.Path({str(folder / 'killed')!r})\n"
        f"if sys.argv[1] == {when!r} and not killed.exists():\n"
        "    killed.touch()\n"
        "    clone = os.getppid()\n"
        "    stat = pathlib.Path(f'/proc/{clone}/stat').read_text()\n"
        "    agent = int(stat.rpartition(')')[2].split()[1])\n"
        f"    for process in (agent, clone)[{0 if with_agent else 1}:]:\n"
        "        os.kill(process, signal.SIGKILL)\n"
        "    sys.exit()\n"
        "if sys.argv[1] == 'stop':\n"
        f"    os.kill(int(pathlib.Path({str(server.data.parent / 'pid')!r}).read_text()), signal.SIGTERM)\n"
        "else:\n"
        f"    subprocess.Popen({json.dumps(server.control._mysqld())}, start_new_session=True)\n"
    )
    script.chmod(0o755)
    server.command(str(script))


@pytest.mark.parametrize("when", ["stop", "start"])
def test_a_replacement_whose_process_is_killed_is_put_right_by_the_agent(
    make_managed: MakeManaged, small_donor: Server, start_agent: StartAgent, tmp_path: Path, when: str
) -> None:
    """At once, without a restart: nobody looks after the server at night."""
    server = make_managed(trial=False)
    kill_at(when, server, tmp_path, with_agent=False)
    agent = start_agent(server)
    done = agent.mysql(statement(small_donor))
    assert "ERROR 1317" in done.stderr
    assert "by signal 9" in done.stderr
    assert SETTLED.search(agent.log.read_text())
    assert server.places.read() is None
    (assert_old if when == "stop" else assert_new)(server)
    if when == "stop":
        agent.rows(statement(small_donor))
        assert_new(server)


@pytest.mark.parametrize("by_itself", [False, True])
@pytest.mark.parametrize("when", ["stop", "start"])
def test_an_agent_that_is_killed_and_started_again(
    make_managed: MakeManaged, small_donor: Server, start_agent: StartAgent, tmp_path: Path, when: str, by_itself: bool
) -> None:
    """With its clone."""
    server = make_managed(trial=False)
    kill_at(when, server, tmp_path, with_agent=True)
    agent = start_agent(server)
    if by_itself:
        agent.rows("SET PERSIST clone_resume_on_start = ON")
        agent.rows(f"SET PERSIST clone_valid_donor_list = '127.0.0.1:{small_donor.port}'")
    assert agent.mysql(statement(small_donor)).returncode != 0
    assert agent.process.wait(60) == -signal.SIGKILL
    assert server.places.read() is not None
    second = start_agent(server)
    end = time.monotonic() + 120
    kept = agent.folder / "resume.json"
    while kept.exists() or not SETTLED.search(second.log.read_text()):
        assert time.monotonic() < end, second.log.read_text()
        time.sleep(0.1)
    if by_itself and when == "stop":
        assert_new(server)
        assert second.rows("SELECT STATE FROM performance_schema.clone_status") == [("Failed",), ("Completed",)]
        return
    (assert_old if when == "stop" else assert_new)(server)
    shown = second.rows("SELECT STATE, BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status")
    there = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    assert shown == [("Failed", "", 0)] + ([("Completed", *there[:2])] if when == "start" else [])
    if when == "stop":
        second.rows(statement(small_donor))
        assert_new(server)


# ---- refused ----------------------------------------------------------------------------------------------------


def test_an_agent_that_can_not_try_new_data_out_refuses(
    make_managed: MakeManaged, small_donor: Server, start_agent: StartAgent
) -> None:
    server = make_managed()
    server.managed = replace(server.managed, start=("/bin/false",), mysqld=Path("/bin/false"))
    process = server_process(server.data)
    agent = start_agent(server)
    done = agent.mysql(statement(small_donor))
    assert done.returncode != 0
    assert "ERROR 1017 (HY000)" in done.stderr
    assert server_process(server.data) == process
    assert_old(server)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("[managed]", "needs datadir"),
        ('[managed]\ndatadir = "data"', "datadir must be an absolute path"),
        ('[managed]\ndatadir = "/data"\nstop = 5', "stop must be of type str"),
        ('[managed]\ndatadir = "/data"\nport = true', "port must be of type int"),
        ('[managed]\ndatadir = "/data"\nstart_timeout = 0', "start_timeout must be above 0"),
        ('[managed]\ndatadir = "/data"\nbegin = "x"', "may have .*, not begin"),
        ('managed = "data"', "must be a table"),
        ("", "has no table"),
    ],
)
def test_a_configuration_that_makes_no_sense(tmp_path: Path, lines: str, words: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(lines)
    with pytest.raises(UsageError, match=words):
        read_managed(config)


def test_commands_may_be_texts_or_lists(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        '[managed]\ndatadir = "/data"\nstart = "systemctl start mysql"\nstop = ["/opt/my tools/stop", "now"]\n'
        'socket = "/run/mysqld.sock"\nuser = "manager"\npassword = "geheim"\n'
    )
    managed = read_managed(config)
    assert managed.start == ("systemctl", "start", "mysql")
    assert managed.stop == ("/opt/my tools/stop", "now")
    assert managed.endpoint.password == "geheim"
    assert "geheim" not in repr(managed)
    assert read_settings(config, {}).managed == managed
