"""Local clones when things go wrong: kills, full disks, dead donors, few descriptors, foreign and busy directories."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import innoclone
from clones import booted, rows
from innoclone.errors import (
    CloneError,
    ConfigurationMismatch,
    DiskFull,
    DonorFilesUnreadable,
    Interrupted,
    RemoteFault,
    TargetBusy,
    TargetExists,
    TargetUnusable,
    TooManyOpenFiles,
)
from innoclone.files.copying import Method
from innoclone.files.marks import begin_directory, is_unfinished
from innoclone.files.swap import fresh_sibling
from innoclone.receive import attempt, timings
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.sandbox.fill import fill
from innoclone.server.donorfiles import DonorFiles
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sources import localcopy
from innoclone.transport.endpoint import SslMode
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber
from local_clones import MIB, assert_equal, checksums, local_clone, local_process
from servers import PASSWORD, ServerFactory, endpoint_of


@pytest.fixture(scope="module")
def server(make_module_server: ServerFactory) -> Server:
    """A donor that survives everything here."""
    started = make_module_server()
    fill(started.connect, 16 * MIB)
    return started


def contents(directory: Path) -> dict[str, tuple[int, int, int]]:
    """What a directory holds: inode, size, time of the last change by name."""
    return {
        str(path.relative_to(directory)): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def resources() -> tuple[int, int]:
    """Open descriptors and threads of this process."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208 - a count is enough


@contextlib.contextmanager
def nothing_leaks() -> Iterator[None]:
    """What a failed clone has opened and started is gone when it has failed."""
    before = resources()
    yield
    deadline = time.monotonic() + 10
    while resources() > before and time.monotonic() < deadline:
        time.sleep(0.1)
    after = resources()
    assert after[0] <= before[0]
    assert after[1] <= before[1]


