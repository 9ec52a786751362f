"""A clone becomes a new data directory: whole or not at all, proven before and after (innoclone.commands.restore)."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import innoclone
from clones import booted, rows
from innoclone.commands import restore as restore_module
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.errors import (
    CloneError,
    DiskFull,
    DiskSpace,
    FileError,
    Interrupted,
    TargetBusy,
    TargetUnusable,
    VerifyFailed,
)
from innoclone.files.copying import Method, copy_file
from innoclone.files.lock import take_lock
from innoclone.files.manifest import read_manifest
from innoclone.records.history import CLONE, RESTORE, last_successes
from innoclone.records.verdict import verdict_of
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sources import restoreplan, restoring
from innoclone.sources.restoring import PART, Copying
from local_clones import refuses_to_boot
from restores import contents, folders, process, restored, rewrite

COUNT = "SELECT COUNT(*), SUM(LENGTH(b)) FROM theirs.t"


# ---- whole ------------------------------------------------------------------------------------------------------


def test_the_whole_clone_and_the_lines_for_my_cnf(
    small_clone: Path, small_donor: Server, programs: Programs, tmp_path: Path
) -> None:
    """Every byte; nothing of the copy is booted; a real server starts with exactly the lines that are printed."""
    before = contents(small_clone)
    latest, target = tmp_path / "latest", tmp_path / "new"
    latest.symlink_to(small_clone)
    done = process(latest, target)
    printed, said = done.communicate(timeout=120)
    assert done.returncode == 0, said
    assert said.endswith("innoclone: completed OK!\n")
    assert f"restoring {small_clone} to {target}" in said
    assert "pages sound; what was written was read back and compared" in said
    assert contents(target) == contents(small_clone) == before
    assert folders(target) == folders(small_clone)
    assert {path.name for path in (target / "#innoclone").iterdir()} == {"manifest.json"}
    assert not (small_clone / "#innoclone" / "lock").exists()
    old, new = read_manifest(small_clone), read_manifest(target)
    assert new["restored"]["from"] == str(small_clone)
    assert new["files"] == old["files"]
    assert (new["donor"], new["finished"]) == (old["donor"], old["finished"])
    verdict = verdict_of(target, new)
    assert verdict is not None
    assert (verdict.sound, verdict.current, verdict.what) == (True, True, "pages")
    assert innoclone.status(target).fields["condition"] == "complete"

    lines = printed.splitlines()
    assert lines[0] == "[mysqld]"
    settings = dict(line.split(" = ", 1) for line in lines[1:])
    assert settings["datadir"] == str(target)
    wanted = {
        "innodb_page_size",
        "innodb_data_file_path",
        "lower_case_table_names",
        "innodb_undo_directory",
        "gtid_mode",
    }
    assert wanted <= settings.keys()
    config = tmp_path / "my.cnf"
    user = "user = root\n" if os.geteuid() == 0 else ""
    config.write_text(printed + user)
    options = [f"--defaults-file={config}", *programs.server_options, "--secure-file-priv=NULL", "--validate-config"]
    check = subprocess.run([*programs.mysqld, *options], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    del settings["datadir"]
    with booted(programs, target, [f"--{name}={value}" for name, value in settings.items()]) as server:
        assert rows(server, COUNT) == rows(small_donor, COUNT)
        assert rows(server, "SELECT @@gtid_mode") == [("ON",)]
    assert contents(small_clone) == before


def test_a_recovered_clone_keeps_its_position(small_recovered: Path, programs: Programs, tmp_path: Path) -> None:
    """What a first boot has to do isn't asked for again; empty schemas stay; large files are copied in parts."""
    result = restored(small_recovered, tmp_path / "new", threads=3, copy_methods=("O_DIRECT", "read and write"))
    assert contents(tmp_path / "new") == contents(small_recovered)
    assert folders(tmp_path / "new") == folders(small_recovered) - {"#innodb_temp"}
    known = read_manifest(small_recovered)["position"]
    assert (result.binlog_file, result.binlog_position) == (known["binlog_file"], known["binlog_position"])
    assert not (tmp_path / "new" / "#clone" / "#replace_files").exists()
    assert boot(BootOptions(tmp_path / "new")).gtid_executed == known["gtid_executed"]


