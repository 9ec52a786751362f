"""Snapshots restored onto data that is there: only what differs is written, nothing of the user's goes unasked, and a
directory that is half one and half the other never starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from innoclone.commands import storeaccess
from innoclone.commands.backup import backup
from innoclone.commands.boot import boot
from innoclone.commands.deltarestore import KEPT, refuse_foreign
from innoclone.commands.options import BootOptions
from innoclone.commands.restore import RestoreResult
from innoclone.commands.storeoptions import BackupOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.errors import (
    BootFailed,
    DiskSpace,
    FileError,
    PathRefused,
    StoreUnavailable,
    TargetBusy,
    TargetExists,
    TargetUnusable,
    UsageError,
)
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sources import fetching
from innoclone.store import persistent
from innoclone.store.address import objects_at
from innoclone.store.persistent import Persistent
from restores import contents, restored
from servers import ServerFactory
from stores import FaultyObjects


@pytest.fixture
def stored(access: StoreAccess, small_clone: Path) -> StoreAccess:
    backup(BackupOptions(small_clone, access))
    return access


def onto(access: StoreAccess, directory: Path, **options: object) -> RestoreResult:
    return restore_from_store(StoreRestoreOptions(access, "latest", directory, delta=True, **options))  # type: ignore[arg-type]


def kept(directory: Path) -> list[Path]:
    return list(directory.parent.glob(f"{directory.name}{KEPT}*"))


def test_a_clone_goes_back(
    stored: StoreAccess, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a private server has recovered; pages, sizes, zeros and lost files become the snapshot's."""
    written: list[int] = []
    real = fetching.write_all

    def counted(descriptor: int, data: memoryview, offset: int) -> None:
        if "redo" not in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115 - which is never compared
            written.append(len(data))
        real(descriptor, data, offset)

    directory = tmp_path / "there"
    restored(small_clone, directory)
    boot(BootOptions(directory))
    assert contents(directory) != contents(small_clone)
    (directory / "theirs" / "t.ibd").rename(directory / "theirs" / "renamed.ibd")
    os.truncate(directory / "mysql.ibd", 1 << 20)
    with (directory / "undo_001").open("r+b") as file:
        file.seek(9 << 20)
        file.write(b"x" * 100_000)  # where the snapshot has zeros, or behind its end
    monkeypatch.setattr(fetching, "write_all", counted)
    result = onto(stored, directory)
    assert contents(directory) == contents(small_clone)
    assert result.methods == ("store", "delta")
    assert 0 < sum(written) < result.size / 3
    assert not kept(directory)
    written.clear()
    onto(stored, directory)
    assert contents(directory) == contents(small_clone)
    assert sum(written) < 1 << 20  # the buffer pool's dump, which is no tablespace
    assert boot(BootOptions(directory)).gtid_executed


