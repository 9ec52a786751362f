"""What an agent knows of the last one: how its clone ended and how far it came; and a clone that goes on by itself."""

from __future__ import annotations

import contextlib
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from agent_clones import allow, clone_statement, ok, persist, start_slow_clone, wait_until_it_copies
from agent_pages import until
from agents import PATIENCE, RunningAgent, beside
from innoclone.files.marks import is_unfinished
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD

PROGRESS = "SELECT ID, STAGE, STATE, BEGIN_TIME, END_TIME, THREADS, ESTIMATE, DATA, NETWORK, DATA_SPEED, ERROR_MESSAGE"
STATUS = "SELECT ID, STATE, ERROR_NO FROM performance_schema.clone_status"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def agent(programs: Programs, state: Path) -> Iterator[RunningAgent]:
    with RunningAgent(programs, state) as running:
        yield running


def progress(agent: RunningAgent) -> list[tuple[object, ...]]:
    return agent.rows(f"{PROGRESS} FROM performance_schema.clone_progress")


def wait_for(agent: RunningAgent, rows: list[tuple[object, ...]]) -> None:
    end = time.monotonic() + 2 * PATIENCE
    while agent.rows(STATUS) != rows:
        assert time.monotonic() < end, agent.log.read_text()
        time.sleep(0.1)


