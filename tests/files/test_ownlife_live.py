"""A clone that a server has run on is updated only where that is wished; owner and modes stay what they were."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clones import booted, clone_server, rows
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.errors import BootFailed, TargetExists, TargetUnusable
from innoclone.files.manifest import read_manifest
from innoclone.files.ownlife import PRIVATE_MARK, losses
from innoclone.records.status import CloneStatus
from innoclone.server import cloned
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import local_clone
from servers import PASSWORD

ROOT = os.geteuid() == 0
UUID = "188faaef-e715-11f1-9fe9-02fc00000001"
SOMEBODY = 65534  # nobody's user id
QUIET = ("--disable-log-bin", "--loose-auto-generate-certs=OFF", "--loose-sha256-password-auto-generate-rsa-keys=OFF",
         "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF")  # fmt: skip


@pytest.fixture(scope="module")
def original(small_donor: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that no server has run on; only to be copied."""
    directory = tmp_path_factory.mktemp("original") / "clone"
    local_clone(small_donor, directory)
    return directory


@pytest.fixture(scope="module")
def visited(original: Path, tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Path:
    """The same after a private boot; only to be copied."""
    directory = tmp_path_factory.mktemp("visited") / "clone"
    shutil.copytree(original, directory)
    boot(BootOptions(directory))
    return directory


@pytest.fixture
def clone(visited: Path, tmp_path: Path) -> Path:
    """A clone after a private boot."""
    return Path(shutil.copytree(visited, tmp_path / "clone"))


def contents(directory: Path) -> dict[str, int]:
    return {str(path.relative_to(directory)): path.lstat().st_mtime_ns for path in directory.rglob("*")}


def test_our_own_looks_are_no_life(original: Path, clone: Path, small_donor: Server) -> None:
    """Neither the first private boot nor a second one, nor one that was cut off; then it is brought up to date."""
    assert losses(original) == []
    assert losses(clone) == []
    boot(BootOptions(clone))
    assert losses(clone) == []
    (clone / "auto.cnf").write_text(f"[auto]\nserver-uuid={UUID}\n")
    (clone / "#innoclone" / PRIVATE_MARK).write_text(f"{UUID}\n")
    assert losses(clone) == []
    boot(BootOptions(clone))
    assert not (clone / "auto.cnf").exists()
    assert not (clone / "#innoclone" / PRIVATE_MARK).exists()
    local_clone(small_donor, clone)
    assert losses(clone) == []


@pytest.mark.parametrize("update", ["local", "keep-base", "write-changed-only"])
def test_a_server_of_its_own_is_not_updated(update: str, clone: Path, small_donor: Server, programs: Programs) -> None:
    """A real server has run on it: refused with what would go, and with the word for it all of that is named first."""
    with booted(programs, clone) as server:
        rows(server, "CREATE DATABASE mine")
        rows(server, "CREATE TABLE mine.t AS SELECT 1 AS a")
    before = contents(clone)

    def run(status: CloneStatus | None = None, **options: Any) -> Any:
        if update == "write-changed-only":
            return clone_server(small_donor, clone, write_changed_only=True, status=status, **options)
        return local_clone(small_donor, clone, keep_base=update == "keep-base", status=status, **options)

    with pytest.raises(TargetExists) as caught:
        run()
    for word in ("data that a server wrote", "auto.cnf", "binlog.000001", "ca.pem"):
        assert word in caught.value.message
    assert "--discard-changes" in caught.value.advice
    assert contents(clone) == before
    assert read_manifest(clone)["finished"]
    status = CloneStatus()
    run(status, discard_changes=True)
    assert any("goes" in note and "auto.cnf" in note and "binlog.000001" in note for note in status.notes)
    assert not (clone / "auto.cnf").exists()
    assert not (clone / "mine").exists()


def test_data_alone_is_enough(clone: Path, programs: Programs) -> None:
    """A server without binary log and certificates, killed: its redo log tells."""
    server = Server.start(programs, clone, options=QUIET, error_log=clone.with_suffix(".err"), timeout=120)
    try:
        rows(server, "CREATE DATABASE mine")
    finally:
        server.kill()
    (clone / "auto.cnf").unlink()
    assert losses(clone) == ["data that a server wrote after the clone"]
    boot(BootOptions(clone))
    assert losses(clone) == ["data that a server wrote after the clone"]  # our look at it does not make it ours


@pytest.mark.parametrize("name", ["notes.txt", "mysqld-auto.cnf", "theirs/dump.sql", "dumps/today.sql"])
def test_what_somebody_put_there_counts(name: str, clone: Path, small_donor: Server) -> None:
    """A file of the user's, in the directory, in a schema, in a folder."""
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).write_text("of mine")
    with pytest.raises(TargetExists, match=Path(name).parts[0]):
        local_clone(small_donor, clone)
    assert (clone / name).read_text() == "of mine"


