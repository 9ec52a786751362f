"""Snapshots of stores that an agent serves: to a stock server, when it can be, and what is left of them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_clones import ok
from agent_pages import get, port_of
from agents import GRANTED, WAIT, RunningAgent, wait_for
from innoclone.agent.donors import snapshots
from innoclone.agent.donors.snapshots import ServedSnapshot
from innoclone.commands.backup import backup
from innoclone.commands.storeoptions import BackupOptions, BootCheckOptions, StoreAccess
from innoclone.commands.storescratch import ForServing
from innoclone.donor.stored import look
from innoclone.errors import CloneRunning, StoreMissing
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from serving import ALONE, assert_taken, take


def test_a_stock_recipient_takes_it(
    programs: Programs, small_clone: Path, access: StoreAccess, recipient: Server, tmp_path: Path
) -> None:
    """The latest; what a killed agent has left goes at the next one's start, and all at its end."""
    made = backup(BackupOptions(small_clone, access))
    state, scratch = tmp_path / "state", tmp_path / "scratch"
    for folder in (state, scratch):
        folder.mkdir()
    config = state / "agent.toml"
    config.write_text(
        f'[serve.stored]\nstore = "{access.address}"\nport = 0\nkey_file = "{access.key_file}"\nscratch = "{scratch}"\n'
    )
    with RunningAgent(programs, state, f"--config={config}") as agent:
        wait_for(lambda: "stored: serving" in agent.log.read_text())
        agent.kill()
    [left] = scratch.iterdir()
    with RunningAgent(programs, state, f"--config={config}", "--web-port=0") as agent:
        wait_for(lambda: agent.log.read_text().count("stored: serving") == 2)
        assert not left.exists()
        ok(agent.mysql(GRANTED))
        port = int(agent.log.read_text().rpartition("on port ")[2].split()[0])
        take(recipient, port, tmp_path / "taken", "REQUIRE SSL", settings=ALONE)
        shown = json.loads(get(port_of(agent), "/status.json")[1])["history"]
        assert {one["operation"] for one in shown} == {"temporary-restore", "serve"}
        agent.process.terminate()
        assert agent.process.wait(WAIT) == 0
    assert not list(scratch.iterdir())
    stored = look(small_clone)
    try:
        assert_taken(stored, tmp_path / "taken")
    finally:
        stored.close()
    history = [json.loads(line) for line in (state / "innoclone" / "history.jsonl").read_text().splitlines()]
    assert [one["operation"] for one in history] == ["temporary-restore", "temporary-restore", "serve"]
    assert made.snapshot


def test_who_comes_early_is_told(small_clone: Path, access: StoreAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is restored, and after that has failed; then it is tried again."""
    go, ready, tried = threading.Event(), threading.Event(), []

    @contextlib.contextmanager
    def restored(*_: object, **__: object) -> Iterator[ForServing]:
        tried.append(1)
        if len(tried) == 1:
            assert go.wait(WAIT)
            raise StoreMissing("there is no store")
        yield ForServing(small_clone, "file:///store@x")

    monkeypatch.setattr(snapshots, "restored_to_serve", restored)
    monkeypatch.setattr(snapshots, "AGAIN", 0.5)
    served = ServedSnapshot("x", BootCheckOptions(access, "latest"), ready.set)
    served.start()
    with pytest.raises(CloneRunning, match="@latest is being restored") as caught:
        served.source()
    assert caught.value.code == 3634
    go.set()
    wait_for(lambda: served._error is not None or ready.is_set())
    assert ready.wait(WAIT)
    source = served.source()
    assert source.name == "file:///store@x"
    source.close()
    served.stop()
