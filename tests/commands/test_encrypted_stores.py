"""Encrypted clones in stores."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest

from clones import booted, rows
from commandline import environment, innoclone
from encrypted import add_rows, encrypted_donor, holding_keys, keyring_file, keyring_of, masters_in, secrets_of
from innoclone.commands.backup import backup
from innoclone.commands.boot import boot
from innoclone.commands.bootcheck import boot_check
from innoclone.commands.clone import clone
from innoclone.commands.livebackup import backup_live
from innoclone.commands.options import BootOptions, CloneOptions
from innoclone.commands.storecare import list_store
from innoclone.commands.storeoptions import (
    BackupOptions,
    BootCheckOptions,
    LiveBackupOptions,
    StoreAccess,
    StoreRestoreOptions,
)
from innoclone.commands.storerestore import restore_from_store
from innoclone.errors import EncryptionUnsupported, Interrupted, KeyringFailed
from innoclone.files.keyring import read_keyring
from innoclone.innodb.encryption import MasterKey, Secret
from innoclone.innodb.keyring import serialize_keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, cache_directory
from innoclone.store.uploads import Uploads
from local_clones import checksums
from servers import PASSWORD, ServerFactory, endpoint_of

__all__ = ["environment", "innoclone"]  # fixtures


@pytest.fixture(scope="module")
def hidden(make_module_server: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return encrypted_donor(make_module_server, tmp_path_factory.mktemp("ring"))


def test_tried_out_and_brought_back(hidden: Server, access: StoreAccess, programs: Programs, tmp_path: Path) -> None:
    """With the clone's keyring; a server that ran on what was restored has made keys of its own, which stay."""
    clone(CloneOptions(endpoint_of(hidden), tmp_path / "clone"))
    backup(BackupOptions(tmp_path / "clone", access))
    assert boot_check(BootCheckOptions(access, "latest", scratch=tmp_path)).gtid_executed
    there = tmp_path / "there"
    restore_from_store(StoreRestoreOptions(access, "latest", there))
    first = keyring_of(there)
    with booted(programs, there, keyring=first) as server:
        rows(server, "ALTER INSTANCE ROTATE INNODB MASTER KEY")
    theirs = first.path.read_bytes()
    restore_from_store(StoreRestoreOptions(access, "latest", there, delta=True, discard_changes=True))
    assert first.path.read_bytes() == theirs
    assert keyring_of(there).path != first.path
    data = {path.name for path in (tmp_path / "clone").iterdir() if path.suffix in (".ibd", ".ibu")}
    assert all((there / name).read_bytes() == (tmp_path / "clone" / name).read_bytes() for name in data)
    boot(BootOptions(there))


def test_a_running_server(hidden: Server, access: StoreAccess, programs: Programs, tmp_path: Path) -> None:
    """With a keyring that is made for it; then once more on top of that, with the same. No key is anywhere else."""
    ring, spool = tmp_path / "rings" / "db1", tmp_path / "spool"
    ring.parent.mkdir()
    spool.mkdir()
    options = LiveBackupOptions(endpoint_of(hidden), access, spool=spool, keyring=ring)
    first = backup_live(options)
    assert ring.stat().st_mode & 0o777 == 0o600
    made = ring.read_bytes()
    expected = checksums(hidden)
    add_rows(hidden, "single", 50_000)
    rows(hidden, "ALTER TABLE e.zipped FORCE")
    rows(hidden, "ALTER INSTANCE ROTATE INNODB MASTER KEY")
    second = backup_live(options)
    assert ring.read_bytes() == made
    for result, name, contents in ((first, "one", expected), (second, "two", checksums(hidden))):
        there = tmp_path / name
        restore_from_store(StoreRestoreOptions(access, result.name, there))
        found = secrets_of(there, keyring_of(there).path)
        assert holding_keys([tmp_path], found) == []
        with booted(programs, there, keyring=keyring_of(there)) as server:
            assert checksums(server) == contents
    masters = [Secret(key.raw * 2) for key in read_keyring(ring).values()]
    assert holding_keys([tmp_path / "store", spool], masters) == []
    assert not list(spool.iterdir())
    ring.rename(tmp_path / "elsewhere")
    with pytest.raises(KeyringFailed, match="is not there"):
        restore_from_store(StoreRestoreOptions(access, "latest", tmp_path / "three"))
    restore_from_store(StoreRestoreOptions(access, "latest", tmp_path / "three", keyring=tmp_path / "elsewhere"))


def test_a_running_server_that_does_not_become_a_snapshot(hidden: Server, access: StoreAccess, tmp_path: Path) -> None:
    """Without a keyring nothing begins; one that was made for nothing goes, and a user's own stays."""
    with pytest.raises(EncryptionUnsupported, match="has no keyring"):
        backup_live(LiveBackupOptions(endpoint_of(hidden), access))
    ring = tmp_path / "ring"
    options = LiveBackupOptions(endpoint_of(hidden), access, keyring=ring)
    made = []

    def broken(_uploads: Uploads) -> None:
        made.append(ring.exists())
        raise Interrupted("stopped")

    with mock.patch.object(Uploads, "drain", broken):
        with pytest.raises(Interrupted):
            backup_live(options)
        assert made == [True]
        assert not ring.exists()
        ring.write_bytes(serialize_keyring(MasterKey(str(uuid4()), 1, os.urandom(32))))
        with pytest.raises(Interrupted):
            backup_live(options)
    assert ring.exists()
    assert not list_store(access).snapshots


def test_by_the_command_line(hidden: Server, innoclone: Callable[..., Any], tmp_path: Path) -> None:
    """A backup that makes its keyring, one that goes on with it, and a restore by that. In what is said, logged, kept
    of it and stored in clear there is no key."""
    ring, log, home = tmp_path / "ring", tmp_path / "log", tmp_path / "home"
    store = f"file://{tmp_path}/store"
    dsn = f"mysql://clone@127.0.0.1:{hidden.port}"
    said = tmp_path / "said"

    def run(*words: str) -> Any:
        done = innoclone(
            *words, f"--log-file={log}", MYSQL_PWD=PASSWORD, XDG_STATE_HOME=str(home / "state"), TMPDIR=str(tmp_path),
            XDG_CACHE_HOME=str(cache_directory().parent),
        )  # fmt: skip
        with said.open("a") as file:
            file.write(done.stdout + done.stderr)
        return done

    assert run("store", "init", store, "--no-encryption").returncode == 0
    refused = run("backup", dsn, store)
    assert refused.returncode == 5
    assert "ERROR 3872" in refused.stderr
    assert "--keyring FILE names one to use, or to make" in refused.stderr
    for more in ((), ("--boot-check",)):
        done = run("backup", "-v", f"--keyring={ring}", dsn, store, *more)
        assert done.returncode == 0, done.stderr
        assert ring.stat().st_mode & 0o777 == 0o600
    assert len(read_keyring(ring)) == 1
    wrong = run("backup", f"--keyring={ring}", "--keyring-key=INNODBKey-x-1", dsn, store)
    assert wrong.returncode != 0
    assert "has no key INNODBKey-x-1" in wrong.stderr
    there = tmp_path / "there"
    assert run("restore", store, str(there), "--json").returncode == 0
    own = keyring_file(there)
    assert own is not None
    assert run("verify", f"--keyring={own}", str(there)).returncode == 0
    assert log.stat().st_size
    assert (home / "state" / "innoclone" / "history.jsonl").stat().st_size
    assert holding_keys([tmp_path], secrets_of(there, own)) == []
    places = holding_keys([tmp_path], [*masters_in(ring), *masters_in(own)])
    assert {*places} == {ring, own}
