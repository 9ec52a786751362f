"""A clone as it is seen and steered from outside its process: status, stop, discard."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

import innoclone as package
from clones import clone_server, rows
from commandline import environment, in_this_process, innoclone, innoclone_here
from faults import Running, assert_failed, dsn, wait_until
from innoclone import errors
from innoclone.commands import stop as stop_operation
from innoclone.commands.inspect import Condition
from innoclone.files.lock import holder_of, request_stop, stop_is_wished, take_lock
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.records.status import CloneStatus, State
from innoclone.records.statusfile import StatusFile, read_status
from innoclone.server.mysqld import Server
from innoclone.sinks.directory import Target
from servers import ServerFactory
from users import passable

__all__ = ["environment", "in_this_process", "innoclone", "innoclone_here"]

MIB = 1 << 20
SLOW = "--max-data-bandwidth=12"  # MiB/s: of a donor of 60 MiB that lasts some seconds


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    """The one object of a command with --json."""
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("event") == "result"
    return found


def unfinished(directory: Path) -> Path:
    """A directory with a clone that has only just begun."""
    Target(directory).release()
    return directory


def copying(directory: Path) -> bool:
    """Whether status.json tells of bytes by now."""
    return bool((read_status(directory) or {}).get("data"))


# ---- status ------------------------------------------------------------------------------------------------


def test_status_of_a_clone_that_runs_dies_and_is_completed(
    environment, innoclone, donor: Server, tmp_path: Path
) -> None:
    directory = tmp_path / "clone"
    with Running("clone", SLOW, dsn(donor), str(directory), environment=environment) as running:
        wait_until(lambda: copying(directory), "the first bytes")
        found = result_of(innoclone("status", "--json", str(directory)))
        assert (found["condition"], found["state"], found["stage"]) == ("running", "In Progress", "FILE COPY")
        assert found["process"]["pid"] == found["pid"] == running.process.pid
        assert 0 < found["data"] < found["estimate"]
        assert 0 < found["percent"] < 100
        assert found["source"] == f"clone@127.0.0.1:{donor.port}"
        assert found["resumable_until"] > found["updated"]
        lines = innoclone("status", str(directory)).stdout
        assert f"\nprocess      {running.process.pid} of " in lines
        assert "In Progress: FILE COPY, " in lines
        running.signal(signal.SIGKILL)
        running.end()
    dead = result_of(innoclone("status", "--json", str(directory)))
    assert (dead["condition"], dead["state"], dead["process"]) == ("died", "Died", None)
    assert dead["data"] >= found["data"]
    assert dead["resumable_until"] > time.time()
    assert "goes on from the very block until" in innoclone("status", str(directory)).stdout
    assert innoclone("clone", dsn(donor), str(directory)).returncode == 0
    assert not (directory / OWN_DIR / "status.json").exists()
    complete = result_of(innoclone("status", "--json", str(directory)))
    assert (complete["condition"], complete["process"]) == ("complete", None)
    assert complete["size"] > 60 * MIB
    assert complete["donor"]["port"] == donor.port
    assert "complete since" in innoclone("status", str(directory)).stdout
    ended = [row for row in package.history() if row["destination"] == str(directory)]
    assert [row["state"] for row in ended] == ["Died", "Completed"]
    assert ended[0]["data"] == dead["data"]


def test_status_of_a_local_clone(environment, innoclone, donor: Server, tmp_path: Path) -> None:
    """And of the one that is made beside it to take its place."""
    directory = tmp_path / "clone"
    address = f"mysql://root@{donor.socket}"
    assert innoclone("local", address, str(directory)).returncode == 0
    with Running("local", "--keep-base", SLOW, address, str(directory), environment=environment) as running:
        beside = directory.with_name("clone.innoclone-new")
        wait_until(lambda: copying(beside), "the first bytes")
        found = result_of(innoclone("status", "--json", str(directory)))
        assert found["condition"] == "complete"
        assert found["process"]["pid"] == running.process.pid
        assert found["successor"]["condition"] == "running"
        assert found["successor"]["operation"] == "local"
        assert "successor " in innoclone("status", str(directory)).stdout
        assert innoclone("stop", str(directory)).returncode == 0
        assert running.end()[0] == errors.Interrupted.exit_status
    assert package.status(beside).condition is Condition.INTERRUPTED
    assert package.discard(beside)
    assert package.status(directory).successor is None


def test_status_of_a_generation_that_was_killed(environment, innoclone, donor: Server, tmp_path: Path) -> None:
    """The next run removes it, and puts it into the history first."""
    address = f"mysql://root@{donor.socket}"
    command = ["local", "--generations=2", f"--to={tmp_path / 'all'}", "--full-copies", address]
    with Running(*command, SLOW, environment=environment) as running:
        wait_until(lambda: any(copying(path) for path in tmp_path.glob("all/*")), "the first bytes")
        running.signal(signal.SIGKILL)
        running.end()
    (generation,) = (tmp_path / "all").iterdir()
    assert package.status(generation).condition is Condition.DIED
    wait_until(lambda: time.strftime("%S", time.gmtime()) != generation.name[-3:-1], "the next second")
    assert innoclone(*command).returncode == 0
    assert not generation.exists()
    states = [row["state"] for row in package.history() if row["destination"].startswith(str(tmp_path))]
    assert states == ["Died", "Completed"]


def test_nothing_in_a_status_file_reaches_the_terminal(innoclone, tmp_path: Path) -> None:
    directory = unfinished(tmp_path / "clone")
    status = CloneStatus("u@h\x1b[2J:1", "/clone", State.IN_PROGRESS, time.time(), notes=["one\ntwo\x07"])
    with StatusFile(directory / OWN_DIR, status, operation="clone"):
        pass
    shown = innoclone("status", str(directory)).stdout
    assert "note         one\\ntwo\\x07\n" in shown
    assert shown.replace("\n", "").isprintable()


def test_status_of_what_is_no_clone(innoclone_here, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "file").touch()
    for name in ("missing", "other", "file"):
        for command in ("status", "stop", "discard"):
            assert_failed(innoclone_here(command, str(tmp_path / name)), errors.TargetUnusable)
    assert (tmp_path / "other").is_dir()


def test_status_of_one_that_nothing_is_known_of(innoclone, tmp_path: Path) -> None:
    directory = unfinished(tmp_path / "clone")
    assert result_of(innoclone("status", "--json", str(directory)))["condition"] == "unfinished"
    assert "unfinished" in innoclone("status", str(directory)).stdout


# ---- stop --------------------------------------------------------------------------------------------------


def test_stop_from_another_terminal(environment, innoclone, donor: Server, tmp_path: Path) -> None:
    """It ends within its own words, and the same command completes it; stopping once more is no error."""
    directory = tmp_path / "clone"
    with Running("clone", SLOW, dsn(donor), str(directory), environment=environment) as running:
        running.wait_for("FILE COPY", data=MIB)
        stopped = result_of(innoclone("stop", "--json", str(directory)))
        assert (stopped["stopped"], stopped["condition"]) == (running.process.pid, "interrupted")
        assert_failed(running.end(), errors.Interrupted)
    assert is_unfinished(directory)
    again = innoclone("stop", str(directory))
    assert again.returncode == 0
    assert "no process works on" in again.stderr
    assert package.stop(directory) is False
    assert innoclone("clone", dsn(donor), str(directory)).returncode == 0
    done = innoclone("stop", str(directory))
    assert (done.returncode, "is complete" in done.stderr) == (0, True)


def test_stop_waits_no_longer_than_it_was_told(environment, innoclone, donor: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    with Running("clone", SLOW, dsn(donor), str(directory), environment=environment) as running:
        running.wait_for("FILE COPY")
        running.signal(signal.SIGSTOP)
        assert_failed(innoclone("stop", "--timeout=0.2", str(directory)), errors.TargetBusy, "0.2 s", "kill -9")
        running.signal(signal.SIGCONT)
        assert running.end()[0] == errors.Interrupted.exit_status


def test_stop_sends_no_signal_and_names_one_piece_of_work(tmp_path: Path) -> None:
    """A process that doesn't listen lives on, and what was asked of it is nothing to whoever has the lock next."""
    directory = unfinished(tmp_path / "clone")
    own = directory / OWN_DIR
    with subprocess.Popen(["sleep", "600"]) as innocent, contextlib.ExitStack() as locks:
        descriptor = take_lock(own, directory)
        path = own / "lock"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": innocent.pid, "host": "elsewhere"}) + "\n")
        before = holder_of(directory)
        assert before is not None
        for _ in range(2):
            with pytest.raises(errors.TargetBusy, match=r"on elsewhere .* has not after"):
                package.stop(directory, timeout=0.2)
        assert stop_is_wished(descriptor)
        assert path.read_text().count("stop") == 1
        os.close(descriptor)
        assert innocent.poll() is None
        innocent.kill()
        locks.callback(os.close, again := take_lock(own, directory))
        assert not stop_is_wished(again)
        assert request_stop(own, before)  # too late
        assert not stop_is_wished(again)
        assert holder_of(directory) not in (None, before)


