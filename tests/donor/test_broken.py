"""Connections that break while a stock server takes a clone, and donors that are killed: it comes back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from clones import rows
from faults.proxy import Fault, Proxy
from innoclone.donor.stored import look
from innoclone.records.limits import Limits
from innoclone.server.mysqld import Server
from restores import linked_clone, rewrite
from servers import ServerFactory
from serving import ServeProcess, assert_taken, served, take

MIB = 1 << 20
AtRest = tuple[Path, dict[str, object]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipient that lost its auxiliary connection sees that when it next hears of us."""
    monkeypatch.setattr("innoclone.donor.course.KEEP_ALIVE", 0.5)


@pytest.mark.parametrize(
    ("count", "faults"),
    [
        pytest.param(1, [("reset", "master", False, 300)], id="init"),
        pytest.param(1, [("reset", "master", False, 5 * MIB), ("closed", "master", False, 9 * MIB)], id="files-twice"),
        pytest.param(4, [("reset", "worker", False, 3 * MIB)], id="a-worker"),
        pytest.param(4, [("reset", "auxiliary", True, 100)], id="first-ack"),
    ],
)
def test_cut(
    count: int, faults: list[tuple[str, str, bool, int]], at_rest: AtRest, recipient: Server, tmp_path: Path
) -> None:
    target = tmp_path / "taken"
    hurts = [Fault(what, role, up, at) for what, role, up, at in faults]
    with served(at_rest[0], tmp_path) as donor, Proxy(donor.port, hurts) as proxy:
        take(recipient, proxy.port, target, "REQUIRE NO SSL", settings=tasks(count))
        assert all(fault.happened.is_set() for fault in hurts)
        assert_taken(donor.source, target)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (1, "arrives"), (2, "arrives"), (3, "arrives"), (4, "arrives"), (1, "sent"), (2, "answered"), (3, "known"),
        (4, "known"),
    ],
)  # fmt: skip
def test_cut_around_an_acknowledgement(
    number: int, moment: str, at_rest: AtRest, recipient: Server, tmp_path: Path
) -> None:
    """Of INIT, FILE_COPY, PAGE_COPY, REDO_COPY."""
    target = tmp_path / "taken"
    done = threading.Event()

    def on_ack(which: int, when: str) -> None:
        if (which, when) == (number, moment) and not done.is_set():
            done.set()
            for wire in list(proxy._wires):
                wire.cut(reset=True)

    with served(at_rest[0], tmp_path) as donor, Proxy(donor.port, on_ack=on_ack) as proxy:
        take(recipient, proxy.port, target, "REQUIRE NO SSL", settings=tasks(2))
        assert done.is_set()
        assert_taken(donor.source, target)


@pytest.mark.parametrize("count", [1, 4])
def test_killed_and_started_again(count: int, at_rest: AtRest, recipient: Server, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    with ServeProcess(at_rest[0], "--max-data-bandwidth=20") as first:
        thread = Taking(recipient, first.port, target, count)
        wait_for_bytes(recipient, 6 * MIB)
        first.kill()
        with ServeProcess(at_rest[0], port=first.port) as second:
            thread.join()
            assert thread.error is None
            assert second.stop() == 0
            assert any("goes on with its clone" in line for line in second.said)
    stored = look(at_rest[0])
    assert_taken(stored, target)
    stored.close()


def test_killed_and_the_directory_is_another(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    """The recipient is told, and nothing of the other directory gets to it."""
    other = linked_clone(small_clone, tmp_path / "other")
    rewrite(other / "ib_buffer_pool", lambda data: data.extend(b"1,1\n"))
    with ServeProcess(small_clone, "--max-data-bandwidth=10") as first:
        thread = Taking(recipient, first.port, tmp_path / "taken", 1)
        wait_for_bytes(recipient, 2 * MIB)
        first.kill()
        with ServeProcess(other, port=first.port):
            thread.join()
    assert "the directory has changed since it was begun" in str(thread.error)


def test_the_statement_is_killed(small_clone: Path, make_server: ServerFactory, tmp_path: Path) -> None:
    """All of its connections end; a recipient whose read was interrupted does not say that it gave up. Now and then
    KILL itself never ends, or ends the server: stock recipients of stock donors do the same."""
    victim = make_server()
    with served(small_clone, tmp_path, limits=Limits(data=4)) as donor:
        thread = Taking(victim, donor.port, tmp_path / "taken", 2)
        wait_for(lambda: any(course.sent > MIB for course in donor.courses))
        processes = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'CLONE INSTANCE%'"
        number = rows(victim, processes)[0][0]

        def kill() -> None:
            with contextlib.suppress(pymysql.Error):
                rows(victim, f"KILL QUERY {number}")

        killing = threading.Thread(target=kill, daemon=True)
        killing.start()
        killing.join(60.0)
        its_own_fault = killing.is_alive() or not victim.running()
        if its_own_fault:
            victim.kill()
        thread.join()
        wait_for(lambda: not any(course.tasks for course in donor.courses))
    assert isinstance(thread.error, pymysql.Error)
    if its_own_fault:
        pytest.xfail("a stock recipient's own fault: docs/howto/serve-a-clone.md")


def test_the_recipient_is_killed(
    small_clone: Path, make_server: ServerFactory, tmp_path: Path, recipient: Server
) -> None:
    """With SIGKILL, while it takes a clone: nothing of it stays busy, and others get theirs."""
    victim = make_server()
    with served(small_clone, tmp_path, limits=Limits(data=4)) as donor:
        thread = Taking(victim, donor.port, tmp_path / "never", 3)
        wait_for(lambda: any(course.sent > MIB for course in donor.courses))
        victim.kill()
        thread.join()
        wait_for(lambda: not any(course.tasks for course in donor.courses) and not donor.conversations)
    assert isinstance(thread.error, pymysql.Error)
    with served(small_clone, tmp_path) as donor:
        take(recipient, donor.port, tmp_path / "taken", "REQUIRE NO SSL", settings=tasks(2))
        assert_taken(donor.source, tmp_path / "taken")


class Taking(threading.Thread):
    """CLONE INSTANCE in a thread; ``error`` is what it ended with."""

    def __init__(self, recipient: Server, port: int, target: Path, count: int) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._arguments = recipient, port, target
        self._count = count
        self.start()

    def run(self) -> None:
        try:
            take(*self._arguments, "REQUIRE NO SSL", settings=tasks(self._count))
        except pymysql.Error as error:
            self.error = error


def wait_for(reached: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def wait_for_bytes(recipient: Server, count: int) -> None:
    """What the recipient has of the clone that it takes now, as its performance_schema tells once a second."""
    query = "SELECT SUM(DATA) FROM performance_schema.clone_progress JOIN performance_schema.clone_status USING (ID)"
    wait_for(lambda: int(str(rows(recipient, f"{query} WHERE clone_status.STATE = 'In Progress'")[0][0] or 0)) > count)


def tasks(count: int) -> dict[str, int]:
    return {"clone_autotune_concurrency": 0, "clone_max_concurrency": count}