def test_files_with_holes_and_larger_than_a_part(linked: Path, tmp_path: Path) -> None:
    """A file that nobody checks page by page is compared all the same, holes included."""
    path = linked / "ib_buffer_pool"
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(os.urandom(300_000))
        file.seek(PART + 12_345)
        file.write(os.urandom(70_000))
        file.truncate(2 * PART + 777)
    restored(linked, tmp_path / "new", copy_methods=("O_DIRECT", "read and write"))
    copy = tmp_path / "new" / "ib_buffer_pool"
    assert copy.read_bytes() == path.read_bytes()
    assert copy.stat().st_blocks * 512 < MIB_OF_DATA


MIB_OF_DATA = 2 << 20


def test_mysqld_check(small_clone: Path, small_donor: Server, tmp_path: Path) -> None:
    """A private server comes up on it: then the position is known. The clone itself stays as it is."""
    before = contents(small_clone)
    seen = []
    result = innoclone.restore(
        small_clone, tmp_path / "new", mysqld_check=True, progress=lambda status: seen.append(status.state)
    )
    assert result.booted.startswith("9.")
    assert result.gtid_executed == rows(small_donor, "SELECT @@GLOBAL.gtid_executed")[0][0]
    assert read_manifest(tmp_path / "new")["position"]["gtid_executed"] == result.gtid_executed
    assert not (tmp_path / "new" / "auto.cnf").exists()
    assert seen
    assert contents(small_clone) == before
    record = innoclone.history(1)[0]
    assert (record["operation"], record["state"], record["source"]) == ("restore", "Completed", str(small_clone))
    successes = last_successes()
    assert successes.get(CLONE) != successes[RESTORE] == record["ended"], "the metrics tell them apart"


# ---- or not at all ----------------------------------------------------------------------------------------------


def flip_page(data: bytearray) -> None:
    data[3 * 16384 + 200] ^= 0x40


def cut_page(data: bytearray) -> None:
    del data[-16384:]


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a page": (lambda clone: rewrite(clone / "theirs" / "t.ibd", flip_page), "t.ibd, page 3"),
    "missing": (lambda clone: (clone / "theirs" / "t.ibd").unlink(), "t.ibd: missing"),
    "shorter": (lambda clone: rewrite(clone / "undo_001", cut_page), "truncated"),
    "more": (lambda clone: shutil.copy(clone / "theirs" / "t.ibd", clone / "theirs" / "u.ibd"), "u.ibd: not part"),
    "redo": (lambda clone: next((clone / "#innodb_redo").iterdir()).unlink(), r"ib_redo\d+: missing"),
    "a link": (lambda clone: (clone / "theirs" / "v").symlink_to("/etc"), "symbolic link"),
}  # fmt: skip


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_clone_that_is_not_whole(damage: str, linked: Path, tmp_path: Path) -> None:
    """Nothing of it is left in the target, which may have been there and empty."""
    do, says = DAMAGES[damage]
    do(linked)
    target = tmp_path / "new"
    if damage == "a page":
        target.mkdir()
    with pytest.raises(CloneError, match=says):
        restored(linked, target)
    assert not target.exists() or (damage == "a page" and not any(target.iterdir()))
    if damage == "a page":
        assert restored(linked, target, verify_pages=False).pages_checked == 0
        assert contents(target) == contents(linked)
        assert "verified" not in read_manifest(target)