def when_copying(status: CloneStatus, act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as the first bytes were copied."""

    def wait() -> None:
        while not status.stages[Stage.FILE_COPY].data and status.error_number == 0:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_python_api(server: Server, tmp_path: Path) -> None:
    """The same with plain arguments."""
    seen: list[CloneStatus] = []
    donor = endpoint_of(server, ssl_mode=SslMode.DISABLED)
    first = innoclone.local(donor, tmp_path / "clone", progress=seen.append)
    again = innoclone.local(
        f"mysql://clone@127.0.0.1:{server.port}", tmp_path / "clone", password=PASSWORD, incremental="require"
    )
    assert (first.incremental, again.incremental) == (False, True)
    assert isinstance(first, innoclone.LocalResult)
    assert seen


def test_keep_base_survives_kills(server: Server, programs: Programs, tmp_path: Path) -> None:
    """kill -9 at random moments: the old clone, or at last the new one, boots; leftovers do not disturb the next."""
    directory = tmp_path / "clone"
    local_clone(server, directory)
    old = checksums(server)
    before = contents(directory)
    rows(server, "UPDATE shop.items SET amount = 1 + (amount + 1) % 9")
    dice, killed = random.Random(), 0
    for _ in range(5):
        process = local_process(server, directory, "--keep-base", "--max-data-bandwidth=60")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.5, 2.5))
        process.kill()
        process.communicate()
        swapped = contents(directory)["mysql.ibd"] != before["mysql.ibd"]
        killed += fresh_sibling(directory).exists()
        assert not is_unfinished(directory)
        if swapped:
            break
        assert contents(directory).items() >= before.items()
    assert_equal(programs, directory, checksums(server) if swapped else old)
    assert killed > 0, "the process was never killed in the middle"
    result = local_clone(server, directory, keep_base=True)
    assert not fresh_sibling(directory).exists()
    assert not result.incremental
    assert_equal(programs, directory, checksums(server))


@pytest.mark.parametrize("state", ["complete", "half removed"])
def test_keep_base_after_a_kill_at_the_swap(state: str, server: Server, programs: Programs, tmp_path: Path) -> None:
    """A successor that is whole but was not swapped in, an older clone that is half removed: both are cleaned."""
    directory = tmp_path / "clone"
    local_clone(server, directory)
    sibling = fresh_sibling(directory)
    shutil.copytree(directory, sibling)
    if state == "half removed":
        begin_directory(sibling)
        (sibling / "ibdata1").unlink()
    local_clone(server, directory, keep_base=True)
    assert not sibling.exists()
    assert_equal(programs, directory, checksums(server))


def test_keep_base_leaves_what_is_not_a_clone(server: Server, tmp_path: Path) -> None:
    """A directory of the user's that happens to have the successor's name is not touched."""
    directory = tmp_path / "clone"
    local_clone(server, directory)
    fresh_sibling(directory).mkdir()
    (fresh_sibling(directory) / "thesis").write_text("mine")
    with pytest.raises(TargetExists):
        local_clone(server, directory, keep_base=True)
    assert (fresh_sibling(directory) / "thesis").read_text() == "mine"
    assert not is_unfinished(directory)


def test_keep_base_through_a_symbolic_link(server: Server, tmp_path: Path) -> None:
    """The link stays one, and what it names is replaced."""
    directory, link = tmp_path / "real", tmp_path / "link"
    local_clone(server, directory)
    before = contents(directory)["mysql.ibd"]
    link.symlink_to(directory)
    local_clone(server, link, keep_base=True)
    assert link.is_symlink()
    assert contents(directory)["mysql.ibd"] != before
    assert sorted(path.name for path in tmp_path.iterdir() if "innoclone-new" in path.name) == []


@pytest.mark.parametrize("keep_base", [False, True])
def test_a_server_runs_on_the_target(keep_base: bool, server: Server, programs: Programs, tmp_path: Path) -> None:
    """TargetBusy, and nothing of it was changed; also when that server has served a clone itself."""
    directory = tmp_path / "clone"
    local_clone(server, directory)
    with booted(programs, directory, ["--innodb-buffer-pool-size=64M"]) as clone:
        local_clone_of_it = tmp_path / "second"
        rows(clone, f"CLONE LOCAL DATA DIRECTORY = '{local_clone_of_it}'")
        names = contents(directory).keys()
        with pytest.raises(TargetBusy, match="a server runs on"):
            local_clone(server, directory, keep_base=keep_base)
        assert contents(directory).keys() == names
        assert not is_unfinished(directory)
        assert rows(clone, "SELECT COUNT(*) FROM shop.items")[0][0]


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    """The second process finds the first one's lock, in place and with --keep-base."""
    directory = tmp_path / "clone"
    local_clone(server, directory)
    for keep in ([], ["--keep-base"]):
        process = local_process(server, directory, *keep, "--max-data-bandwidth=5")
        busy = fresh_sibling(directory) if keep else directory
        deadline = time.monotonic() + 60
        while not is_unfinished(busy) and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            for keep_base in (False, True):
                with pytest.raises(TargetBusy, match=str(process.pid)):
                    local_clone(server, directory, keep_base=keep_base)
        finally:
            process.kill()
            process.communicate()


def test_foreign_directories(server: Server, make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """A data directory that is no clone, and the donor's own: refused and untouched, from both sides."""
    other = make_server()
    other.stop()
    before = contents(other.datadir)
    for keep_base in (False, True):
        with pytest.raises(TargetExists):
            local_clone(server, other.datadir, keep_base=keep_base)
    assert contents(other.datadir) == before
    for directory in (server.datadir / "clone", server.datadir.parent, server.datadir):
        with pytest.raises((TargetUnusable, TargetExists)):
            local_clone(server, directory)
    assert not (server.datadir / "clone").exists()
    assert rows(server, "SELECT 1") == [(1,)]
    with pytest.raises(DonorFilesUnreadable, match="another server"):
        local_clone(server, tmp_path / "clone", datadir=_with_uuid(other.datadir))
    assert not (tmp_path / "clone").exists()


def _with_uuid(datadir: Path) -> Path:
    (datadir / "auto.cnf").write_text("[auto]\nserver-uuid=11111111-2222-3333-4444-555555555555\n")
    return datadir


def test_few_descriptors(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """300 tablespaces with 100 open files: opened late, all there."""
    server = make_server()
    rows(server, "CREATE DATABASE many")
    rows(server, "CREATE TABLE many.t (id INT PRIMARY KEY, v INT) PARTITION BY HASH (id) PARTITIONS 300")
    rows(server, "INSERT INTO many.t VALUES " + ", ".join(f"({number}, 0)" for number in range(900)))
    directory = tmp_path / "clone"
    for _ in range(2):
        process = local_process(server, directory, prefix=("prlimit", "--nofile=100"))
        output, _nothing = process.communicate(timeout=120)
        assert process.returncode == 0, output
        rows(server, "UPDATE many.t SET v = v + 1")
    local_clone(server, directory)
    assert_equal(programs, directory, checksums(server))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_no_permission_to_read(server: Server) -> None:
    """Another user's attempt is refused before anything is made."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        outcome = multiprocessing.get_context("fork").Queue()

        def attempt() -> None:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                local_clone(server, Path(folder) / "clone")
            except CloneError as error:
                outcome.put((type(error).__name__, error.message, error.advice))

        process = multiprocessing.get_context("fork").Process(target=attempt)
        process.start()
        process.join(60)
        kind, message, advice = outcome.get(timeout=10)
        assert kind == DonorFilesUnreadable.__name__
        assert str(server.datadir) in message
        assert "run as root" in advice
        assert not (Path(folder) / "clone").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_disk_runs_full(server: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a full copy nothing is left; of an update, what the next run completes."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("tmpfs can't be mounted here")
    try:
        copy = localcopy.copy_file

        def squeeze(*arguments: object, **options: object) -> Method:
            if not (small / "filler").exists():
                with (small / "filler").open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(small).free - 2 * MIB)
            return copy(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(localcopy, "copy_file", squeeze)
        directory = small / "clone"
        with nothing_leaks(), pytest.raises(DiskFull):
            local_clone(server, directory)
        assert not directory.exists()
        monkeypatch.setattr(localcopy, "copy_file", copy)
        (small / "filler").unlink()
        local_clone(server, directory)
        rows(server, "ALTER TABLE docs.files ENGINE=InnoDB")  # a new tablespace, copied whole
        monkeypatch.setattr(localcopy, "copy_file", squeeze)
        with nothing_leaks(), pytest.raises(DiskFull):
            local_clone(server, directory)
        assert is_unfinished(directory)
        monkeypatch.setattr(localcopy, "copy_file", copy)
        (small / "filler").unlink()
        assert local_clone(server, directory).summary.reused > 40
        assert_equal(programs, directory, checksums(server))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True, timeout=60)


def test_donor_dies_while_files_are_copied(make_server: ServerFactory, tmp_path: Path) -> None:
    """It is noticed at once, not after the copy, and what is there is kept for the next run."""
    server = make_server()
    status = CloneStatus()
    killer = when_copying(status, server.kill)
    with nothing_leaks(), pytest.raises(RemoteFault):
        local_clone(server, tmp_path / "clone", status=status, limits=Limits(data=1), retry_for=0)
    killer.join()
    copied = status.stages[Stage.FILE_COPY]
    assert copied.data < copied.estimate / 2
    assert is_unfinished(tmp_path / "clone")


def test_donors_patience_is_renewed(
    server: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that takes longer than the donor waits: several COM_REINIT, the result exact; the limit is kept."""
    reinits = []
    reinit = attempt.reinit

    def count(*arguments: object) -> None:
        reinits.append(1)
        reinit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "reinit", count)
    monkeypatch.setattr(timings, "RENEW", 1.0)
    status = CloneStatus()
    local_clone(server, tmp_path / "clone", status=status, limits=Limits(data=15))
    assert len(reinits) > 2
    row = status.stages[Stage.FILE_COPY]
    assert row.seconds >= row.data / (15 * MIB) * 0.9
    assert_equal(programs, tmp_path / "clone", checksums(server))


def test_a_donor_that_keeps_no_snapshot(server: Server, tmp_path: Path) -> None:
    """Where the donor does not wait for a new connection, the reason is said, and it is free again."""
    variable = "clone_donor_timeout_after_network_failure"
    rows(server, f"SET GLOBAL {variable} = 0")
    try:
        with nothing_leaks(), pytest.raises(ConfigurationMismatch, match=variable):
            local_clone(server, tmp_path / "clone")
    finally:
        rows(server, f"SET GLOBAL {variable} = DEFAULT")
    assert not (tmp_path / "clone").exists()
    local_clone(server, tmp_path / "clone")


def test_stop_and_go_on(server: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle, nothing leaks, the donor is free at once, and the next run completes what is there."""
    stopped, status = threading.Event(), CloneStatus()
    when_copying(status, stopped.set)
    with nothing_leaks(), pytest.raises(Interrupted):
        local_clone(server, tmp_path / "clone", status=status, stopped=stopped, limits=Limits(data=1))
    assert is_unfinished(tmp_path / "clone")
    monkeypatch.setattr(timings, "BUSY_DONOR", 0)
    assert local_clone(server, tmp_path / "clone").incremental
    assert_equal(programs, tmp_path / "clone", checksums(server))


def test_a_failing_thread_fails_the_clone(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in one file, even a defect: no clone without its data, and the others stop soon."""
    for failure, expected in (
        (OSError(5, "Input/output error"), CloneError),
        (OSError(24, "Too many open files"), TooManyOpenFiles),
        (ValueError("a defect"), CloneError),
    ):

        def fail(*_: object, error: Exception = failure, **__: object) -> Method:
            raise error

        monkeypatch.setattr(localcopy, "copy_file", fail)
        with nothing_leaks(), pytest.raises(expected):
            local_clone(server, tmp_path / "clone")
        assert not (tmp_path / "clone").exists()


def test_a_schema_that_is_dropped_during_a_search_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table was renamed into another schema; while it is looked for, a third schema goes away."""
    for schema in ("a_gone", "b", "c_gone"):
        (tmp_path / schema).mkdir()
    page = bytearray(16384)
    for at in (34, 38):  # of page 0: the tablespace's id
        struct.pack_into(">I", page, at, 77)
    (tmp_path / "b" / "there.ibd").write_bytes(page)
    scan = os.scandir

    def racing(path: Path) -> object:
        if str(path).endswith("_gone"):
            raise FileNotFoundError(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", racing)
    meta = FileMetadata(StageNumber.FILE_COPY, 0, 0, 0, 4096, FileFlag(0), 77, 0, 1, 1, "./a_gone/t.ibd")
    found = DonorFiles(tmp_path, tmp_path, tmp_path, {}, []).open(meta)
    assert found is not None
    os.close(found)
