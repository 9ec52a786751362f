"""What is not served, and why; and that nobody gets at what is."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.donor.stored import look
from innoclone.errors import CloneError, EncryptionDamaged, TargetBusy, TargetUnusable
from innoclone.files.base import is_served
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from restores import linked_clone, rewrite
from servers import ServerFactory

AtRest = tuple[Path, dict[str, object]]


@pytest.fixture
def copy(small_clone: Path, tmp_path: Path) -> Path:
    """A clone whose files may be replaced, but not written to."""
    return linked_clone(small_clone, tmp_path / "linked")


def refused(directory: Path, why: str, kind: type[CloneError] = TargetUnusable) -> None:
    with pytest.raises(kind, match=why):
        look(directory).close()


def test_no_data_directory(tmp_path: Path) -> None:
    refused(tmp_path, r"there is no mysql\.ibd")
    refused(tmp_path / "nowhere", "is not a directory")


def test_a_running_server(small_donor: Server) -> None:
    refused(small_donor.datadir, "a server runs on", TargetBusy)


def damage_each_block(data: bytearray) -> None:
    """A byte of each block behind the file's header (OS_FILE_LOG_BLOCK_SIZE, LOG_FILE_HDR_SIZE of log0constants.h)."""
    for block in range(2048, len(data), 512):
        data[block + 100] ^= 1


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda one: (one / "#clone" / "#status_in_progress").touch(), "holds an unfinished clone"),
        (lambda one: (one / "theirs" / "t.ibd").unlink(), r"theirs/t\.ibd: missing"),
        (lambda one: cut(one / "theirs" / "t.ibd", 16384), r"theirs/t\.ibd: truncated"),
        (lambda one: (one / "theirs" / "more.ibd").write_bytes(bytes(16384)), r"theirs/more\.ibd: not a file of"),
        (lambda one: (one / "theirs" / "t.ibd.#clone").touch(), "is left of a clone that was not completed"),
        (lambda one: (one / "#clone" / "#status_recovery").touch(), "recovery of the clone in .* was begun"),
        (lambda one: (one / "elsewhere").symlink_to(one / "theirs"), "is a symbolic link"),
        (lambda one: linked_file(one / "theirs" / "t.ibd"), r"theirs/t\.ibd: not a regular file"),
        (lambda one: redo(one).unlink(), r"#innodb_redo/#ib_redo\d+: missing"),
        (lambda one: [rewrite(file, damage_each_block) for file in (one / "#innodb_redo").iterdir()], "redo log: "),
    ],
    ids=[
        "unfinished",
        "missing",
        "short",
        "stranger",
        "leftover",
        "recovering",
        "link",
        "file-link",
        "no-redo",
        "redo",
    ],
)
def test_an_incomplete_clone(damage: Callable[[Path], object], why: str, copy: Path) -> None:
    damage(copy)
    refused(copy, why)


def test_an_encrypted_tablespace(copy: Path) -> None:
    manifest = copy / "#innoclone" / "manifest.json"
    told = json.loads(manifest.read_text())
    row = next(row for row in told["files"] if row["path"] == "theirs/t.ibd")
    row["flags"] |= 1 << 13
    manifest.write_text(json.dumps(told))
    refused(copy, r"theirs/t\.ibd is encrypted, and has no key", EncryptionDamaged)


def test_a_crashed_server(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> None:
    """Killed with changes in its log; what a clean shutdown leaves is served."""
    server = make_server(donor=False, port=None)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE mine")
        cursor.execute("CREATE TABLE mine.t (a INT PRIMARY KEY)")
        cursor.execute("INSERT INTO mine.t VALUES (1)")
    server.kill(keep_log=True)
    crashed = tmp_path / "crashed"
    shutil.copytree(server.datadir, crashed)
    refused(crashed, "was not shut down: its redo log holds changes")
    with Server.start(programs, crashed, port=None, error_log=tmp_path / "log"):
        refused(crashed, "a server runs on", TargetBusy)
    look(crashed).close()


@pytest.fixture
def locked(at_rest: AtRest, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "locked"
    subprocess.run(["cp", "-al", str(at_rest[0]), str(directory)], check=True, timeout=60)
    yield directory
    shutil.rmtree(directory)


def test_no_server_starts_on_what_is_served(locked: Path) -> None:
    """But another donor may serve it, too."""
    one, other = look(locked), look(locked)
    assert one.fingerprint == other.fingerprint
    one.close()
    for name in ("ibdata1", "mysql.ibd", "undo_001"):
        with (locked / name).open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as mysqld does, which tries for 100 seconds and ends
    other.refuse_changed()
    other.close()


def test_what_is_served_is_not_booted(copy: Path) -> None:
    """A mysqld would wait for the locks and give up, and leave a recovery that was begun."""
    held, before = look(copy), sorted(copy.rglob("*"))
    with pytest.raises(TargetBusy, match="an innoclone serves"):
        boot(BootOptions(copy))
    assert sorted(copy.rglob("*")) == before
    held.close()
    assert not is_served(copy)


def test_what_is_served_is_not_updated_nor_removed(copy: Path) -> None:
    program = "import sys; from pathlib import Path; from innoclone.files.inuse import Purpose, refuse_in_use;"
    stored = look(copy)
    for deed in ("UPDATE", "REMOVE"):
        run = [sys.executable, "-c", f"{program} refuse_in_use(Path(sys.argv[1]), Purpose.{deed})", str(copy)]
        done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
        assert "TargetBusy" in done.stderr
        assert " open" in done.stderr
    stored.close()


def redo(directory: Path) -> Path:
    return next((directory / "#innodb_redo").iterdir())


def cut(path: Path, count: int) -> None:
    def change(data: bytearray) -> None:
        del data[-count:]

    rewrite(path, change)


def linked_file(path: Path) -> None:
    beside = path.parent.parent / "aside"
    path.rename(beside)
    path.symlink_to(beside)
