"""The refusal of a directory with something in it: each kind gets the hint that fits it."""

from __future__ import annotations

from pathlib import Path

import pytest

from innoclone.files.occupied import is_data_directory, occupied
from made_clones import finished_clone, locked, unfinished_clone


def hint(directory: Path) -> str:
    error = occupied(directory)
    assert error.message == f"{directory} exists and is not empty"
    return error.advice


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert occupied(tmp_path / "file").message == f"{tmp_path / 'file'} exists and is not a directory"


def test_a_servers_data(tmp_path: Path) -> None:
    assert not is_data_directory(tmp_path)
    (tmp_path / "mysql.ibd").write_bytes(b"page")
    assert is_data_directory(tmp_path)
    assert hint(tmp_path).startswith("it is a server's data")
    with locked(tmp_path / "mysql.ibd"):
        assert hint(tmp_path).startswith("a server runs on it")


def test_clones(tmp_path: Path) -> None:
    assert "innoclone discard" in hint(unfinished_clone(tmp_path / "unfinished"))
    finished_clone(tmp_path / "finished")
    assert hint(tmp_path / "finished").startswith("it holds a clone: ")
    (tmp_path / "stock" / "#clone").mkdir(parents=True)
    assert hint(tmp_path / "stock").startswith("it holds a clone of the stock plugin: ")
    finished_clone(tmp_path / "dated" / "2026-11-28T01-02-03Z")
    assert hint(tmp_path / "dated").startswith("it holds dated clones: ")


def test_anything_else_gets_the_plain_hint(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    plain = hint(tmp_path)
    assert plain
    (tmp_path / "mysql.ibd").symlink_to("/proc/self/mem-not-there")
    assert hint(tmp_path) == plain


def test_what_can_not_be_seen_gets_the_plain_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").touch()
    plain = hint(tmp_path)

    def fails(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", fails)
    assert hint(tmp_path) == plain
