"""The marks of a clone: what they say, and in which order they and the data go."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.errors import FileError, TargetBusy
from innoclone.files import marks as module
from innoclone.files.marks import (
    IN_PROGRESS,
    UNTOUCHED,
    WANT_RECOVERY_STATUS,
    begin_directory,
    is_recovered,
    is_unfinished,
    make_directory,
    remove,
    remove_clone,
    undo_begun_update,
)
from made_clones import LIKE_US, contents, finished_clone, locked, opened


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return finished_clone(tmp_path / "clone")


@pytest.fixture
def umask() -> Iterator[None]:
    """One that takes everything from others and from the group, and from us what makes a folder passable."""
    before = os.umask(0o177)
    yield
    os.umask(before)


def test_a_finished_clone_is_none_that_was_broken_off(clone: Path) -> None:
    assert not is_unfinished(clone)
    (clone / "#clone" / IN_PROGRESS).touch()
    assert is_unfinished(clone)


def test_an_update_that_changed_nothing_is_undone(clone: Path) -> None:
    """Not while somebody works on it, and not once it has been changed."""
    before = contents(clone)
    (clone / "#clone" / IN_PROGRESS).touch()
    undo_begun_update(clone)
    assert is_unfinished(clone)
    (clone / "#innoclone" / UNTOUCHED).touch()
    with locked(clone / "#innoclone", LIKE_US), pytest.raises(TargetBusy):
        undo_begun_update(clone)
    assert is_unfinished(clone)
    undo_begun_update(clone)
    assert contents(clone) == before
    (clone / "#innoclone" / UNTOUCHED).touch()
    begin_directory(clone)
    undo_begun_update(clone)
    assert is_unfinished(clone)


def test_foreign_data_is_no_unfinished_clone(tmp_path: Path) -> None:
    """Also not where a server's own clone was broken off, or where we only logged a boot."""
    assert not is_unfinished(tmp_path)
    (tmp_path / "#clone").mkdir()
    (tmp_path / "#clone" / IN_PROGRESS).touch()
    assert not is_unfinished(tmp_path)
    (tmp_path / "#clone" / IN_PROGRESS).unlink()
    (tmp_path / "#innoclone").mkdir()
    assert is_unfinished(tmp_path), "killed before the mark was made"
    (tmp_path / "mysql.ibd").touch()
    assert not is_unfinished(tmp_path)


def test_a_manifest_alone_is_no_unfinished_clone(tmp_path: Path) -> None:
    (tmp_path / "#innoclone").mkdir()
    (tmp_path / "#innoclone" / "manifest.json").touch()
    assert not is_unfinished(tmp_path)


def test_a_server_takes_the_mark_of_what_it_has_to_recover(clone: Path) -> None:
    assert not is_recovered(clone)
    (clone / "#clone" / WANT_RECOVERY_STATUS).unlink()
    assert is_recovered(clone)


def test_beginning_has_mysqlds_modes_whatever_the_umask_is(tmp_path: Path, umask: None) -> None:
    directory = tmp_path / "clone"
    begin_directory(directory)
    assert is_unfinished(directory)
    for path in (directory, directory / "#innoclone", directory / "#clone"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o750


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o711)
    make_directory(tmp_path / "there")
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o711
    with pytest.raises(FileNotFoundError):
        make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b", parents=True)
    assert (tmp_path / "a" / "b").is_dir()


def test_no_server_starts_on_what_is_left_of_a_removal(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short at any step: data goes under the mark, the manifest before the mark, our folder last."""
    seen: list[tuple[str, bool, bool]] = []

    def look(entry: Path) -> None:
        seen.append((entry.name, is_unfinished(clone), (clone / "#innoclone" / "manifest.json").exists()))
        remove(entry)

    monkeypatch.setattr(module, "remove", look)
    remove_clone(clone)
    assert not clone.exists()
    data, folders = seen[:-2], seen[-2:]
    assert {name for name, *_ in data} == {"schema", "mysql.ibd"}
    assert all(unfinished and manifest for _, unfinished, manifest in data)
    assert folders == [("#clone", True, False), ("#innoclone", True, False)]


def test_a_clone_in_use_is_not_even_marked(clone: Path) -> None:
    before = contents(clone)
    with opened(clone / "mysql.ibd") as pid, pytest.raises(TargetBusy, match=f"process {pid}"):
        remove_clone(clone)
    assert contents(clone) == before


def test_a_link_goes_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("of somebody")
    for name, target in (("folder", "precious"), ("file", "precious/data"), ("nowhere", "nothing")):
        (tmp_path / name).symlink_to(target)
        remove(tmp_path / name)
        assert not os.path.lexists(tmp_path / name)
    assert (tmp_path / "precious" / "data").read_text() == "of somebody"


def test_what_can_not_be_removed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match=r"can't remove .*missing: No such file"):
        remove(tmp_path / "missing")
    (tmp_path / "folder").mkdir()

    def fails(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", fails)
    with pytest.raises(FileError, match=r"can't remove .*folder: Permission denied"):
        remove(tmp_path / "folder")


def test_a_mount_point_is_not_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc is one wherever there is Linux; should the look at the mounts fail us, nothing must happen to it either."""
    monkeypatch.setattr(shutil, "rmtree", lambda path: pytest.fail(f"{path} would have been removed"))
    with pytest.raises(TargetBusy, match="/proc is a mount point") as caught:
        remove(Path("/proc"))
    assert caught.value.advice == "umount /proc"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts need root and unshare")
def test_a_file_system_in_a_schema_is_not_emptied(clone: Path) -> None:
    code = "import sys; from pathlib import Path; from innoclone.files.marks import remove; remove(Path(sys.argv[1]))"
    mount = 'mount -t tmpfs none "$4/schema" && touch "$4/schema/precious" && { "$@"; ls "$4/schema"; }'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", code, str(clone)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "schema is a mount point" in done.stderr
    assert done.stdout == "precious\n"
