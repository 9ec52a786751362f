"""A clone of the agent has a process of its own: it goes on without the agent, and is taken up again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_clones import allow, clone_statement, ok, persist, start_slow_clone
from agents import PATIENCE, RunningAgent
from innoclone.files.lock import take_lock
from innoclone.files.marks import is_unfinished
from innoclone.records.statusfile import status_in
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD

STATES = "SELECT STATE, ERROR_NO FROM performance_schema.clone_status"
FAST = "SET GLOBAL clone_max_data_bandwidth = 0"


@pytest.fixture
def agent(programs: Programs, tmp_path: Path) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path / "state") as running:
        yield running


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_goes_on_without_the_agent_and_is_taken_up(
    agent: RunningAgent, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    thread, errors = start_slow_clone(agent, donor, tmp_path / "copy")
    process = agent.clone_process()
    agent.kill()
    thread.join(PATIENCE)
    assert [error.args[0] for error in errors] == [2013]  # the client lost its connection
    before = (status_in(agent.folder) or {})["data"]
    until(lambda: (status_in(agent.folder) or {})["data"] > before)
    with RunningAgent(programs, tmp_path / "state") as second:
        assert second.rows(STATES) == [("In Progress", 0)]
        assert second.clone_process() == process
        assert second.mysql("CLONE LOCAL DATA DIRECTORY = '/other'").returncode != 0
        ok(second.mysql("SET GLOBAL clone_max_data_bandwidth = 1"))
        ok(second.mysql(FAST))
        until(lambda: second.rows(STATES) == [("Completed", 0)])
        copied = second.rows("SELECT DATA FROM performance_schema.clone_progress WHERE STAGE = 'FILE COPY'")[0][0]
        assert copied > before
        until(lambda: "clone 1, which an earlier agent began: completed" in second.log.read_text())
    assert not is_unfinished(tmp_path / "copy")


def test_one_that_was_taken_up_can_be_stopped(
    agent: RunningAgent, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    agent.kill()
    thread.join(PATIENCE)
    with RunningAgent(programs, tmp_path / "state") as second:
        ok(second.mysql("CLONE INSTANCE STOP"))
        assert second.clone_process() is None
        assert second.rows(STATES) == [("Failed", 1317)]
    assert is_unfinished(tmp_path / "copy")


def test_one_that_ends_while_there_is_no_agent(
    agent: RunningAgent, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    """Nothing is left to go on with, and the password is not kept."""
    persist(agent, donor)
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    ok(agent.mysql(FAST))
    agent.kill()
    thread.join(PATIENCE)
    until(lambda: agent.clone_process() is None)
    assert PASSWORD in (agent.folder / "resume.json").read_text()
    with RunningAgent(programs, tmp_path / "state") as second:
        until(lambda: not (second.folder / "resume.json").exists())
        assert second.rows(STATES) == [("Completed", 0)]
        assert second.clone_process() is None


def test_a_stalled_agent_stalls_no_clone(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    thread, errors = start_slow_clone(agent, donor, tmp_path / "copy")
    ok(agent.mysql(FAST))
    agent.process.send_signal(signal.SIGSTOP)
    try:
        until(lambda: agent.clone_process() is None)
        assert (status_in(agent.folder) or {})["state"] == "Completed"
    finally:
        agent.process.send_signal(signal.SIGCONT)
    thread.join(PATIENCE)
    assert errors == []
    assert agent.rows(STATES) == [("Completed", 0)]


def test_a_killed_clone_is_the_statements_error_and_the_agent_lives(
    agent: RunningAgent, donor: Server, tmp_path: Path
) -> None:
    thread, errors = start_slow_clone(agent, donor, tmp_path / "copy")
    process = agent.clone_process()
    assert process is not None
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process) == mine
    assert os.getpriority(os.PRIO_PROCESS, agent.process.pid) > mine  # it gives way
    for secret in ("cmdline", "environ"):
        assert PASSWORD.encode() not in Path(f"/proc/{process}/{secret}").read_bytes()
    os.kill(process, signal.SIGKILL)
    thread.join(PATIENCE)
    assert [error.args[0] for error in errors] == [1317]
    assert "by signal 9; the same statement goes on" in str(errors[0])
    assert agent.rows(STATES) == [("Failed", 1317)]
    ok(agent.mysql(FAST))
    ok(agent.mysql(clone_statement(donor, tmp_path / "copy")))
    assert agent.rows(STATES) == [("Failed", 1317), ("Completed", 0)]
    assert not is_unfinished(tmp_path / "copy")


def test_a_clone_that_nobody_sees_is_in_the_way_of_another(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    allow(agent, donor)
    lock = take_lock(agent.folder, agent.folder, name="clone.lock")
    try:
        done = agent.mysql(clone_statement(donor, tmp_path / "copy"))
    finally:
        os.close(lock)
    assert "ERROR 3874" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
    assert "Traceback" not in agent.log.read_text()
    ok(agent.mysql(clone_statement(donor, tmp_path / "copy")))
