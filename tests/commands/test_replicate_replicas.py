"""innoclone replicate on clones of servers that are replicas themselves: nothing of the donor's channels has an effect.

One source, a second one and one donor serve all cases; the donor's channels are set up anew for each.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from clones import clone_server, rows
from innoclone import errors
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, ReplicateOptions
from innoclone.commands.replicate import ReplicateResult, find_donor, replicate
from innoclone.records.manifest import read_manifest, update_manifest
from innoclone.records.status import CloneStatus
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.replication import reset_channels
from innoclone.transport.endpoint import Endpoint
from servers import PASSWORD, ServerFactory, endpoint_of

CHANNELS = "SELECT CHANNEL_NAME, PORT FROM performance_schema.replication_connection_configuration ORDER BY 1"
RUNNING = "SELECT CHANNEL_NAME FROM performance_schema.replication_connection_status WHERE SERVICE_STATE <> 'OFF'"
DELAYS = "SELECT CHANNEL_NAME, DESIRED_DELAY FROM performance_schema.replication_applier_configuration"
FAILOVER = "SELECT COUNT(*) FROM mysql.replication_asynchronous_connection_failover"
GTIDS = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
NO_GTIDS = ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")
SKIP = "--skip-replica-start"


@dataclass
class Site:
    """The servers of this module."""

    source: Server
    second: Server
    donor: Server


@pytest.fixture(scope="module")
def site(make_module_server: ServerFactory) -> Site:
    made = Site(make_module_server(), make_module_server(), make_module_server("--replica-parallel-workers=2"))
    for server, schema in ((made.source, "one"), (made.second, "two"), (made.donor, "own")):
        rows(server, f"CREATE SCHEMA {schema}")
        rows(server, f"CREATE TABLE {schema}.t (id INT AUTO_INCREMENT PRIMARY KEY)")
    return made


def follow(replica: Server, source: Server, channel: str = "", more: str = "SOURCE_AUTO_POSITION=1") -> None:
    """Make ``replica`` one of ``source``, and start it."""
    rows(
        replica,
        f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={source.port}, SOURCE_USER='clone',"
        f" SOURCE_PASSWORD='{PASSWORD}', SOURCE_SSL=1, {more} FOR CHANNEL '{channel}'",
    )
    rows(replica, f"START REPLICA FOR CHANNEL '{channel}'")


def add(server: Server, table: str) -> None:
    rows(server, f"INSERT INTO {table} VALUES ()")


def reached(replica: Server, source: Server) -> bool:
    gtids = rows(source, "SELECT @@GLOBAL.gtid_executed")[0][0]
    return rows(replica, f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', 60)") == [(0,)]


@contextmanager
def running(programs: Programs, directory: Path, *options: str) -> Iterator[Server]:
    """A server on a clone that is thrown away."""
    server = Server.start(
        programs, directory, port=0, options=["--server-id=4711", *options], error_log=directory.with_suffix(".err")
    )
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def kept(directory: Path) -> Iterator[SimpleNamespace]:
    """A server that ``boot`` keeps, thrown away as well."""
    result = boot(BootOptions(directory, keep=True))
    assert result.socket is not None
    socket = str(result.socket)
    try:
        connect = functools.partial(pymysql.connect, unix_socket=socket, user="root", autocommit=True)
        yield SimpleNamespace(socket=result.socket, connect=connect)
    finally:
        os.kill(result.pid, signal.SIGKILL)
        shutil.rmtree(result.socket.parent)


def at(server: Server) -> Endpoint:
    return Endpoint(socket=server.socket)


def run(replica: Server, source: Server, **options: Any) -> ReplicateResult:
    return replicate(ReplicateOptions(at(replica), endpoint_of(source), run=True, **options))


@dataclass
class Case:
    """A donor's channels (name, which source, more settings), and how the clone's server is started."""

    channels: Sequence[tuple[str, str, str]]
    booted: bool = False
    kept: bool = False  # the server is one that innoclone starts
    options: Sequence[str] = ()
    after: Sequence[str] = field(default_factory=list)  # more to execute on the donor


AUTO = "SOURCE_AUTO_POSITION=1"
CASES = {
    "a source": Case([]),
    "a replica": Case([("", "source", AUTO)], booted=True),
    "a named channel": Case([("only", "source", AUTO)], options=["--relay-log=other", "--report-host=elsewhere"]),
    "delayed": Case([("", "source", f"{AUTO}, SOURCE_DELAY=600, REQUIRE_ROW_FORMAT=1")], booted=True,
                    options=["--relay-log-recovery=ON"]),
    "several sources": Case(
        [
            ("", "source", f"{AUTO}, SOURCE_CONNECTION_AUTO_FAILOVER=1"),
            ("more", "second", f"{AUTO}, REQUIRE_ROW_FORMAT=1, GTID_ONLY=1"),
        ],
        after=[
            # Stopped: while it runs, it tries for minutes to reach what is on the list.
            "STOP REPLICA FOR CHANNEL ''",
            "SELECT asynchronous_connection_failover_add_source('', '127.0.0.1', 1, '', 50)",
            "CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = (one.x) FOR CHANNEL ''",
        ],
        kept=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_inherited_has_no_effect(site: Site, programs: Programs, tmp_path: Path, name: str) -> None:
    case, donor = CASES[name], site.donor
    no_channels(donor)
    for channel, source, more in case.channels:
        follow(donor, getattr(site, source), channel, more)
    for statement in case.after:
        rows(donor, statement)
    inherited = rows(donor, CHANNELS)
    assert [row[0] for row in inherited] == [channel for channel, *_ in case.channels]
    clone = tmp_path / "clone"
    status = CloneStatus()
    clone_server(donor, clone, status=status)
    assert any("the donor is a replica itself" in note for note in status.notes) == bool(case.channels)
    if case.booted:
        boot(BootOptions(clone))
        noted = read_manifest(clone)["channels"]
        assert [(each["name"], each["port"]) for each in noted] == inherited
        assert not list(clone.glob("*relay*"))
    with kept(clone) if case.kept else running(programs, clone, SKIP, *GTIDS, *case.options) as replica:
        assert rows(replica, CHANNELS) == inherited
        assert rows(replica, RUNNING) == []
        printed = replicate(ReplicateOptions(at(replica), endpoint_of(donor))).statements
        assert printed[:3] == ["STOP REPLICA", "RESET REPLICA ALL", "SELECT asynchronous_connection_failover_reset()"]
        assert rows(replica, CHANNELS) == inherited
        add(donor, "own.t")
        result = run(replica, donor)
        assert (result.caught_up, result.statements) == (True, printed)
        assert rows(replica, CHANNELS) == [("", donor.port)]
        assert rows(replica, DELAYS) == [("", 0)]
        assert rows(replica, FAILOVER) == [(0,)]
        add(site.source, "one.t")
        add(donor, "own.t")
        assert reached(replica, donor)
        assert rows(replica, "SELECT COUNT(*) FROM own.t") == rows(donor, "SELECT COUNT(*) FROM own.t")
        if name == "a replica":
            notes = replicate(ReplicateOptions(clone, endpoint_of(donor))).notes
            assert any("a server has run on the clone" in note for note in notes)
            refuse_its_own_channel(replica, site)


def no_channels(server: Server) -> None:
    for statement in reset_channels(90704):
        rows(server, statement)


def refuse_its_own_channel(replica: Server, site: Site) -> None:
    """A replica that works is not reset without a word, whether it runs or not; with one it is."""
    rows(site.source, "GRANT SELECT ON own.* TO clone@localhost")  # a transaction of another server
    assert reached(site.donor, site.source)
    assert reached(replica, site.donor)
    before = rows(replica, CHANNELS)
    with pytest.raises(errors.UsageError, match="a thread of the default channel runs"):
        run(replica, site.source)
    rows(replica, "STOP REPLICA")
    with pytest.raises(errors.UsageError, match="has applied transactions since it was cloned") as caught:
        run(replica, site.source)
    assert "--reset-channels" in caught.value.advice
    assert rows(replica, CHANNELS) == before
    result = run(replica, site.source, reset_channels=True)
    assert result.caught_up
    assert any("has transactions that" in note for note in result.notes)  # those of the donor's own
    assert rows(replica, CHANNELS) == [("", site.source.port)]


def test_channels_that_may_be_its_own(site: Site, programs: Programs, tmp_path: Path) -> None:
    """Not started yet, or started by itself on what it inherited: both are told, and left alone."""
    no_channels(site.donor)
    follow(site.donor, site.source)
    assert reached(site.donor, site.source)
    clone = tmp_path / "clone"
    clone_server(site.donor, clone)
    with running(programs, clone, *GTIDS, "--relay-log-recovery=ON", "--bind-address=*") as replica:
        # For a server that we know by another address than this host's, 127.0.0.1 is itself.
        with pytest.raises(errors.UsageError, match="but the replica itself to a server on another host"):
            replicate(ReplicateOptions(endpoint_of(replica, host="127.0.0.2"), endpoint_of(site.donor)))
        with pytest.raises(errors.UsageError, match="a thread of the default channel runs"):
            run(replica, site.donor)
        rows(replica, "STOP REPLICA")
        rows(replica, "RESET REPLICA ALL")
        rows(replica, "CHANGE REPLICATION SOURCE TO SOURCE_HOST='typed.example', SOURCE_USER='x', SOURCE_SSL=1")
        with pytest.raises(errors.UsageError, match=r"from typed\.example:3306 has never been started"):
            run(replica, site.donor)
        assert rows(replica, "SELECT Host FROM mysql.slave_master_info") == [("typed.example",)]
        with pytest.raises(errors.UsageError, match="is the clone itself"):
            replicate(ReplicateOptions(at(replica), endpoint_of(replica)))
        # No clone at all: nothing is assumed of its channels.
        rows(site.donor, "STOP REPLICA")
        with pytest.raises(errors.UsageError, match="nothing proves that the server is a clone"):
            replicate(ReplicateOptions(at(site.donor), endpoint_of(site.second)))
    rows(site.donor, "RESET REPLICA ALL")


def test_donor_that_does_not_log_what_it_gets(
    site: Site, make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """Its binary log lacks its source's changes; its source itself will do."""
    donor = make_server("--log-replica-updates=OFF", "--server-id=77")
    follow(donor, site.source)
    assert reached(donor, site.source)
    clone = tmp_path / "clone"
    clone_server(donor, clone)
    boot(BootOptions(clone))
    with pytest.raises(errors.ConfigurationMismatch, match="and has log_replica_updates=OFF") as caught:
        replicate(ReplicateOptions(clone, endpoint_of(donor)))
    assert f"--source mysql://user@127.0.0.1:{site.source.port}" in caught.value.advice
    # A replica's account sees no channels of the source; the clone knows them.
    rows(donor, "CREATE USER repl IDENTIFIED BY 'r'")
    rows(donor, "GRANT REPLICATION SLAVE ON *.* TO repl")
    with pytest.raises(errors.ConfigurationMismatch, match="and has log_replica_updates=OFF"):
        replicate(ReplicateOptions(clone, endpoint_of(donor, user="repl", password="r")))
    with running(programs, clone, SKIP, *GTIDS) as replica:
        add(site.source, "one.t")
        assert run(replica, site.source).caught_up
        assert rows(replica, "SELECT COUNT(*) FROM one.t") == rows(site.source, "SELECT COUNT(*) FROM one.t")


