"""The lock on a clone directory and its status file, both read by other processes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from faults import tmpfs, wait_until
from innoclone import errors
from innoclone.files.lock import Holder, holder_of, take_lock
from innoclone.files.names import OWN_DIR
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.records.statusfile import StatusFile, outcome, read_status


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of ours in a directory."""
    folder = tmp_path / "clone" / OWN_DIR
    folder.mkdir(parents=True)
    return folder


# ---- the lock ----------------------------------------------------------------------------------------------


def test_the_lock_tells_who_holds_it(own: Path) -> None:
    directory = own.parent
    assert holder_of(directory) is None
    script = "import sys; from innoclone.files.lock import *; from pathlib import Path; p = Path(sys.argv[1])\n"
    script += "take_lock(p, p.parent); print('taken', flush=True); sys.stdin.read()"
    before = time.time()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(own)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "taken\n"
        holder = holder_of(directory)
        assert holder.pid == process.pid
        assert before - 1 < holder.started < time.time() + 1
        assert holder.is_here
        with pytest.raises(errors.TargetBusy, match=rf"process {process.pid} \(started 20..-..-..T.*\) is working on"):
            take_lock(own, directory)
        process.kill()
    assert holder_of(directory) is None
    assert not holder.is_here
    os.close(take_lock(own, directory))


def test_who_only_looks_keeps_nobody_from_working(own: Path) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            holder_of(own.parent)

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(100):
            os.close(take_lock(own, own.parent))
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()


def test_a_lock_that_is_removed_by_who_held_it(own: Path) -> None:
    """As a finished clone does: nobody gets a lock on a file that has lost its name, beside one who has the new one."""
    inside: list[int] = []
    failures: list[int] = []

    def work(number: int) -> None:
        for _ in range(500):
            with contextlib.suppress(errors.TargetBusy):
                descriptor = take_lock(own, own.parent)
                inside.append(number)
                if len(inside) > 1:
                    failures.append(number)
                inside.remove(number)
                (own / "lock").unlink()
                os.close(descriptor)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for worker in [pool.submit(work, number) for number in range(4)]:
            worker.result()
    assert failures == []


@pytest.mark.parametrize("content", ["", "4711\n", "[]", '{"pid": 1}', '{"pid": "x", "ticks": 1}', "\0" * 100])
def test_a_lock_without_a_name_in_it(own: Path, content: str) -> None:
    descriptor = take_lock(own, own.parent)
    (own / "lock").write_text(content)
    assert holder_of(own.parent) == Holder()
    with pytest.raises(errors.TargetBusy, match="another process is working on"):
        take_lock(own, own.parent)
    os.close(descriptor)


# ---- the status file ---------------------------------------------------------------------------------------


def test_the_status_file(own: Path) -> None:
    """It says what the status says, is replaced in one step, and ends with the error."""
    status = CloneStatus("u@h:1", "/clone", State.IN_PROGRESS, time.time())
    seen = []
    with contextlib.suppress(errors.NetworkError), StatusFile(own, status, operation="clone", every=0.001) as file:
        assert read_status(own.parent)["stage"] is None
        file.resumable_seconds = 300
        counter = status.start(Stage.FILE_COPY, estimate=1000).counter()
        for _ in range(100):
            counter.data += 5
            counter.network += 3
            seen.append(read_status(own.parent))
        wait_until(lambda: read_status(own.parent)["data"] == 500, "the last bytes")
        status.finish(Stage.FILE_COPY)
        status.start(Stage.PAGE_COPY, estimate=200).counter().data = 100
        raise errors.NetworkError("the connection broke")
    assert None not in seen  # there was a whole one at every moment
    assert [one["data"] for one in seen] == sorted(one["data"] for one in seen)
    last = read_status(own.parent)
    assert (last["state"], last["error_number"], last["error_message"]) == ("Failed", 1158, "the connection broke")
    assert (last["stage"], last["stage_percent"], last["percent"]) == ("PAGE COPY", 50.0, 50.0)
    assert (last["data"], last["network"], last["estimate"]) == (600, 300, 1200)
    assert last["resumable_until"] == pytest.approx(last["updated"] + 300)
    assert (last["pid"], last["source"], last["operation"]) == (os.getpid(), "u@h:1", "clone")
    assert [(row["stage"], row["state"]) for row in last["stages"]] == [
        ("FILE COPY", "Completed"), ("PAGE COPY", "In Progress"),
    ]  # fmt: skip
    assert [path.name for path in own.iterdir()] == ["status.json"]
    assert (own / "status.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("error", "state", "number"),
    [
        (KeyboardInterrupt(), "Interrupted", 1317),
        (errors.Interrupted("stopped"), "Interrupted", 1317),
        (errors.DiskFull("no space"), "Failed", 1021),
        (ZeroDivisionError("a bug"), "Failed", 1105),
    ],
)
def test_how_an_end_is_called(error: BaseException, state: str, number: int) -> None:
    found = outcome(error)
    assert (found["state"], found["error_number"]) == (state, number)
    assert found["error_message"]


def test_a_status_file_that_cannot_be_written_hurts_nobody(own: Path) -> None:
    """The directory vanishes, is moved away, or its disk is full."""
    status = CloneStatus("u@h:1", "/clone", State.IN_PROGRESS, time.time())
    with StatusFile(own, status, operation="clone", every=0.001) as file:
        (own / "status.json").unlink(missing_ok=True)
        moved = own.parent.rename(own.parent.with_name("moved"))
        own.mkdir(parents=True)
        wait_until(lambda: read_status(moved) is not None, "a status in the directory that was moved")
        assert not list(own.iterdir())
    with StatusFile(own.with_name("missing"), status, operation="clone", every=0.001):
        pass
    if os.geteuid() != 0:
        return
    with tmpfs(own, "64k"), StatusFile(own, status, operation="clone", every=0.001) as file:
        file.resumable_seconds = 7
        wait_until(lambda: read_status(own.parent)["resumable_until"], "the last status before the disk is full")
        with contextlib.suppress(OSError):
            (own / "filler").write_bytes(bytes(1 << 20))
        file.resumable_seconds = None
        time.sleep(0.05)
        assert read_status(own.parent)["resumable_until"]
        (own / "filler").unlink()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 99}', "\xff"])
def test_a_status_file_of_another_kind_is_none(own: Path, content: str) -> None:
    (own / "status.json").write_bytes(content.encode("latin-1"))
    assert read_status(own.parent) is None
