"""Putting a finished directory in the place of an older one: until that step the older one is untouched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innoclone.errors import CloneError, FileError, TargetBusy, TargetUnusable
from innoclone.files import swap as module
from innoclone.files.swap import exchange, exchange_names, fresh_sibling, hold_for_swap
from made_clones import LIKE_US, contents, finished_clone, locked, opened, stood_in


@pytest.fixture
def old(tmp_path: Path) -> Path:
    directory = finished_clone(tmp_path / "clone")
    (directory / "which").write_text("old")
    return directory


@pytest.fixture
def new(old: Path) -> Path:
    directory = finished_clone(fresh_sibling(old))
    (directory / "which").write_text("new")
    return directory


def test_the_successor_is_beside_it(old: Path) -> None:
    assert fresh_sibling(old) == old.parent / "clone.innoclone-new"


def test_the_new_takes_the_place_and_the_old_goes(new: Path, old: Path) -> None:
    inode = new.stat().st_ino
    exchange(new, old)
    assert (old / "which").read_text() == "new"
    assert old.stat().st_ino == inode
    assert not new.exists()


def test_names_alone_change_places(new: Path, old: Path) -> None:
    exchange_names(new, old)
    assert ((old / "which").read_text(), (new / "which").read_text()) == ("new", "old")


def test_another_folder_changes_places_too(old: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    other = finished_clone(tmp_path / "more" / "other")
    exchange_names(other, old)
    assert (other / "which").read_text() == "old"
    assert not (old / "which").exists()


@pytest.mark.parametrize("use", ["opened", "stood_in", "locked"])
def test_an_old_one_in_use_stays_in_its_place(new: Path, old: Path, use: str) -> None:
    before = contents(old.parent)
    meanwhile = {
        "opened": lambda: opened(old / "mysql.ibd"), "stood_in": lambda: stood_in(old / "schema"),
        "locked": lambda: locked(old / "mysql.ibd"),
    }[use]  # fmt: skip
    with meanwhile() as pid, pytest.raises(TargetBusy, match=str(pid)):
        exchange(new, old)
    assert contents(old.parent) == before


def test_an_old_one_in_use_by_a_server_keeps_its_name(new: Path, old: Path) -> None:
    with locked(old / "mysql.ibd") as pid, pytest.raises(TargetBusy, match=f"a server runs on .*{pid}"):
        exchange_names(new, old)
    assert (old / "which").read_text() == "old"


def test_a_swap_that_fails_leaves_both(new: Path, old: Path) -> None:
    """The older one is gone, so there is nothing to swap with."""
    old.rename(old.with_name("moved"))
    with pytest.raises(FileError, match=f"can't swap {new}, which is complete, and {old}: No such file"):
        exchange(new, old)
    assert (new / "which").read_text() == "new"


def test_what_somebody_begins_to_use_after_the_swap_stays(
    new: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new data is in its place by then; the old is whole beside it."""
    before = contents(old)

    def remove(path: Path) -> None:
        with opened(path / "mysql.ibd"):
            remove_clone(path)

    remove_clone = module.remove_clone
    monkeypatch.setattr(module, "remove_clone", remove)
    with pytest.raises(TargetBusy, match="in use"):
        exchange(new, old)
    assert (old / "which").read_text() == "new"
    assert contents(new) == before


def test_meanwhile_nobody_else_works_on_it(old: Path) -> None:
    with hold_for_swap(old), pytest.raises(TargetBusy), hold_for_swap(old):
        pytest.fail("held twice")
    with locked(old / "#innoclone", LIKE_US) as pid, pytest.raises(TargetBusy, match=str(pid)), hold_for_swap(old):
        pytest.fail("held twice")
    with hold_for_swap(old) as lock:
        os.fstat(lock)


def test_data_without_a_folder_of_ours_gets_one(tmp_path: Path) -> None:
    """A clone of the stock plugin."""
    with hold_for_swap(tmp_path):
        assert (tmp_path / "#innoclone" / "lock").exists()


def test_a_mount_point_can_not_be_swapped() -> None:
    with pytest.raises(TargetUnusable, match="/proc is a mount point"), hold_for_swap(Path("/proc")):
        pytest.fail("held")


@pytest.mark.parametrize("fault", ["no directory", "a file", "a folder"])
def test_what_can_not_be_locked_is_an_error_of_ours(old: Path, fault: str) -> None:
    """Nothing of it escapes as Python's own error, which would be a traceback for the user."""
    if fault == "a folder":
        (old / "#innoclone" / "lock").mkdir()
    elif fault == "a file":
        (old / "#innoclone").rename(old / "kept")
        (old / "#innoclone").write_text("of somebody")
    directory = old / "missing" if fault == "no directory" else old
    with pytest.raises(CloneError, match="can't use"), hold_for_swap(directory):
        pytest.fail("held")