def test_by_position(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """Of a replica that is cloned under load, without GTIDs: from the donor at its own position, and from the donor's
    source at the position where the donor stood there. Both clones end equal to the source."""
    source = make_server(*NO_GTIDS)
    donor = make_server(*NO_GTIDS, "--replica-parallel-workers=4", "--server-id=78")
    file, offset, *_ = rows(source, "SHOW BINARY LOG STATUS")[0]
    follow(donor, source, more=f"SOURCE_LOG_FILE='{file}', SOURCE_LOG_POS={offset}")
    clones = [tmp_path / "one", tmp_path / "two"]
    with Load(source.connect) as load:
        assert at_position(donor, source)
        rows(donor, "STOP REPLICA")  # else the tables may not know the source's UUID yet
        rows(donor, "START REPLICA")
        assert at_position(donor, source)
        clone_server(donor, clones[0])
        load.stop()
    assert load.errors == []
    boot(BootOptions(clones[0]))
    shutil.copytree(clones[0], clones[1])
    noted = read_manifest(clones[1])["channels"][0]
    positions = {}
    for clone, server in zip(clones, (donor, source), strict=True):
        with running(programs, clone, SKIP, *NO_GTIDS) as replica:
            result = run(replica, server)
            assert result.caught_up
            positions[server] = re.findall(r"SOURCE_LOG_FILE='(.*)', SOURCE_LOG_POS=(\d+)", result.statements[-2])
            assert rows(replica, CHANNELS) == [("", server.port)]
            assert at_position(donor, source)
            assert at_position(replica, server)
            assert sums(replica) == sums(source)
            # What it has applied since makes the clone's position wrong, channels or not.
            rows(replica, "STOP REPLICA")
            rows(replica, "RESET REPLICA ALL")
            with pytest.raises(errors.ConfigurationMismatch, match="position does not hold any more: the server has"):
                run(replica, server, reset_channels=True)
    assert positions[source] == [(noted["binlog_file"], str(noted["binlog_position"]))]
    known = read_manifest(clones[0])["position"]
    assert positions[donor] == [(known["binlog_file"], str(known["binlog_position"]))]


def at_position(replica: Server, source: Server) -> bool:
    file, offset, *_ = rows(source, "SHOW BINARY LOG STATUS")[0]
    return rows(replica, f"SELECT SOURCE_POS_WAIT('{file}', {offset}, 60) >= 0") == [(1,)]


def sums(server: Server) -> list[tuple[object, ...]]:
    names = rows(
        server,
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND"
        " ENGINE = 'InnoDB' AND TABLE_SCHEMA NOT IN ('mysql', 'sys') ORDER BY 1, 2",
    )
    assert names
    return [row for schema, name in names for row in rows(server, f"CHECKSUM TABLE `{schema}`.`{name}`")]


def test_the_manifests_donor(site: Site, small_donor: Server, tmp_path: Path) -> None:
    """Who a clone came from is known; where another server has its address now, that is found."""
    clone = tmp_path / "clone"
    clone_server(small_donor, clone)
    donor = find_donor(clone)
    assert (donor.host, donor.port, donor.user) == ("127.0.0.1", small_donor.port, "clone")
    boot(BootOptions(clone))
    options = ReplicateOptions(clone, endpoint_of(small_donor), source_is_donor=True)
    assert replicate(options).statements
    with pytest.raises(errors.ConfigurationMismatch, match="has none of the clone's transactions"):
        replicate(ReplicateOptions(clone, endpoint_of(site.source)))
    with pytest.raises(errors.AccessDenied, match=r"clone@127\.0\.0\.1:") as denied:
        replicate(ReplicateOptions(clone, endpoint_of(small_donor, password="wrong")))
    assert denied.value.advice.startswith("the account for the source is named by")
    update_manifest(clone, donor=read_manifest(clone)["donor"] | {"uuid": "of another server"})
    with pytest.raises(errors.ConfigurationMismatch, match="is not the clone's donor, although the manifest has"):
        replicate(options)
    with pytest.raises(errors.UsageError, match="no source is named, and the donor is not known") as caught:
        find_donor(tmp_path)
    assert "--source" in caught.value.advice
