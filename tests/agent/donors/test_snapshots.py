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
from innoclone.files.manifest import read_manifest, update_manifest
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from restores import linked_clone
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


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    found = tmp_path / "scratch"
    found.mkdir()
    return found


def test_a_newer_one_is_given_to_who_comes_later(
    small_clone: Path, access: StoreAccess, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes the older one keeps it; its folder goes after that. Another server's is none of them."""
    monkeypatch.setattr(snapshots, "LOOK", 0.02)
    ready = threading.Event()
    first = backup(BackupOptions(small_clone, access))
    served = ServedSnapshot("x", BootCheckOptions(access, "latest", scratch=scratch), ready.set, renew=0.05)
    served.start()
    try:
        assert ready.wait(WAIT)
        older, led = served.source(), served.leads_to
        assert older.name.endswith(f"@{first.snapshot}")
        ready.clear()
        second = backup(BackupOptions(small_clone, access))
        assert ready.wait(WAIT)
        assert served.leads_to is not led
        newer = served.source()
        assert newer.name.endswith(f"@{second.snapshot}")
        third = backup(BackupOptions(small_clone, access))
        assert len(list(scratch.iterdir())) == 2
        ready.clear()
        older.close()
        assert ready.wait(WAIT)  # the third one: the first has gone
        newer.close()
        wait_for(lambda: len(list(scratch.iterdir())) == 1)
        other = linked_clone(small_clone, tmp_path / "other")
        update_manifest(other, donor=read_manifest(other)["donor"] | {"uuid": "another"})
        backup(BackupOptions(other, access))
        ready.clear()
        assert not ready.wait(0.5)
        last = served.source()
        assert last.name.endswith(f"@{third.snapshot}")
        last.close()
    finally:
        served.stop()
    assert not list(scratch.iterdir())


def test_a_newer_one_that_cannot_be_restored(
    small_clone: Path, access: StoreAccess, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one stays, and a damaged one is tried once."""
    monkeypatch.setattr(snapshots, "LOOK", 0.02)
    ready, tried = threading.Event(), []
    first = backup(BackupOptions(small_clone, access))
    real = snapshots.restored_to_serve

    def restored(options: BootCheckOptions, **more: object) -> object:
        tried.append(options.snapshot)
        return real(options, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshots, "restored_to_serve", restored)
    served = ServedSnapshot("x", BootCheckOptions(access, "latest", scratch=scratch), ready.set, renew=0.05)
    served.start()
    try:
        assert ready.wait(WAIT)
        second = backup(BackupOptions(small_clone, access, full=True))
        for pack in (tmp_path / "store" / "data" / second.name.partition("-")[2]).iterdir():
            pack.unlink()
        wait_for(lambda: bool(served._damaged))
        source = served.source()
        assert source.name.endswith(f"@{first.snapshot}")
        source.close()
        assert tried[:2] == ["latest", second.name]
        assert not threading.Event().wait(0.3)
        assert tried[2:] == [] or tried[2:] == [second.name]  # it was tried before all of it was gone
    finally:
        served.stop()
    assert not list(scratch.iterdir())
