"""Who uses a directory is seen through every name that it has, and what is in use is left alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innoclone.errors import FileError, TargetBusy, TargetExists
from innoclone.files import inuse as module
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Purpose, Use, mounts_below, refuse_in_use, server_on, users_of
from innoclone.files.lock import take_lock
from innoclone.files.marks import begin_directory, remove_clone
from innoclone.files.outside import Outside
from innoclone.files.swap import exchange
from innoclone.sinks.directory import Target
from made_clones import LIKE_US, locked, opened

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


# ---- who is named, and what can't be seen ----------------------------------------------------------------------


def test_a_server_comes_first_and_is_told_by_its_process(clone: Path) -> None:
    """Whatever else there is, and whatever is meant to be done."""
    (clone / "mysql.ibd").write_bytes(b"page")
    assert server_on(clone) is None
    with locked(clone / "mysql.ibd") as server, opened(clone / "schema" / "t.ibd"):
        for purpose in Purpose:
            with pytest.raises(TargetBusy, match=f"a server runs on {clone}: process {server}") as caught:
                refuse_in_use(clone, purpose)
            assert caught.value.advice == "stop that server first"
        assert server_on(clone) == server
    refuse_in_use(clone, Purpose.REMOVE)


def test_a_server_of_another_container_has_no_number(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "server_process", lambda *_: 0)
    assert server_on(clone) == 0
    with pytest.raises(TargetBusy, match="its process can't be seen from here"):
        refuse_in_use(clone, Purpose.LOOK)


def test_a_server_that_has_no_lock_is_found_by_its_files(clone: Path, tmp_path: Path) -> None:
    shutil.copy("/bin/sleep", tmp_path / "mysqld")
    with (clone / "schema" / "t.ibd").open() as file:
        process = subprocess.Popen([tmp_path / "mysqld", "600"], stdin=file)
    try:
        assert server_on(clone) == process.pid
    finally:
        process.kill()
        process.wait()


def test_our_own_work_is_told_by_its_holder(clone: Path) -> None:
    (clone / "#innoclone").mkdir()
    with locked(clone / "#innoclone", LIKE_US) as pid:
        (user,) = users_of(clone)
        assert (user.use, user.pid) == (Use.CLONE, pid)
        refuse_in_use(clone, Purpose.LOOK)
        with pytest.raises(TargetBusy, match=f"process {pid} .*is working on {clone}") as caught:
            refuse_in_use(clone, Purpose.START)
        assert caught.value.advice == f"wait for it, or: innoclone stop {clone}"
    lock = take_lock(clone / "#innoclone", clone)
    assert users_of(clone) == [], "this process itself does not count"
    os.close(lock)


def test_files_outside_count(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.ibd").write_bytes(b"page")
    with opened(tmp_path / "outside.ibd") as pid:
        refuse_in_use(clone, Purpose.UPDATE)
        with pytest.raises(TargetBusy, match=rf"process {pid} \(sleep\) has .*outside\.ibd open"):
            refuse_in_use(clone, Purpose.UPDATE, outside=[tmp_path / "outside.ibd"])


def test_many_users_are_counted(clone: Path) -> None:
    with contextlib.ExitStack() as stack:
        pids = {stack.enter_context(opened(clone / "schema" / "t.ibd")) for _ in range(5)}
        assert {user.pid for user in users_of(clone)} == pids
        with pytest.raises(TargetBusy, match=r"(process \d+ .*; ){2}process \d+ .* and 2 more$"):
            refuse_in_use(clone, Purpose.UPDATE)


def test_what_is_no_directory_is_used_by_nobody(clone: Path) -> None:
    assert users_of(clone / "missing") == users_of(clone / "schema" / "t.ibd") == []


def test_what_can_not_be_looked_through_is_an_error(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list would be taken for the word that nobody uses it."""
    with pytest.raises(FileError, match="can't look through"):
        users_of(clone, [clone / "gone"])

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FileError, match=r"can't look through .*: Permission denied"):
        refuse_in_use(clone, Purpose.UPDATE)


