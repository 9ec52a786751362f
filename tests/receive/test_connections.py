"""How many connections, over what, and how much memory they take."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from clones import booted, check_tables, clone_server, rows
from commandline import environment, innoclone
from faults import LONG, Running, dsn
from innoclone.commands.clone import clone
from innoclone.commands.local import local
from innoclone.commands.options import CloneOptions, LocalOptions, VerifyOptions
from innoclone.commands.verify import verify
from innoclone.errors import ConnectionLimit
from innoclone.receive.autotune import Autotune
from innoclone.records.status import CloneStatus, Decision
from innoclone.server.mysqld import Server
from innoclone.server.preflight import check
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Compression
from innoclone.verification.compare import Outcome
from servers import ServerFactory, endpoint_of

__all__ = ["environment", "innoclone"]

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Server:
    """A donor that listens on IPv6 too and has few connections to give."""
    return make_module_server("--bind-address=127.0.0.1,::1", "--max-connections=50")


def test_ipv6(innoclone, server: Server, tmp_path: Path) -> None:
    done = innoclone("clone", dsn(server, host="[::1]"), str(tmp_path / "clone"))
    assert done.returncode == 0, done.stderr
    assert f"cloning clone@[::1]:{server.port}" in done.stderr


def test_unix_socket(innoclone, server: Server, tmp_path: Path) -> None:
    """A secure way by itself: the password is sent without TLS there, and nothing is encrypted."""
    rows(server, "FLUSH PRIVILEGES")  # forgets who has logged in: the full exchange is needed
    done = innoclone("clone", f"--socket={server.socket}", "-uclone", "-pa password", str(tmp_path / "clone"))
    assert done.returncode == 0, done.stderr
    assert "no TLS" in done.stderr


def test_more_connections_than_the_donor_has(server: Server, programs: Programs, tmp_path: Path) -> None:
    """It goes on with those that it got, says so, and the clone is whole."""
    result = clone_server(server, tmp_path / "clone", threads=128)
    assert 1 <= result.connections < 50
    assert len([note for note in result.notes if "Too many connections" in note]) == 1
    # Nor is a worker left behind there that was being let in when all was done: other clones would be refused for it.
    assert rows(server, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'clone'") == []
    with booted(programs, tmp_path / "clone") as copy:
        assert check_tables(copy) == []


def test_an_account_with_few_connections(server: Server, tmp_path: Path) -> None:
    """What it may have is used, and that is said once; a table without its tablespace is the same on both sides."""
    may = "SELECT, RELOAD, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT, TRIGGER, EVENT, BACKUP_ADMIN"
    rows(server, "CREATE USER few IDENTIFIED BY 'a few' WITH MAX_USER_CONNECTIONS 2")
    rows(server, f"GRANT {may} ON *.* TO few")
    rows(server, "CREATE DATABASE bits")
    for name in ("whole", "discarded"):
        rows(server, f"CREATE TABLE bits.{name} (id INT PRIMARY KEY)")
        rows(server, f"INSERT INTO bits.{name} VALUES (1)")
    rows(server, "ALTER TABLE bits.discarded DISCARD TABLESPACE")
    few = endpoint_of(server, user="few", password="a few")
    directory = tmp_path / "clone"
    result = clone(CloneOptions(few, directory))
    assert result.connections == 1
    assert len([note for note in result.notes if "connection" in note]) == 1
    status = CloneStatus()
    report = verify(VerifyOptions(directory, few), status=status)
    assert report.gaps() == [
        "bits.discarded: not compared (neither can be read: 1814: Tablespace is discarded for table, 'discarded')"
    ]
    assert {table.name: table.outcome for table in report.tables}["bits.whole"] is Outcome.EQUAL
    assert len([note for note in status.notes if "1226" in note]) == 1
    rows(server, "INSERT INTO bits.whole VALUES (2)")
    report = verify(VerifyOptions(directory, few))
    assert any("bits.whole" in gap and "has moved on" in gap for gap in report.gaps())
    with pytest.raises(ConnectionLimit, match="takes 3 connections") as caught:
        local(LocalOptions(few, tmp_path / "copy"))
    assert caught.value.code == 1226
    rows(server, "ALTER USER few WITH MAX_USER_CONNECTIONS 1")
    with pytest.raises(ConnectionLimit) as caught:
        check(few, None)
    assert (caught.value.code, caught.value.exit_status) == (1226, 3)
    assert "MAX_USER_CONNECTIONS" in caught.value.advice
    rows(server, "ALTER USER few WITH MAX_USER_CONNECTIONS 0 MAX_QUERIES_PER_HOUR 3")
    with pytest.raises(ConnectionLimit) as caught:
        check(few, None)
    assert "MAX_QUERIES_PER_HOUR" in caught.value.advice


@pytest.mark.parametrize("threads", [64, 128])
def test_connections_that_come_when_a_stage_ends(
    make_server: ServerFactory, programs: Programs, tmp_path: Path, threads: int
) -> None:
    """A donor lets a connection wait with its answer from the end of a stage to its acknowledgement."""
    server = make_server()
    for round_ in range(3):
        result = clone_server(server, tmp_path / f"clone-{round_}", threads=threads, stall_timeout=LONG)
        assert result.connections > 1
    with booted(programs, tmp_path / "clone-0") as copy:
        assert check_tables(copy) == []


@pytest.mark.parametrize("compression", [Compression(), Compression("zstd")])
def test_connections_held_back_and_active_again(
    donor: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Compression
) -> None:
    """Up and down at random, in the middle of chunks and to the very end: every byte arrives."""
    chance = random.Random(4)
    asked: list[int] = []

    def sample(tuner: Autotune, now: float, done: int, left: int, active: int) -> Decision:
        assert active <= tuner.wanted <= tuner.most == 12
        tuner.wanted = chance.randint(1, 12)
        asked.append(tuner.wanted)
        return Decision(tuner.wanted, 0.0, "at random")

    monkeypatch.setattr(Autotune, "sample", sample)
    monkeypatch.setattr("innoclone.receive.active.HALF_CHUNK", 0)  # until there is really no chunk left
    for round_ in range(6):  # where one connection is soon through, nothing more is decided
        status, target = CloneStatus(), tmp_path / f"clone-{round_}"
        asked.clear()
        result = clone_server(
            donor, target, status=status, max_concurrency=12, max_data_bandwidth=40, compression=compression
        )
        if len(set(asked)) > 3:
            break
    assert len(set(asked)) > 3
    assert [decision.connections for decision in status.decisions] == asked
    assert 8 <= result.connections <= 12, "those that come last may come too late"
    with booted(programs, target) as copy:
        assert check_tables(copy) == []


def test_connections_are_chosen_and_told(innoclone, donor: Server, tmp_path: Path) -> None:
    """By default; in what a program reads, in the log, and with --verbose."""
    log = tmp_path / "log"
    limits = ("--max-concurrency=2", "--max-data-bandwidth=20")  # so that there is time to try
    done = innoclone("clone", dsn(donor), *limits, "--json", f"--log-file={log}", str(tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = [event for event in events if event["event"] == "connections"]
    assert told
    assert all(1 <= event["connections"] <= 2 for event in told)
    assert told[0]["text"] in log.read_text()
    done = innoclone("clone", dsn(donor), *limits, "--verbose", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"2 connections: .* MiB/s, trying 1\n", done.stderr)


def test_memory_is_bounded(environment, donor: Server, tmp_path: Path) -> None:
    """Many compressed connections are what takes most."""
    args = ["clone", "--threads=32", "--compress=zstd", dsn(donor), str(tmp_path / "clone")]
    peak = 0
    with Running(*args, environment=environment) as running:
        running.wait_for("FILE COPY")
        while running.process.poll() is None:
            try:
                status = Path(f"/proc/{running.process.pid}/status").read_text()
            except OSError:
                break
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak = max(peak, int(found[1]) * 1024 if found else 0)
        assert running.end()[0] == 0
    assert 20 * MIB < peak < 150 * MIB
