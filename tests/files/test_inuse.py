"""Who uses a directory is seen through every name that it has, and what is in use is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innoclone.errors import TargetBusy, TargetExists
from innoclone.files import inuse as module
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Purpose, Use, refuse_in_use, users_of
from innoclone.files.marks import begin_directory, remove_clone
from innoclone.files.outside import Outside
from innoclone.files.swap import exchange
from innoclone.sinks.directory import Target

Start = Callable[..., "subprocess.Popen[bytes]"]
root_only = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="mounts need root and unshare")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that are there, with a file open or a directory as theirs, until the test ends."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*command: str, file: Path | None = None, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        words = command or ("sh", "-c", "echo on; exec sleep 600")
        with (file or Path(os.devnull)).open() as stream:
            process = subprocess.Popen(words, stdin=stream, stdout=subprocess.PIPE, cwd=cwd)
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with a file and a folder in it."""
    directory = tmp_path / "clone"
    (directory / "schema").mkdir(parents=True)
    (directory / "schema" / "t.ibd").write_bytes(b"page")
    return directory


def uses(directory: Path) -> set[Use]:
    return {user.use for user in users_of(directory)}


def test_an_inode_that_was_used_again_is_another_file(
    clone: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the directory was removed while it was looked through, and a server has its inode open by now."""
    (tmp_path / "elsewhere").touch()
    state = (tmp_path / "elsewhere").stat()
    start("sh", "-c", "echo on; exec sleep 600", "mysqld", file=tmp_path / "elsewhere")
    inodes = module._inodes

    def before(root: Path) -> tuple[dict[tuple[int, int], str], dict[tuple[int, int], str]]:
        files, folders = inodes(root)
        return files | {(state.st_dev, state.st_ino): "removed"}, folders

    monkeypatch.setattr(module, "_inodes", before)
    assert users_of(clone) == []
    (tmp_path / "elsewhere").rename(clone / "removed")
    assert uses(clone) == {Use.FILES}


def test_an_open_file_is_seen_by_every_name(clone: Path, tmp_path: Path, start: Start) -> None:
    """The directory through a symbolic link, the file through a hard link, and who it is."""
    assert users_of(clone) == []
    (tmp_path / "link").symlink_to(clone)
    os.link(clone / "schema" / "t.ibd", tmp_path / "other name")
    process = start(file=tmp_path / "other name")
    for name in (clone, tmp_path / "link"):
        (user,) = users_of(name)
        assert (user.use, user.pid) == (Use.FILES, process.pid)
        assert "schema/t.ibd" in user.text
    for purpose in (Purpose.UPDATE, Purpose.REMOVE):
        with pytest.raises(TargetBusy, match=f"process {process.pid}"):
            refuse_in_use(clone, purpose)
    refuse_in_use(clone, Purpose.START)
    with pytest.raises(TargetBusy):
        remove_clone(clone)
    assert (clone / "schema" / "t.ibd").read_bytes() == b"page"


def test_who_only_stands_there_hinders_a_removal(clone: Path, tmp_path: Path, start: Start) -> None:
    """Nothing is put in the place of a directory that is somebody's working directory; it may be updated."""
    start(cwd=clone / "schema")
    assert uses(clone) == {Use.STANDS}
    refuse_in_use(clone, Purpose.UPDATE)
    new = tmp_path / "new"
    new.mkdir()
    with pytest.raises(TargetBusy, match="schema"):
        exchange(new, clone)
    assert (clone / "schema" / "t.ibd").exists()


def test_a_server_without_locks_is_one(tmp_path: Path) -> None:
    """A mysqld that starts in an empty directory has nothing open there yet, and a clone is not put under it."""
    shutil.copy("/bin/sleep", tmp_path / "mysqld")
    empty = tmp_path / "empty"
    empty.mkdir()
    process = subprocess.Popen([tmp_path / "mysqld", "600"], cwd=empty)  # when this returns, it is that program
    try:
        assert uses(empty) == {Use.SERVER}
        with pytest.raises(TargetBusy, match="a server runs on"):
            Target(empty)
        assert list(empty.iterdir()) == []
    finally:
        process.kill()
        process.wait()


@root_only
def test_mounts_elsewhere_are_seen(clone: Path, tmp_path: Path, start: Start) -> None:
    """A container has the directory, nothing else; its process has a file open by the other path."""
    volume = tmp_path / "volume"
    volume.mkdir()
    inner = f"mount --bind '{clone}' '{volume}' && echo on && exec sleep 600 "
    process = start("unshare", "-m", "sh", "-c", inner)
    assert uses(clone) == {Use.CONTAINER}
    for purpose in (Purpose.UPDATE, Purpose.REMOVE):
        with pytest.raises(TargetBusy, match=str(volume)):
            refuse_in_use(clone, purpose)
    process.kill()
    process.wait()
    start("unshare", "-m", "sh", "-c", f"{inner} < '{volume}/schema/t.ibd'")
    assert uses(clone) >= {Use.CONTAINER, Use.FILES}


@root_only
@pytest.mark.parametrize("purpose", ["remove", "clone"])
def test_what_is_mounted_inside_is_never_emptied(clone: Path, tmp_path: Path, purpose: str) -> None:
    """Removing the directory would remove what is in the other file system, or in the other place."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("of somebody")
    begin_directory(clone)
    call = {
        "remove": "from innoclone.files.marks import remove; remove(Path(sys.argv[1]) / 'schema')",
        "clone": "from innoclone.sinks.directory import Target; Target(Path(sys.argv[1]))",
    }[purpose]
    code = f"import sys; from pathlib import Path; {call}"
    mounted = f"mount --bind '{precious}' '{clone}/schema' && exec \"$@\""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", sys.executable, "-c", code, str(clone)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "is a mount point" in done.stderr
    assert (precious / "data").read_text() == "of somebody"


def test_outside_only_the_very_files_go(tmp_path: Path) -> None:
    """Of two unfinished clones with one mapping the second has the files: discarding the first leaves them alone."""
    fast = tmp_path / "fast"
    mapping = (("/donor/fast", str(fast)),)
    file = fast / "s" / "t.ibd"
    first = Target(tmp_path / "first", mapping)
    first.create(file)
    first.release()
    file.write_bytes(b"page")
    assert Outside.recorded(tmp_path / "first").files == [file]
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "first", copy)
    assert remove_unfinished_clone(copy)
    assert file.exists()
    file.unlink()
    shutil.rmtree(fast)
    second = Target(tmp_path / "second", mapping)
    second.create(file)
    second.release()
    file.write_bytes(b"another page")
    assert remove_unfinished_clone(tmp_path / "first")
    assert file.read_bytes() == b"another page"
    assert remove_unfinished_clone(tmp_path / "second")
    assert not fast.exists()


def test_what_comes_in_the_way_outside_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody makes between our look and our creation stays, whatever becomes of the clone."""
    file = tmp_path / "fast" / "t.ibd"
    target = Target(tmp_path / "clone", (("/donor/fast", str(tmp_path / "fast")),))
    announce = target.outside.announce

    def and_somebody_else(path: Path, like: Path | None = None) -> None:
        announce(path, like)
        if path == file:
            file.write_bytes(b"somebody's")

    monkeypatch.setattr(target.outside, "announce", and_somebody_else)
    with pytest.raises(Exception, match="exists already"):
        target.create(file)
    target.discard()
    assert file.read_bytes() == b"somebody's"


def test_foreign_data_is_no_clone(tmp_path: Path) -> None:
    """A data directory with only our log of a boot in it (`innoclone boot`) is not to be overwritten."""
    data = tmp_path / "data"
    (data / "#innoclone").mkdir(parents=True)
    (data / "mysql.ibd").write_bytes(b"page")
    with pytest.raises(TargetExists, match="no manifest"):
        Target(data, reuse=True)
    assert (data / "mysql.ibd").read_bytes() == b"page"
