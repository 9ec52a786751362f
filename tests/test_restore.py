"""A clone becomes a new data directory: whole or not at all, proven before and after (innoclone.operation.restore)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import innoclone
from clones import booted, rows
from innoclone.engine import restoreplan
from innoclone.engine.mysqld import Server
from innoclone.engine.programs import Programs
from innoclone.engine.restoring import PART, Copying
from innoclone.errors import (
    BootFailed,
    CloneError,
    DiskSpace,
    FileError,
    Interrupted,
    PathRefused,
    TargetBusy,
    TargetExists,
    TargetUnusable,
    VerifyFailed,
)
from innoclone.files import lock
from innoclone.files.lock import take_lock
from innoclone.files.marks import is_unfinished
from innoclone.operation import restore as restore_module
from innoclone.operation.boot import boot
from innoclone.operation.options import BootOptions, RestoreOptions, VerifyOptions
from innoclone.operation.restore import RestoreResult, restore
from innoclone.operation.verify import verify
from innoclone.ops.history import RESTORE
from innoclone.ops.manifest import read_manifest
from innoclone.ops.verdict import verdict_of
from local_clones import local_clone, refuses_to_boot
from servers import ServerFactory

COUNT = "SELECT COUNT(*), SUM(LENGTH(b)) FROM theirs.t"


def restored(clone: Path, directory: Path, **options: object) -> RestoreResult:
    return restore(RestoreOptions(clone, directory, **options))  # type: ignore[arg-type]


def process(clone: Path, directory: Path, *options: str) -> subprocess.Popen[str]:
    """The same as a process of its own, which can be killed."""
    command = [sys.executable, "-m", "innoclone", "restore", *options, str(clone), str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(directory: Path) -> dict[str, str]:
    """A digest of every file that is not our own."""
    paths = [path for path in sorted(directory.rglob("*")) if "#innoclone" not in path.parts and path.is_file()]
    assert paths
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def folders(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_dir()}


@pytest.fixture(scope="module")
def recovered(small_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clone, booted once; only to be read."""
    directory = tmp_path_factory.mktemp("recovered") / "clone"
    restored(small_clone, directory)
    boot(BootOptions(directory))
    return directory


@pytest.fixture
def linked(small_clone: Path, tmp_path: Path) -> Path:
    """A clone of hard links, whose files may be replaced but not written to."""
    directory = tmp_path / "linked"
    subprocess.run(["cp", "-al", str(small_clone), str(directory)], check=True)
    manifest = directory / "#innoclone" / "manifest.json"
    text = manifest.read_text()
    manifest.unlink()
    manifest.write_text(text)
    return directory


def rewrite(path: Path, change: Callable[[bytearray], None]) -> None:
    """Replace a file by one with other content; hard links keep theirs."""
    data = bytearray(path.read_bytes())
    change(data)
    path.unlink()
    path.write_bytes(data)


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


def test_a_recovered_clone_keeps_its_position(recovered: Path, programs: Programs, tmp_path: Path) -> None:
    """What a first boot has to do isn't asked for again; empty schemas stay; large files are copied in parts."""
    result = restored(recovered, tmp_path / "new", threads=3, copy_methods=("O_DIRECT", "read and write"))
    assert contents(tmp_path / "new") == contents(recovered)
    assert folders(tmp_path / "new") == folders(recovered) - {"#innodb_temp"}
    known = read_manifest(recovered)["position"]
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
    "redo": (lambda clone: next((clone / "#innodb_redo").iterdir()).unlink(), "ib_redo1: missing"),
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


# ---- targets and clones that are refused ------------------------------------------------------------------------


