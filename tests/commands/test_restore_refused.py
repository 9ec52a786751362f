"""What a restore refuses, and what it takes with a word: targets, clones, owners, files outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import innoclone
from clones import booted, rows
from innoclone.commands import wholeclone
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, VerifyOptions
from innoclone.commands.verify import verify
from innoclone.errors import (
    BootFailed,
    CloneError,
    PathRefused,
    TargetBusy,
    TargetExists,
    TargetUnusable,
)
from innoclone.files import lock
from innoclone.files.lock import take_lock
from innoclone.files.marks import is_unfinished
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import local_clone, refuses_to_boot
from restores import contents, restored, rewrite
from servers import ServerFactory


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
    with pytest.raises(TargetUnusable, match="lies within"):
        restored(small_clone, small_clone / "below")
    (occupied / "mysql.ibd").touch()
    with pytest.raises(TargetUnusable, match="lies within"):
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

    monkeypatch.setattr(wholeclone, "take_lock", refuse)
    result = restored(small_clone, tmp_path / "new")
    assert any("can't be locked" in note for note in result.notes)
    assert contents(tmp_path / "new") == contents(small_clone)


def test_a_clone_that_became_a_server(small_recovered: Path, programs: Programs, tmp_path: Path) -> None:
    """Only with a word; then with what was written there, but with an identity of its own."""
    kept = tmp_path / "kept"
    restored(small_recovered, kept)
    server = boot(BootOptions(kept, keep=True))
    try:
        assert server.socket == kept / "mysql.sock"
        words = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode().split("\0")
        options = dict(word.split("=", 1) for word in words if "=" in word)
        for name in ("--socket", "--pid-file", "--tmpdir"):
            assert Path(options[name]).is_relative_to(kept), "nothing is left elsewhere when it ends"
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
