"""A managed server's data is replaced, through the agent and under faults: always the old or the new data, whole."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from agents import RunningAgent
from clones import rows
from innoclone.engine.mysqld import Server
from innoclone.engine.programs import Programs
from innoclone.errors import (
    BootFailed,
    CloneError,
    ConfigurationMismatch,
    DiskFull,
    DiskSpace,
    Interrupted,
    TargetUnusable,
)
from innoclone.files import replacing
from innoclone.files.base import server_process
from innoclone.files.marks import is_unfinished
from innoclone.files.replacing import Places
from innoclone.operation import replace as operation
from innoclone.operation.replace import replace_data, settle
from innoclone.operation.sandbox import ACCOUNT
from innoclone.ops.status import CLONE_STAGES, CloneStatus, Stage, State
from innoclone.transport.endpoint import Endpoint
from managed import ManagedServer
from servers import PASSWORD, ServerFactory

Make = Callable[..., ManagedServer]
StartAgent = Callable[[ManagedServer], RunningAgent]


@pytest.fixture(scope="module")
def source(make_module_server: ServerFactory) -> Server:
    """A donor with a schema ``theirs``."""
    server = make_module_server()
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE theirs")
        cursor.execute("CREATE TABLE theirs.t (a INT PRIMARY KEY, b BLOB)")
        cursor.executemany("INSERT INTO theirs.t VALUES (%s, REPEAT('x', 8000))", [(number,) for number in range(1000)])
    return server


@pytest.fixture
def make_managed(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> Iterator[Make]:
    made: list[ManagedServer] = []

    def make(*options: str, **settings: Any) -> ManagedServer:
        template = make_server.template(())
        server = ManagedServer(programs, template, tmp_path / f"m{len(made)}", *options, **settings)
        made.append(server)
        server.begin()
        return server

    yield make
    for server in made:
        server.end()


def assert_old(server: ManagedServer) -> None:
    """It serves its old data, and nothing is left to be done."""
    assert server.schemas() == {"mine"}
    assert server.run("SELECT * FROM mine.t") == [(1,)]
    assert server.places.read() is None


def assert_new(server: ManagedServer) -> None:
    """It serves the donor's data, all of it."""
    assert server.schemas() == {"theirs"}
    assert server.run("SELECT COUNT(*), SUM(LENGTH(b)) FROM theirs.t") == [(1000, 8_000_000)]
    assert server.run("CHECK TABLE theirs.t EXTENDED")[0][3] == "OK"
    assert server.places.read() is None


def spoil(places: Places) -> None:
    """No server comes up on the new data any more."""
    os.truncate(places.new / "mysql.ibd", 1 << 20)


# ---- through the agent ------------------------------------------------------------------------------------------


def statement(source: Server) -> str:
    return f"CLONE INSTANCE FROM '{ACCOUNT}'@'127.0.0.1':{source.port} IDENTIFIED BY '{PASSWORD}'"


