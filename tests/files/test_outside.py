"""Files of a clone in other places: only the very file that the clone made is ever removed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from innoclone.files.outside import EXTERNAL, Outside, borrowed, earlier_outside, identity_of
from made_clones import finished_clone


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "clone" / "#innoclone").mkdir(parents=True)
    return tmp_path / "clone"


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    (tmp_path / "fast").mkdir()
    return tmp_path / "fast"


def made(listed: Outside, path: Path) -> Path:
    """As the clone makes a file."""
    listed.announce(path)
    path.write_bytes(b"page")
    listed.note(path)
    return path


def finished(clone: Path, listed: Outside) -> Path:
    """The clone came to its end: the list is in the manifest."""
    shutil.rmtree(clone)
    listed_then = Outside(finished_clone(clone))
    listed_then._known = listed._known
    manifest = clone / "#innoclone" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"outside": listed_then.for_manifest}))
    return manifest


def test_what_was_made_is_ours_and_goes_with_its_folder(clone: Path, fast: Path) -> None:
    listed = Outside(clone)
    listed.announce(fast / "s")
    (fast / "s").mkdir()
    listed.note(fast / "s")
    file = made(listed, fast / "s" / "t.ibd")
    again = Outside.recorded(clone)
    assert list(again.ours()) == [file, fast / "s"], "files before their folders"
    assert again.files == [file]
    again.remove()
    assert list(fast.iterdir()) == []
    assert list(again.ours()) == []


def test_a_folder_with_somebodys_file_stays(clone: Path, fast: Path) -> None:
    listed = Outside(clone)
    listed.note(fast)
    file = made(listed, fast / "t.ibd")
    (fast / "notes").write_text("of mine")
    listed.remove()
    assert not file.exists()
    assert (fast / "notes").read_text() == "of mine"


@pytest.mark.parametrize("kind", ["another file", "a folder", "a link", "a copy", "a pipe", "nothing"])
def test_what_came_to_such_a_place_later_stays(clone: Path, fast: Path, kind: str) -> None:
    listed = Outside(clone)
    file = made(listed, fast / "t.ibd")
    file.rename(fast / "moved")
    if kind == "another file":
        file.write_bytes(b"of somebody")
    elif kind == "a folder":
        file.mkdir()
    elif kind == "a link":
        file.symlink_to(fast / "moved")
    elif kind == "a copy":
        shutil.copy2(fast / "moved", file)
    elif kind == "a pipe":
        os.mkfifo(file)
    there = os.path.lexists(file)
    assert not listed.is_ours(file)
    assert not Outside.recorded(clone).is_ours(file)
    Outside.recorded(clone).remove()
    assert os.path.lexists(file) == there
    assert (fast / "moved").read_bytes() == b"page"


def test_an_inode_that_was_used_again_is_another_file(clone: Path, fast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its generation tells, where the file system has one."""
    listed = Outside(clone)
    file = made(listed, fast / "t.ibd")
    from innoclone.files import outside as module

    monkeypatch.setattr(module.fcntl, "ioctl", lambda *_: (4711).to_bytes(8, "little"))
    assert identity_of(file) == [file.stat().st_dev, file.stat().st_ino, 4711]
    assert not listed.is_ours(file)

    def fails(*_: object) -> bytes:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(module.fcntl, "ioctl", fails)
    assert identity_of(file) == [file.stat().st_dev, file.stat().st_ino, 0]


def test_a_crash_between_making_and_writing_down(clone: Path, fast: Path) -> None:
    """What was announced is ours as long as it is empty; with something in it, it is not known whose it is."""
    listed = Outside(clone)
    for name in ("empty", "full", "folder", "full folder", "never"):
        listed.announce(fast / name)
    (fast / "empty").touch()
    (fast / "full").write_text("of whom?")
    (fast / "folder").mkdir()
    (fast / "full folder" / "more").mkdir(parents=True)
    assert set(listed.ours()) == {fast / "empty", fast / "folder"}
    Outside.recorded(clone).remove()
    assert {path.name for path in fast.iterdir()} == {"full", "full folder"}