@pytest.mark.parametrize("text", ["", "nonsense\nstop nonsense\n", '{"pid": 1}\nstop \n'])
def test_a_lock_that_says_nothing_can_not_be_asked(tmp_path: Path, text: str) -> None:
    directory = unfinished(tmp_path / "clone")
    with contextlib.ExitStack() as lock:
        lock.callback(os.close, descriptor := take_lock(directory / OWN_DIR, directory))
        (directory / OWN_DIR / "lock").write_text(text)
        assert not stop_is_wished(descriptor)
        with pytest.raises(errors.TargetBusy, match="can't be asked to end"):
            package.stop(directory, timeout=0.2)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_stop_by_another_user(tmp_path: Path) -> None:
    """One of the same group, who may look but not touch."""
    directory = unfinished(tmp_path / "clone")
    with passable(tmp_path), contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor := take_lock(directory / OWN_DIR, directory))
        stack.callback(os.seteuid, 0)
        os.seteuid(4711)
        with pytest.raises(errors.TargetBusy, match="belongs to another user"):
            stop_operation.stop(directory, timeout=0.2)
        assert not stop_is_wished(descriptor)


def test_a_program_of_ones_own_goes_on_when_its_clone_is_stopped(innoclone, donor: Server, tmp_path: Path) -> None:
    """The clone's call ends with an error; the same process makes it again."""
    directory = tmp_path / "clone"
    ends: list[BaseException] = []

    def run() -> None:
        try:
            package.clone(dsn(donor), directory, threads=1, max_data_bandwidth=12)
        except errors.CloneError as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: copying(directory), "the first bytes")
    assert result_of(innoclone("stop", "--json", str(directory)))["stopped"] == os.getpid()
    thread.join(60)
    assert [type(error) for error in ends] == [errors.Interrupted]
    package.clone(dsn(donor), directory)


