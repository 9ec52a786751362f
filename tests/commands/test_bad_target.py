"""Targets that can't be used, and disks that fail under a clone: a clear error, and nothing else is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clones import booted, clone_server, innochecksum, rows
from commandline import environment, innoclone
from faults import Running, assert_failed, assert_free, assert_unbootable, dsn, kill_connections, tmpfs
from innoclone import errors
from innoclone.commands.clone import clone
from innoclone.commands.discard import discard
from innoclone.commands.options import CloneOptions
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from servers import PASSWORD, ServerFactory, endpoint_of

__all__ = ["environment", "innoclone"]

MIB = 1 << 20
ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Server:
    """A donor of about 75 MiB: a fresh server is as large."""
    server = make_module_server()
    # Without PROCESS the size is not seen in advance, only when the files are listed.
    rows(server, f"CREATE USER blind@'%' IDENTIFIED BY '{PASSWORD}'")
    rows(server, "GRANT BACKUP_ADMIN ON *.* TO blind@'%'")
    return server


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change."""
    found = {}
    for path in sorted(directory.rglob("*")):
        state = path.lstat()
        found[str(path.relative_to(directory))] = (state.st_size, state.st_mtime_ns)
    return found


# ---- what is there already ---------------------------------------------------------------------------------


def a_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def a_foreign_clone(path: Path) -> None:
    """What a stock recipient leaves while it is at work."""
    (path / "#clone").mkdir(parents=True)
    (path / "#clone" / "#status_in_progress").touch()


@pytest.mark.parametrize("make", [a_full_directory, a_file, a_dangling_link, a_foreign_clone])
@pytest.mark.parametrize("command", ["clone", "check"])
def test_something_is_there(innoclone, server: Server, tmp_path: Path, make: Callable[[Path], None], command) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    make(parent / "target")
    before = contents(parent)
    done = innoclone(command, dsn(server), str(parent / "target"))
    assert_failed(done, errors.TargetExists, str(parent / "target"))
    assert contents(parent) == before


