"""Snapshots that are served: restored for as long as that takes, and taken by a stock server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from innoclone.commands import storescratch
from innoclone.commands.backup import backup
from innoclone.commands.storecare import make_store
from innoclone.commands.storeoptions import BackupOptions, BootCheckOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.commands.storescratch import restored_to_serve
from innoclone.donor.stored import look
from innoclone.errors import DiskSpace, StoreDamaged, TargetUnusable
from innoclone.files.inuse import server_on
from innoclone.records.history import TEMPORARY, is_clone, read_history
from innoclone.server.mysqld import Server
from restores import contents, linked_clone
from serving import ALONE, ServeProcess, assert_taken, served, take
from stores import S3Server


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    found = tmp_path / "scratch"
    found.mkdir()
    return found


def test_a_stock_recipient_takes_a_snapshot(
    small_clone: Path, access: StoreAccess, scratch: Path, recipient: Server, tmp_path: Path
) -> None:
    """What it gets is what was backed up; what a killed donor has left goes with the next one, and that one's in the
    end."""
    made = backup(BackupOptions(small_clone, access))
    options = [f"--key-file={access.key_file}", f"--scratch={scratch}"]
    address = f"{access.address}@{made.snapshot}"
    with ServeProcess(address, *options) as donor:  # type: ignore[arg-type]  # it is only printed
        [left] = scratch.iterdir()
        donor.kill()
    assert left.exists()
    with ServeProcess(access.address, *options) as donor:  # type: ignore[arg-type]  # the latest
        assert not left.exists()
        assert any(f"serving {address}, MySQL " in line for line in donor.said)
        take(recipient, donor.port, tmp_path / "taken", "REQUIRE SSL", settings=ALONE)
        assert donor.stop() == 0
    stored = look(small_clone)
    try:
        assert_taken(stored, tmp_path / "taken")
    finally:
        stored.close()
    assert not list(scratch.iterdir())
    assert [one["source"] for one in read_history() if one["operation"] == "serve"][-1] == address
    restores = [one for one in read_history() if one["operation"] == TEMPORARY]
    assert restores[-1]["state"] == "Completed"
    assert not any(is_clone(one) for one in restores)


def test_out_of_s3(small_clone: Path, access: StoreAccess, scratch: Path, tmp_path: Path) -> None:
    with S3Server() as s3:
        there = replace(access, address=f"s3://{s3.new_bucket()}/some/prefix", options=tuple(s3.options.items()))
        make_store(there, encrypted=True, single_writer=False)
        made = backup(BackupOptions(small_clone, there))
        with restored_to_serve(BootCheckOptions(there, "latest", scratch=scratch)) as found:
            assert found.address == f"{there.address}@{made.snapshot}"
            wanted = contents(small_clone)
            assert {name: found_ for name, found_ in contents(found.directory).items() if name in wanted} == wanted
            with served(found.directory, tmp_path) as donor:
                assert donor.source.version.startswith("9.")
    assert not list(scratch.iterdir())


def test_what_is_told_before_anything_is_read(
    small_clone: Path, access: StoreAccess, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = linked_clone(small_clone, tmp_path / "outside")
    manifest = clone / "#innoclone" / "manifest.json"
    fields = json.loads(manifest.read_text()) | {"external_directories": ["/elsewhere"]}
    manifest.unlink()  # it is a link
    manifest.write_text(json.dumps(fields))
    made = backup(BackupOptions(clone, access))
    options = BootCheckOptions(access, made.snapshot, scratch=scratch)
    with pytest.raises(TargetUnusable, match="/elsewhere"), restored_to_serve(options):
        pass
    good = backup(BackupOptions(small_clone, access))
    monkeypatch.setattr(storescratch, "FOR_SERVER", 1 << 60)
    with pytest.raises(DiskSpace, match="scratch"), restored_to_serve(replace(options, snapshot=good.snapshot)):
        pass
    assert not list(scratch.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
from innoclone.commands.storescratch import DATA, PREFIX
from innoclone.files.manifest import read_manifest
from innoclone.files.scratch import scratch_folder
from innoclone.server.cloned import private_server
from innoclone.server.programs import find_programs
from restores import restored
clone, scratch = map(Path, sys.argv[1:])
with scratch_folder(scratch, PREFIX, []) as folder:
    restored(clone, folder / DATA)
    with private_server(find_programs(), folder / DATA, read_manifest(folder / DATA)):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_server_of_a_trial_that_was_killed(small_clone: Path, access: StoreAccess, scratch: Path) -> None:
    """Nobody else would end it; then its folder goes."""
    backup(BackupOptions(small_clone, access))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "helpers")}
    done = subprocess.run([sys.executable, "-c", KILLED, small_clone, scratch], env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    [left] = scratch.iterdir()
    process = server_on(left / storescratch.DATA)
    assert process
    with restored_to_serve(BootCheckOptions(access, "latest", scratch=scratch)) as found:
        assert list(scratch.iterdir()) == [found.directory.parent]
    with contextlib.suppress(FileNotFoundError):
        assert not Path(f"/proc/{process}/cmdline").read_bytes()  # of one that has ended and nobody has asked for


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s3://bucket/prefix", "--stdio"], "--stdio takes a directory or --live, not a store"),
        (["s3://bucket/prefix", "--recover=/tmp"], "--innodb-directories are for a server's directory, not"),
        (["s3://bucket/prefix", "--live=mysql://x@h"], "name a directory or"),
        (["/nowhere", "--scratch=/tmp"], "--scratch goes with a store"),
        (["/nowhere", "--key-file=/dev/null"], "go with a store"),
        (["s3://bucket/prefix", "--port=70000"], "port must be from 0 to 65535"),
    ],
)
def test_what_does_not_go_together(words: list[str], said: str) -> None:
    command = [sys.executable, "-m", "innoclone", "serve", "--no-defaults", "--user=x", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"MYSQL_PWD": "x"})
    assert done.returncode == 2
    assert said in done.stderr


def test_a_latest_whose_packs_are_gone_names_the_one_before(
    small_clone: Path, access: StoreAccess, tmp_path: Path
) -> None:
    first, second = (backup(BackupOptions(small_clone, access, full=True)) for _ in range(2))
    for pack in (tmp_path / "store" / "data" / second.name.partition("-")[2]).iterdir():
        pack.unlink()
    with pytest.raises(StoreDamaged) as caught:
        restore_from_store(StoreRestoreOptions(access, "latest", tmp_path / "new", fsync=False))
    assert f"name it as {access.address}@{first.snapshot}" in caught.value.advice
    with pytest.raises(StoreDamaged) as caught:  # nobody asked for the latest: it was named
        restore_from_store(StoreRestoreOptions(access, second.snapshot, tmp_path / "new", fsync=False))
    assert first.snapshot not in caught.value.advice
    restore_from_store(StoreRestoreOptions(access, first.snapshot, tmp_path / "new", fsync=False))
