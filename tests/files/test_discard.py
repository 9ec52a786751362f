"""Taking an unfinished clone away: nothing goes that is finished, in use, or somebody else's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from innoclone.errors import FileError, TargetBusy, TargetExists
from innoclone.files import discard as module
from innoclone.files import marks
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.marks import IN_PROGRESS
from innoclone.files.outside import Outside
from made_clones import LIKE_US, contents, finished_clone, locked, opened, unfinished_clone


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    return unfinished_clone(tmp_path / "clone")


def test_it_goes_with_its_folder(unfinished: Path) -> None:
    assert remove_unfinished_clone(unfinished)
    assert not unfinished.exists()


def test_a_link_that_leads_to_it_stays(unfinished: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(unfinished)
    assert not remove_unfinished_clone(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert list(unfinished.iterdir()) == []


@pytest.mark.parametrize("kind", ["finished", "data", "empty", "missing", "file"])
def test_what_is_no_unfinished_clone_stays(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "it"
    if kind == "finished":
        finished_clone(directory)
    elif kind == "file":
        directory.write_text("of somebody")
    elif kind != "missing":
        directory.mkdir()
    if kind == "data":
        (directory / "mysql.ibd").write_bytes(b"page")
    before = contents(tmp_path)
    with pytest.raises(TargetExists, match="holds no unfinished clone") as caught:
        remove_unfinished_clone(directory)
    assert caught.value.advice == "nothing was removed"
    assert contents(tmp_path) == before


def test_what_somebody_works_on_stays(unfinished: Path) -> None:
    with locked(unfinished / "#innoclone", LIKE_US) as pid:
        before = contents(unfinished)
        with pytest.raises(TargetBusy, match=f"process {pid} .* is working on") as caught:
            remove_unfinished_clone(unfinished)
        assert f"innoclone stop {unfinished}" in caught.value.advice
        assert contents(unfinished) == before
    assert remove_unfinished_clone(unfinished)


def test_a_file_that_somebody_reads_stays(unfinished: Path) -> None:
    with opened(unfinished / "schema" / "t.ibd") as pid, pytest.raises(TargetBusy, match=f"{pid} .*schema/t.ibd open"):
        remove_unfinished_clone(unfinished)
    assert (unfinished / "schema" / "t.ibd").exists()
    assert (unfinished / "#clone" / IN_PROGRESS).exists()
    assert remove_unfinished_clone(unfinished), "the lock is given back"


def test_what_somebody_put_there_stays(unfinished: Path) -> None:
    (unfinished / "notes").write_text("of mine")
    with pytest.raises(TargetExists, match="notes"):
        remove_unfinished_clone(unfinished)
    assert (unfinished / "notes").read_text() == "of mine"
    assert (unfinished / "schema" / "t.ibd").exists()


def test_a_clone_that_was_finished_meanwhile_stays(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look and the lock."""

    def take(own: Path, directory: Path) -> int:
        (own / "manifest.json").write_text("{}")
        (directory / "#clone" / IN_PROGRESS).unlink()
        return take_lock(own, directory)

    take_lock = module.take_lock
    monkeypatch.setattr(module, "take_lock", take)
    with pytest.raises(TargetExists, match="just finished"):
        remove_unfinished_clone(unfinished)
    assert (unfinished / "schema" / "t.ibd").exists()


def test_a_lock_that_can_not_be_taken_is_an_error(unfinished: Path) -> None:
    (unfinished / "#innoclone" / "lock").mkdir()
    with pytest.raises(FileError, match="can't lock"):
        remove_unfinished_clone(unfinished)
    assert (unfinished / "schema" / "t.ibd").exists()


def test_what_comes_in_between_stays_and_is_told(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody makes when everything else has gone already."""
    remove = marks.remove

    def and_somebody_else(entry: Path) -> None:
        remove(entry)
        if entry.name == "#innoclone":
            (unfinished / "late").write_text("of mine")

    monkeypatch.setattr(marks, "remove", and_somebody_else)
    with pytest.raises(FileError, match="can't remove"):
        remove_unfinished_clone(unfinished)
    assert contents(unfinished) == {"late": b"of mine"}


@pytest.fixture
def outside(unfinished: Path, tmp_path: Path) -> Path:
    """A file of the clone in another place."""
    file = tmp_path / "fast" / "u.ibd"
    file.parent.mkdir()
    listed = Outside(unfinished)
    listed.announce(file)
    file.write_bytes(b"page")
    listed.note(file)
    return file


def test_its_files_outside_go_with_it(unfinished: Path, outside: Path) -> None:
    assert remove_unfinished_clone(unfinished)
    assert not outside.exists()
    assert outside.parent.exists(), "which the clone did not make"


def test_another_file_at_such_a_place_stays(unfinished: Path, outside: Path) -> None:
    outside.rename(outside.with_name("kept"))
    outside.write_bytes(b"of somebody")
    assert remove_unfinished_clone(unfinished)
    assert outside.read_bytes() == b"of somebody"
    assert outside.with_name("kept").read_bytes() == b"page"


def test_a_copy_of_the_clone_has_none(unfinished: Path, outside: Path, tmp_path: Path) -> None:
    shutil.copytree(unfinished, tmp_path / "copy")
    assert remove_unfinished_clone(tmp_path / "copy")
    assert outside.exists()


def test_a_file_outside_that_somebody_reads_keeps_all(unfinished: Path, outside: Path) -> None:
    with opened(outside), pytest.raises(TargetBusy, match="in use"):
        remove_unfinished_clone(unfinished)
    assert outside.exists()
    assert (unfinished / "schema" / "t.ibd").exists()