def test_a_server_s_data(
    stored: StoreAccess, small_clone: Path, make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """Not while it runs, not unasked; then its own files are beside, and its tables are the snapshot's."""
    server = make_server()
    data = server.datadir
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE mine")
        cursor.execute("CREATE TABLE mine.t (a INT PRIMARY KEY)")
    with pytest.raises(TargetBusy):
        onto(stored, data, discard_changes=True)
    server.stop()
    (data / "notes.txt").write_text("mine")
    (data / "folder").mkdir()
    (data / "folder" / "file").write_text("mine, too")
    (data / "mine" / "stranger").write_text("x")
    before = contents(data)
    with pytest.raises(TargetExists, match="server's data"):
        onto(stored, data)
    with pytest.raises(TargetUnusable, match="stranger"):
        onto(stored, data, discard_changes=True)
    assert contents(data) == before
    assert not (data / "#innoclone").exists()
    (data / "mine" / "stranger").unlink()
    onto(stored, data, discard_changes=True)
    assert contents(data) == contents(small_clone)
    [beside] = kept(data)
    own = {str(path.relative_to(beside)) for path in beside.rglob("*") if path.is_file()}
    assert {"auto.cnf", "notes.txt", "folder/file", "binlog.index", "binlog.000001"} <= own
    assert contents(beside) == {name: before[name] for name in own}
    booted = Server.start(programs, data, options=[], error_log=tmp_path / "log", timeout=120, keyring=None)
    try:
        with booted.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM theirs.t")
            assert cursor.fetchone() == (1000,)
    finally:
        booted.stop()
    with pytest.raises(TargetExists, match="no longer what was cloned"):  # now a server has changed it
        onto(stored, data)


def test_it_goes_on_in_another_process(
    stored: StoreAccess, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever call the store fails: no server starts on it, and the same command makes it whole."""
    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(persistent, "TRIES", 1)
    left: list[int] = [0]

    def fault(what: str, name: str) -> None:
        if what == "read" and name.startswith("data/"):
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailable("503 Slow Down")

    def objects_of(access: StoreAccess, stopped: object = None) -> Persistent:
        return Persistent(FaultyObjects(objects_at(access.address, {}), fault))

    monkeypatch.setattr(storeaccess, "objects_of", objects_of)
    directory = tmp_path / "there"
    restored(small_clone, directory)
    boot(BootOptions(directory))
    for number in range(100):
        left[0] = number
        try:
            onto(stored, directory, threads=1)
            break
        except StoreUnavailable:
            assert (directory / "#clone" / "#status_in_progress").exists()
            with pytest.raises((TargetUnusable, BootFailed)):
                boot(BootOptions(directory))
    assert number > 1
    assert contents(directory) == contents(small_clone)


def test_what_is_refused(
    stored: StoreAccess, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other data, another server's clone, a generation, no room: nothing is changed."""
    with pytest.raises(UsageError):
        StoreRestoreOptions(stored, "latest", tmp_path / "x", discard_changes=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("x")
    with pytest.raises(TargetExists):
        onto(stored, other, discard_changes=True)
    assert [path.name for path in other.iterdir()] == ["file"]
    directory = tmp_path / "there"
    restored(small_clone, directory)
    manifest = directory / "#innoclone" / "manifest.json"
    whole, before = manifest.read_text(), contents(directory)
    for old, new in (('"uuid": "', '"uuid": "f'), ('"series": null', '"series": "nightly"')):
        assert old in whole
        manifest.write_text(whole.replace(old, new))
        with pytest.raises(TargetExists):
            onto(stored, directory)
    manifest.write_text(whole)
    real = os.statvfs(directory)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], 0, *real[5:])))
        for path in (*directory.rglob("*.ibd"), *directory.glob("undo_*"), *directory.glob("#innodb_redo/*")):
            del before[str(path.relative_to(directory))]
            path.unlink()
        with pytest.raises(DiskSpace, match="more are needed"):
            onto(stored, directory)
    assert not (directory / "#clone" / "#status_in_progress").exists()
    assert contents(directory) == before
    shutil.rmtree(directory)
    assert onto(stored, directory).methods == ("store",)  # nothing is there


def test_what_cannot_be_kept_beside(
    stored: StoreAccess, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No right to make a folder there, another file system, another's folder: what was there stays whole, unmarked."""
    directory = tmp_path / "there"
    restored(small_clone, directory)
    (directory / "notes").mkdir()
    (directory / "notes" / "file").write_text("mine")
    before = contents(directory)
    make, rename, may = Path.mkdir, Path.rename, os.access

    def not_made(self: Path, *args: object, **options: object) -> None:
        if KEPT in self.name:
            raise PermissionError(13, "Permission denied")
        make(self, *args, **options)  # type: ignore[arg-type]

    def not_renamed(self: Path, place: Path) -> Path:
        if KEPT in str(place):
            raise OSError(18, "Invalid cross-device link")
        return rename(self, place)

    faults = ((Path, "mkdir", not_made), (Path, "rename", not_renamed))
    for kind, name, fault in (*faults, (os, "access", lambda path, mode: path.name != "notes" and may(path, mode))):
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, fault)
            with pytest.raises((FileError, TargetUnusable)):
                onto(stored, directory, discard_changes=True)
        assert contents(directory) == before
        assert not (directory / "#clone" / "#status_in_progress").exists()
        assert not kept(directory)


def test_what_is_kept_needs_its_room(
    stored: StoreAccess, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A binary log as large as what is missing is no room for it."""
    directory = tmp_path / "there"
    restored(small_clone, directory)
    (directory / "undo_001").unlink()
    (directory / "binlog.000001").write_bytes(b"\xfebin" + os.urandom(20 << 20))
    real = os.statvfs(directory)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], 0, *real[5:])))
    with pytest.raises(DiskSpace, match="more are needed"):
        onto(stored, directory, discard_changes=True)
    assert not (directory / "#clone" / "#status_in_progress").exists()


def test_a_file_outside_that_is_not_ours(tmp_path: Path) -> None:
    """It is told of before anything is changed."""
    directory, outside = tmp_path / "there", tmp_path / "outside" / "t.ibd"
    (directory / "#innoclone").mkdir(parents=True)
    outside.parent.mkdir()
    mapping = (("/donor", str(outside.parent)),)
    refuse_foreign(directory, [directory / "t.ibd", outside], mapping)
    outside.write_text("another's")
    with pytest.raises(PathRefused, match="exists already"):
        refuse_foreign(directory, [outside], mapping)