@pytest.fixture
def occupied(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "occupied"
    directory.mkdir()
    (directory / "mine").write_text("mine")
    yield directory
    assert (directory / "mine").read_text() == "mine"


def test_targets(small_clone: Path, occupied: Path, tmp_path: Path) -> None:
    """1007 for what is there, 1006 for one inside the other; all of it before anything is made."""
    with pytest.raises(TargetExists, match="is not empty"):
        restored(small_clone, occupied)
    with pytest.raises(TargetExists, match="is not a directory"):
        restored(small_clone, occupied / "mine")
    with pytest.raises(TargetUnusable, match="lie one in the other"):
        restored(small_clone, small_clone / "below")
    (occupied / "mysql.ibd").touch()
    with pytest.raises(TargetUnusable, match="lies in the data directory"):
        restored(small_clone, occupied / "below")
    with pytest.raises(TargetUnusable, match="can't use"):
        restored(small_clone, tmp_path / "no" / "such")
    outer = tmp_path / "outer"
    outer.mkdir()
    clone = outer / "clone"
    subprocess.run(["cp", "-al", str(small_clone), str(clone)], check=True)
    with pytest.raises(TargetExists):
        restored(clone, outer)
    unfinished = tmp_path / "unfinished"
    for name in ("#clone", "#innoclone"):
        (unfinished / name).mkdir(parents=True)
    (unfinished / "#clone" / "#status_in_progress").touch()
    status = {"format": 1, "operation": "clone", "source": "clone@db1", "state": "Interrupted"}
    (unfinished / "#innoclone" / "status.json").write_text(json.dumps(status))
    with pytest.raises(TargetExists, match="an unfinished clone of clone@db1"):
        restored(small_clone, unfinished)
    assert is_unfinished(unfinished)
    assert not (small_clone / "below").exists()


def test_clones(small_clone: Path, small_donor: Server, tmp_path: Path) -> None:
    """What isn't a finished clone of innoclone, or is a server's."""
    target = tmp_path / "new"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "latest").symlink_to(small_clone)
    with pytest.raises(TargetUnusable, match="holds clones") as caught:
        restored(folder, target)
    assert caught.value.advice.endswith(f"the newest is {folder}/latest")
    with pytest.raises(TargetUnusable, match="is not a directory"):
        restored(tmp_path / "nothing", target)
    with pytest.raises(TargetUnusable, match="is not a data directory"):
        restored(tmp_path, target)
    with pytest.raises(TargetBusy, match="a server runs on"):
        restored(small_donor.datadir, target)
    holder = take_lock(small_clone / "#innoclone", small_clone)
    try:
        with pytest.raises(TargetBusy, match="is working on"):
            restored(small_clone, target)
    finally:
        os.close(holder)
        (small_clone / "#innoclone" / lock.LOCK).unlink()
    assert not target.exists()


