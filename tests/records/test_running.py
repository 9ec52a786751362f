"""What others see of a command while it runs, and what of one that was killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import innoclone
from innoclone.commands import runrecord
from innoclone.errors import CloneError, NetworkError, TargetExists
from innoclone.records.history import BACKUP, RESTORE, read_history
from innoclone.records.running import FOLDER, running, shown_running
from innoclone.records.status import CloneStatus, Stage

KILLED = """
import os, signal, sys
from pathlib import Path
from innoclone.commands.runrecord import recorded
from innoclone.records.status import CloneStatus
status = CloneStatus()
with recorded(sys.argv[1], "mysql://there", sys.argv[2], status):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "innoclone" / FOLDER


def test_seen_until_its_end(folder: Path) -> None:
    assert running() == []
    first, second = CloneStatus(), CloneStatus()
    with runrecord.recorded(BACKUP, "mysql://there", "s3://bucket", first):
        first.start(Stage.FILE_COPY, estimate=1000).counter().data = 250
        with contextlib.suppress(NetworkError), runrecord.recorded(RESTORE, "s3://bucket", "/new", second):
            one, other = innoclone.running()
            assert (one["operation"], one["id"], one["destination"]) == (BACKUP, first.number, "s3://bucket")
            assert (other["operation"], other["id"], other["pid"]) == (RESTORE, second.number, os.getpid())
            raise NetworkError("cut")
        assert [one["operation"] for one in running()] == [BACKUP]
    assert running() == []
    assert not list(folder.iterdir())
    assert [one["state"] for one in read_history()] == ["Failed", "Completed"]


def test_its_amounts(folder: Path) -> None:
    """They are those of the moment at which it was written, each second."""
    status = CloneStatus()
    status.start(Stage.FILE_COPY, estimate=1000).counter().data = 250
    with shown_running(BACKUP, status):
        [one] = running()
        assert (one["data"], one["estimate"], one["percent"], one["stage"]) == (250, 1000, 25.0, "FILE COPY")


@pytest.mark.parametrize(("operation", "states"), [(BACKUP, ["Died"]), (RESTORE, [])])
def test_what_was_killed(folder: Path, operation: str, states: list[str]) -> None:
    """It isn't shown; the next one removes what it left, and a backup has nobody else to tell that it died."""
    done = subprocess.run([sys.executable, "-c", KILLED, operation, "s3://bucket"], timeout=60)
    assert done.returncode == -signal.SIGKILL
    [left] = folder.iterdir()
    assert running() == []
    with contextlib.suppress(TargetExists), runrecord.recorded(BACKUP, "mysql://there", "s3://bucket", CloneStatus()):
        assert not left.exists()
        raise TargetExists("it is there")
    with shown_running(BACKUP, CloneStatus(), died=lambda _: pytest.fail("it is told once")):
        pass
    assert [one["state"] for one in read_history()] == states


def test_what_is_not_ours(folder: Path) -> None:
    """Another host's files, other files, and damaged ones are left alone and not shown."""
    with shown_running(BACKUP, CloneStatus()):
        [path] = folder.iterdir()
        fields = json.loads(path.read_text())
    names = {
        "1-2-3.json": json.dumps(fields | {"host": "elsewhere"}), f"{os.getpid()}-1-1.json": "{", "notes": "mine",
        path.name.replace("-1.json", "-77.json"): '{"format": 1}',
        f"{os.getpid()}-9-9.json.new": "",
    }  # fmt: skip
    for name, text in names.items():
        (folder / name).write_text(text)
    with shown_running(BACKUP, CloneStatus()):
        assert len(running()) == 1
    assert {path.name for path in folder.iterdir()} == names.keys()


def test_no_place_to_write(folder: Path) -> None:
    folder.parent.write_text("no folder")
    with shown_running(BACKUP, CloneStatus()):
        assert running() == []
    with pytest.raises(CloneError), shown_running(BACKUP, CloneStatus()):
        raise CloneError("its own error comes through")