# ---- two on one directory, discard -------------------------------------------------------------------------


def test_a_second_process_is_told_of_the_first(environment, innoclone, donor: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    with Running("clone", SLOW, dsn(donor), str(directory), environment=environment) as running:
        running.wait_for("FILE COPY")
        who = f"process {running.process.pid} (started {time.strftime('%Y-%m-%dT')}"
        assert_failed(innoclone("clone", dsn(donor), str(directory)), errors.TargetBusy, who, "innoclone stop")
        assert_failed(innoclone("discard", str(directory)), errors.TargetBusy, who, "innoclone stop")
        assert running.end()[0] == 0


def test_discard_refuses_a_finished_clone(innoclone, donor: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    clone_server(donor, directory)
    before = sorted(directory.rglob("*"))
    assert_failed(innoclone("discard", str(directory)), errors.TargetExists, "finished")
    assert sorted(directory.rglob("*")) == before


def test_discard_takes_files_outside_with_it(
    environment, innoclone, make_server: ServerFactory, tmp_path: Path
) -> None:
    """And nothing else: what lay beside them stays."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (here / "mine").touch()
    server = make_server(f"--innodb-directories={there}")
    rows(server, "CREATE DATABASE d")
    rows(server, f"CREATE TABLE d.outside (b LONGBLOB) DATA DIRECTORY = '{there}'")
    for _ in range(4):
        rows(server, f"INSERT INTO d.outside VALUES (REPEAT('x', {8 * MIB}))")
    directory = tmp_path / "clone"
    command = ["clone", SLOW, f"--map-path={there}={here}", dsn(server), str(directory)]
    with Running(*command, environment=environment) as running:
        wait_until(lambda: copying(directory) and (here / "d" / "outside.ibd").exists(), "the file outside")
        running.signal(signal.SIGKILL)
        running.end()
    done = innoclone("discard", "--json", str(directory))
    assert result_of(done)["removed"] is True
    assert done.stderr.endswith("completed OK!\n")
    assert not directory.exists()
    assert not (here / "d" / "outside.ibd").exists()
    assert (here / "mine").exists()
    assert [row["state"] for row in package.history() if row["destination"] == str(directory)] == ["Died"]


def test_discard_where_the_directory_must_stay(innoclone, tmp_path: Path) -> None:
    """What a symbolic link leads to is emptied, so that the same command works again."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    unfinished(tmp_path / "link")
    done = innoclone("discard", str(tmp_path / "link"))
    assert (done.returncode, "emptied" in done.stderr) == (0, True)
    assert list((tmp_path / "real").iterdir()) == []
