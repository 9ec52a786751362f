"""Encrypted clones that an agent makes and serves, with the keyring that is named; no key in anything it wrote."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from agent_clones import allow, clone_statement, ok
from agents import GRANTED, WAIT, RunningAgent, wait_for
from clones import rows
from encrypted import add_rows, holding_keys, keyring_file, masters_in, secrets_of
from innoclone.commands.backup import backup
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.commands.storecare import make_store
from innoclone.commands.storeoptions import BackupOptions, StoreAccess
from innoclone.errors import EncryptionNeedsTls
from innoclone.server.keyring import Keyring
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from servers import ServerFactory
from serving import endpoint


def test_a_directory_and_a_snapshot(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> None:
    donor = make_server(keyring=Keyring(tmp_path / "donors", read_only=False))
    rows(donor, "CREATE DATABASE e")
    rows(donor, "CREATE TABLE e.single (id INT PRIMARY KEY, v INT, b VARCHAR(255)) ENCRYPTION='Y'")
    add_rows(donor, "single", 0)
    state, first, elsewhere = tmp_path / "state", tmp_path / "first", tmp_path / "elsewhere"
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        agent = RunningAgent(programs, state)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    with agent:
        assert resource.prlimit(agent.process.pid, resource.RLIMIT_CORE)[0] == 0, "a crash would write keys to a file"
        allow(agent, donor)
        ok(agent.mysql(clone_statement(donor, first)))
    ring = keyring_file(first)
    assert ring is not None
    store = StoreAccess(f"file://{tmp_path}/store")
    make_store(store, encrypted=False, single_writer=False)
    backup(BackupOptions(first, store))
    ring.rename(elsewhere)
    config = state / "agent.toml"
    served = (
        f'[serve.directory]\nport = 0\ndirectory = "{first}"\n[serve.snapshot]\nport = 0\nstore = "{store.address}"\n'
    )
    named = f'keyring = "{elsewhere}"\n'
    config.write_text(served)
    with RunningAgent(programs, state, f"--config={config}") as agent:
        wait_for(lambda: agent.log.read_text().count("the keyring") == 2)
        assert "can't be served now: the keyring" in agent.log.read_text()
    config.write_text(served.replace("port", f"{named}port"))
    with RunningAgent(programs, state, f"--config={config}") as agent:
        ok(agent.mysql(GRANTED))
        for name in ("directory", "snapshot"):
            wait_for(lambda name=name: f"{name}: serving" in agent.log.read_text())
            port = int(agent.log.read_text().rpartition(f"{name}: serving")[2].partition("on port ")[2].split()[0])
            where = endpoint(port, ssl_mode=SslMode.REQUIRED)
            clone(CloneOptions(where, tmp_path / name))
            with pytest.raises(EncryptionNeedsTls):
                clone(CloneOptions(replace(where, ssl_mode=SslMode.DISABLED), tmp_path / "refused"))
        agent.process.terminate()
        assert agent.process.wait(WAIT) == 0
    rings = {elsewhere, *(path for path in map(keyring_file, (tmp_path / "directory", tmp_path / "snapshot")) if path)}
    assert len(rings) == 3
    secrets = secrets_of(first, elsewhere)
    assert secrets
    assert holding_keys([tmp_path], secrets) == []
    assert {*holding_keys([tmp_path], [key for one in rings for key in masters_in(one)])} == rings
