"""Clones into stores and out again: every byte, and whole or not at all whatever fails where."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.commands import storeaccess
from innoclone.commands.backup import BackupResult, backup
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, VerifyOptions
from innoclone.commands.restore import RestoreResult
from innoclone.commands.storecare import forget_snapshots, list_store, prune_store, verify_store
from innoclone.commands.storeoptions import BackupOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.commands.verify import verify
from innoclone.errors import (
    CloneError,
    StoreDamaged,
    StoreKeyWrong,
    StoreMissing,
    StoreUnavailable,
    TargetExists,
    TargetUnusable,
    UsageError,
    VerifyFailed,
    VersionUnsupported,
)
from innoclone.files.manifest import read_manifest, update_manifest
from innoclone.files.marks import begin_directory
from innoclone.records.history import read_history
from innoclone.records.retention import Policy
from innoclone.records.verdict import verdict_of
from innoclone.server.mysqld import Server
from innoclone.store import persistent
from innoclone.store.address import objects_at
from innoclone.store.persistent import Persistent
from innoclone.transport.endpoint import Endpoint
from restores import contents, folders, linked_clone, rewrite
from stores import FaultyObjects, S3Server


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


def backed_up(clone: Path, access: StoreAccess, **options: object) -> BackupResult:
    return backup(BackupOptions(clone, access, **options))  # type: ignore[arg-type]


def taken_out(access: StoreAccess, directory: Path, snapshot: str = "latest", **options: object) -> RestoreResult:
    return restore_from_store(StoreRestoreOptions(access, snapshot, directory, **options))  # type: ignore[arg-type]


def changed_clone(clone: Path, directory: Path) -> Path:
    """The clone with a few units of two files in other places, all pages of them sound."""
    linked_clone(clone, directory)

    def swap(data: bytearray) -> None:
        data[-1] ^= 1

    rewrite(directory / "ib_buffer_pool", swap)
    return directory


# ---- whole ------------------------------------------------------------------------------------------------------


def test_out_of_s3_it_is_the_donor_s(
    small_clone: Path, small_donor: Server, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command line alone; a real server comes up on it, and has every table of the donor."""
    monkeypatch.setenv("INNOCLONE_STORE_PASSPHRASE", "correct horse")
    url = f"s3://{s3.new_bucket()}/db1"
    options = [f"--store-option={name}={value}" for name, value in s3.options.items()]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "innoclone", *words, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    target = tmp_path / "new"
    for words in (
        ("store", "init", url), ("backup", str(small_clone), url), ("backup", str(small_clone), url),
        ("store", "verify", url, "--read-data"), ("restore", f"{url}@latest", str(target)),
    ):  # fmt: skip
        done = run(*words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.endswith("innoclone: completed OK!\n")
        assert "correct horse" not in done.stderr + done.stdout
    assert "datadir = " in done.stdout
    assert contents(target) == contents(small_clone)
    assert folders(target) == folders(small_clone)
    listed = run("store", "list", url).stdout.splitlines()
    assert len(listed) == 3
    assert run("store", "forget", url, "--keep-last", "1", "--prune", "--grace", "0").returncode == 0
    assert len(run("store", "list", url).stdout.splitlines()) == 2
    assert run("store", "verify", url, "--read-data").returncode == 0
    report = verify(VerifyOptions(target, Endpoint(socket=small_donor.socket)))
    assert not report.findings()
    assert report.tables


def test_a_clone_that_was_booted_comes_back(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    """Its manifest names files that its recovery has removed, and tablespaces in whose place others are now, as where a
    rebuild was running: a snapshot says what is there."""
    clone = tmp_path / "booted"
    shutil.copytree(small_clone, clone, symlinks=True)
    boot(BootOptions(clone))
    rows = read_manifest(clone)["files"]
    rebuilt = next(row for row in rows if row["path"].endswith(".ibd") and "/" in row["path"])
    update_manifest(clone, files=[row if row is not rebuilt else {**row, "space_id": 77_777} for row in rows])
    result = backed_up(clone, access)
    assert verify_store(access, read_data=True).packs
    assert taken_out(access, tmp_path / "new", result.snapshot).pages_checked > 1000
    assert contents(tmp_path / "new") == contents(clone)
    assert rebuilt["space_id"] in [row["space_id"] for row in read_manifest(tmp_path / "new")["files"]]
    verify(VerifyOptions(tmp_path / "new"))
    assert backed_up(clone, access).parent == result.snapshot
    assert taken_out(access, tmp_path / "other", mysqld_check=True).booted


def test_what_a_restore_says(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    before = contents(small_clone)
    result = backed_up(small_clone, access)
    assert contents(small_clone) == before
    target = tmp_path / "new"
    restored = taken_out(access, target, result.snapshot[:8], mysqld_check=True)
    assert restored.booted
    assert any(
        f"snapshot {result.snapshot} is of " in note for note in restored.notes
    )  # stores are for several servers
    old, new = read_manifest(small_clone), read_manifest(target)
    assert new["restored"]["from"] == f"{access.address}@{result.snapshot}"
    assert new["donor"] == old["donor"]
    assert [(one["operation"], one["state"]) for one in read_history()[-2:]] == [
        ("backup", "Completed"), ("restore", "Completed")
    ]  # fmt: skip
    other = tmp_path / "other"
    assert taken_out(access, other).pages_checked > 1000
    verdict = verdict_of(other, read_manifest(other))
    assert verdict is not None
    assert verdict.sound
    with pytest.raises(TargetExists):
        taken_out(access, other)
    with pytest.raises(StoreMissing):
        taken_out(access, tmp_path / "third", "0123456789")
    assert not (tmp_path / "third").exists()


def test_each_snapshot_is_whole_by_itself(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    first = backed_up(small_clone, access)
    second_clone = changed_clone(small_clone, tmp_path / "second")
    second = backed_up(second_clone, access)
    assert (second.parent, first.parent) == (first.snapshot, "")
    assert 0 < second.changed < first.changed / 20
    assert not backed_up(second_clone, access).changed
    assert backed_up(second_clone, access, full=True).changed > first.changed / 2
    assert [one.reasons for one in list_store(access, Policy(last=1)).snapshots] == [(), (), (), ("last",)]
    told = forget_snapshots(access, [first.snapshot], Policy(), and_prune=True, grace=0, dry_run=True)
    gone = forget_snapshots(access, [first.snapshot], Policy(), and_prune=True, grace=0)
    assert [one.id for one in gone.gone] == [first.snapshot]
    assert gone.pruned is not None
    assert gone.pruned.removed
    assert told.pruned == gone.pruned
    taken_out(access, tmp_path / "new", second.snapshot)
    assert contents(tmp_path / "new") == contents(second_clone)
    verify_store(access, read_data=True)


def test_what_is_no_backup(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    """A clone that isn't whole, was changed, or has a damaged page never becomes a snapshot."""
    cut = linked_clone(small_clone, tmp_path / "cut")
    (cut / "mysql.ibd").unlink()
    bad = linked_clone(small_clone, tmp_path / "bad")

    def damage(data: bytearray) -> None:
        data[5 * 16384 + 100] ^= 1

    rewrite(bad / "theirs" / "t.ibd", damage)
    unfinished = linked_clone(small_clone, tmp_path / "unfinished")
    begin_directory(unfinished)
    for clone, error in ((cut, CloneError), (bad, VerifyFailed), (unfinished, TargetUnusable), (tmp_path, CloneError)):
        with pytest.raises(error):
            backed_up(clone, access)
    assert not list_store(access).snapshots
    prune_store(access, grace=0)
    assert not list((tmp_path / "store").rglob("data/*/*"))


def test_misuse(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    backed_up(small_clone, access)
    for names, policy in (((), Policy()), (("latest",), Policy()), (("abc",), Policy(last=1))):
        with pytest.raises(UsageError):
            forget_snapshots(access, names, policy)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(bytes(32))
    with pytest.raises(StoreKeyWrong):
        list_store(StoreAccess(access.address, key_file=wrong))
    with pytest.raises(StoreMissing):
        list_store(StoreAccess(f"file://{tmp_path}/nothing", key_file=wrong))
    before = sorted((tmp_path / "store").rglob("*"))
    [kept] = list_store(access).snapshots
    assert forget_snapshots(access, [kept.snapshot.id], Policy(), dry_run=True).gone
    prune_store(access, grace=0, dry_run=True)
    assert sorted((tmp_path / "store").rglob("*")) == before


# ---- what goes wrong ---------------------------------------------------------------------------------------------


def test_every_damage_is_found(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    """A store that loses, cuts or flips an object: verify says it, a restore ends and leaves nothing."""
    backed_up(small_clone, access)
    store, saved = tmp_path / "store", tmp_path / "saved"
    shutil.copytree(store, saved)
    objects = [
        path.relative_to(store) for kind in ("data", "meta", "snapshots") for path in store.rglob(f"{kind}/**/*")
    ]
    for name in (name for name in objects if (store / name).is_file()):
        for damage in ("lose", "cut", "flip", "empty"):
            path = store / name
            body = bytearray(path.read_bytes())
            path.unlink()
            if damage != "lose":
                body[len(body) // 3] ^= 1
                path.write_bytes({"cut": body[:-7], "flip": body, "empty": b""}[damage])
            if not (damage == "lose" and name.parts[0] == "snapshots"):
                with pytest.raises((VerifyFailed, StoreDamaged)):
                    verify_store(access, read_data=True)
            with pytest.raises((StoreDamaged, StoreMissing)):
                taken_out(access, tmp_path / "new")
            assert not (tmp_path / "new").exists()
            shutil.copyfile(saved / name, path)
    taken_out(access, tmp_path / "new", verify_pages=False)
    assert contents(tmp_path / "new") == contents(small_clone)


def test_a_damaged_snapshot_can_be_forgotten(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    """It would keep every prune from what it doesn't know to be needed."""
    made, good = backed_up(small_clone, access), backed_up(small_clone, access)
    path = tmp_path / "store" / "snapshots" / made.name
    body = path.read_bytes()
    path.unlink()
    path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(StoreDamaged, match=made.name):
        prune_store(access, grace=0)
    for short in ("", made.snapshot[:1]):
        with pytest.raises(UsageError, match="too short"):
            forget_snapshots(access, [short], Policy())
    assert [one.name for one in forget_snapshots(access, [made.snapshot], Policy()).gone] == [made.name]
    prune_store(access, grace=0)
    verify_store(access, read_data=True)
    assert [one.snapshot.id for one in list_store(access).snapshots] == [good.snapshot]


def test_a_newer_format_is_not_touched(small_clone: Path, access: StoreAccess, tmp_path: Path) -> None:
    backed_up(small_clone, access)
    newer = tmp_path / "store" / "snapshots" / f"20991231T235959000000Z-{'ab' * 16}"
    newer.write_bytes(b"innoclone snapshot 2\n" + bytes(100))
    found = list_store(access)
    assert (len(found.snapshots), len(found.unreadable)) == (1, 1)
    with pytest.raises(VersionUnsupported):
        taken_out(access, tmp_path / "new", "abababab")
    with pytest.raises(VersionUnsupported):
        prune_store(access, grace=0)  # what that needs isn't known
    assert backed_up(small_clone, access).changed == 0


class Killed(BaseException):
    """What kill -9 is to the store: no call comes after it."""


def test_killed_at_every_call(
    small_clone: Path, access: StoreAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each call to the store and after it: then there is a whole snapshot, or none."""
    first = backed_up(small_clone, access)
    clone = changed_clone(small_clone, tmp_path / "second")
    made = 0
    for point in range(100):
        calls = []

        def fault(what: str, name: str, point: int = point, calls: list[str] = calls) -> None:
            calls.append(f"{what} {name}")
            if len(calls) > point:
                raise Killed

        def objects_of(access: StoreAccess, stopped: object = None, fault=fault) -> Persistent:
            return Persistent(FaultyObjects(objects_at(access.address, {}), fault))

        with monkeypatch.context() as patch:
            patch.setattr(storeaccess, "objects_of", objects_of)
            try:
                backed_up(clone, access)
                break
            except Killed:
                pass
        there = list_store(access).snapshots
        made = max(made, len(there))
        verify_store(access)
    else:
        pytest.fail("it never ended")
    assert point > 10
    assert made > 1  # those that were killed after their commit
    taken_out(access, tmp_path / "old", first.snapshot)
    assert contents(tmp_path / "old") == contents(small_clone)
    taken_out(access, tmp_path / "new")
    assert contents(tmp_path / "new") == contents(clone)


def test_a_store_that_is_down(
    small_clone: Path, access: StoreAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails now and then is asked again; one that stays down ends the restore, which leaves nothing."""
    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)
    down: list[bool] = [False]
    counts: Counter[tuple[str, str]] = Counter()  # not one for all: some call would meet its every third, by chance

    def fault(what: str, name: str) -> None:
        counts[what, name] += 1
        if (down[0] and name.startswith("data/")) or counts[what, name] % 3 == 1:
            raise StoreUnavailable("503 Slow Down")

    def objects_of(access: StoreAccess, stopped: object = None) -> Persistent:
        return Persistent(FaultyObjects(objects_at(access.address, {}), fault))

    monkeypatch.setattr(storeaccess, "objects_of", objects_of)
    backed_up(small_clone, access)
    taken_out(access, tmp_path / "new")
    assert contents(tmp_path / "new") == contents(small_clone)
    down[0] = True
    with pytest.raises(StoreUnavailable):
        taken_out(access, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(StoreUnavailable):
        backed_up(small_clone, access, full=True)
    assert len(list_store(access).snapshots) == 1


def test_a_restore_goes_on_in_a_new_process(
    small_clone: Path, access: StoreAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packs that are there aren't read again; another snapshot, or a file that is gone, and it begins anew."""
    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)
    monkeypatch.setattr("innoclone.store.pack.PACK", 1 << 16)
    snapshot = backed_up(small_clone, access, threads=1).snapshot
    target, down, packs = tmp_path / "new", [True], set()

    def fault(what: str, name: str) -> None:
        if what == "read" and name.startswith("data/"):
            packs.add(name)
            if down[0] and len(packs) > 5:
                raise StoreUnavailable("503 Slow Down")

    def objects_of(access: StoreAccess, stopped: object = None) -> Persistent:
        return Persistent(FaultyObjects(objects_at(access.address, {}), fault))

    monkeypatch.setattr(storeaccess, "objects_of", objects_of)

    def broken_off() -> None:
        down[0] = True
        packs.clear()
        with pytest.raises(StoreUnavailable):
            taken_out(access, target, threads=1)
        assert (target / "#clone" / "#status_in_progress").exists()
        down[0] = False
        packs.clear()

    broken_off()
    went_on = taken_out(access, target, snapshot, threads=1)
    assert any("going on" in note for note in went_on.notes)
    again = len(packs)
    assert contents(target) == contents(small_clone)
    packs.clear()
    taken_out(access, tmp_path / "whole", threads=1)
    assert again == len(packs) - 5
    for spoil in ("file", "snapshot", "boot"):
        shutil.rmtree(target)
        broken_off()
        if spoil == "file":
            (target / "theirs" / "t.ibd").unlink()
        elif spoil == "snapshot":
            backed_up(small_clone, access, threads=1)
        else:
            (tmp_path / "boot").write_text("another one")
            monkeypatch.setattr("innoclone.sources.fetched.BOOT_ID", tmp_path / "boot")
        anew = taken_out(access, target, threads=1)
        assert not any("going on" in note for note in anew.notes)
        assert contents(target) == contents(small_clone)
