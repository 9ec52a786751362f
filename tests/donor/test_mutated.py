"""Each field of each clone command, one at a time wrong, in the middle of a real clone: whatever comes is in the
protocol and of the directory that is served, and others get theirs meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.donor.plans import BLOCK
from innoclone.donor.service import Donor
from innoclone.donor.stored import Stored
from innoclone.wire.descriptors import ChunkInfo, DataDescriptor, Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import (
    Ack,
    Attach,
    DataDescription,
    Execute,
    Exit,
    Init,
    ProtocolVersion,
    Reinit,
    ResponseCode,
    parse_response,
)
from rawrecipient import Client
from receiving import receive_into
from serving import assert_taken, endpoint, served

MESSAGES = 40  # that are looked at of what a mutated restart is sent
SILENCE = 0.2  # seconds
CHUNKS = ChunkInfo(((1, 2), (2, 0)), (1, 0, 0, 0))
START = [("version", 1, 4), ("ddl-timeout", 5, 4), ("engine", 9, 1), ("locator-length", 10, 4)]
LOCATOR = [
    ("header-version", 0, 4), ("header-length", 4, 4), ("header-type", 8, 4), ("clone-id", 12, 8),
    ("snapshot-id", 20, 8), ("index", 28, 4), ("stage", 32, 1), ("sub-state", 33, 1),
]  # fmt: skip
PARTS = [("incomplete", 34, 4), ("chunk", 38, 4), ("blocks", 42, 4), ("words", 54, 4), ("bitmap", 58, 4)]
STATE = [
    ("state-version", 0, 4), ("state-length", 4, 4), ("state-type", 8, 4), ("state-stage", 12, 4),
    ("state-task", 16, 4), ("state-chunks", 20, 4), ("state-files", 24, 4), ("state-estimate", 28, 8),
    ("state-flags", 44, 2),
]  # fmt: skip


def at(start: int, fields: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    return [(name, start + offset, size) for name, offset, size in fields]


INSIDE = at(14, LOCATOR)  # in INIT, ATTACH and REINIT
FIELDS = {
    Init: START + INSIDE,
    Attach: START + INSIDE,
    Reinit: START + INSIDE + at(14, PARTS),
    Ack: [
        ("error", 1, 4),
        ("engine", 5, 1),
        ("locator-length", 6, 4),
        *at(10, LOCATOR),
        ("state-size", 44, 4),
        *at(48, STATE),
    ],
    Execute: [("code", 0, 1)],
    Exit: [("code", 0, 1)],
}


def command_of(kind: type, locator: Locator) -> bytes:
    """As it is right for a clone that copies files."""
    here = Locator(locator.clone_id, locator.snapshot_id, 0, StageNumber.FILE_COPY)
    match kind.__name__:
        case "Init":
            return Init(ProtocolVersion.V4, 300, False, (Locator(),)).serialize()
        case "Attach":
            return Attach(ProtocolVersion.V4, 300, False, (here,)).serialize()
        case "Reinit":
            begun = Locator(locator.clone_id, locator.snapshot_id, 0, StageNumber.FILE_COPY, True, CHUNKS)
            return Reinit(ProtocolVersion.V4, 300, False, (begun,)).serialize()
        case "Ack":
            return Ack(0, here, StateDescriptor(StageNumber.FILE_COPY)).serialize()
    return Execute().serialize() if kind is Execute else Exit().serialize()


def mutations(kind: type, locator: Locator) -> Iterator[bytes]:
    """Each field with nothing, one, all, its highest bit alone, one more than is right; and each command cut there."""
    right = command_of(kind, locator)
    for _, offset, size in FIELDS[kind]:
        value = right[offset : offset + size]
        one_more = (int.from_bytes(value, "big") + 1) % (1 << 8 * size)
        for changed in (bytes(size), b"\x01" + bytes(size - 1), b"\xff" * size, b"\x80" + bytes(size - 1)):
            yield right[:offset] + changed + right[offset + size :]
        yield right[:offset] + one_more.to_bytes(size, "big") + right[offset + size :]
        yield right[:offset]
        yield right[: offset + size]


@pytest.fixture(scope="module")
def donor(small_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Donor]:
    with served(small_clone, tmp_path_factory.mktemp("mutated"), max_connections=64) as found:
        yield found


@contextlib.contextmanager
def copying(donor: Donor) -> Iterator[Locator]:
    """A clone whose master is in the middle of FILE COPY, and takes no more: half open, as after a cable was pulled."""
    with Client(donor.port) as master, Client(donor.port) as auxiliary:
        master.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        locator = master.begin()
        master.send(Execute().serialize(), 0)
        auxiliary.acknowledge(locator, StageNumber.INIT)
        course = next(one for one in donor.courses if one.clone_id == locator.clone_id)
        while course.stage is not StageNumber.FILE_COPY:
            threading.Event().wait(0.005)
        yield locator


def looked_at(answers: Iterator[bytes], stored: Stored) -> set[int]:
    """All are of the protocol; data are of a file that is served, from where it is said, and nothing else. Their
    codes."""
    codes: set[int] = set()
    data: DataDescriptor | None = None
    for answer in answers:
        assert answer[0] in set(ResponseCode)
        codes.add(answer[0])
        if answer[0] == ResponseCode.DATA:
            assert data is not None
            assert len(answer) - 1 == data.length <= BLOCK
            if data.stage is StageNumber.FILE_COPY:
                file = stored.files.files[data.index]
                with file.path.open("rb") as stream:
                    assert os.pread(stream.fileno(), data.length, data.offset) == answer[1:]
            continue
        assert len(answer) < 4096
        found = parse_response(answer)
        descriptor = found.descriptor if isinstance(found, DataDescription) else None
        data = descriptor if isinstance(descriptor, DataDescriptor) else None
    return codes


def read(client: Client, command: bytes) -> Iterator[bytes]:
    """What comes for a command, or some of it."""
    with contextlib.suppress(EOFError, OSError):
        client.send(command, 0)
        for _ in range(MESSAGES):
            answer = client.read()[1]
            yield answer
            if answer[0] in (ResponseCode.COMPLETE, ResponseCode.ERROR):
                return


def test_each_field(donor: Donor, tmp_path: Path) -> None:
    """Others take the clone all the while."""
    stored = donor.source
    assert isinstance(stored, Stored)
    over = threading.Event()
    taken: list[Path] = []

    def take() -> None:
        while not over.is_set():
            target = tmp_path / f"taken-{len(taken)}"
            receive_into(target, endpoint(donor.port))
            taken.append(target)

    other = threading.Thread(target=take)
    other.start()
    try:
        seen = set().union(*(hurt(donor, stored, kind) for kind in FIELDS))
    finally:
        over.set()
        other.join()
    assert {ResponseCode.DATA, ResponseCode.ERROR, ResponseCode.LOCS} <= seen, "some were understood"
    assert taken
    assert_taken(stored, taken[0])
    assert_taken(stored, taken[-1])


def hurt(donor: Donor, stored: Stored, kind: type) -> set[int]:
    """Every mutation of one command, each on a connection of its own; a clone that they end is begun anew. The codes of
    what came."""
    codes: set[int] = set()
    done = count = 0
    while not done or done < count:
        with copying(donor) as locator:
            if not done:
                count = sum(1 for _ in mutations(kind, locator))
            course = next(one for one in donor.courses if one.clone_id == locator.clone_id)
            for command in itertools.islice(mutations(kind, locator), done, None):
                if not course.tasks or course.error is not None:
                    break
                done += 1
                with Client(donor.port) as client:
                    client.sock.settimeout(SILENCE)
                    answers = list(read(client, command))
                    codes |= looked_at(iter(answers), stored)
                    if answers and answers[-1][0] == ResponseCode.COMPLETE and kind in (Attach, Reinit):
                        codes |= looked_at(read(client, Execute().serialize()), stored)
    return codes


def test_what_is_longer_than_any_command_ends_the_connection(donor: Donor) -> None:
    """Before the login, in it, and in clone mode; what was announced is neither waited for nor kept."""
    for login, clone in ((False, False), (True, False), (True, True)):
        with Client(donor.port, login=login, clone=clone) as client:
            client.sock.sendall(b"\xff\xff\xff" + bytes([0 if login else 1]) + b"x" * 1000)
            with contextlib.suppress(ConnectionResetError):  # with what it did not read
                assert client.sock.recv(1) == b"", "it hangs up at the header"


def test_who_takes_nothing_holds_nobody_up(donor: Donor, tmp_path: Path) -> None:
    """Many that begin a clone and never read it: they cost a connection each, and the donor ends in time."""
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(copying(donor))
        receive_into(tmp_path / "taken", endpoint(donor.port), threads=4)
        assert isinstance(donor.source, Stored)
        assert_taken(donor.source, tmp_path / "taken")
