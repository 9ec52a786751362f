"""What other processes are told of donors: only of those that live."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from innoclone.commands.inspect import Condition, inspect, inspect_with_donors
from innoclone.errors import TargetUnusable
from innoclone.records.served import ServedFile, served_from


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "innoclone" / "served"


def test_a_donor_that_lives(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    (tmp_path / "latest").symlink_to("data")
    file = ServedFile("nightly", str(tmp_path / "latest"), "127.0.0.1:3310")
    file.write([{"user": "taker"}])
    expected = [{"pid": os.getpid(), "name": "nightly", "where": "127.0.0.1:3310", "recipients": [{"user": "taker"}]}]
    assert served_from(directory) == expected
    assert served_from(tmp_path) == []
    found = inspect_with_donors(directory)
    assert (found.condition, found.fields["served"]) == (Condition.SERVED, expected)
    with pytest.raises(TargetUnusable):
        inspect(directory)  # who wants to do something with it is told that it is no clone
    file.remove()
    assert served_from(directory) == []
    with pytest.raises(TargetUnusable):
        inspect_with_donors(directory)


def test_what_the_dead_left_is_ignored_and_removed(state: Path, tmp_path: Path) -> None:
    ServedFile("", str(tmp_path), "*:3307").write([])
    (path,) = state.iterdir()
    found = json.loads(path.read_text())
    found["process"]["ticks"] += 1  # the same pid, but of a process that began later
    (state / "1.json").write_text(json.dumps(found))
    (state / "2.json").write_text("torn")
    assert len(served_from(tmp_path)) == 1
    ServedFile("other", str(tmp_path), "*:3308")
    assert {one.name for one in state.iterdir()} == {path.name, "2.json"}