def test_what_disappears_meanwhile_is_no_error(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs work here: a process ends, a file goes, between our look at the list and at it."""
    (clone / "schema" / "gone").touch()
    scandir = os.scandir

    class Late:
        def __init__(self, path: str | Path) -> None:
            self.entries = scandir(path)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            found = list(self.entries)
            (clone / "schema" / "gone").unlink(missing_ok=True)
            return iter(found)

        def __exit__(self, *_: object) -> None:
            self.entries.close()

    monkeypatch.setattr(os, "scandir", Late)
    files, folders = module._inodes(clone)
    assert set(files.values()) == {"schema/t.ibd"}
    assert set(folders.values()) == {"", "schema"}


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="needs a mount to look at")
def test_what_is_mounted_inside_is_not_walked_through() -> None:
    """`mounts_below` tells of it."""
    _, folders = module._inodes(Path("/dev"))
    assert {device for device, _ in folders} == {Path("/dev").stat().st_dev}
    assert "shm" not in folders.values()
    assert Path("/dev/shm") in mounts_below(Path("/dev"))


def test_a_process_that_can_not_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, a kernel thread, one that has just ended; and a system without /proc."""
    monkeypatch.setattr(module, "PROC", tmp_path)
    (tmp_path / "1").mkdir()
    (tmp_path / "self").mkdir()
    assert list(module._pids()) == [1]
    assert module._name(1) == ("?", False)
    (tmp_path / "1" / "cmdline").write_bytes(b"")
    assert module._name(1) == ("?", False)
    assert list(module._descriptors(1)) == list(module._places(1)) == module._mount_table(1) == []
    assert module._namespace(1) is None
    monkeypatch.setattr(module, "PROC", tmp_path / "missing")
    assert list(module._pids()) == []
    assert mounts_below(tmp_path) == []
    assert list(module._mounts(tmp_path)) == []


@pytest.mark.parametrize(
    ("command", "name", "is_server"),
    [("/usr/sbin/mysqld --no-defaults", "mysqld", True), ("ld.so --argv0 x /opt/mysqld-debug", "mysqld-debug", True),
     ("sh -c mariadbd", "mariadbd", True), ("vi mysqld.cnf", "vi", False),
     ("mysqld_exporter", "mysqld_exporter", False)],
)  # fmt: skip
def test_servers_are_known_by_their_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str, is_server: bool
) -> None:
    monkeypatch.setattr(module, "PROC", tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    assert module._name(7) == (name, is_server)


MOUNTS = """1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 8:2 / /srv rw - xfs /dev/sdb rw
{more}
short line
"""


@pytest.mark.parametrize(
    ("more", "theirs", "expected"),
    [("", "", set()), ("3 2 8:3 / /srv/data/s rw - tmpfs none rw", "", {Use.INSIDE}),
     ("3 2 8:3 / /srv/data rw - tmpfs none rw", "", {Use.MOUNT}),
     ("3 1 8:2 /data /mnt/my\\040data rw - xfs /dev/sdb rw", "", {Use.BOUND}),
     ("3 1 8:2 /data/s /mnt/x rw - xfs /dev/sdb rw", "", {Use.BOUND}),
     ("3 1 8:2 /database /mnt/x rw - xfs /dev/sdb rw", "", set()),
     ("3 1 8:9 /data /mnt/x rw - xfs /dev/sdc rw", "", set()),
     ("", "9 1 8:2 /data /var/lib/mysql rw - xfs /dev/sdb rw", {Use.CONTAINER}),
     ("", "9 1 8:2 /data /srv/data rw - xfs /dev/sdb rw", set()),  # at its own place
     ("", "9 1 8:2 / /srv rw - xfs /dev/sdb rw", set())],
)  # fmt: skip
def test_mounts_are_read_as_the_kernel_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, theirs: str, expected: set[Use]
) -> None:
    """/srv/data, with another mount for us and for process 7 in a namespace of its own; 8 shares that, 9 has ours."""
    monkeypatch.setattr(module, "PROC", tmp_path)
    for pid, text, namespace in (
        ("self", MOUNTS.format(more=more), "ours"), ("7", MOUNTS.format(more=theirs), "theirs"),
        ("8", MOUNTS.format(more=theirs), "theirs"), ("9", MOUNTS.format(more=more), "ours"), ("10", "", None),
    ):  # fmt: skip
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "mountinfo").write_text(text)
        if namespace:
            (tmp_path / pid / "ns" / "mnt").symlink_to(namespace)
    found = list(module._mounts(Path("/srv/data")))
    assert {user.use for user in found} == expected
    assert len(found) == len(expected)
    if "my\\040data" in more:
        assert found[0].text == "it is mounted at /mnt/my data"
    if Use.CONTAINER in expected:
        assert found[0].pid in (7, 8)