def test_what_was_written_is_read_back(small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses a bit, makes something of nothing, or stops short, in whatever file."""
    target = tmp_path / "new"
    sync = Copying.sync
    redo = str(next((small_clone / "#innodb_redo").iterdir()).relative_to(small_clone))
    for name, offset, says in (
        ("theirs/t.ibd", 5 * 16384 + 77, "aren't what was written"), (redo, 700, "aren't what was written"),
        ("mysql.ibd", None, "size"),
    ):  # fmt: skip

        def fault(copying: Copying, name: str = name, offset: int | None = offset) -> None:
            sync(copying)
            with (target / name).open("r+b") as file:
                if offset is None:
                    file.truncate((target / name).stat().st_size - 16384)
                else:
                    file.seek(offset)
                    byte = file.read(1)
                    file.seek(offset)
                    file.write(bytes([byte[0] ^ 1]))

        monkeypatch.setattr(Copying, "sync", fault)
        with pytest.raises(VerifyFailed, match=says):
            restored(small_clone, target, copy_methods=("O_DIRECT", "read and write"))
        assert not target.exists()


def test_a_clone_that_changes_meanwhile(linked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = Copying.sync

    def change(copying: Copying) -> None:
        sync(copying)
        rewrite(linked / "ibdata1", lambda data: None)

    monkeypatch.setattr(Copying, "sync", change)
    with pytest.raises(FileError, match="ibdata1 was changed while it was copied"):
        restored(linked, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_room(small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before anything is made."""
    real = os.statvfs(tmp_path)
    small = os.statvfs_result((*real[:3], 1000, 1000, *real[5:]))
    monkeypatch.setattr(restoreplan.os, "statvfs", lambda _: small)
    monkeypatch.setattr(restore_module, "Target", None)
    with pytest.raises(DiskSpace, match=f"and {1000 * real.f_frsize} are free"):
        restored(small_clone, tmp_path / "new", copy_methods=("read and write",))
    assert not (tmp_path / "new").exists()


def test_the_disk_runs_full(small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is written, which nobody could foresee: nothing is left, neither of the files that were complete."""
    copied = []

    def copy_until(*args: Any, **options: Any) -> Method:
        if len(copied) >= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copied.append(args)
        return copy_file(*args, **options)

    monkeypatch.setattr(restoring, "copy_file", copy_until)
    with pytest.raises(DiskFull, match="No space left"):
        restored(small_clone, tmp_path / "new", copy_methods=("read and write",))
    assert len(copied) >= 6
    assert not (tmp_path / "new").exists()


def test_killed_and_begun_anew(small_clone: Path, programs: Programs, tmp_path: Path) -> None:
    """What is left can't be started, is told from a finished one, and goes by the same command, by discard, by stop."""
    target = tmp_path / "new"
    for end in (signal.SIGKILL, signal.SIGTERM):
        slow = process(small_clone, target, "--max-data-bandwidth=8")
        wait_for(lambda: (target / "ibdata1").exists() and innoclone.status(target).last.get("data"))
        assert innoclone.status(target).condition is innoclone.Condition.RUNNING
        with pytest.raises(TargetBusy):
            restored(small_clone, target)
        with pytest.raises(TargetBusy):
            local_busy(small_clone)
        slow.send_signal(end)
        slow.communicate(timeout=60)
        assert slow.returncode in (-9, 143)
        if end == signal.SIGTERM:
            assert not target.exists()
            break
        found = innoclone.status(target)
        assert found.condition is innoclone.Condition.DIED
        assert found.last["operation"] == RESTORE
        assert refuses_to_boot(programs, target)
        with pytest.raises(TargetUnusable, match="unfinished"):
            boot(BootOptions(target))
        with pytest.raises(TargetUnusable, match="unfinished"):
            restored(target, tmp_path / "other")
        copy = tmp_path / "copy"
        shutil.copytree(target, copy)
        assert innoclone.discard(copy)
        result = restored(small_clone, target)
        assert any("left unfinished" in note for note in result.notes)
        assert contents(target) == contents(small_clone)
        shutil.rmtree(target)
    assert sorted(path.name for path in (small_clone / "#innoclone").iterdir()) == ["manifest.json"]


def local_busy(clone: Path) -> None:
    """Nobody else may work on the clone meanwhile. Raises `TargetBusy`."""
    os.close(take_lock(clone / "#innoclone", clone))


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if true():
                return
        except CloneError:
            pass
        assert time.monotonic() < end
        time.sleep(0.02)


def test_stopped(small_clone: Path, tmp_path: Path) -> None:
    stopped = threading.Event()
    with pytest.raises(Interrupted):
        innoclone.restore(
            small_clone, tmp_path / "new", stopped=stopped, limits=innoclone.Limits(data=4), progress_interval=0.01,
            progress=lambda status: stopped.set() if status.current else None,
        )  # fmt: skip
    assert not (tmp_path / "new").exists()
