"""What stays with a server whose data is replaced: told from data by names, and copied."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from innoclone.errors import DiskFull, FileError, TargetExists, TargetUnusable
from innoclone.files.belongings import belongings, carry, folders_of, size_of

DATA = (
    "ibdata1", "ibtmp1", "mysql.ibd", "general.ibd", "undo_001", "more.ibu", "ib_buffer_pool", "ib_logfile0",
    "#ib_16384_0.dblwr", "#innodb_redo/#ib_redo1", "#innodb_temp/temp_1.ibt", "mysql/general_log.CSV",
    "mysql/general_log_1.sdi", "sys/x.ibd", "#clone/#view_status", "#innoclone/manifest.json", "shop/t.ibd",
    "shop/m.MYD", "shop/m.MYI", "shop/m_1.sdi", "shop/db.opt", "binlog.000001", "binlog.index", "system0",
    "myisam/m.MYD", "myisam/m.MYI", "csv/c.CSM", "csv/c.CSV", "merge/m.MRG", "archive/a.ARZ", "known/db.opt",
    "odd/only.MYD",
)  # fmt: skip
OWN = (
    "auto.cnf", "mysqld-auto.cnf", "my.cnf", "server-key.pem", "host.err", "host-slow.log", "relay.000001",
    "relay.index", "mysql_upgrade_history", "scripts/backup.sh", "notes.txt", "undo_notes", "ibdata1.bak",
    "binlog.tar", "exports/list.CSV", "exports/list.csv",
)  # fmt: skip
SCHEMAS = ["mysql", "known", "odd", "empty-schema"]
NAMES = [r"binlog\.(\d+|~rec~)", r"binlog\.index", "system0"]


def fill(data: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_what_belongs_to_the_server_and_what_is_data(tmp_path: Path) -> None:
    fill(tmp_path, DATA + OWN)
    for name in ("empty@002dschema", "caf@1o", "tmp"):  # the last one is for a tmpdir, say
        (tmp_path / name).mkdir()
    stays = belongings(tmp_path, NAMES, SCHEMAS)
    assert {path.name for path in stays} == {name.partition("/")[0] for name in OWN} | {"tmp"}


def test_a_foreign_file_among_tables_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, (*DATA, "shop/dump.sql"))
    with pytest.raises(TargetUnusable, match=r"shop holds tables and also dump\.sql"):
        belongings(tmp_path, NAMES)


@pytest.mark.parametrize("name", ["shop/dump.sql", "known/dump.sql", "shop/more/t.ibd"])
def test_a_foreign_file_in_any_schema_is_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path, (*DATA, name))
    with pytest.raises(TargetUnusable, match="holds tables and also"):
        belongings(tmp_path, NAMES, SCHEMAS)


@pytest.mark.parametrize(("name", "file"), [("shop", "t.ibd"), ("#innodb_redo", "#ib_redo1"), ("undo_001", "")])
def test_a_link_to_data_elsewhere_is_refused(tmp_path: Path, name: str, file: str) -> None:
    fill(tmp_path, (f"elsewhere/{file or name}", "data/mysql.ibd"))
    (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / ("" if file else name))
    with pytest.raises(TargetUnusable, match="symbolic link"):
        belongings(tmp_path / "data", [])


def test_carrying_copies_and_touches_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old, OWN)
    fill(new, ("mysql_upgrade_history", "mysql.ibd"))
    (old / "scripts" / "backup.sh").chmod(0o700)
    (old / "link").symlink_to("my.cnf")
    carry(belongings(old, []), new)
    for name in OWN:
        assert (old / name).read_text() == (new / name).read_text() == name
        assert (old / name).stat().st_ino != (new / name).stat().st_ino
        assert (old / name).stat().st_mode == (new / name).stat().st_mode
    assert (new / "link").readlink() == Path("my.cnf")


def test_what_has_the_name_of_a_schema_of_the_clone_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "old", ("scripts/backup.sh", "shop"))
    fill(tmp_path / "new", ("scripts/t.ibd", "shop/t.ibd"))
    for entry in belongings(tmp_path / "old", []):
        with pytest.raises(TargetExists, match=entry.name):
            carry([entry], tmp_path / "new")
    assert not (tmp_path / "new" / "scripts" / "backup.sh").exists()


def test_an_empty_folder_is_in_no_schemas_way(tmp_path: Path) -> None:
    (tmp_path / "old" / "shop").mkdir(parents=True)
    fill(tmp_path / "new", ("shop/t.ibd",))
    carry(belongings(tmp_path / "old", []), tmp_path / "new")
    assert (tmp_path / "new" / "shop" / "t.ibd").exists()


# ---- what can't be seen, and what can't be copied ---------------------------------------------------------------


def test_what_can_not_be_looked_through_is_an_error(tmp_path: Path) -> None:
    """Nothing of it could be carried over; no list would mean that there is nothing."""
    for look in (lambda: belongings(tmp_path / "missing", []), lambda: folders_of(tmp_path / "missing")):
        with pytest.raises(FileError, match=r"can't look into .*missing: No such file"):
            look()
    with pytest.raises(FileError, match="can't look at what stays"):
        size_of([tmp_path / "missing"])


def test_what_stays_is_measured_with_all_that_is_in_it(tmp_path: Path) -> None:
    fill(tmp_path, ("scripts/a", "scripts/deep/b", "my.cnf"))
    folders = [tmp_path / "scripts", tmp_path / "scripts" / "deep"]
    assert size_of([tmp_path / "scripts", tmp_path / "my.cnf"]) == sum(
        (len("scripts/a"), len("scripts/deep/b"), len("my.cnf"), *(path.stat().st_size for path in folders))
    )


def test_sockets_and_pipes_of_a_server_that_is_down_do_not_stay(tmp_path: Path) -> None:
    """In the directory or in a folder of it; a folder that is empty in the new data takes no place from another."""
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old, ("scripts/a",))
    new.mkdir()
    os.mkfifo(old / "pipe")
    os.mkfifo(old / "scripts" / "pipe")
    stays = belongings(old, [])
    assert stays == [old / "scripts"]
    carry(stays, new)
    assert [path.name for path in (new / "scripts").iterdir()] == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_mode_and_times_are_carried_over(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old, ("scripts/a", "key.pem"))
    new.mkdir()
    (old / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").touch()
    for path in (old / "key.pem", old / "scripts", old / "scripts" / "a", old / "link"):
        os.chown(path, 65534, 65533, follow_symlinks=False)
    (old / "key.pem").chmod(0o400)
    os.utime(old / "key.pem", ns=(1, 2))
    carry(belongings(old, []), new)
    for name in ("key.pem", "scripts", "scripts/a", "link"):
        one, other = (old / name).lstat(), (new / name).lstat()
        assert (one.st_uid, one.st_gid, one.st_mode) == (other.st_uid, other.st_gid, other.st_mode)
    assert (new / "key.pem").stat().st_mtime_ns == 2
    assert (tmp_path / "precious").stat().st_uid == 0


def test_who_may_not_give_away_keeps_what_he_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of ours is not given to us again; another one's becomes ours."""
    fill(tmp_path / "old", ("my.cnf",))
    (tmp_path / "new").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "old" / "my.cnf", 1000, 1000)
    state = (tmp_path / "old" / "my.cnf").stat()
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        tried.append(arguments)
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(os, "getegid", lambda: state.st_gid)
    for user in (state.st_uid, state.st_uid + 1):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        carry([tmp_path / "old" / "my.cnf"], tmp_path / "new")
        assert len(tried) == (user != state.st_uid)
        assert (tmp_path / "new" / "my.cnf").read_text() == "my.cnf"


def test_a_copy_that_fails_is_an_error_and_the_old_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    fill(old, ("my.cnf",))
    new.mkdir()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match=r"can't copy .*my\.cnf"):
            carry([old / "my.cnf"], new)
        with pytest.raises(DiskFull, match="can't sync"):
            carry([], new)
    assert (old / "my.cnf").read_text() == "my.cnf"
    carry([old / "my.cnf"], new)
    assert (new / "my.cnf").read_text() == "my.cnf", "what the failed one left is written anew"