def test_the_last_clone_is_shown_as_it_was(
    agent: RunningAgent, state: Path, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    allow(agent, donor)
    ok(agent.mysql(clone_statement(donor, tmp_path / "copy")))
    before = progress(agent)
    assert [row[2] for row in before].count("Completed") == 5
    assert agent.terminate() == 0
    with RunningAgent(programs, state) as second:
        assert [row[:3] + row[5:9] for row in progress(second)] == [row[:3] + row[5:9] for row in before]
        assert second.rows(STATUS) == [(1, "Completed", 0)]
        ok(second.mysql("FLUSH LOGS"))
        assert progress(second) == []
        second.terminate()
    with RunningAgent(programs, state) as third:
        assert progress(third) == []
        allow(third, donor)
        ok(third.mysql(clone_statement(donor, tmp_path / "another")))
        assert third.rows(STATUS) == [(2, "Completed", 0)]


def test_a_killed_one_is_shown_as_failed_with_how_far_it_came(
    agent: RunningAgent, state: Path, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    written = agent.folder / "status.json"
    end = time.monotonic() + PATIENCE
    while '"data": 0,' in written.read_text():
        assert time.monotonic() < end
        time.sleep(0.1)
    agent.kill_all()
    thread.join(PATIENCE)
    with RunningAgent(programs, state) as second:
        assert second.rows(STATUS) == [(1, "Failed", 1317)]
        row = progress(second)[1]
        assert row[:3] == (1, "FILE COPY", "Failed")
        assert row[7] > 0
        assert row[10] == "the clone was cut off: its process ended"
        allow(second, donor)
        ok(second.mysql(clone_statement(donor, tmp_path / "copy")))
        assert second.rows(STATUS) == [(1, "Failed", 1317), (2, "Completed", 0)]


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_a_clone_goes_on_by_itself(
    agent: RunningAgent, state: Path, programs: Programs, donor: Server, tmp_path: Path, how: str
) -> None:
    kept = agent.folder / "resume.json"
    persist(agent, donor)
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    assert PASSWORD in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    if how == "SIGTERM":
        assert agent.terminate() == 0
    else:
        agent.kill_all()
    thread.join(PATIENCE)
    assert is_unfinished(tmp_path / "copy")
    with RunningAgent(programs, state) as second:
        wait_for(second, [(1, "Failed", 1317), (2, "Completed", 0)])
        assert not is_unfinished(tmp_path / "copy")
        assert not kept.exists()
        assert PASSWORD not in second.log.read_text()
        second.terminate()
    with RunningAgent(programs, state) as third:
        assert third.rows(STATUS) == [(1, "Failed", 1317), (2, "Completed", 0)]


def test_a_local_clone_goes_on_by_itself(state: Path, programs: Programs, donor: Server, tmp_path: Path) -> None:
    with RunningAgent(programs, state, beside(donor, tmp_path)) as agent:
        ok(agent.mysql("SET PERSIST clone_resume_on_start = ON; SET GLOBAL clone_max_data_bandwidth = 4"))
        client = threading.Thread(target=agent.mysql, args=(f"CLONE LOCAL DATA DIRECTORY = '{tmp_path / 'copy'}'",))
        client.start()
        wait_until_it_copies(agent)
        agent.kill_all()
        client.join(PATIENCE)
    with RunningAgent(programs, state, beside(donor, tmp_path)) as second:
        wait_for(second, [(1, "Failed", 1317), (2, "Completed", 0)])
        assert not is_unfinished(tmp_path / "copy")


def test_one_that_was_stopped_stays_stopped(
    agent: RunningAgent, state: Path, programs: Programs, donor: Server, tmp_path: Path
) -> None:
    persist(agent, donor)
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)
    assert not (agent.folder / "resume.json").exists()


@pytest.mark.parametrize("variable", ["clone_resume_on_start", "clone_valid_donor_list"])
def test_what_was_not_persisted_does_not_count(
    agent: RunningAgent, state: Path, programs: Programs, donor: Server, tmp_path: Path, variable: str
) -> None:
    """The agent is killed; the next one neither connects to the donor nor keeps the password."""
    persist(agent, donor)
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    ok(agent.mysql(f"SET PERSIST_ONLY {variable} = DEFAULT"))
    agent.kill_all()
    thread.join(PATIENCE)
    with RunningAgent(programs, state) as second:
        end = time.monotonic() + PATIENCE
        while (second.folder / "resume.json").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert second.rows(STATUS) == [(1, "Failed", 1317)]
        if variable == "clone_valid_donor_list":
            assert (
                "it can't go on: ERROR 3869 (HY000): Clone system configuration: 127.0.0.1:" in second.log.read_text()
            )


def test_switching_it_off_removes_the_password_at_once(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    persist(agent, donor)
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    assert (agent.folder / "resume.json").exists()
    ok(agent.mysql("SET GLOBAL clone_resume_on_start = OFF"))
    assert not (agent.folder / "resume.json").exists()
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)


def test_off_by_default_no_password_is_kept(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert agent.folder / "status.json" in files
    for path in files:
        assert PASSWORD.encode() not in path.read_bytes(), path
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)


def test_a_torn_file_is_thrown_away(agent: RunningAgent, state: Path, programs: Programs, donor: Server) -> None:
    persist(agent, donor)
    agent.terminate()
    for text in ("", '{"local": false', '{"local": false, "statement": {"user": "u"}}', "[]"):
        (agent.folder / "resume.json").write_text(text)
        (agent.folder / "status.json").write_text(text)
        with RunningAgent(programs, state) as second:
            assert second.rows(STATUS) == []
            assert not (agent.folder / "resume.json").exists()
            assert "resume.json can't be used" in second.log.read_text()


# ---- the log -----------------------------------------------------------------------------------------------


def test_the_log_says_who_did_what_how_it_ended_and_what_to_do(
    agent: RunningAgent, donor: Server, tmp_path: Path
) -> None:
    ok(agent.mysql("CREATE USER 'operator'@'127.0.0.1' IDENTIFIED BY 'of the operator'"))
    allow(agent, donor)
    target = tmp_path / "copy"
    ok(agent.mysql(clone_statement(donor, target)))
    agent.mysql(clone_statement(donor, target).replace(PASSWORD, "a wrong one"))
    agent.mysql(clone_statement(donor, target).replace("127.0.0.1", "elsewhere"))
    agent.mysql("SELECT 1", *agent.tcp("operator", "guessed"))
    with contextlib.suppress(pymysql.Error):
        agent.connect("a\ninnoclone: clone 9: completed", "x")
    last = "login as 'a?innoclone: clone 9: completed' refused"
    until(lambda: last in agent.log.read_text())  # it is written while the client has its answer already
    log = agent.log.read_text()
    for line in (
        "root@localhost: CREATE USER 'operator'@'127.0.0.1' IDENTIFIED BY <secret>",
        f"root@localhost: CLONE INSTANCE FROM 'clone'@'127.0.0.1':{donor.port} IDENTIFIED BY <secret> DATA DIRECTORY",
        f"clone 1: clone@127.0.0.1:{donor.port} into {target}",
        "clone 1: FILE COPY: started, ",
        "clone 1: completed",
        "clone 2: ERROR 1045 (28000): ",
        "clone 2: hint: check user, password and the host part of the account",
        "root@localhost: ERROR 3869 (HY000): Clone system configuration: elsewhere:",
        "login as 'operator' refused",
    ):
        assert line in log, log
    for secret in (PASSWORD, "a wrong one", "of the operator", "guessed"):
        assert secret not in log
    assert "SELECT" not in log
