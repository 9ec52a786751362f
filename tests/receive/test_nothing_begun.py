"""What is in the directory of a clone that the donor never began stays: it would be lost for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clones import clone_server
from innoclone.errors import CloneError, CloneRunning, Interrupted, NetworkError, TargetExists
from innoclone.files.marks import begin_directory, is_unfinished
from innoclone.receive import recipient
from innoclone.server.mysqld import Server


def refuse(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(_: object, _request: bytes) -> None:
        raise error

    monkeypatch.setattr(recipient, "begin", begin)


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "error", [CloneRunning("too many"), NetworkError("broken"), Interrupted("stopped"), KeyboardInterrupt()], ids=repr
)
def test_an_earlier_clone_stays_whole(
    error: BaseException, small_donor: Server, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The donor is busy with another clone at three in the morning: last night's clone can still be started."""
    directory = Path(shutil.copytree(small_clone, tmp_path / "clone"))
    before = contents(directory)
    refuse(error, monkeypatch)
    with pytest.raises(type(error)):
        clone_server(small_donor, directory, write_changed_only=True, retry_for=0)
    assert contents(directory) == before
    assert not is_unfinished(directory)


def test_an_update_that_was_broken_off_stays(
    small_donor: Server, small_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the earlier clone serves the next run, which has less to write then."""
    directory = Path(shutil.copytree(small_clone, tmp_path / "clone"))
    begin_directory(directory)
    refuse(CloneRunning("too many"), monkeypatch)
    with pytest.raises(CloneRunning):
        clone_server(small_donor, directory, write_changed_only=True, retry_for=0)
    assert (directory / "mysql.ibd").exists()
    assert is_unfinished(directory)


@pytest.mark.parametrize("begins", [True, False])
def test_what_somebody_put_into_an_unfinished_clone_stays(
    begins: bool, small_donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and not removed with the refusal either."""
    directory = tmp_path / "clone"
    begin_directory(directory)
    (directory / "ibdata1").touch()
    (directory / "notes").write_text("not to be lost")
    if not begins:
        refuse(CloneRunning("too many"), monkeypatch)
    with pytest.raises(TargetExists if begins else CloneError):
        clone_server(small_donor, directory, retry_for=0)
    assert (directory / "notes").read_text() == "not to be lost"


def test_an_empty_directory_is_empty_again(
    small_donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(CloneRunning("too many"), monkeypatch)
    with pytest.raises(CloneRunning):
        clone_server(small_donor, tmp_path, retry_for=0)
    assert not any(tmp_path.iterdir())
