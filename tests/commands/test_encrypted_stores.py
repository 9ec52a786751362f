"""Encrypted clones in stores."""

from __future__ import annotations

import os
from pathlib import Path

from clones import booted, rows
from encrypted import encrypted_donor, keyring_of
from innoclone.commands.backup import backup
from innoclone.commands.boot import boot
from innoclone.commands.bootcheck import boot_check
from innoclone.commands.clone import clone
from innoclone.commands.options import BootOptions, CloneOptions
from innoclone.commands.storecare import make_store
from innoclone.commands.storeoptions import BackupOptions, BootCheckOptions, StoreAccess, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.server.programs import Programs
from servers import ServerFactory, endpoint_of


def test_tried_out_and_brought_back(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """With the clone's keyring; a server that ran on what was restored has made keys of its own, which stay."""
    ring = tmp_path / "donor"
    ring.mkdir()
    hidden = encrypted_donor(make_server, ring)
    clone(CloneOptions(endpoint_of(hidden), tmp_path / "clone"))
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    access = StoreAccess(f"file://{tmp_path}/store", key_file=key)
    make_store(access, encrypted=True, single_writer=False)
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