def test_a_clone_that_cannot_be_locked(small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only mount."""

    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(restore_module, "take_lock", refuse)
    result = restored(small_clone, tmp_path / "new")
    assert any("can't be locked" in note for note in result.notes)
    assert contents(tmp_path / "new") == contents(small_clone)


def test_a_clone_that_became_a_server(recovered: Path, programs: Programs, tmp_path: Path) -> None:
    """Only with a word; then with what was written there, but with an identity of its own."""
    kept = tmp_path / "kept"
    restored(recovered, kept)
    folders_before = set(Path(tempfile.gettempdir()).iterdir())
    server = boot(BootOptions(kept, keep=True))
    try:
        assert server.socket == kept / "mysql.sock"
        assert set(Path(tempfile.gettempdir()).iterdir()) == folders_before
        assert server.error_log.stat().st_mode & 0o777 == 0o640
        with pytest.raises(TargetBusy, match="a server runs on"):
            restored(kept, tmp_path / "new")
        assert server.socket is not None
        sql(programs, server.socket, "CREATE DATABASE after; CREATE TABLE after.t (a INT PRIMARY KEY)")
    finally:
        os.kill(server.pid, signal.SIGTERM)
        os.waitpid(server.pid, 0)
    with pytest.raises(TargetUnusable, match="a server of its own has run on"):
        restored(kept, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    result = restored(kept, tmp_path / "new", accept_changes=True)
    assert any("new server UUID" in note for note in result.notes)
    assert not (tmp_path / "new" / "auto.cnf").exists()
    same = contents(kept)
    del same["auto.cnf"]
    assert contents(tmp_path / "new") == same
    assert verify(VerifyOptions(tmp_path / "new")).findings() == []
    with booted(programs, tmp_path / "new") as new:
        assert rows(new, "SELECT COUNT(*) FROM after.t") == [(0,)]


def sql(programs: Programs, socket: Path, text: str) -> None:
    import pymysql
    from pymysql.constants import CLIENT

    with pymysql.connect(unix_socket=str(socket), user="root", client_flag=CLIENT.MULTI_STATEMENTS) as connection:
        connection.cursor().execute(text)


def test_mysqld_does_not_come_up(linked: Path, programs: Programs, tmp_path: Path) -> None:
    """Then no other shall: the directory is left for a look, and can't be taken for a good one."""
    rewrite(linked / "mysql.ibd", lambda data: data.__setitem__(slice(4 * 16384, None), bytes(len(data) - 4 * 16384)))
    target = tmp_path / "new"
    with pytest.raises(BootFailed) as caught:
        restored(linked, target, verify_pages=False, mysqld_check=True)
    assert "innoclone discard" in caught.value.advice
    assert is_unfinished(target)
    assert (target / "#innoclone" / "boot.log").exists()
    assert refuses_to_boot(programs, target)
    assert innoclone.discard(target)


# ---- owners, files outside --------------------------------------------------------------------------------------


def test_owner_and_modes(linked: Path, small_clone: Path, tmp_path: Path) -> None:
    """Root leaves the files to whom the clone belongs, or to whom it is told; modes are mysqld's."""
    mine = os.geteuid()
    theirs = 12345 if mine == 0 else mine
    os.chown(linked, theirs, -1)
    restored(linked, tmp_path / "new")
    restored(small_clone, tmp_path / "told", chown=str(theirs))
    (tmp_path / "there").mkdir()
    os.chown(tmp_path / "there", theirs, -1)
    restored(small_clone, tmp_path / "there")
    for name in ("new", "told", "there"):
        paths = [tmp_path / name, *(tmp_path / name).rglob("*")]
        assert {path.stat().st_uid for path in paths} == {theirs}
        assert {path.stat().st_mode & 0o777 for path in paths[1:] if path.is_dir()} == {0o750}
        assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o640}
    with pytest.raises(CloneError, match="no such user"):
        restored(small_clone, tmp_path / "other", chown="nobody.of.that.name")
    assert not (tmp_path / "other").exists()


def test_tablespaces_outside(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """They need a new place; they are found there, and the clone's stay where they are."""
    fast = tmp_path / "fast"
    fast.mkdir()
    server = make_server(f"--innodb-directories={fast}")
    rows(server, f"CREATE TABLESPACE outer_space ADD DATAFILE '{fast}/outer.ibd'")
    rows(server, "CREATE DATABASE d")
    rows(server, "CREATE TABLE d.t (a INT PRIMARY KEY) TABLESPACE outer_space")
    rows(server, "INSERT INTO d.t VALUES (1), (2)")
    clone, moved = tmp_path / "clone", tmp_path / "clone-fast"
    local_clone(server, clone, map_paths=((str(fast), str(moved)),))
    with pytest.raises(PathRefused, match=r"outer\.ibd") as caught:
        restored(clone, tmp_path / "new")
    assert f"--map-path {moved}=" in caught.value.advice
    for place in (moved / "below", clone / "below"):
        with pytest.raises(TargetUnusable, match="lie one in the other"):
            restored(clone, tmp_path / "new", map_paths=((str(moved), str(place)),))
    assert not (tmp_path / "new").exists()
    again = tmp_path / "new-fast"
    result = restored(clone, tmp_path / "new", map_paths=((str(moved), str(again)),))
    assert (again / "outer.ibd").read_bytes() == (moved / "outer.ibd").read_bytes()
    assert result.settings["innodb_directories"] == str(again)
    assert verify(VerifyOptions(tmp_path / "new")).findings() == []
    (moved / "outer.ibd").rename(moved / "hidden")
    with booted(programs, tmp_path / "new", [f"--innodb-directories={again}"]) as found:
        assert rows(found, "SELECT * FROM d.t") == [(1,), (2,)]
