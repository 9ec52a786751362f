"""Running servers into stores, with no copy of them here: under load and DDL, and with stores that don't keep up."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from clones import assert_sound
from faults import tmpfs
from innoclone.commands import storeaccess
from innoclone.commands.bootcheck import boot_check
from innoclone.commands.livebackup import backup_live
from innoclone.commands.options import VerifyOptions
from innoclone.commands.storecare import list_store, verify_store
from innoclone.commands.storeoptions import BootCheckOptions, LiveBackupOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.commands.verify import verify
from innoclone.errors import (
    ConfigurationMismatch,
    DiskFull,
    DonorFilesUnreadable,
    Interrupted,
    PathRefused,
    StoreUnavailable,
    UsageError,
)
from innoclone.records.status import CloneStatus, Stage
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.store import persistent, uploads
from innoclone.store.address import objects_at
from innoclone.store.persistent import Persistent
from innoclone.transport.endpoint import SslMode
from servers import ServerFactory, endpoint_of
from stores import FaultyObjects

MIB = 1 << 20


def options_for(server: Server, access: StoreAccess, spool: Path) -> LiveBackupOptions:
    spool.mkdir(exist_ok=True)
    return LiveBackupOptions(endpoint_of(server, ssl_mode=SslMode.DISABLED), access, spool=spool)


@pytest.mark.parametrize(("page_size", "local"), [("16k", False), ("4k", False), ("16k", True)])
def test_under_load_and_ddl(
    page_size: str, local: bool, access: StoreAccess, make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """Increments of a server on which everything changes, sent by it or read of its files; each comes out of the store,
    boots and keeps every invariant."""
    size = [f"--innodb-page-size={page_size}"]
    server = make_server(init=size)
    fill(server.connect, 8 * MIB)
    options = options_for(server, access, tmp_path / "spool")
    options = dataclasses.replace(options, max_data_bandwidth=20, local=local)
    paged = 0
    with Load(server.connect, threads=2) as load, DdlLoop(server.connect) as ddl:
        for _ in range(2 if page_size == "16k" and not local else 1):
            status = CloneStatus()
            backup_live(options, status=status)
            paged += status.stages[Stage.PAGE_COPY].data
    assert (load.errors, ddl.errors) == ([], [])
    assert load.transactions
    assert paged, "no page was copied again: nothing of it was tried"
    assert not list((tmp_path / "spool").iterdir())
    verify_store(access, read_data=True)
    for number, one in enumerate(list_store(access).snapshots):
        assert one.snapshot.fields["booted"] is False
        assert one.snapshot.fields["position"]
        restore_from_store(StoreRestoreOptions(access, one.snapshot.id, tmp_path / f"new-{number}"))
    for directory in sorted(tmp_path.glob("new-?")):
        assert_sound(programs, directory, size)


@pytest.mark.parametrize("local", [False, True])
def test_every_table_and_little_room(donor: Server, access: StoreAccess, tmp_path: Path, local: bool) -> None:
    """The donor's 60 MB take hardly any room here, and are all in the store; a second time nothing of them is sent."""
    options, most = dataclasses.replace(options_for(donor, access, tmp_path / "spool"), local=local), 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            found = [path.lstat().st_blocks * 512 for path in (tmp_path / "spool").rglob("*.ibd") if path.exists()]
            most = max(most, sum(found))

    watching = threading.Thread(target=watch)
    watching.start()
    first = backup_live(options)
    done.set()
    watching.join()
    assert most < first.size / 4
    second = backup_live(options)
    assert second.changed < first.changed  # how much it flushed and purged meanwhile is its affair
    restore_from_store(StoreRestoreOptions(access, "latest", tmp_path / "new"))
    report = verify(VerifyOptions(tmp_path / "new", options.donor))
    assert report.tables
    assert not report.findings()


def test_files_that_are_not_here(small_donor: Server, access: StoreAccess, tmp_path: Path) -> None:
    """Another directory than the server's is not read; nothing is listed, nothing is left."""
    options = options_for(small_donor, access, tmp_path / "spool")
    with pytest.raises(DonorFilesUnreadable) as caught:
        backup_live(dataclasses.replace(options, local=True, datadir=tmp_path))
    assert "leave --local out" in (caught.value.advice or "")
    for wrong in ({"datadir": tmp_path}, {"local": True, "keyring": tmp_path / "keyring"}):
        with pytest.raises(UsageError, match="--local"):
            dataclasses.replace(options, **wrong)
    assert not list_store(access).snapshots
    assert not list((tmp_path / "spool").iterdir())


