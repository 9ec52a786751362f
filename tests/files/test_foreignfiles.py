"""What is no clone's in an unfinished clone is named, and nothing goes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from innoclone.errors import FileError, TargetExists
from innoclone.files.foreignfiles import refuse_strangers
from made_clones import contents, space_page, unfinished_clone


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    return unfinished_clone(tmp_path / "clone")


def test_what_clones_bring_is_none_of_somebodys(unfinished: Path) -> None:
    """By name, or by a page 0 under any name, or with nothing in it yet."""
    for name, data in {
        "ibdata1": b"x", "undo_001": b"x", "more.ibu": b"x", "ib_logfile0": b"x", "ib_buffer_pool.incomplete": b"x",
        "t.ibd.#clone_ddl": b"x", "#ib_16384_0.dblwr": b"x", "schema/u.ibd": b"x", "odd": space_page(0),
        "empty": b"", "zeros": bytes(9999), "auto.cnf": b"[auto]", "#innodb_redo/#ib_redo1": b"x",
        "#innodb_temp/any": b"x", "#ib_archive/any": b"x", "#innoclone/any": b"x",
    }.items():  # fmt: skip
        (unfinished / name).parent.mkdir(exist_ok=True)
        (unfinished / name).write_bytes(data)
    (unfinished / "empty-schema").mkdir()
    refuse_strangers(unfinished)


@pytest.mark.parametrize(
    "name", ["notes", "my.cnf", "schema/dump.sql", "schema/auto.cnf", "binlog.000001", "ibdata1.bak", "#sql", "a/b/c"]
)
def test_anything_else_is_named(unfinished: Path, name: str) -> None:
    (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
    (unfinished / name).write_text("of somebody, and longer than a header has to be for a look at it: 64 bytes")
    before = contents(unfinished)
    with pytest.raises(TargetExists, match="a/b" if name == "a/b/c" else name) as caught:
        refuse_strangers(unfinished)
    assert caught.value.advice == "move that elsewhere, it would be lost"
    assert contents(unfinished) == before


@pytest.mark.parametrize("name", ["link.ibd", "schema/link.ibd", "folder.ibd", "schema/folder.ibd", "pipe.ibd"])
def test_a_tables_name_alone_makes_no_table(unfinished: Path, tmp_path: Path, name: str) -> None:
    """A link leads to somebody's, a folder holds somebody's, a pipe is read by somebody."""
    (tmp_path / "precious.ibd").write_bytes(space_page(9))
    path = unfinished / name
    if "link" in name:
        path.symlink_to(tmp_path / "precious.ibd")
    elif "folder" in name:
        (path / "inner").mkdir(parents=True)
    else:
        os.mkfifo(path)
    with pytest.raises(TargetExists, match=name):
        refuse_strangers(unfinished)


def test_many_are_counted(unfinished: Path) -> None:
    for number in range(6):
        (unfinished / f"n{number}").write_text("x")
    with pytest.raises(TargetExists, match="n0, n1, n2, n3 and 2 more"):
        refuse_strangers(unfinished)


@pytest.mark.parametrize(("status", "is_restore"), [("restore", True), ("clone", False), (None, False)])
def test_what_a_restore_copied_may_be_a_servers_own(unfinished: Path, status: str | None, is_restore: bool) -> None:
    (unfinished / "my.cnf").write_text("[mysqld]")
    if status:
        (unfinished / "#innoclone" / "status.json").write_text(json.dumps({"operation": status}))
    if is_restore:
        return refuse_strangers(unfinished)
    with pytest.raises(TargetExists):
        refuse_strangers(unfinished)
    return None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "torn"])
def test_a_status_that_tells_nothing_allows_nothing(unfinished: Path, text: str) -> None:
    (unfinished / "notes").write_text("x")
    (unfinished / "#innoclone" / "status.json").write_text(text)
    with pytest.raises(TargetExists, match="notes"):
        refuse_strangers(unfinished)


def test_a_removal_of_a_finished_clone_goes_on(unfinished: Path) -> None:
    """It was looked at when it began; its manifest goes last."""
    (unfinished / "#innoclone" / "manifest.json").write_text("{}")
    (unfinished / "notes").write_text("x")
    refuse_strangers(unfinished)


def test_what_can_not_be_read_is_an_error(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (unfinished / "odd").write_text("x")

    def fails(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(FileError, match=r"can't look through .*: Permission denied"):
        refuse_strangers(unfinished)
