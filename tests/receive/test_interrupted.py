"""Clones that are stopped or killed, on either side and in every stage: what is left never boots, and one can go on."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from clones import booted, check_tables, clone_server, rows
from commandline import environment, innoclone
from faults import Running, assert_failed, assert_unbootable, dsn, kill_connections, wait_until
from innoclone import errors
from innoclone.sandbox.invariants import check_invariants
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, cache_directory
from keyring import restarted
from servers import ServerFactory

__all__ = ["environment", "innoclone"]

MIB = 1 << 20
RATE = 32  # MiB/s of a clone that is to last a few seconds


@pytest.fixture(scope="module")
def busy(make_module_server: ServerFactory) -> Server:
    """A donor with a table of 20 MiB that can be changed as a whole."""
    server = make_module_server()
    rows(server, "CREATE DATABASE big")
    rows(server, "CREATE TABLE big.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT, b VARBINARY(4000))")
    rows(server, "INSERT INTO big.t (v, b) VALUES (0, RANDOM_BYTES(1000))")
    for _ in range(12):
        rows(server, "INSERT INTO big.t (v, b) SELECT 0, b FROM big.t LIMIT 4000")
    for _ in range(2):
        rows(server, "INSERT INTO big.t (v, b) SELECT 0, REPEAT('x', 3500) FROM big.t LIMIT 3000")
    return server


def run_until(running: Running, stage: str, donor: Server) -> None:
    """Let a clone come to a stage; pages of the whole table change in FILE COPY, so that PAGE COPY lasts."""
    running.wait_for("FILE COPY", data=MIB)
    if stage == "PAGE COPY":
        rows(donor, "UPDATE big.t SET v = v + 1")
    if stage != "FILE COPY":
        running.wait_for(stage)


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("FILE COPY", signal.SIGINT),
        ("PAGE COPY", signal.SIGINT),
        ("FILE SYNC", signal.SIGINT),
        ("FILE COPY", signal.SIGTERM),
        ("FILE COPY", signal.SIGKILL),
        ("PAGE COPY", signal.SIGKILL),
        ("FILE SYNC", signal.SIGKILL),
    ],
)
def test_stopped_in_a_stage(
    environment, busy: Server, programs: Programs, tmp_path: Path, stage: str, number: signal.Signals
) -> None:
    """It ends at once and leaves what no server boots; the same command goes on, and the donor is free."""
    directory = tmp_path / "clone"
    rate = 0 if stage == "FILE SYNC" else RATE
    command = ["clone", f"--max-data-bandwidth={rate}", dsn(busy), str(directory)]
    with Running(*command, environment=environment, slow_disk=stage == "FILE SYNC") as running:
        run_until(running, stage, busy)
        running.signal(number)
        status, err = running.end()
    if number == signal.SIGKILL:
        assert status == -9
    else:
        assert_failed((status - number + signal.SIGINT, err), errors.Interrupted, "the same command goes on with it")
    assert_unbootable(programs, directory)
    result = clone_server(busy, directory)
    there = "REDO_COPY" if stage == "FILE SYNC" else stage.replace(" ", "_")
    assert any(re.match(f"going on with the clone that began at .*, in ({there}|DONE);", note) for note in result.notes)
    clone_server(busy, tmp_path / "next")  # the donor's session of the first process holds it back for some seconds
    with booted(programs, directory) as clone:
        assert rows(clone, "SELECT COUNT(*), COUNT(DISTINCT v) FROM big.t")[0][1] == 1
        assert check_tables(clone) == []


def test_stopped_in_preflight(environment, tmp_path: Path) -> None:
    """While the donor does not answer; nothing was made yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"mysql://u:p@127.0.0.1:{listener.getsockname()[1]}"
        args = ["clone", "--connect-timeout=600", target, str(tmp_path / "clone")]
        with Running(*args, environment=environment) as running, listener.accept()[0]:
            running.signal(signal.SIGINT)
            assert_failed(running.end(), errors.Interrupted, "run the same command again")
    assert not (tmp_path / "clone").exists()


