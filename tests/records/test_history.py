"""The history of clones: what gets into it, and that nothing makes it unreadable or hurts a clone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import innoclone as package
from clones import clone_server
from commandline import environment, innoclone
from faults import tmpfs
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.errors import (
    AccessDenied,
    DiskFull,
    FileError,
    Interrupted,
    TargetExists,
    TargetUnusable,
    UsageError,
)
from innoclone.records import history
from innoclone.records.folders import state_directory
from innoclone.records.history import append_history, last_successes, next_number, read_history
from innoclone.records.status import CloneStatus, State
from innoclone.server.mysqld import Server
from servers import PASSWORD, endpoint_of

__all__ = ["environment", "innoclone"]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A history of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "innoclone"


def record(number: int) -> dict[str, object]:
    return {"state": "Completed", "began": number, "destination": f"/clone {number}" + "x" * 100}


# ---- clones ------------------------------------------------------------------------------------------------


def test_a_clone_that_succeeded(donor: Server, tmp_path: Path, folder: Path) -> None:
    result = clone_server(donor, tmp_path / "clone", boot=True)
    (row,) = read_history()
    assert row["source"] == f"clone@127.0.0.1:{donor.port}"
    assert row["destination"] == str(tmp_path / "clone")
    assert (row["operation"], row["state"], row["error_number"]) == ("clone", "Completed", 0)
    assert (row["data"], row["network"], row["connections"]) == (result.data, result.network, result.connections)
    assert row["donor_version"].startswith("9.")
    assert (row["binlog_file"], row["binlog_position"]) == (result.binlog_file, result.binlog_position)
    assert row["gtid_executed"] == result.gtid_executed
    assert row["ended"] - row["began"] == pytest.approx(row["seconds"], abs=0.01)
    assert PASSWORD not in (folder / "history.jsonl").read_text()
    assert (folder / "history.jsonl").stat().st_mode & 0o077 == 0


def test_clones_that_did_not(donor: Server, tmp_path: Path) -> None:
    """Refused before anything was copied; stopped."""
    wrong = CloneOptions(donor=endpoint_of(donor, password="wrong"), directory=tmp_path / "clone")
    with pytest.raises(AccessDenied):
        clone(wrong)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        clone(CloneOptions(donor=endpoint_of(donor), directory=tmp_path / "clone"), stopped=stopped)
    failed, interrupted = read_history()
    assert (failed["state"], failed["error_number"], failed["data"]) == ("Failed", 1045, 0)
    assert "Access denied" in failed["error_message"]
    assert (interrupted["state"], interrupted["error_number"]) == ("Interrupted", 1317)


def test_what_was_refused_is_no_clone_that_failed(donor: Server, tmp_path: Path) -> None:
    """Nothing had begun, the command was wrong."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    there = CloneOptions(donor=endpoint_of(donor), directory=tmp_path / "full")
    nowhere = CloneOptions(donor=endpoint_of(donor), directory=tmp_path / "none" / "clone")
    someone = CloneOptions(donor=endpoint_of(donor), directory=tmp_path / "clone", chown="no such user")
    for options, kind in ((there, TargetExists), (nowhere, TargetUnusable), (someone, UsageError)):
        status = CloneStatus()
        with pytest.raises(kind):
            clone(options, status=status)
        assert (status.state, status.error_number) == (State.FAILED, kind.number)
    assert read_history() == []


def test_a_history_that_cannot_be_written_is_a_note(
    donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    result = clone_server(donor, tmp_path / "clone")
    assert any("not in the history" in note for note in result.notes)
    status = CloneStatus()
    with pytest.raises(AccessDenied):
        clone(CloneOptions(donor=endpoint_of(donor, password="wrong"), directory=tmp_path / "other"), status=status)
    assert any("not in the history" in note for note in status.notes)


# ---- the file ----------------------------------------------------------------------------------------------


def test_a_torn_line_costs_one_record(folder: Path) -> None:
    """Wherever it was torn, the others are there, and the next begins on a line of its own."""
    append_history(record(1))
    path = folder / "history.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole + whole[:cut])
        append_history(record(2))
        complete = cut == len(whole) - 1  # but for its line feed
        assert [row["began"] for row in read_history()] == [1, *([1] if complete else []), 2]
    path.write_bytes(b'\xff\xfe[1]\n7\nnull\n{"a": 1}\n' + whole)
    assert [row["began"] for row in read_history()] == [1]


def test_the_last_of_each_kind_that_succeeded(folder: Path) -> None:
    """A local clone is a clone; what failed doesn't count, nor what somebody has written badly."""
    assert last_successes() == {}
    for operation, state, ended in (
        ("local", "Completed", 10.0), ("backup", "Completed", 20.0), ("backup", "Failed", 30.0),
        ("restore", "Completed", 15.5), ("backup", "Completed", 12.0), ("backup", "Completed", "soon"),
    ):  # fmt: skip
        append_history({"operation": operation, "state": state, "ended": ended})
    assert last_successes() == {"clone": 10.0, "backup": 20.0, "restore": 15.5}


def test_only_the_newest_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 10)
    for number in range(25):
        append_history(record(number))
        assert len((folder / "history.jsonl").read_text().splitlines()) == min(number + 1, 10)
    assert [row["began"] for row in read_history()] == list(range(15, 25))
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "history.lock"]


