"""Increments over the network that are killed at any step, run out of disk, or go onto bases of other layouts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent_clones import ok
from agents import RunningAgent
from clones import booted, outside_donor, rows
from faults import tmpfs
from innoclone.commands.clone import CloneResult
from innoclone.commands.networkclones import clone_over_network
from innoclone.commands.options import CloneOptions
from innoclone.donor.live import find_live
from innoclone.errors import DiskFull
from innoclone.files.manifest import read_manifest
from innoclone.files.marks import UNTOUCHED, is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.server.programs import Programs
from restores import contents
from servers import ServerFactory, endpoint_of
from serving import PASSWORD, USER, assert_taken, endpoint, served, serving

PAGE = 16384
# Kills itself before the Nth change of the file system that Python tells of (sys.addaudithook).
DIES = """
import os, signal, sys
events = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.link", "shutil.rmtree"}
left = int(sys.argv.pop(1))
def hook(event, arguments):
    global left
    if event in events or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from innoclone.__main__ import main
sys.exit(main())
"""
DYING = [int(one) for one in os.environ.get("INNOCLONE_DIES_AT", "10,38").split(",")]


def take(port: int, directory: Path, **options: object) -> CloneResult:
    return clone_over_network(CloneOptions(endpoint(port), directory, **options))  # type: ignore[arg-type]


def older(clone: Path, to: Path) -> Path:
    """A clone of the same donor with some pages of other content, without a tablespace, and with one that has gone."""
    subprocess.run(["cp", "-a", str(clone), str(to)], check=True)
    path = to / "theirs" / "t.ibd"
    with path.open("r+b") as file:
        for at in range(10 * PAGE, path.stat().st_size, 50 * PAGE):
            file.seek(at + 100)
            file.write(bytes(100))
    return to


def data(directory: Path) -> dict[str, str]:
    """What a server would read, without the marks of clones."""
    return {name: digest for name, digest in contents(directory).items() if not name.startswith("#clone")}


def killed(port: int, directory: Path, at: int, *options: str) -> int:
    """The command line as a process that dies so; its exit status."""
    command = [sys.executable, "-c", DIES, str(at), "clone", "--no-defaults", "-h127.0.0.1", f"-P{port}", f"-u{USER}"]
    command += ["--ssl-mode=DISABLED", "--get-server-public-key", "--threads=2", *options, str(directory)]
    found = subprocess.run(command, env=os.environ | {"MYSQL_PWD": PASSWORD}, capture_output=True, check=False)
    assert found.returncode in (0, -signal.SIGKILL), found.stderr
    return found.returncode


@pytest.mark.parametrize("keep", [False, True], ids=["in-place", "keep-base"])
def test_killed_at_any_step(keep: bool, small_clone: Path, tmp_path: Path) -> None:
    """Until the donor has agreed the base is whole, with --keep-base until its successor is; then the same command
    goes on. INNOCLONE_DIES_AT says at which steps, with a comma between two."""
    with served(small_clone, tmp_path) as donor:
        for at in DYING:
            base = older(small_clone, tmp_path / f"base-{at}")
            before = data(base)
            status = killed(donor.port, base, at, *(["--keep-base"] if keep else []))
            whole = not is_unfinished(base) or (base / OWN_DIR / UNTOUCHED).exists()
            assert whole or not keep
            if status and whole and data(base) != before:
                assert_taken(donor.source, base)
            result = take(donor.port, base, keep_base=keep)
            assert result.incremental
            assert_taken(donor.source, base)
            assert not base.with_name(f"{base.name}.innoclone-new").exists()
            shutil.rmtree(base)


def test_a_full_disk(small_clone: Path, tmp_path: Path) -> None:
    """The error says so; with --keep-base the earlier clone is as it was, and with more room the command goes on."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    needed = sum(path.stat().st_size for path in small_clone.rglob("*") if path.is_file())
    with served(small_clone, tmp_path) as donor, tmpfs(tmp_path / "disk", str(needed + (8 << 20))) as disk:
        base = older(small_clone, disk / "base")
        before = data(base)
        with pytest.raises(DiskFull, match=r"base\.innoclone-new"):
            take(donor.port, base, keep_base=True)
        assert not is_unfinished(base)
        assert data(base) == before
        assert [path.name for path in disk.iterdir() if data_of(path)] == ["base"]
        table = max(base.rglob("*.ibd"), key=lambda path: path.stat().st_size)  # more than the old redo log leaves
        page, size = table.read_bytes()[:PAGE], table.stat().st_size
        table.write_bytes(page)
        os.truncate(table, size)  # a hole, so that each page that is written takes room
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 2 * PAGE))
        with pytest.raises(DiskFull, match=table.name):
            take(donor.port, base, threads=1)
        assert is_unfinished(base)
        (disk / "filler").unlink()
        assert take(donor.port, base).incremental
        assert_taken(donor.source, base)


def data_of(path: Path) -> bool:
    """Whether it holds tablespaces."""
    return path.is_dir() and any(path.rglob("*.ibd"))


def test_a_base_with_tablespaces_elsewhere(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """--map-path: those are brought up to date where they are, and nothing at the donor's places changes."""
    server, outside = outside_donor(make_server, tmp_path)
    here, directory = tmp_path / "here", tmp_path / "clone"
    mapping = ((str(outside / "tables"), str(here / "tables")), (str(outside / "general"), str(here / "general")))
    with serving(find_live(endpoint_of(server)), tmp_path) as donor:
        take(donor.port, directory, map_paths=mapping)
        rows(server, "INSERT INTO away.t VALUES (3, 30)")
        rows(server, "INSERT INTO away.g VALUES (4, 40)")
        result = take(donor.port, directory, map_paths=mapping, incremental="require")
        assert result.incremental
    server.stop()
    shutil.move(outside, tmp_path / "gone")
    directories = ";".join(read_manifest(directory)["external_directories"])
    with booted(programs, directory, [f"--innodb-directories={directories}"]) as clone:
        assert rows(clone, "SELECT id FROM away.t ORDER BY 1") == [(1,), (2,), (3,)]
        assert rows(clone, "SELECT id FROM away.g ORDER BY 1") == [(3,), (4,)]


def test_the_agent(programs: Programs, small_clone: Path, tmp_path: Path) -> None:
    """CLONE INSTANCE into a directory that holds a clone takes only what differs, as clone_incremental says."""
    quoted = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    base = older(small_clone, tmp_path / "base")
    with served(small_clone, tmp_path) as donor, RunningAgent(programs, tmp_path / "state") as agent:

        def statement(directory: Path) -> str:
            return (
                f"CLONE INSTANCE FROM '{USER}'@'127.0.0.1':{donor.port} IDENTIFIED BY '{quoted}'"
                f" DATA DIRECTORY = '{directory}'"
            )

        ok(agent.mysql(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{donor.port}'"))
        for mode, incremental in (("AUTO", True), ("OFF", False), ("REQUIRE", True)):
            ok(agent.mysql(f"SET GLOBAL clone_incremental = '{mode}'"))
            ok(agent.mysql(statement(base)))
            assert_taken(donor.source, base)
            assert read_manifest(base)["options"]["incremental"] is incremental
        refused = agent.mysql(statement(tmp_path / "none"))
        assert "holds no earlier clone" in refused.stderr
        assert not (tmp_path / "none").exists()