def test_a_finished_clone_of_ours_is_kept(innoclone, server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    clone_server(server, directory)
    before = contents(directory)
    done = innoclone("clone", dsn(server), str(directory))
    assert_failed(done, errors.TargetExists, "innoclone clone --write-changed-only", "innoclone local")
    assert contents(directory) == before


def test_the_hint_fits_what_is_there(server: Server, tmp_path: Path) -> None:
    """A data directory, one with a server on it, a stock clone, a folder of generations, anything else."""
    for name in ("ibdata1", "mysql.ibd"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
    (tmp_path / "stock" / "#clone").mkdir(parents=True)
    dated = tmp_path / "dated" / "2026-01-01T00-00-00Z" / "#innoclone"
    dated.mkdir(parents=True)
    (dated / "manifest.json").write_text('{"format": 1, "donor": {"uuid": "u"}, "options": {"local": true}}')
    (tmp_path / "other" / "mine").mkdir(parents=True)
    (tmp_path / "file").touch()
    for directory, words in [
        (tmp_path / "data", "it is a server's data"), (Path(server.datadir), "a server runs on it"),
        (tmp_path / "stock", "a clone of the stock plugin"),
        (tmp_path / "dated", f"--generations N --to {tmp_path}/dated"),
        (tmp_path / "other", errors.TargetExists.hint), (tmp_path / "file", errors.TargetExists.hint),
    ]:  # fmt: skip
        with pytest.raises(errors.TargetExists) as caught:
            clone(CloneOptions(donor=endpoint_of(server), directory=directory))
        assert words in caught.value.advice


def test_nobody_is_told_to_remove_a_directory_that_a_server_runs_on(
    server: Server, programs: Programs, tmp_path: Path
) -> None:
    directory = tmp_path / "clone"
    clone_server(server, directory)
    with (
        booted(programs, directory) as running,
        pytest.raises(errors.TargetBusy, match=f"process {running.pid}") as caught,
    ):
        discard(directory)
    assert "rm -r" not in caught.value.advice
    with pytest.raises(errors.TargetExists):
        discard(directory)


def test_an_empty_directory_is_used(innoclone, environment, server: Server, tmp_path: Path) -> None:
    """Also one that is reached by a link, and after a failure once more."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Running(
        "clone", "--max-data-bandwidth=16", "--retry-for=0", dsn(server), str(tmp_path / "link"),
        environment=environment,
    ) as run:  # fmt: skip
        run.wait_for("FILE COPY", data=MIB)
        kill_connections(server)
        assert run.end()[0] in (errors.DonorError.exit_status, errors.NetworkError.exit_status)
    done = innoclone("clone", dsn(server), str(tmp_path / "link"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "real" / "ibdata1").exists()


def test_no_parent(innoclone, server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in ("missing", "file"):
        done = innoclone("clone", dsn(server), str(tmp_path / parent / "clone"))
        assert_failed(done, errors.TargetUnusable, str(tmp_path / parent))
    assert not (tmp_path / "missing").exists()


# ---- who may write -----------------------------------------------------------------------------------------


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A directory that may not be written, and what a command must begin with for that to hold for root too."""
    parent = tmp_path / "forbidden"
    parent.mkdir()
    if ROOT:  # without these rights root is nobody special in somebody else's directory
        os.chown(parent, NOBODY, NOBODY)
        rights = "-dac_override,-dac_read_search"
        yield parent, ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    else:
        parent.chmod(0o555)
        yield parent, []
        parent.chmod(0o755)


@pytest.mark.parametrize("command", ["clone", "check"])
def test_no_permission(environment, server: Server, forbidden: tuple[Path, list[str]], command: str) -> None:
    parent, before = forbidden
    with Running(command, dsn(server), str(parent / "clone"), environment=environment, before=before) as running:
        assert_failed(running.end(), errors.TargetUnusable, f"no permission to write in {parent}")


@pytest.mark.parametrize("command", ["clone", "check"])
def test_a_read_only_file_system(innoclone, server: Server, tmp_path: Path, command: str) -> None:
    """Of its own where one can be mounted, else one that every Linux has."""
    if not ROOT:
        assert_failed(innoclone(command, dsn(server), "/proc/clone"), errors.TargetUnusable)
        return
    with tmpfs(tmp_path / "disk", "1m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = innoclone(command, dsn(server), str(disk / "clone"))
    assert_failed(done, errors.TargetUnusable, "read-only")


@pytest.mark.parametrize("umask", ["000", "077"])
def test_modes_are_mysqlds_whatever_the_umask(environment, server: Server, tmp_path: Path, umask: str) -> None:
    directory = tmp_path / "clone"
    before = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
    with Running("clone", dsn(server), str(directory), environment=environment, before=before) as running:
        assert running.end()[0] == 0
    modes = {path.relative_to(directory): oct(path.stat().st_mode & 0o777) for path in directory.rglob("*")}
    modes[Path()] = oct(directory.stat().st_mode & 0o777)
    assert {
        path: mode for path, mode in modes.items() if mode != ("0o750" if (directory / path).is_dir() else "0o640")
    } == {}


def test_chown(server: Server, programs: Programs, tmp_path: Path, monkeypatch) -> None:
    """Root gives everything away; who isn't root is told before anything is copied."""
    directory = tmp_path / "clone"
    if ROOT:
        clone_server(server, directory, chown=f"{NOBODY}:{NOBODY}")
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in (directory, *directory.rglob("*"))}
        assert owners == {(NOBODY, NOBODY)}
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(errors.FileError, match="needs root"):
        clone_server(server, tmp_path / "other", chown=f"{NOBODY}:{NOBODY}")
    with pytest.raises(errors.UsageError, match="no such user"):
        clone_server(server, tmp_path / "other", chown="no-such-user-here")
    assert not (tmp_path / "other").exists()


# ---- the disk fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["clone", "blind"])
def test_no_room_is_seen_in_advance(server: Server, tmp_path: Path, monkeypatch, user: str) -> None:
    """By preflight, or where the account may not see sizes, when the donor lists its files."""
    real = os.statvfs

    def small(path: str) -> os.statvfs_result:
        values = list(real(path))
        values[4] = 40 * MIB // values[1]  # f_bavail, in units of f_frsize
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "statvfs", small)
    directory = tmp_path / "clone"
    with pytest.raises(errors.DiskSpace) as caught:
        clone_as(server, user, directory)
    assert (caught.value.code, caught.value.exit_status) == (3873, 9)
    assert not directory.exists()
    monkeypatch.undo()
    assert_free(server, directory)


def clone_as(server: Server, user: str, directory: Path) -> None:
    clone(CloneOptions(endpoint_of(server, user=user, ssl_mode=SslMode.DISABLED), directory))


def fill_up(path: Path) -> int:
    """Write a file until the file system is full: somebody else's data. Its size."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            with pytest.raises(OSError, match="No space left"):  # noqa: PT012
                while True:
                    file.write(bytes(size))
    return path.stat().st_size


@pytest.mark.parametrize("stage", ["FILE COPY", "FILE SYNC"])
def test_the_disk_runs_full(environment, server: Server, programs: Programs, tmp_path: Path, stage: str) -> None:
    """Because somebody else fills it; where no disk can be had for that, because a file gets too large. With room
    again the clone goes on."""
    with contextlib.ExitStack() as stack:
        before = [] if ROOT else ["prlimit", f"--fsize={8 * MIB}"]
        disk = stack.enter_context(tmpfs(tmp_path / "disk", "160m")) if ROOT else tmp_path / "disk"
        disk.mkdir(exist_ok=True)
        command = ["clone", "--max-data-bandwidth=32", dsn(server), str(disk / "clone")]
        slow = stage == "FILE SYNC"
        with Running(*command, environment=environment, before=before, slow_disk=slow) as running:
            if ROOT:
                running.wait_for(stage)
                size = fill_up(disk / "mine")
            assert_failed(running.end(), errors.DiskFull if ROOT else errors.FileError)
        assert {path.name for path in disk.iterdir()} == ({"clone", "mine"} if ROOT else {"clone"})
        if ROOT:
            assert (disk / "mine").stat().st_size == size
            (disk / "mine").unlink()
        assert_unbootable(programs, disk / "clone")
        result = clone_server(server, disk / "clone")
        assert any("going on" in note for note in result.notes)
        assert innochecksum(programs, disk / "clone") == []


def test_too_few_descriptors(environment, server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "clone"
    for limit in (12, 20):
        command = ["clone", "--threads=16", dsn(server), str(directory)]
        with Running(*command, environment=environment, before=["prlimit", f"--nofile={limit}"]) as running:
            assert_failed(running.end(), errors.TooManyOpenFiles, "ulimit -n")
    clone_server(server, directory)


# ---- the target goes ---------------------------------------------------------------------------------------


def test_the_target_is_removed_meanwhile(environment, server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "parent" / "clone"
    directory.parent.mkdir()
    with Running("clone", "--max-data-bandwidth=16", dsn(server), str(directory), environment=environment) as running:
        running.wait_for("FILE COPY", data=MIB)
        shutil.rmtree(directory)
        assert_failed(running.end(), errors.FileError, str(directory))
    assert list(directory.parent.iterdir()) == []
    assert_free(server, directory)


@pytest.mark.parametrize("link", [True, False], ids=["link", "directory"])
def test_the_target_is_replaced_meanwhile(
    environment, server: Server, programs: Programs, tmp_path: Path, link: bool
) -> None:
    """What comes into its place is not written to, and not removed either."""
    directory, moved, other = tmp_path / "clone", tmp_path / "moved", tmp_path / "other"
    (other / "mysql").mkdir(parents=True)
    (other / "mysql" / "mine").write_text("mine")
    before = contents(other)
    with Running("clone", "--max-data-bandwidth=16", dsn(server), str(directory), environment=environment) as running:
        running.wait_for("FILE COPY", data=MIB)
        directory.rename(moved)
        if link:
            directory.symlink_to(other)
        else:
            other.rename(directory)
        assert_failed(running.end(), errors.FileError, "was moved or removed")
    assert contents(directory) == before
    assert_unbootable(programs, moved)


@pytest.mark.parametrize("made", [["#innoclone"], ["#innoclone", "#clone"], ["#clone"]])
def test_killed_before_the_mark_was_made(donor: Server, tmp_path: Path, made: list[str]) -> None:
    """The folders of a clone that never began are no obstacle; a foreign ``#clone`` is."""
    directory = tmp_path / "clone"
    for name in made:
        (directory / name).mkdir(parents=True)
    if made == ["#clone"]:
        with pytest.raises(errors.TargetExists):
            clone_server(donor, directory)
    else:
        clone_server(donor, directory)
        assert (directory / "#innoclone" / "manifest.json").exists()