def test_processes_that_write_at_the_same_time_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trimming included: of so many the newest are there, each whole."""
    script = (
        "import sys; from innoclone.records import history; history.KEPT = 300\n"
        "for n in range(100): history.append_history({'state': 'x' * 200, 'who': sys.argv[1], 'n': n})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    found = read_history()
    assert len(found) == 300
    for number in range(4):  # each one's records in their order, without a gap, up to the last
        mine = [row["n"] for row in found if row["who"] == str(number)]
        assert mine == list(range(100 - len(mine), 100))


def test_a_lock_that_is_held_for_ever_ends_in_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_history(record(1))
    monkeypatch.setattr(history, "LOCK_TIMEOUT", 0.05)
    with history._locked(folder / "history.lock"), pytest.raises(FileError, match=r"history\.jsonl"):
        append_history(record(2))
    append_history(record(3))
    assert [row["began"] for row in read_history()] == [1, 3]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_leaves_what_is_there(folder: Path) -> None:
    folder.mkdir(parents=True)
    with tmpfs(folder, "64k"):
        count = 0
        with contextlib.suppress(DiskFull, FileError):
            while count < 1000:
                append_history(record(count))
                count += 1
        assert count < 1000
        assert [row["began"] for row in read_history()] == list(range(count))
        assert (folder / "history.jsonl").read_bytes().endswith(b"\n")


def test_a_long_gtid_set_is_left_out() -> None:
    append_history(record(1) | {"gtid_executed": "x" * 4001})
    append_history(record(2) | {"gtid_executed": "x" * 4000})
    assert [len(row["gtid_executed"]) for row in read_history()] == [0, 4000]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert state_directory() == tmp_path / "state" / "innoclone"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_directory() == tmp_path / ".local" / "state" / "innoclone"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_directory() == Path("/var/lib/innoclone")


# ---- to look at --------------------------------------------------------------------------------------------


def test_the_command(innoclone) -> None:
    done = innoclone("history")
    assert (done.returncode, done.stdout) == (0, "no clone has come to an end yet\n")
    for number in range(30):
        append_history(
            {
                "id": number + 1, "state": "Failed" if number == 29 else "Completed", "operation": "clone",
                "source": "u@h:1", "destination": f"/clone/{number}", "began": 1e9 + number, "seconds": 83.2,
                "data": 5 << 30, "error_number": 1158 if number == 29 else 0,
                "error_message": "the connection broke",
            }
        )  # fmt: skip
    lines = innoclone("history", TZ="UTC").stdout.splitlines()
    assert len(lines) == 1 + 20 + 1
    assert " ".join(lines[-3].split()) == "29 2001-09-09 01:47:08 clone Completed 1:23 5,120.0 MiB u@h:1 -> /clone/28"
    assert lines[-1].strip() == "error 1158: the connection broke"
    *found, last = map(json.loads, innoclone("history", "--json", "--limit=3").stdout.splitlines())
    assert (last["event"], last["clones"]) == ("result", 3)
    assert [row["destination"] for row in found] == ["/clone/27", "/clone/28", "/clone/29"]
    kept = [{name: value for name, value in row.items() if name not in ("event", "time")} for row in found]
    assert len(innoclone("history", "--limit=0").stdout.splitlines()) == 1 + 30 + 1
    assert package.history(2) == kept[1:]
    assert len(package.history()) == 30
    assert package.history(0) == []


# ---- numbers -----------------------------------------------------------------------------------------------


def test_a_number_stays_when_older_records_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 3)
    for number in range(5):
        append_history(record(number))
    assert [(row["id"], row["began"]) for row in read_history()] == [(3, 2), (4, 3), (5, 4)]


def test_records_of_before_there_were_numbers(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_text('{"state": "Completed", "began": 1}\n' * 2)
    append_history(record(2))
    assert [row["id"] for row in read_history()] == [0, 0, 1]


def test_who_begins_first_has_the_lower_number_and_nobody_has_it_again(folder: Path) -> None:
    slow = next_number()
    append_history(record(2))
    append_history(record(1) | {"id": slow})
    given_up = next_number()
    append_history(record(3))
    assert [(row["id"], row["began"]) for row in read_history()] == [(slow + 1, 2), (slow, 1), (given_up + 1, 3)]
    (folder / "history.lock").write_text("no number, and longer than one")
    assert next_number() == given_up + 2
    assert next_number() == given_up + 3
