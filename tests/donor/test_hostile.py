"""Recipients that mean harm: the donor lives, others go on, and nothing but the directory's clone files leaves."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innoclone.donor.service import Donor
from innoclone.wire.descriptors import ChunkInfo, Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import Ack, Attach, Execute, Exit, Init, ProtocolVersion, Reinit, ResponseCode, parse_response
from rawclient import number_of
from rawrecipient import COM_QUERY, COM_QUIT, PATIENCE, Client
from receiving import receive_into
from serving import assert_taken, endpoint, served


@pytest.fixture(scope="module")
def donor(small_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Donor]:
    with served(small_clone, tmp_path_factory.mktemp("hostile"), max_connections=64) as found:
        yield found


def assert_alive(donor: Donor, tmp_path: Path) -> None:
    """Somebody else gets a clone."""
    receive_into(tmp_path / "alive", endpoint(donor.port))
    assert_taken(donor.source, tmp_path / "alive")


COMMANDS = (
    Init(ProtocolVersion.V4, 300, False, (Locator(),)).serialize(),
    Attach(ProtocolVersion.V4, 300, False, (Locator(7, 8, 0, StageNumber.INIT),)).serialize(),
    Reinit(
        ProtocolVersion.V4, 300, False,
        (Locator(7, 8, 0, StageNumber.FILE_COPY, True, ChunkInfo(((1, 2),), (0xFFFFFFFF,) * 4)),),
    ).serialize(),
    Ack(0, Locator(7, 8, 0, StageNumber.INIT), StateDescriptor(StageNumber.INIT)).serialize(),
    Execute().serialize(),
    Exit().serialize(),
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(COMMANDS), at=st.integers(0, 200), value=st.binary(max_size=5), cut=st.booleans())
def test_every_byte_mutated(donor: Donor, command: bytes, at: int, value: bytes, cut: bool) -> None:
    """Whatever is said, the answer is one that the protocol has, or the end of the connection."""
    at %= len(command) + 1
    changed = command[:at] + value + (b"" if cut else command[at + len(value) :])
    with Client(donor.port) as client:
        for answer in client.ask(changed):
            assert answer[0] in set(ResponseCode)
            assert len(answer) < 4096, "no data without a whole conversation"


@pytest.mark.parametrize("number", range(12))
def test_a_mutated_restart(donor: Donor, number: int) -> None:
    """Locators that name a clone of ours, with chunks and stages that make no sense: what comes is clone files' data,
    of chunks that exist."""
    chance = random.Random(number)
    with Client(donor.port) as first:
        locator = first.begin()
        stage = chance.choice(list(StageNumber))
        chunks = ChunkInfo(
            tuple((chance.randrange(1 << 32), chance.randrange(1 << 32)) for _ in range(chance.randrange(256))),
            tuple(chance.randrange(1 << 32) for _ in range(chance.randrange(3000))),
        )
        crafted = replace(locator, stage=stage, metadata_done=chance.random() < 0.5, chunks=chunks)
        with Client(donor.port) as second:
            answers = second.ask(Reinit(ProtocolVersion.V4, 300, False, (crafted,)).serialize())
            if answers and answers[-1][0] == ResponseCode.COMPLETE:
                second.sock.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    for answer in second.ask(Execute().serialize()):
                        assert answer[0] in set(ResponseCode)


def test_another_clone_is_not_found(donor: Donor) -> None:
    with Client(donor.port) as client:
        locator = Locator(7, donor.source.fingerprint, 0, StageNumber.FILE_COPY)
        answer = client.ask(Attach(ProtocolVersion.V4, 300, False, (locator,)).serialize())
    assert parse_response(answer[-1]).number == 1815  # type: ignore[union-attr]


def test_no_sql_and_no_other_command(donor: Donor) -> None:
    with Client(donor.port, clone=False) as client:
        for command, number in (
            (COM_QUERY + b"SELECT LOAD_FILE('/etc/passwd')", 1142), (COM_QUERY + b"KILL", 1142), (b"\x02mysql", 1047),
            (b"\x06", 1047), (b"", 1047), (b"\x16SELECT 1", 1047),
        ):  # fmt: skip
            client.send(command, 0)
            assert number_of(client.read()[1]) == number
        client.send(COM_QUERY + b"KILL CONNECTION 1", 0)
        assert client.read()[1][:1] == b"\0"
        client.send(COM_QUIT, 0)
        with pytest.raises(EOFError):
            client.read()


def test_a_worker_that_comes_after_the_master_was_lost_does_not_wait(donor: Donor) -> None:
    """Its recipient comes back only when the worker has ended: a stock one would wait for it for 30 seconds."""
    with Client(donor.port) as worker:
        with Client(donor.port) as master:
            locator = master.begin()
            master.send(Execute().serialize(), 0)
            master.read()
            course = next(one for one in donor.courses if one.clone_id == locator.clone_id)
            assert course.tasks
        while course.tasks:
            threading.Event().wait(0.01)
        assert worker.ask(Attach(ProtocolVersion.V4, 300, False, (locator,)).serialize()) == [], "the donor hangs up"
        with Client(donor.port) as again:
            answers = again.ask(Reinit(ProtocolVersion.V4, 300, False, (locator,)).serialize())
            assert answers[-1][0] == ResponseCode.COMPLETE


def test_a_kill_ends_the_clone_of_that_connection(donor: Donor) -> None:
    with Client(donor.port) as master, Client(donor.port, clone=False) as auxiliary:
        locator = master.begin()
        auxiliary.send(COM_QUERY + f"KILL CONNECTION {master.greeting.connection_id}".encode(), 0)
        assert auxiliary.read()[1][:1] == b"\0"
        assert all(course.clone_id != locator.clone_id for course in donor.courses)


def test_guesses_are_limited(small_clone: Path, tmp_path: Path) -> None:
    with served(small_clone, tmp_path) as donor:
        numbers = []
        for _ in range(25):
            with contextlib.suppress(EOFError, ConnectionError):
                try:
                    with Client(donor.port, password="wrong", clone=False) as client:
                        client.send(b"wrong\0", 3)  # the full path: the fast one did not know it
                        numbers.append(number_of(client.read()[1]))
                except Exception:  # noqa: BLE001 - an ERR packet instead of a greeting
                    numbers.append(1129)
    assert 1129 in numbers


def test_a_thousand_idle_logins(small_clone: Path, tmp_path: Path) -> None:
    """Of all kinds, more than there is room for: a clone that is under way goes on, and a new one begins."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    before = threading.active_count()
    with served(small_clone, tmp_path, max_connections=100) as donor, Client(donor.port) as master:
        master.begin()
        idle = [socket.create_connection(("127.0.0.1", donor.port), PATIENCE) for _ in range(900)]
        idle += [Client(donor.port, login=number % 2 == 0, clone=number % 4 == 0).sock for number in range(100)]
        assert sum(not one.is_shut for one in donor.conversations) <= 101  # who has to go is still on the way out
        receive_into(tmp_path / "alive", endpoint(donor.port), threads=4)
        assert_taken(donor.source, tmp_path / "alive")
        assert master.ask(Exit().serialize())[-1] == bytes([ResponseCode.COMPLETE]), "it was let alone"
        for one in idle:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
    assert threading.active_count() <= before


def test_afterwards_others_are_served(donor: Donor, tmp_path: Path) -> None:
    assert_alive(donor, tmp_path)