def test_a_donor_without_patience(make_server: ServerFactory, access: StoreAccess, tmp_path: Path) -> None:
    """It would give the clone up while its master connection is replaced: told before anything is read."""
    server = make_server("--loose-clone-donor-timeout-after-network-failure=0")
    options = dataclasses.replace(options_for(server, access, tmp_path / "spool"), local=True)
    with pytest.raises(ConfigurationMismatch) as caught:
        backup_live(options)
    assert "leave --local out" in (caught.value.advice or "")
    assert not list((tmp_path / "spool").iterdir())
    backup_live(dataclasses.replace(options, local=False))
    assert len(list_store(access).snapshots) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_spool(small_donor: Server, access: StoreAccess, tmp_path: Path) -> None:
    """It says which place is full, and leaves nothing there or in the list."""
    options = options_for(small_donor, access, tmp_path / "spool")
    with tmpfs(tmp_path / "spool", "4m"):
        with pytest.raises(DiskFull) as caught:
            backup_live(options)
        assert "--spool" in (caught.value.advice or "")
        assert not list((tmp_path / "spool").iterdir())
    assert not list_store(access).snapshots


def test_tablespaces_elsewhere(access: StoreAccess, make_server: ServerFactory, tmp_path: Path) -> None:
    """They are in the snapshot under the donor's names, large and small, and go where a restore maps them."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = make_server(f"--innodb-directories={elsewhere}")
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE away")
        for name, rows in (("large", 400), ("small", 3)):
            cursor.execute(f"CREATE TABLE away.{name} (a INT PRIMARY KEY, b BLOB) DATA DIRECTORY = '{elsewhere}'")
            values = [(number,) for number in range(rows)]
            cursor.executemany(f"INSERT INTO away.{name} VALUES (%s, REPEAT('x', 8000))", values)
    options = options_for(server, access, tmp_path / "spool")
    first = backup_live(options)
    assert backup_live(dataclasses.replace(options, local=True)).changed < first.changed / 2
    assert not list((tmp_path / "spool").iterdir())
    with pytest.raises(PathRefused):
        restore_from_store(StoreRestoreOptions(access, "latest", tmp_path / "none"))
    mapping = ((str(elsewhere), str(tmp_path / "there")),)
    restore_from_store(StoreRestoreOptions(access, "latest", tmp_path / "new", map_paths=mapping))
    assert len(list((tmp_path / "there").rglob("*.ibd"))) == 2
    report = verify(VerifyOptions(tmp_path / "new", options.donor))
    assert {str(table.name) for table in report.tables} >= {"away.large", "away.small"}
    assert not report.findings()
    boot_check(BootCheckOptions(access, "latest", scratch=tmp_path / "spool"))


@pytest.mark.parametrize("when", ["data/", "meta/", "snapshots/"])
def test_a_store_that_fails_or_stands_still(
    when: str, small_donor: Server, access: StoreAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup ends with an error in time; nothing is listed, nothing is left here."""
    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)

    def fault(what: str, name: str) -> None:
        if what == "create" and name.startswith(when):
            raise StoreUnavailable("503 Slow Down")

    _play(monkeypatch, fault)
    with pytest.raises(StoreUnavailable):
        backup_live(options_for(small_donor, access, tmp_path / "spool"))
    monkeypatch.undo()
    assert not list_store(access).snapshots
    assert not list((tmp_path / "spool").iterdir())


def test_a_store_that_takes_nothing_any_more(
    donor: Server, access: StoreAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "SILENCE", 1.0)
    monkeypatch.setattr(uploads, "PIECE", 1 << 16)
    monkeypatch.setattr("innoclone.sinks.streaming.PIECE", 1 << 16)
    go_on = threading.Event()

    def fault(what: str, name: str) -> None:
        if what == "create" and name.startswith("data/"):
            go_on.wait(20)
            raise StoreUnavailable("too late")

    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)
    _play(monkeypatch, fault)
    timer = threading.Timer(3, go_on.set)
    timer.start()
    with pytest.raises(StoreUnavailable, match=r"more slowly than a donor waits|too late"):
        backup_live(options_for(donor, access, tmp_path / "spool"))
    timer.cancel()
    assert not list((tmp_path / "spool").iterdir())


def test_stopped(donor: Server, access: StoreAccess, tmp_path: Path) -> None:
    stopped = threading.Event()
    options = dataclasses.replace(options_for(donor, access, tmp_path / "spool"), max_data_bandwidth=10)
    timer = threading.Timer(1, stopped.set)
    timer.start()
    with pytest.raises(Interrupted):
        backup_live(options, stopped=stopped)
    assert not list_store(access).snapshots
    assert not list((tmp_path / "spool").iterdir())


def _play(monkeypatch: pytest.MonkeyPatch, fault: object) -> None:
    def objects_of(access: StoreAccess, stopped: object = None) -> Persistent:
        return Persistent(FaultyObjects(objects_at(access.address, {}), fault))  # type: ignore[arg-type]

    monkeypatch.setattr(storeaccess, "objects_of", objects_of)