def test_without_a_manifest_nothing_is_proven(clone: Path, original: Path, small_donor: Server, tmp_path: Path) -> None:
    """Also the stock plugin's clones have none: one that was never started is fine, any other is not."""
    shutil.rmtree(clone / "#innoclone")
    with pytest.raises(TargetExists, match="no manifest"):
        local_clone(small_donor, clone)
    never = Path(shutil.copytree(original, tmp_path / "never"))
    shutil.rmtree(never / "#innoclone")
    assert losses(never) == []


def test_a_base_that_is_used_meanwhile_stays(clone: Path, small_donor: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --keep-base it can be started all the time: what a server did on it until the swap is not lost."""
    from innoclone.commands import local as operation

    run = operation.Recipient.run

    def and_somebody_else(recipient: operation.Recipient) -> operation.Received:
        (clone / "auto.cnf").write_text("[auto]\nserver-uuid=mine\n")
        return run(recipient)

    monkeypatch.setattr(operation.Recipient, "run", and_somebody_else)
    with pytest.raises(TargetExists) as caught:
        local_clone(small_donor, clone, keep_base=True)
    assert "the new clone is complete" in caught.value.advice
    assert (clone / "auto.cnf").exists()


# ---- owner and modes -------------------------------------------------------------------------------------------


def owners(directory: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in (directory, *directory.rglob("*"))}


def modes(directory: Path) -> tuple[int, set[int], set[int]]:
    inside = [path.lstat().st_mode for path in directory.rglob("*")]
    folders = {stat.S_IMODE(mode) for mode in inside if stat.S_ISDIR(mode)}
    files = {stat.S_IMODE(mode) for mode in inside if not stat.S_ISDIR(mode)}
    return stat.S_IMODE(directory.stat().st_mode), folders, files


@pytest.mark.skipif(not ROOT, reason="only root makes what belongs to others")
@pytest.mark.parametrize("update", ["local", "keep-base", "write-changed-only"])
def test_root_leaves_a_clone_to_its_owner(update: str, original: Path, small_donor: Server, tmp_path: Path) -> None:
    """Every file and folder after an update has owner and mode of the base."""
    clone = Path(shutil.copytree(original, tmp_path / "clone"))
    for path in (clone, *clone.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
        path.chmod(0o700 if path.is_dir() else 0o600)
    clone.chmod(0o711)
    if update == "write-changed-only":
        clone_server(small_donor, clone, write_changed_only=True)
    else:
        local_clone(small_donor, clone, keep_base=update == "keep-base")
    assert owners(clone) == {(SOMEBODY, SOMEBODY)}
    assert modes(clone) == (0o711, {0o700}, {0o600})


@pytest.mark.skipif(not ROOT, reason="only root makes what belongs to others")
def test_an_empty_directory_is_kept_as_it_is(small_donor: Server, tmp_path: Path) -> None:
    """mkdir and chown, then a clone by root: it is its owner's. What was mapped outside belongs to it, too."""
    directory = tmp_path / "clone"
    directory.mkdir(mode=0o755)
    os.chown(directory, SOMEBODY, SOMEBODY)
    local_clone(small_donor, directory)
    assert owners(directory) == {(SOMEBODY, SOMEBODY)}
    assert modes(directory) == (0o755, {0o750}, {0o640})


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can come to, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(not ROOT, reason="only root runs mysqld for others")
def test_a_boot_that_the_owner_cannot_do_is_seen_first(
    reachable: Path, small_donor: Server, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder on the way that the user may not search, and a mysqld that it may not execute: nothing was copied."""
    from innoclone.commands import clone as remote
    from innoclone.commands import local as on_host

    usable = reachable / "mysqld"
    usable.write_text("#!/bin/sh\necho mysqld\n")
    usable.chmod(0o755)
    fake = replace(programs, mysqld=(str(usable),))
    for operation in (remote, on_host):
        monkeypatch.setattr(operation, "find_programs", lambda _=None: fake)
    monkeypatch.setattr(tempfile, "tempdir", str(reachable))
    (reachable / "closed").mkdir(mode=0o700)
    target = reachable / "closed" / "clone"
    for run in (clone_server, local_clone):
        with pytest.raises(TargetUnusable, match=f"no search permission on {reachable}/closed"):
            run(small_donor, target, chown=str(SOMEBODY), boot=True)  # type: ignore[operator]
        assert not target.exists()
    usable.chmod(0o700)
    for run in (clone_server, local_clone):
        with pytest.raises(BootFailed, match="can't execute"):
            run(small_donor, reachable / "clone", chown=str(SOMEBODY), boot=True)  # type: ignore[operator]
        assert not (reachable / "clone").exists()


def test_the_log_of_a_boot_has_the_mode_of_the_others(visited: Path) -> None:
    """And the manifest that the boot wrote anew as well."""
    found = {stat.S_IMODE((visited / "#innoclone" / name).stat().st_mode) for name in ("boot.log", "manifest.json")}
    assert found == {0o640}


# ---- the command -----------------------------------------------------------------------------------------------


def test_generations_in_use_stay_and_the_status_tells(small_donor: Server, tmp_path: Path, programs: Programs) -> None:
    """The issue's own case: a server on ``latest``, one more run; then, stopped, it goes only with the word for it."""
    folder = tmp_path / "gens"
    dump = folder / "2020-01-01T00-00-00Z"
    dump.mkdir(parents=True)
    (dump / "dump.sql").write_text("precious")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "innoclone", "local", "-h127.0.0.1", f"-P{small_donor.port}", "-uclone"]
        command += ["--ssl-mode=DISABLED", "--json", "--generations=1", f"--to={folder}", "--full-copies", *options]
        return subprocess.run(
            command, env=os.environ | {"MYSQL_PWD": PASSWORD}, capture_output=True, text=True, check=False, timeout=300
        )

    assert run().returncode == 0
    first = (folder / "latest").resolve()
    with booted(programs, folder / "latest") as server:
        done = run()
        assert done.returncode == 14
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [one["event"] for one in events if one["event"] in ("result", "error")] == ["result", "error"]
        assert f"a server runs on {first}" in events[-1]["message"]
        assert "is complete" in events[-1]["message"]
        assert "completed OK!" not in done.stderr
        assert rows(server, "SELECT COUNT(*) FROM theirs.t") == [(1000,)]
    second = (folder / "latest").resolve()
    assert second != first
    assert not cloned.was_kept(second)
    done = run()
    assert done.returncode == 14
    assert "auto.cnf" in done.stderr
    assert (first / "auto.cnf").exists()
    assert not second.exists()
    assert run("--discard-changes").returncode == 0
    assert sorted(path.name for path in folder.iterdir() if path != dump) == [
        (folder / "latest").resolve().name, "latest", "latest.err",
    ]  # fmt: skip
    assert (dump / "dump.sql").read_text() == "precious"