def test_stopped_in_the_boot(environment, innoclone, busy: Server, tmp_path: Path) -> None:
    """The clone itself is complete by then, and the message says what is left to do."""
    directory = tmp_path / "clone"
    environment = {**environment, "XDG_CACHE_HOME": str(cache_directory().parent)}
    with Running("clone", "--boot", dsn(busy), str(directory), environment=environment) as running:
        running.wait_for("RESTART")
        running.signal(signal.SIGINT)
        assert_failed(running.end(), errors.Interrupted, f"innoclone boot {directory}")
    assert (directory / "#innoclone" / "manifest.json").exists()
    done = innoclone("boot", str(directory), XDG_CACHE_HOME=environment["XDG_CACHE_HOME"])
    assert done.returncode == 0, done.stderr


def test_a_second_process_on_one_directory(environment, innoclone, busy: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    command = ["clone", f"--max-data-bandwidth={RATE}", dsn(busy), str(directory)]
    with Running(*command, environment=environment) as running:
        running.wait_for("FILE COPY")
        done = innoclone("clone", dsn(busy), str(directory))
        assert_failed(done, errors.TargetBusy, f"process {running.process.pid} ")
        assert running.end()[0] == 0


# ---- the donor goes ----------------------------------------------------------------------------------------


@pytest.fixture
def victim(make_server: ServerFactory) -> Server:
    """A donor for one test."""
    return make_server()


def sender(number: signal.Signals) -> Callable[[Server], None]:
    """A function that sends a signal to a server."""
    return lambda server: os.kill(server.pid, number)


FAULTS: dict[str, tuple[Callable[[Server], object], tuple[type[errors.CloneError], ...]]] = {
    "kill -9": (Server.kill, (errors.NetworkError,)),
    "shutdown": (sender(signal.SIGTERM), (errors.NetworkError, errors.DonorError)),
    "KILL": (kill_connections, (errors.NetworkError, errors.DonorError)),
    "hangs": (sender(signal.SIGSTOP), (errors.NetworkError,)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_donor_goes(environment, victim: Server, programs: Programs, tmp_path: Path, fault: str) -> None:
    """Without retries a network error that names it; what was made stays, and the same command makes a clone of it."""
    directory = tmp_path / "clone"
    do, kinds = FAULTS[fault]
    command = ["clone", "--max-data-bandwidth=8", "--stall-timeout=3", "--retry-for=0", dsn(victim), str(directory)]
    with Running(*command, environment=environment) as running:
        running.wait_for("FILE COPY", data=MIB)
        do(victim)
        status, err = running.end()
    assert (status, re.findall(r"ERROR (\d+) ", err)) in [(kind.exit_status, [str(kind.number)]) for kind in kinds], err
    if status == errors.NetworkError.exit_status:
        assert_unbootable(programs, directory)
    else:
        assert not directory.exists(), "the donor itself has ended the clone"
    if fault in ("hangs", "KILL"):
        sender(signal.SIGCONT)(victim)
        notes = clone_server(victim, directory).notes
    else:
        wait_until(lambda: not victim.running(), "the donor's end")
        with restarted(programs, victim) as again:
            notes = clone_server(again, directory).notes
    said = [note for note in notes if "going on" in note or "can't be continued" in note]
    if fault == "hangs":
        assert "going on" in said[0], said
    elif fault == "kill -9":
        # A second after its first start the second one can't be told from it, but has no snapshot.
        assert re.search("(was restarted|keep its snapshot any more); a new one begins, in full", said[-1]), said
    with booted(programs, directory) as clone:
        assert check_tables(clone) == []


def test_the_plugin_is_uninstalled_meanwhile(environment, victim: Server, tmp_path: Path) -> None:
    """MySQL refuses that, and the clone goes on."""
    with Running("clone", "--max-data-bandwidth=16", dsn(victim), str(tmp_path / "c"), environment=environment) as run:
        run.wait_for("FILE COPY", data=MIB)
        with pytest.raises(pymysql.err.OperationalError, match="still in use"):
            rows(victim, "UNINSTALL PLUGIN clone")
        status, err = run.end()
    assert status == 0, err


def test_kill_under_load(environment, programs: Programs, victim: Server, tmp_path: Path) -> None:
    """Killed again and again while the donor is written to, then let through."""
    directory = tmp_path / "clone"
    with Load(victim.connect) as load:
        for _ in range(3):
            with Running(
                "clone", "--max-data-bandwidth=16", dsn(victim), str(directory), environment=environment
            ) as run:
                run.wait_for("FILE COPY", data=MIB)
                run.signal(signal.SIGKILL)
        clone_server(victim, directory)
    assert load.errors == []
    with booted(programs, directory) as clone, clone.connect() as connection:
        assert check_invariants(connection) == []
