"""Snapshots that are tried out by a boot, and what is noted of it; snapshots verified and compared in place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from innoclone.commands import storescratch
from innoclone.commands.backup import backup
from innoclone.commands.bootcheck import boot_check, verify_snapshot
from innoclone.commands.diff import diff
from innoclone.commands.livebackup import backup_live
from innoclone.commands.storecare import forget_snapshots, list_store, make_store, prune_store, snapshot_info
from innoclone.commands.storediff import StoredPlace, diff_places
from innoclone.commands.storeoptions import BackupOptions, BootCheckOptions, LiveBackupOptions, StoreAccess
from innoclone.errors import CloneError, DiskSpace, StoreMissing, VerifyFailed
from innoclone.records.history import BOOT_CHECK, read_history
from innoclone.records.retention import Policy
from innoclone.server.mysqld import Server
from innoclone.transport.endpoint import Endpoint, SslMode
from restores import linked_clone, rewrite
from servers import endpoint_of


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    found = tmp_path / "scratch"
    found.mkdir()
    return found


def test_a_stream_is_tried_out(small_donor: Server, access: StoreAccess, scratch: Path, tmp_path: Path) -> None:
    """Its GTID set is known then; the snapshot's own object stays as it is, and nothing is left here."""
    made = backup_live(LiveBackupOptions(endpoint_of(small_donor, ssl_mode=SslMode.DISABLED), access, spool=scratch))
    path = tmp_path / "store" / "snapshots" / made.name
    before = path.read_bytes()
    checked = boot_check(BootCheckOptions(access, made.snapshot, scratch=scratch))
    assert checked.pages > 500
    assert (checked.binlog_file, checked.binlog_position) == (made.binlog_file, made.binlog_position)
    assert checked.gtid_executed
    assert not list(scratch.iterdir())
    assert read_history()[-1]["operation"] == BOOT_CHECK
    assert path.read_bytes() == before
    [listed] = list_store(access).snapshots
    assert listed.check is not None
    assert listed.check["checked"] == checked.checked
    assert listed.position["gtid_executed"] == checked.gtid_executed
    assert snapshot_info(access, made.snapshot)["check"] == listed.check


def test_by_the_command_line(small_clone: Path, access: StoreAccess, scratch: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "innoclone", "backup", str(small_clone), access.address, "--boot-check"]
    key = [f"--key-file={access.key_file}"]
    done = subprocess.run([*command, f"--scratch={scratch}", *key], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "booted and checked at " in done.stderr
    listing = [sys.executable, "-m", "innoclone", "store", "list", access.address, *key]
    assert "  checked 20" in subprocess.run(listing, capture_output=True, text=True, timeout=60).stdout
    done = subprocess.run([*command, f"--scratch={tmp_path}/none", *key], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "is in the store, but its trial failed" in done.stderr
    assert len(list_store(access).snapshots) == 2
    assert not list(scratch.iterdir())


def test_what_is_not_noted(
    small_clone: Path, access: StoreAccess, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room, another position than the snapshot says, a snapshot that is forgotten meanwhile: an error, no note."""
    made = backup(BackupOptions(small_clone, access))
    options = BootCheckOptions(access, made.snapshot, scratch=scratch)
    with monkeypatch.context() as patch:
        patch.setattr(storescratch, "FOR_SERVER", 1 << 60)
        with pytest.raises(DiskSpace, match="scratch"):
            boot_check(options)
    real = storescratch.restore_from_store

    def forgotten(*args: object, **kwargs: object) -> object:
        found = real(*args, **kwargs)  # type: ignore[arg-type]
        forget_snapshots(access, [made.snapshot], Policy())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(storescratch, "restore_from_store", forgotten)
        with pytest.raises(StoreMissing):
            boot_check(options)
    clone = linked_clone(small_clone, scratch.parent / "other")
    manifest = clone / "#innoclone" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"binlog_position": ', '"binlog_position": 1'))
    wrong = backup(BackupOptions(clone, access))
    with pytest.raises(VerifyFailed, match="stands at"):
        boot_check(BootCheckOptions(access, wrong.snapshot, scratch=scratch))
    assert [one.check for one in list_store(access).snapshots] == [None]
    assert not list(scratch.iterdir())


def test_notes_of_others_and_of_what_is_gone(
    small_clone: Path, access: StoreAccess, scratch: Path, tmp_path: Path
) -> None:
    """A note speaks for its snapshot alone, and goes with a prune after it."""
    first, second = (backup(BackupOptions(small_clone, access)) for _ in range(2))
    boot_check(BootCheckOptions(access, first.snapshot, scratch=scratch))
    checks = tmp_path / "store" / "checks"
    [note] = checks.glob("*/*")
    moved = checks / second.name.partition("-")[2] / note.name
    moved.parent.mkdir()
    shutil.copyfile(note, moved)
    found = list_store(access)
    assert [one.check is None for one in found.snapshots] == [False, True]
    assert len(found.unreadable) == 1
    moved.unlink()
    forget_snapshots(access, [first.snapshot], Policy())
    prune_store(access, grace=0, dry_run=True)
    assert note.exists()
    prune_store(access, grace=0)
    assert not note.exists()


def test_a_snapshot_is_verified_and_compared(
    small_clone: Path, small_donor: Server, access: StoreAccess, scratch: Path, tmp_path: Path
) -> None:
    first = backup(BackupOptions(small_clone, access))
    other = linked_clone(small_clone, tmp_path / "other")

    def change(data: bytearray) -> None:
        data[5 * 16384 : 6 * 16384] = data[:16384]  # page 0 is in the file from its first moment, others may be zeros
        data += bytes(3 * 16384)

    rewrite(other / "theirs" / "t.ibd", change)
    (other / "mysql.ibd").rename(other / "mysql2.ibd")
    second = backup(BackupOptions(small_clone, access, full=True))
    elsewhere = StoreAccess(f"file://{tmp_path}/elsewhere", key_file=access.key_file)
    make_store(elsewhere, encrypted=True, single_writer=False)
    backup(BackupOptions(small_clone, elsewhere))
    place, wanted = StoredPlace(access, first.snapshot), diff(small_clone, other)
    assert sum(row.differing for row in wanted) == 4
    assert diff_places(place, other) == (wanted, [place, other])
    assert diff_places(other, place)[0] == diff(other, small_clone)
    for same in (StoredPlace(access, second.snapshot), StoredPlace(elsewhere, "latest"), small_clone):
        assert not any(row.differing for row in diff_places(place, same)[0])
    options = BootCheckOptions(access, first.snapshot, scratch=scratch)
    report = verify_snapshot(options, Endpoint(socket=small_donor.socket))
    assert report.tables
    assert not report.findings()
    [pack] = sorted((tmp_path / "store" / "data" / first.name.partition("-")[2]).iterdir())[:1]
    body = bytearray(pack.read_bytes())
    body[100] ^= 1
    pack.unlink()
    pack.write_bytes(body)
    with pytest.raises(CloneError):
        verify_snapshot(options)
    assert not list(scratch.iterdir())
