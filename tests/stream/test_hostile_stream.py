"""Messages in the wrong place, numbers out of range, streams without end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arena import Arena
from hostile import LOCATOR, PAGE, REDO_FILE, Action, Donor, Peer, Source, small_files, table_file
from innoclone.errors import (
    BadPage,
    CloneError,
    CloneRunning,
    ConfigurationMismatch,
    DonorError,
    Interrupted,
    PageUnfit,
    ProtocolError,
    VersionUnsupported,
)
from innoclone.receive.recipient import Received
from innoclone.wire.descriptors import (
    DataDescriptor,
    Descriptor,
    Locator,
    StageNumber,
    StateDescriptor,
    StateFlag,
    TaskMetadata,
)
from innoclone.wire.rpc import Collation, Complete, Config, DataDescription, Failure, Locators, Plugin, ResponseCode
from innoclone.wire.stream import Phase, Stream

STREAM = (
    "task", "init end", "file start", "file metadata", "file block", "file end", "page start", "page block", "page end",
    "redo start", "redo metadata", "redo block", "redo end", "done start", "execute complete",
)  # fmt: skip
BLOCK = DataDescriptor(StageNumber.FILE_COPY, 0, 1, 1, 0, 8, 0, 8)


def every_descriptor() -> Iterator[Descriptor]:
    yield Locator(11, 12)
    yield TaskMetadata(0)
    for stage in StageNumber:
        yield StateDescriptor(stage, flags=StateFlag.START, chunks=9, files=9)
        yield StateDescriptor(stage)
        yield replace(small_files()[3].metadata(3), stage=stage)
        yield replace(BLOCK, stage=stage)


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


def instead(*payloads: bytes) -> Action:
    """These messages, and then nothing more."""

    def action(peer: Peer, _payload: bytes) -> None:
        for payload in payloads:
            peer.send(payload)
        peer.close()

    return action


def refused_at(arena: Arena, step: str, *payloads: bytes) -> CloneError:
    return arena.refused(Donor(workers=1 if "worker" in step else 0).at(step, instead(*payloads)), threads=2)


# ---- order -------------------------------------------------------------------------------------------------


def phase_before(step: str) -> Phase:
    """Where the master connection of a good donor stands when it comes to the step."""
    stage = {"file": "FILE", "page": "PAGE", "redo": "REDO"}.get(step.split()[0], "")
    if step == "file start":
        return Phase.INIT_ENDED
    if step in ("page start", "redo start"):
        return {"page": Phase.FILE_ENDED, "redo": Phase.PAGE_ENDED}[step.split()[0]]
    simple = {
        "task": Phase.OPENED,
        "init end": Phase.INIT,
        "done start": Phase.REDO_ENDED,
        "execute complete": Phase.DONE,
    }
    return simple.get(step) or Phase[f"{stage}_COPY"]


@pytest.mark.parametrize("step", STREAM)
def test_a_descriptor_out_of_order(tmp_path, step):
    """Every descriptor where the table of the stream does not allow it."""
    tried = 0
    for number, descriptor in enumerate(every_descriptor()):
        stream = Stream(master=True)
        stream.phase = phase_before(step)
        try:
            stream.check(descriptor)
        except ProtocolError:
            tried += 1
            arena = Arena(tmp_path / str(number))
            error = refused_at(arena, f"master {step}", DataDescription(descriptor).serialize())
            assert isinstance(error, ProtocolError), descriptor
            assert (error.code, error.exit_status) == (3863, 8)
    assert tried > 15


@pytest.mark.parametrize("step", ["task", "file start", "file block", "page start", "redo end", "execute complete"])
def test_a_message_that_has_no_place_in_the_stream(tmp_path, step):
    others = [
        Plugin("binlog", ""), Collation("binary"), Config("version", "9.7.4"), Locators(0x103, (LOCATOR,)),
    ]  # fmt: skip
    payloads = [message.serialize() for message in others]
    payloads += [b"\x03" + PAGE, b"", b"\x00", b"\xff\x10\x04", bytes([77])]
    if step != "execute complete":
        payloads.append(Complete().serialize())
    for number, payload in enumerate(payloads):
        arena = Arena(tmp_path / str(number))
        assert isinstance(refused_at(arena, f"master {step}", payload), ProtocolError), payload[:20]


@pytest.mark.parametrize("step", ["file block", "page start", "redo metadata", "done start"])
def test_a_worker_out_of_order(arena, step):
    error = refused_at(arena, f"worker {step}", DataDescription(StateDescriptor(StageNumber.INIT)).serialize())
    assert isinstance(error, ProtocolError)


def test_keep_alives_are_welcome_anywhere(arena):
    keep_alive = DataDescription(StateDescriptor(StageNumber.FILE_COPY, flags=StateFlag.ACK)).serialize()
    donor = Donor(workers=1)
    for role, step in itertools.product(("master", "worker"), STREAM):
        donor.at(f"{role} {step}", lambda peer, payload: (peer.send(keep_alive), peer.send(payload)))
    assert isinstance(arena.receive(donor, threads=2), Received)


@pytest.mark.parametrize("listed", [0, 1])
def test_the_list_of_files_ends_early(arena, listed):
    donor = Donor()
    messages = [*[donor.files[0].metadata(0)][:listed], donor.state(StageNumber.FILE_COPY)]
    payloads = [DataDescription(message).serialize() for message in messages]
    assert isinstance(refused_at(arena, "master file metadata", *payloads), ProtocolError)


def test_the_list_of_files_is_longer_than_announced(arena):
    extra = DataDescription(Source("./db/more.ibd", 9, b"").metadata(4)).serialize()
    assert isinstance(refused_at(arena, "master file block", extra), ProtocolError)


@pytest.mark.parametrize("files", [0, (1 << 32) - 1])
def test_a_number_of_files_that_no_donor_has(arena, files):
    start = StateDescriptor(StageNumber.FILE_COPY, 0, 9, files, 0, 0, StateFlag.START)
    assert isinstance(refused_at(arena, "master file start", DataDescription(start).serialize()), ProtocolError)


# ---- data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        ("file", {"length": 1 << 31}), ("file", {"length": (1 << 32) - 1}), ("file", {"length": (16 << 20) + 1}),
        ("file", {"offset": 1 << 63}), ("file", {"offset": (1 << 64) - 1}), ("file", {"offset": (1 << 63) - 4}),
        ("file", {"offset": (1 << 48) + 1}), ("file", {"offset": 1}), ("file", {"chunk": 0}), ("file", {"chunk": 5}),
        ("file", {"chunk": (1 << 32) - 1}), ("file", {"index": 4}), ("file", {"index": (1 << 32) - 1}),
        ("page", {"index": 4}), ("page", {"chunk": 2}), ("page", {"offset": 1 << 63}), ("redo", {"index": 1}),
        ("redo", {"index": (1 << 32) - 1}), ("redo", {"chunk": 0}), ("redo", {"length": 1 << 31}),
        ("file", {"length": 7}), ("file", {"length": 9}), ("file", {"length": 0}), ("page", {"length": len(PAGE) - 1}),
        ("redo", {"length": 1}),
    ],
    ids=repr,
)  # fmt: skip
def test_a_block_that_fits_nowhere(arena, step, changes):
    """Bounds of numbers, and data longer or shorter than announced."""

    def wrong(peer: Peer, payload: bytes) -> None:
        block = DataDescriptor.parse(payload[3:])
        peer.send(payload[:3] + replace(block, **changes).serialize())

    error = arena.refused(Donor().at(f"master {step} block", wrong))
    assert isinstance(error, ProtocolError)
    assert (error.code, error.exit_status) == (3863, 8)


@pytest.mark.parametrize("step", ["file", "page", "redo"])
@pytest.mark.parametrize("data", [b"", b"\x02", b"\x01abc", b"\x63", b"\x03"], ids=repr)
def test_something_else_in_place_of_data(arena, step, data):
    # Another connection may be the first to notice something: that the donor's end is there.
    assert any(isinstance(refused_at(arena, f"master {step} data", data), ProtocolError) for _ in range(3))


def test_the_longest_block_comes_in_two_packets(arena):
    files = [*small_files(), Source("./db/big.ibd", 9, table_file(9, 1024))]
    assert len(files[4].content) == 16 << 20, "with the response byte more than one packet holds"
    assert isinstance(arena.receive(Donor(files, block=16 << 20)), Received)
    assert (arena.target / "db" / "big.ibd").read_bytes() == files[4].content


# ---- the answer to COM_INIT and COM_ATTACH -----------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 0xFF, 0x0104, 0x0200, 0xFFFFFFFF])
def test_a_protocol_version_that_nobody_asked_for(arena, version):
    assert isinstance(
        refused_at(arena, "master locators", Locators(version, (LOCATOR,)).serialize(), b"\x63"), ProtocolError
    )


@pytest.mark.parametrize("locators", [(), (Locator(),), (LOCATOR, LOCATOR)], ids=["none", "version", "two"])
def test_locators_that_name_no_clone(arena, locators):
    assert isinstance(
        refused_at(arena, "master locators", Locators(0x103, locators).serialize(), b"\x63"), ProtocolError
    )


def test_another_engines_locator(arena):
    message = bytearray(Locators(0x103, (LOCATOR,)).serialize())
    message[5] = 9
    assert isinstance(refused_at(arena, "master locators", bytes(message)), ProtocolError)


@pytest.mark.parametrize("other", [replace(LOCATOR, clone_id=99), replace(LOCATOR, snapshot_id=99), Locator()])
def test_a_worker_is_attached_to_another_clone(arena, other):
    answer = Locators(0x103, (other,)).serialize()
    assert isinstance(refused_at(arena, "worker attach locators", answer, b"\x63"), ProtocolError)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (Config("innodb_page_size", "12345"), ConfigurationMismatch),
        (Config("version", "5.7.44"), VersionUnsupported),
        (Config("version", "newest"), ProtocolError),
        (Config("version", "9.7.4\x1b[2J"), ProtocolError),
        (Config("version", "9.7.4" + "x" * 1000), ProtocolError),
        (Config("json_configs", "{", ResponseCode.CONFIG_V4), ProtocolError),
        (Config("json_configs", "[]", ResponseCode.CONFIG_V4), ProtocolError),
        (Config("json_configs", "[" * 100_000, ResponseCode.CONFIG_V4), ProtocolError),
        (Config("json_configs", '{"a":' * 50_000 + "1" + "}" * 50_000, ResponseCode.CONFIG_V4), ProtocolError),
        (Config("json_configs", '{"maturity":' + "9" * 5000 + "}", ResponseCode.CONFIG_V4), ProtocolError),
    ],
    ids=str,
)
def test_settings_that_cannot_be(arena, config, kind):
    donor = Donor().at("master config", lambda peer, _: peer.send(config.serialize()))
    assert type(arena.refused(donor)) is kind


@pytest.mark.parametrize("value", ["", "-1", "²", "٣", "9" * 5000, "1e3", "five"])
def test_a_network_timeout_that_is_none_is_ignored(arena, value):
    config = Config("clone_donor_timeout_after_network_failure", value, ResponseCode.CONFIG_V3).serialize()
    received = arena.receive(Donor().at("master config v3", lambda peer, _: peer.send(config)))
    assert isinstance(received, Received)
    assert received.parameters.network_timeout == 5


# ---- without end -------------------------------------------------------------------------------------------


def endless(messages: Iterator[bytes]) -> Action:
    return lambda peer, _: [peer.send(message) for message in messages]


@pytest.mark.parametrize(
    "messages",
    [
        (Plugin(f"p{number}", "").serialize() for number in itertools.count()),
        itertools.repeat(Plugin("p", "x.so").serialize()),
        (Collation(f"{number:01000000}").serialize() for number in itertools.count()),
        itertools.repeat(Config("version", "9.7.4").serialize()),
        itertools.repeat(Locators(0x103, (LOCATOR,)).serialize()),
    ],
    ids=["plugins", "one plugin", "huge collations", "config", "locators"],
)
def test_an_answer_to_com_init_without_end(arena, messages):
    assert isinstance(arena.refused(Donor().at("master plugin", endless(messages))), ProtocolError)


@pytest.mark.parametrize("step", ["master ack complete", "worker attach locators"])
def test_an_answer_without_end(arena, step):
    step = step.replace("master ack", "aux ack")
    messages = itertools.repeat(Locators(0x103, (LOCATOR,)).serialize())
    assert isinstance(arena.refused(Donor(workers=1).at(step, endless(messages)), threads=2), ProtocolError)


@pytest.mark.parametrize(
    "message",
    [
        DataDescription(StateDescriptor(StageNumber.FILE_COPY, flags=StateFlag.ACK)).serialize(),
        DataDescription(small_files()[0].metadata(0)).serialize(),
        DataDescription(replace(BLOCK, length=0)).serialize(),
    ],
    ids=["keep-alives", "one file", "nothing"],
)
def test_the_user_stops_a_stream_without_end(arena, message):
    stopped = threading.Event()

    def stream(peer: Peer, _payload: bytes) -> None:
        for number in itertools.count():
            peer.send(message)
            if message[11:15] == b"\0\0\0\5":
                peer.send(bytes([ResponseCode.DATA]))
            if number == 100:
                stopped.set()

    assert isinstance(arena.refused(Donor().at("master file block", stream), stopped=stopped), Interrupted)


# ---- pages, and what workers are told ----------------------------------------------------------------------


def damaged_table(page: int) -> list[Source]:
    """The table with one bit flipped in one page."""
    files = small_files()
    content = bytearray(files[3].content)
    content[page * len(PAGE) + 1000] ^= 1
    files[3].content = bytes(content)
    return files


def test_a_damaged_page_that_never_comes_again(arena):
    error = arena.refused(Donor(damaged_table(1)))
    assert isinstance(error, BadPage)
    assert (error.code, error.exit_status) == (1712, 11)
    assert "./db/t.ibd page 1 (corrupt)" in error.message


def test_a_torn_page_that_comes_again_whole(arena):
    assert isinstance(arena.receive(Donor(damaged_table(2))), Received)


def test_damage_is_not_looked_for_without_verify_pages(arena):
    assert isinstance(arena.receive(Donor(damaged_table(1)), verify_pages=False), Received)


def test_a_worker_that_comes_too_late(arena):
    """1815: the clone is over, for this connection nothing was left."""
    answer = Failure(1815, "Internal error: Clone add task refers non-existing clone").serialize()
    received = arena.receive(Donor().at("worker attach locators", instead(answer)), threads=3)
    assert isinstance(received, Received)


def test_a_worker_that_is_refused_for_another_reason(arena):
    answer = Failure(3634, "Too many concurrent clone operations").serialize()
    error = refused_at(arena, "worker attach locators", answer)
    assert isinstance(error, CloneRunning)


def test_an_acknowledgement_that_is_refused(arena):
    error = refused_at(arena, "aux ack complete", Failure(1317, "killed").serialize())
    assert isinstance(error, DonorError)


@pytest.mark.parametrize(("one", "other"), [("worker", "master"), ("master", "worker")])
def test_a_page_that_the_donor_finds_unfit(one: str, other: str, arena):
    """Another connection hears first that the clone has failed; the reason counts."""
    told = threading.Event()

    def elsewhere(peer, _):
        peer.send(Failure(1815, "Internal error: Innodb Clone error in concurrent task").serialize())
        told.set()

    def reason(peer, _):
        told.wait(10)
        peer.send(Failure(1815, "Internal error: Innodb Clone Corrupt Page").serialize())

    donor = Donor(workers=1).at(f"{one} file end", elsewhere).at(f"{other} file end", reason)
    assert isinstance(arena.refused(donor, threads=2), PageUnfit)


def test_the_redo_log_is_described_twice_and_differently(arena):
    """A repetition is ignored, whatever it says; the first one counts."""
    again = DataDescription(replace(REDO_FILE, size=1 << 40)).serialize()
    donor = Donor().at("master redo block", lambda peer, payload: (peer.send(again), peer.send(payload)))
    assert isinstance(arena.receive(donor), Received)
    assert (arena.target / "#innodb_redo" / "#ib_redo0").stat().st_size == REDO_FILE.size


@pytest.mark.parametrize("changes", [{"index": 1000}, {"index": (1 << 32) - 1}, {"size": 1 << 60}])
def test_a_redo_file_that_cannot_be(arena, changes: dict[str, Any]):
    message = DataDescription(replace(REDO_FILE, **changes)).serialize()
    assert isinstance(refused_at(arena, "master redo metadata", message), ProtocolError)
