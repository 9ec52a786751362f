"""A donor that means no good, or is broken: each sin ends in the right error, and harms nothing."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import threading
import time
from pathlib import Path

import pytest

from arena import Arena
from hostile import PAGE, REDO, Action, Donor, Peer
from innoclone.errors import (
    ConnectFailed,
    DonorError,
    Interrupted,
    NetworkError,
    ProtocolError,
    RemoteFault,
    TooManyOpenFiles,
)
from innoclone.receive import timings
from innoclone.receive.recipient import Received
from innoclone.wire.descriptors import StageNumber, StateDescriptor, StateFlag
from innoclone.wire.rpc import DataDescription, Failure


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("verify", [True, False])
def test_the_scripted_donor_is_a_good_one(arena, workers, verify):
    donor = Donor(workers=workers)
    outcome = arena.receive(donor, threads=workers + 1, verify_pages=verify)
    assert isinstance(outcome, Received)
    for file in donor.files:
        content = file.content
        if file.name == "./db/t.ibd":
            content = content[: 2 * len(PAGE)] + PAGE + content[3 * len(PAGE) :]
        found = (arena.target / file.name).read_bytes()
        assert found[: len(content)] == content
        assert not any(found[len(content) :])
    redo = (arena.target / "#innodb_redo" / "#ib_redo0").read_bytes()
    assert redo == bytes(2048) + REDO + bytes(65536 - 2048 - len(REDO))
    assert outcome.connections == workers + 1


LOGIN = ("greeting", "auth", "login ok", "clone ok")
MASTER = (
    *LOGIN, "plugin", "collation", "config", "config v3", "config v4", "locators", "init complete", "task", "init end",
    "file start", "file metadata", "file block", "file data", "file end", "page start", "page block", "page data",
    "page end", "redo start", "redo metadata", "redo block", "redo data", "redo end", "done start",
    "execute complete", "exit complete",
)  # fmt: skip
WORKER = (
    *LOGIN, "attach locators", "attach complete", "task", "file block", "file data", "file end", "page start",
    "page end", "redo start", "redo metadata", "redo end", "done start", "execute complete", "exit complete",
)  # fmt: skip
AUX = (*LOGIN, "ack complete", "exit complete")
STEPS = [
    *(f"master {step}" for step in MASTER),
    *(f"aux {step}" for step in AUX),
    *(f"worker {step}" for step in WORKER),
]
# A worker that never comes is done without, and after the last byte nothing that happens matters.
HARMLESS = {*(f"worker {step}" for step in LOGIN), *(f"{role} exit complete" for role in ("master", "aux", "worker"))}
# What the donor still says to a worker when the master may be through already: then it can't hurt either.
LATE = ("worker done start", "worker execute complete")
KEEP_ALIVE = DataDescription(StateDescriptor(StageNumber.DONE, flags=StateFlag.ACK)).serialize()
GARBAGE = bytes(random.Random(7).randrange(256) for _ in range(3000))


def test_every_step_is_tried(arena):
    donor = Donor(workers=1)
    arena.receive(donor, threads=2)
    assert set(donor.said) == set(STEPS)


def attempt(arena: Arena, step: str, action: Action) -> Received | BaseException:
    donor = Donor(workers=0 if step in HARMLESS else 1).at(step, action)
    donor.connect_timeout = 0.3
    if step in LATE:
        donor.at("master execute complete", hold)
    return arena.receive(donor, threads=2, stall_timeout=0.3)


def hold(peer: Peer, _payload: bytes) -> None:
    """Keep the recipient waiting, as long as it stays."""
    while True:
        peer.send(KEEP_ALIVE)
        time.sleep(0.05)


def when_the_master_is_through(action: Action) -> Action:
    def later(peer: Peer, payload: bytes) -> None:
        while any(thread.name == "clone-0" for thread in threading.enumerate()):
            time.sleep(0.01)
        action(peer, payload)

    return later


def check_broken(step: str, outcome: Received | BaseException) -> None:
    if step in HARMLESS:
        assert isinstance(outcome, Received)
    elif step in ("master greeting", "aux greeting"):
        assert isinstance(outcome, ConnectFailed)
        assert (outcome.code, outcome.exit_status, outcome.retryable) == (2003, 3, True)
    else:
        assert isinstance(outcome, NetworkError)
        assert (outcome.code, outcome.exit_status, outcome.retryable) == (1158, 7, True)


@pytest.mark.parametrize("step", STEPS)
def test_the_connection_ends(arena, step):
    check_broken(step, attempt(arena, step, Peer.close))


@pytest.mark.parametrize("step", STEPS)
def test_nothing_more_comes(arena, step, monkeypatch):
    monkeypatch.setattr(timings, "INIT_GRACE", 0.3 - 60)  # the DDL timeout of 60 s comes on top
    monkeypatch.setattr(timings, "EXIT", 0.3)
    check_broken(step, attempt(arena, step, Peer.silence))


@pytest.mark.parametrize("action", [Peer.close, Peer.silence])
@pytest.mark.parametrize("step", LATE)
def test_a_worker_is_lost_when_the_clone_is_over(arena, step, action):
    donor = Donor(workers=1).at(step, when_the_master_is_through(action))
    assert isinstance(arena.receive(donor, threads=2, stall_timeout=0.3), Received)


@pytest.mark.parametrize("step", STEPS)
def test_garbage_comes(arena, step):
    outcome = attempt(arena, step, lambda peer, _: peer.raw(GARBAGE) or peer.close())
    if step in HARMLESS:
        assert isinstance(outcome, Received)
    else:
        assert isinstance(outcome, RemoteFault)
        assert outcome.exit_status in (3, 4, 7, 8)


@pytest.mark.parametrize("step", [step for step in STEPS if not step.endswith(LOGIN) and step not in HARMLESS])
def test_the_donor_gives_up(arena, step):
    """ERROR in clone mode: its number and text are reported."""
    failure = Failure(1317, "Query execution was interrupted").serialize()
    outcome = attempt(arena, step, lambda peer, _: peer.send(failure))
    assert isinstance(outcome, DonorError)
    assert (outcome.code, outcome.exit_status, outcome.donor_number) == (3862, 6, 1317)
    assert "1317: Query execution was interrupted" in outcome.message


@pytest.mark.parametrize("step", [step for step in STEPS if step not in HARMLESS])
def test_the_user_stops_it_while_the_donor_is_silent(arena, step):
    stopped = threading.Event()

    def silence(peer: Peer, _payload: bytes) -> None:
        stopped.set()
        peer.silence()

    donor = Donor(workers=1).at(step, silence)
    donor.connect_timeout = 600.0
    outcome = arena.receive(donor, threads=2, stall_timeout=600.0, stopped=stopped)
    assert isinstance(outcome, Interrupted)
    assert (outcome.code, outcome.exit_status) == (1317, 130)


@pytest.mark.parametrize(("spare", "kind"), [(0, TooManyOpenFiles), (1, TooManyOpenFiles), (8, Received)])
def test_no_more_descriptors(arena, spare, kind):
    """With none left no file can be made, with one no pipe for its data."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def exhaust(peer: Peer, payload: bytes) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(spare):
            os.close(taken.pop())
        peer.send(payload)

    def release() -> None:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    donor = Donor().at("master file start", exhaust)
    outcome = arena.receive(donor, threads=1, verify_pages=False, then=release)
    assert isinstance(outcome, kind)


def test_connections_that_wait_for_each_other(arena):
    """The worker is led into the next stage and was not told the end of the first: nobody could ever go on."""
    donor = Donor(workers=1)
    start = DataDescription(donor.state(StageNumber.PAGE_COPY, 1, StateFlag.START)).serialize()
    donor.at("worker file block", lambda peer, _: peer.send(start))
    assert isinstance(arena.refused(donor, threads=2), ProtocolError)
