"""Whose a data directory is, and what root leaves as it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from innoclone.files.ownership import Ownership, give, settle

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SOMEBODY, GROUP = 65534, 65533


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    (directory / "mysql").mkdir(parents=True)
    (directory / "mysql.ibd").touch()
    (directory / "mysql" / "t.ibd").touch()
    (directory / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()
    for path, mode in ((directory, 0o711), (directory / "mysql", 0o700), (directory / "mysql.ibd", 0o600)):
        path.chmod(mode)
    return directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


def test_modes_go_by_the_dictionary(data: Path) -> None:
    was = Ownership.of(data)
    assert (was.mode, was.folder_mode, was.file_mode) == (0o711, 0o700, 0o600)
    assert (was.uid, was.gid) == owner(data)


def test_without_it_by_a_tablespace(data: Path) -> None:
    (data / "mysql.ibd").unlink()
    (data / "mysql" / "t.ibd").chmod(0o604)
    assert Ownership.of(data).file_mode == 0o604
    aside = data / "#innoclone" / "base"
    aside.mkdir(parents=True)
    (aside / "0").touch(mode=0o600)
    (aside / "0").chmod(0o606)
    assert Ownership.of(data).file_mode == 0o606


def test_an_empty_one_has_mysqlds_modes(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "mysql").symlink_to("/")
    was = Ownership.of(tmp_path)
    assert (was.mode, was.folder_mode, was.file_mode) == (0o755, 0o750, 0o640)
    with pytest.raises(FileNotFoundError):
        Ownership.of(tmp_path / "missing")


def test_only_root_gives_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    was = Ownership(SOMEBODY, GROUP, 0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert was.ids == (SOMEBODY, GROUP)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert was.ids is None
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("given away"))
    give(tmp_path, tmp_path)


def test_nothing_is_changed_where_nothing_is_known(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("given away"))
    settle(data, [], None, None)
    assert mode(data) == 0o711


def test_modes_are_those_that_were(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of folders, of files, of files outside; what a link leads to is left alone. Not root: nothing is given away."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("given away"))
    (tmp_path / "elsewhere").chmod(0o644)
    (tmp_path / "outside.ibd").touch()
    (tmp_path / "here").symlink_to(data)
    was = Ownership(*owner(data), mode=0o750, folder_mode=0o710, file_mode=0o604)
    settle(tmp_path / "here", [tmp_path / "outside.ibd"], was, None)
    assert mode(data) == 0o750
    assert mode(data / "mysql") == 0o710
    assert {mode(path) for path in (data / "mysql.ibd", data / "mysql" / "t.ibd", tmp_path / "outside.ibd")} == {0o604}
    assert mode(tmp_path / "elsewhere") == 0o644


@root_only
@pytest.mark.parametrize(
    ("known", "wished", "expected"),
    [(True, None, (SOMEBODY, GROUP)), (True, (-1, 12), (SOMEBODY, 12)), (True, (11, -1), (11, GROUP)),
     (True, (11, 12), (11, 12)), (False, (11, 12), (11, 12))],
)  # fmt: skip
def test_the_owner_is_who_it_was_or_who_is_wished(
    data: Path, tmp_path: Path, known: bool, wished: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    before = owner(tmp_path / "elsewhere")
    settle(data, [], Ownership(SOMEBODY, GROUP, 0o711, 0o700, 0o600) if known else None, wished)
    assert {owner(path) for path in (data, *data.rglob("*"))} == {expected}
    assert owner(tmp_path / "elsewhere") == before, "what the link leads to"


@root_only
def test_what_root_makes_is_its_neighbours(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, GROUP)
    (tmp_path / "new").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").touch()
    give(tmp_path / "new", tmp_path)
    assert owner(tmp_path / "new") == (SOMEBODY, GROUP)
    assert owner(tmp_path / "precious") != (SOMEBODY, GROUP)