@pytest.fixture
def start_agent(programs: Programs, tmp_path: Path, source: Server) -> Iterator[StartAgent]:
    agents: list[RunningAgent] = []

    def start(server: ManagedServer) -> RunningAgent:
        config = tmp_path / "agent.toml"
        config.write_text(server.toml())
        agent = RunningAgent(programs, tmp_path / "state", f"--config={config}")
        agents.append(agent)
        agent.rows(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{source.port}'")
        return agent

    yield start
    for agent in agents:
        agent.__exit__(None, None, None)


def test_in_place_as_a_stock_server_does_it(make_managed: Make, source: Server, start_agent: StartAgent) -> None:
    server = make_managed()
    (server.data / "my.cnf").write_text("# the server's own\n")
    (server.data / "scripts").mkdir()
    (server.data / "scripts" / "backup.sh").write_text("true\n")
    server.run("SET PERSIST max_connections = 88", "FLUSH BINARY LOGS", "CREATE USER nobody")
    kept = {name: (server.data / name).read_bytes() for name in ("auto.cnf", "mysqld-auto.cnf", "ca.pem", "my.cnf")}
    process = server_process(server.data)
    agent = start_agent(server)
    done = agent.mysql("SET GLOBAL clone_keep_old_data = ON; " + statement(source))
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
    there = rows(source, "SHOW BINARY LOG STATUS")[0]
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


def test_the_statement_can_be_stopped_and_given_again(
    make_managed: Make, source: Server, start_agent: StartAgent
) -> None:
    server = make_managed()
    agent = start_agent(server)
    agent.rows("SET GLOBAL clone_max_data_bandwidth = 4")
    agent.rows("SET GLOBAL clone_max_concurrency = 1")
    errors: list[pymysql.Error] = []

    def run() -> None:
        with agent.root() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(statement(source))
            except pymysql.Error as error:
                errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not is_unfinished(server.places.new):
        time.sleep(0.05)
    while not agent.rows("SELECT 1 FROM performance_schema.clone_progress WHERE STAGE = 'FILE COPY' AND DATA > 0"):
        time.sleep(0.05)
    agent.rows("CLONE INSTANCE STOP")
    thread.join(60)
    assert [error.args[0] for error in errors] == [1317]
    assert_old(server)
    assert is_unfinished(server.places.new)
    agent.rows("SET GLOBAL clone_max_data_bandwidth = 0")
    agent.rows(statement(source))
    assert_new(server)
    states = agent.rows("SELECT STATE, DESTINATION FROM performance_schema.clone_status")
    assert states == [("Failed", "LOCAL INSTANCE"), ("Completed", "LOCAL INSTANCE")]
    assert [path.name for path in server.places.folder.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("when", ["stop", "start"])
def test_an_agent_that_is_killed_and_started_again(
    make_managed: Make, source: Server, start_agent: StartAgent, tmp_path: Path, when: str
) -> None:
    """The commands that stop and start the server kill the agent, the first time."""
    script = tmp_path / "control"
    server = make_managed(trial=False)
    programs_mysqld = json.dumps(server.control._mysqld())
    script.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, signal, subprocess, sys, time\n"
        f"killed = pathlib.Path({str(tmp_path / 'killed')!r})\n"
        f"if sys.argv[1] == {when!r} and not killed.exists():\n"
        "    killed.touch()\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    sys.exit()\n"
        "if sys.argv[1] == 'stop':\n"
        f"    os.kill(int(pathlib.Path({str(server.data.parent / 'pid')!r}).read_text()), signal.SIGTERM)\n"
        "else:\n"
        f"    subprocess.Popen({programs_mysqld}, start_new_session=True)\n"
    )
    script.chmod(0o755)
    server.command(str(script))
    agent = start_agent(server)
    assert agent.mysql(statement(source)).returncode != 0
    assert agent.process.wait(60) == -signal.SIGKILL
    assert server.places.read() is not None
    second = start_agent(server)
    end = time.monotonic() + 120
    while server.places.read() is not None:
        assert time.monotonic() < end, second.log.read_text()
        time.sleep(0.1)
    (assert_old if when == "stop" else assert_new)(server)
    assert second.rows("SELECT STATE FROM performance_schema.clone_status") == [("Failed",)]
    if when == "stop":
        second.rows(statement(source))
        assert_new(server)


# ---- under faults -----------------------------------------------------------------------------------------------


def test_data_that_does_not_boot_never_stops_the_server(
    make_managed: Make, source: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed()
    process = server_process(server.data)
    copy = operation.copy

    def spoiled(*arguments: Any) -> Any:
        result = copy(*arguments)
        spoil(server.places)
        return result

    monkeypatch.setattr(operation, "copy", spoiled)
    with pytest.raises(BootFailed, match="did not come up"):
        replace_data(server.options(source))
    assert server_process(server.data) == process
    assert_old(server)
    monkeypatch.undo()
    replace_data(server.options(source))
    assert_new(server)


def test_a_start_that_fails_brings_the_old_data_back(
    make_managed: Make, source: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed(trial=False)
    exchange = Places.exchange
    spoilt = []

    def spoiled(self: Places) -> None:
        if not spoilt:
            spoil(self)
        spoilt.append(self)
        exchange(self)

    monkeypatch.setattr(Places, "exchange", spoiled)
    status = CloneStatus()
    with pytest.raises(BootFailed, match="did not come up"):
        replace_data(server.options(source), status=status)
    assert len(spoilt) == 2
    assert_old(server)
    assert status.state is State.FAILED
    server.run("INSERT INTO mine.t VALUES (2)", "DELETE FROM mine.t WHERE a = 2")
    monkeypatch.undo()
    result = replace_data(server.options(source))
    assert_new(server)
    assert result.binlog_file == rows(source, "SHOW BINARY LOG STATUS")[0][0]  # without a trial, too


def test_a_stop_while_the_server_comes_up_brings_the_old_data_back(
    make_managed: Make, source: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed(trial=False)
    stopped = threading.Event()
    exchange = Places.exchange

    def then_stop(self: Places) -> None:
        exchange(self)
        stopped.set()

    monkeypatch.setattr(Places, "exchange", then_stop)
    with pytest.raises(Interrupted):
        replace_data(server.options(source), stopped=stopped)
    assert_old(server)


def test_a_disk_that_runs_full_while_the_server_is_down(
    make_managed: Make, source: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_managed(trial=False)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(replacing, "copy_file", full)
    with pytest.raises(DiskFull):
        replace_data(server.options(source))
    assert_old(server)


def test_a_disk_without_room_for_the_servers_own_files(make_managed: Make, source: Server) -> None:
    server = make_managed(trial=False)
    process = server_process(server.data)
    with (server.data / "huge.log").open("wb") as file:
        file.truncate(1 << 43)
    with pytest.raises(DiskSpace, match="own files"):
        replace_data(server.options(source))
    assert server_process(server.data) == process
    assert_old(server)


KILLED = """
import os, pickle, sys
from innoclone.engine.managed import Control
from innoclone.files.replacing import Places
from innoclone.operation import replace
options, where, name, when = pickle.loads(bytes.fromhex(sys.argv[1]))
home = {"Control": Control, "Places": Places, "replace": replace}[where]
function = getattr(home, name)
def killed(*arguments, **named):
    if when == "before":
        os.kill(os.getpid(), 9)
    function(*arguments, **named)
    os.kill(os.getpid(), 9)
setattr(home, name, killed)
replace.replace_data(options)
"""
OLD, NEW = assert_old, assert_new


@pytest.mark.parametrize(
    ("where", "name", "when", "expected"),
    [
        ("replace", "copy", "after", OLD), ("Control", "stop", "before", OLD), ("Control", "stop", "after", OLD),
        ("replace", "carry", "after", OLD), ("Places", "exchange", "after", NEW), ("Control", "start", "after", NEW),
        ("Places", "put_aside", "before", NEW), ("Places", "put_aside", "after", NEW),
    ],
)  # fmt: skip
def test_a_kill_at_each_step(
    make_managed: Make, source: Server, where: str, name: str, when: str, expected: Callable[[ManagedServer], None]
) -> None:
    server = make_managed(trial=False)
    argument = pickle.dumps((server.options(source), where, name, when)).hex()
    done = subprocess.run([sys.executable, "-c", KILLED, argument], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    settle(server.managed)
    expected(server)
    if expected is OLD:
        replace_data(server.options(source))
        assert_new(server)
    assert [path.name for path in server.places.folder.iterdir() if path.is_dir()] == []


# ---- refused ----------------------------------------------------------------------------------------------------


def assert_refused(server: ManagedServer, source: Server, kind: type[CloneError], words: str, **changes: Any) -> None:
    """Before anything is touched."""
    process = server_process(server.data)
    options = server.options(source)
    with pytest.raises(kind, match=words):
        replace_data(replace(options, managed=replace(options.managed, **changes)))
    assert not server.places.new.exists()
    assert server_process(server.data) == process


def test_what_can_not_be_replaced_is_refused(make_managed: Make, source: Server) -> None:
    server = make_managed()
    (server.data / "mine" / "dump.sql").touch()
    assert_refused(server, source, TargetUnusable, r"holds tables and also dump\.sql")
    (server.data / "mine" / "dump.sql").unlink()
    server.run("CREATE USER guest", "CREATE USER manager", "GRANT PROCESS ON *.* TO manager")
    assert_refused(server, source, TargetUnusable, "PROCESS", endpoint=replace(server.managed.endpoint, user="guest"))
    assert_refused(
        server, source, TargetUnusable, "can't be asked", endpoint=replace(server.managed.endpoint, user="nobody")
    )
    assert_refused(
        server, source, TargetUnusable, "has the data directory",
        endpoint=Endpoint(socket=source.socket, user="root"),
    )  # fmt: skip
    assert_old(server)


def test_binary_logs_and_tablespaces_outside_are_refused(make_managed: Make, source: Server, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    logging = make_managed(f"--log-bin={outside / 'binlog'}")
    assert_refused(logging, source, TargetUnusable, "log_bin_basename=.*, which is not its data directory")
    assert_old(logging)
    tables = make_managed(f"--innodb-directories={outside}")
    tables.run(f"CREATE TABLE mine.far (a INT) DATA DIRECTORY = '{outside}'")
    assert_refused(tables, source, TargetUnusable, "tablespace outside its data directory")
    pages = make_managed(f"--innodb-doublewrite-dir={outside}")
    assert_refused(pages, source, TargetUnusable, "innodb_doublewrite_dir=")


def test_a_donor_that_does_not_fit_is_refused(make_managed: Make, make_server: ServerFactory) -> None:
    server = make_managed()
    other = make_server(init=["--innodb-page-size=8k"])
    assert_refused(server, other, ConfigurationMismatch, "innodb_page_size is 8192 on the donor")
    assert_old(server)