def test_what_was_given_up_is_not_ours(clone: Path, fast: Path) -> None:
    listed = Outside(clone)
    listed.announce(fast / "t.ibd")
    (fast / "t.ibd").touch()
    listed.give_up(fast / "t.ibd")
    assert not listed.is_ours(fast / "t.ibd")
    assert not Outside.recorded(clone).is_ours(fast / "t.ibd")
    assert not listed.is_ours(fast), "which was never spoken of"


def test_a_rename_is_announced_with_what_comes(clone: Path, fast: Path) -> None:
    listed = Outside(clone)
    file = made(listed, fast / "old.ibd")
    listed.announce(fast / "new.ibd", like=file)
    file.rename(fast / "new.ibd")
    assert Outside.recorded(clone).files == [fast / "new.ibd"]


def test_a_torn_list_is_read_as_far_as_it_goes(clone: Path, fast: Path) -> None:
    file = made(Outside(clone), fast / "t.ibd")
    with (clone / "#innoclone" / EXTERNAL).open("a") as record:
        record.write('[]\n{}\n{"path": "/tm')
    assert Outside.recorded(clone).files == [file]


def test_a_list_that_can_not_be_written_stops_the_clone(clone: Path, fast: Path) -> None:
    """Before the file is made: else it would be nobody's."""
    (clone / "#innoclone").rmdir()
    with pytest.raises(FileNotFoundError):
        Outside(clone).announce(fast / "t.ibd")


def test_a_copied_directory_has_nothing_outside(clone: Path, fast: Path, tmp_path: Path) -> None:
    file = made(Outside(clone), fast / "t.ibd")
    shutil.copytree(clone, tmp_path / "copy")
    assert Outside.recorded(tmp_path / "copy").files == []
    (tmp_path / "link").symlink_to(clone)
    assert Outside.recorded(tmp_path / "link").files == [file]
    assert Outside.recorded(tmp_path / "nothing").files == []


def test_of_a_finished_clone_only_what_is_in_the_way(clone: Path, fast: Path, tmp_path: Path) -> None:
    (tmp_path / "slow").mkdir()
    listed = Outside(clone)
    file = made(listed, fast / "t.ibd")
    other = made(listed, tmp_path / "slow" / "u.ibd")
    listed.announce(fast / "never")
    finished(clone, listed)
    mapping = (("/donor/fast", str(fast)),)
    assert Outside.of_finished(clone, mapping).files == [file]
    assert Outside.of_finished(clone, ()).files == []
    assert [one.files for one in earlier_outside(clone, mapping)] == [[], [file]]
    shutil.copytree(clone, tmp_path / "copy")
    assert Outside.of_finished(tmp_path / "copy", mapping).files == []
    assert other.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"outside": null}', '{"outside": {"of": []}}'])
def test_a_manifest_that_tells_nothing_makes_nothing_ours(clone: Path, text: str) -> None:
    (clone / "#innoclone" / "manifest.json").write_text(text)
    assert Outside.of_finished(clone, (("/", "/"),)).files == []
    assert borrowed(clone) is None


def test_a_copy_shares_what_is_outside_with_its_original(clone: Path, fast: Path, tmp_path: Path) -> None:
    """So no server may run on the copy; once that file is gone, or another one, nothing is shared."""
    listed = Outside(clone)
    file = made(listed, fast / "t.ibd")
    finished(clone, listed)
    assert borrowed(clone) is None
    copy = tmp_path / "copy"
    shutil.copytree(clone, copy)
    assert borrowed(copy) == file
    file.rename(fast / "moved")
    assert borrowed(copy) is None
    file.write_bytes(b"another")
    assert borrowed(copy) is None


def test_only_a_thing_itself_has_an_identity(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert identity_of(tmp_path / "link") is None
    assert identity_of(tmp_path / "missing") is None
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        assert identity_of(tmp_path / "s") is None
    assert identity_of(tmp_path) == identity_of(tmp_path / ".")


def test_what_can_not_be_looked_at_is_not_empty(clone: Path, fast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Outside(clone)
    listed.announce(fast / "folder")
    (fast / "folder").mkdir()

    def fails(_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", fails)
    assert not listed.is_ours(fast / "folder")
