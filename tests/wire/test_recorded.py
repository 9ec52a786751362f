"""Every message of a real conversation: parsed, written again, the same bytes. And the recording is not stale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from innoclone.errors import ProtocolError
from innoclone.wire.descriptors import DescriptorType, FileFlag, FileMetadata, StageNumber, StateDescriptor
from innoclone.wire.handshake import AuthMoreData, Greeting, HandshakeResponse, Ok
from innoclone.wire.rpc import (
    COM_CLONE,
    Attach,
    Complete,
    Config,
    DataDescription,
    Execute,
    Exit,
    Init,
    Locators,
    ProtocolVersion,
    ResponseCode,
    parse_command,
    parse_response,
)
from innoclone.wire.stream import Phase, Stream
from recorder import CONVERSATION, Packet, converse, load
from servers import ServerFactory

COM_QUIT = 1
OTHER_KINDS = {"COM_CLONE", "COM_QUIT", "request for the public key", "encrypted password", "DATA"}


@dataclass(frozen=True)
class Message:
    """A packet and what it was parsed to; no message for those that the wire layer leaves to others."""

    packet: Packet
    kind: str
    message: Any = None


def read(packets: list[Packet]) -> Iterator[Message]:
    """Parse a conversation; what a packet can be depends on what came before on its connection."""
    before: dict[int, list[Message]] = {}
    for packet in packets:
        history = before.setdefault(packet.connection, [])
        message = _donor(packet, history) if packet.from_donor else _recipient(packet, history)
        history.append(message)
        yield message


def _entered(history: list[Message]) -> bool:
    return any(message.kind == "COM_CLONE" for message in history)


def _donor(packet: Packet, history: list[Message]) -> Message:
    payload = packet.payload
    if not history:
        return Message(packet, "Greeting", Greeting.parse(payload))
    if payload[0] == 0 and (not _entered(history) or history[-1].kind == "COM_CLONE"):
        return Message(packet, "Ok", Ok.parse(payload))
    if not _entered(history):
        return Message(packet, "AuthMoreData", AuthMoreData.parse(payload))
    if payload[0] == ResponseCode.DATA:
        return Message(packet, "DATA")
    response = parse_response(payload)
    return Message(packet, _name(response), response)


def _recipient(packet: Packet, history: list[Message]) -> Message:
    payload = packet.payload
    if len(history) == 1:
        return Message(packet, "HandshakeResponse", HandshakeResponse.parse(payload))
    if not any(message.kind == "Ok" for message in history):
        return Message(packet, "request for the public key" if payload == b"\x02" else "encrypted password")
    if not _entered(history):
        assert payload == bytes([COM_CLONE])
        return Message(packet, "COM_CLONE")
    if history[-1].kind == "Complete" and payload == bytes([COM_QUIT]):
        return Message(packet, "COM_QUIT")
    command = parse_command(payload)
    return Message(packet, type(command).__name__, command)


def _name(response: object) -> str:
    """A kind as fine as the protocol's own distinctions: which descriptor, of which stage, with which flags."""
    if isinstance(response, Config):
        return f"{response.code.name} {response.key}"
    if not isinstance(response, DataDescription):
        return type(response).__name__
    descriptor = response.descriptor
    details = [type(descriptor).__name__]
    if isinstance(stage := getattr(descriptor, "stage", None), StageNumber):
        details.append(stage.name)
    if isinstance(descriptor, StateDescriptor):
        details.append("keep-alive" if descriptor.is_keepalive else "START" if descriptor.is_start else "END")
    if isinstance(descriptor, FileMetadata):
        details += sorted(flag.name or "" for flag in FileFlag if flag in descriptor.flags)
    return " ".join(details)


@pytest.fixture(scope="module")
def recorded() -> list[Message]:
    return list(read(load()))


def test_every_message_is_written_as_it_came(recorded):
    with_message = [message for message in recorded if message.message is not None]
    assert len(with_message) > 300
    for message in with_message:
        assert message.message.serialize() == message.packet.payload, message.kind


def test_the_rest_are_bare_commands_and_bulk_data(recorded):
    assert {message.kind for message in recorded if message.message is None} <= OTHER_KINDS


def test_every_kind_of_message_is_there(recorded):
    """All that a stock donor and a recipient say to each other when nothing goes wrong."""
    kinds = {type(message.message) for message in recorded}
    assert {Greeting, HandshakeResponse, Ok, Init, Attach, Execute, Exit, Complete} <= kinds
    names = {message.kind for message in recorded}
    for stage in (StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY):
        assert {f"StateDescriptor {stage.name} {end}" for end in ("START", "END")} <= names
        assert {f"DataDescriptor {stage.name}", f"FileMetadata {stage.name}"} <= names
    assert {"FileMetadata PAGE_COPY DELETED", "FileMetadata PAGE_COPY RENAMED"} <= names
    assert {"TaskMetadata", "StateDescriptor DONE START", "Plugin", "Collation", "Locators", "Ack"} <= names


def test_truncated_responses_are_refused(recorded):
    """One example of each kind, cut at each byte."""
    examples = {message.kind: message.packet.payload for message in recorded if message.packet.from_donor}
    for kind, payload in examples.items():
        if kind in ("Greeting", "Ok", "AuthMoreData", "DATA"):
            continue
        for length in range(len(payload)):
            try:
                parsed = parse_response(payload[:length])
            except ProtocolError:
                continue
            assert parsed == Locators(ProtocolVersion.V4, ()), "only a list of locators can be shorter"


def executions(messages: list[Message]) -> Iterator[tuple[bool, list[Any]]]:
    """For each data connection: whether it is the master's, and all descriptors up to COMPLETE, in order."""
    for connection in sorted({message.packet.connection for message in messages}):
        own = [message for message in messages if message.packet.connection == connection]
        starts = [number for number, message in enumerate(own) if isinstance(message.message, Execute)]
        if not starts:
            continue
        after = own[starts[0] + 1 :]
        end = next(number for number, message in enumerate(after) if isinstance(message.message, Complete))
        descriptors = [message.message.descriptor for message in after[:end] if message.kind != "DATA"]
        yield any(isinstance(message.message, Init) for message in own), descriptors


def test_the_stream_table_allows_what_a_donor_does(recorded):
    found = list(executions(recorded))
    assert sorted(master for master, _ in found) == [False, True]
    for master, descriptors in found:
        stream = Stream(master=master)
        for descriptor in descriptors:
            if not (isinstance(descriptor, StateDescriptor) and descriptor.is_keepalive):
                stream.check(descriptor)
        stream.complete()
        assert stream.phase is Phase.COMPLETE


def test_a_stream_that_lacks_a_step_is_refused(recorded):
    """Leave out any one START, END or TASK of the real sequence: what comes next is out of order."""
    for master, descriptors in executions(recorded):
        steps = [number for number, item in enumerate(descriptors) if not isinstance(item, FileMetadata)]
        steps = [number for number in steps if _kind(descriptors[number]) is not DescriptorType.DATA]
        if not master:  # a worker may join at any point, so only what follows its first stage is bound
            steps = [number for number in steps if number > 3]
        for missing in steps:
            stream = Stream(master=master)
            with pytest.raises(ProtocolError):
                _follow(stream, [*descriptors[:missing], *descriptors[missing + 1 :]])


def _follow(stream: Stream, descriptors: list[Any]) -> None:
    for descriptor in descriptors:
        stream.check(descriptor)
    stream.complete()


def _kind(descriptor: Any) -> DescriptorType:
    return DescriptorType(int.from_bytes(descriptor.serialize()[8:12], "big"))


def test_the_recording_is_what_a_donor_says_today(make_server: ServerFactory, tmp_path: Path, recorded):
    live = list(read(converse(make_server(), tmp_path / "clone")))
    for message in live:
        if message.message is not None:
            assert message.message.serialize() == message.packet.payload, message.kind
    assert _kinds(live) == _kinds(recorded), f"record it anew: {CONVERSATION}"


def _kinds(messages: list[Message]) -> set[str]:
    """Without those that depend on how fast the two are."""
    kinds = {message.kind for message in messages}
    return {kind for kind in kinds if not kind.endswith("keep-alive")} - {"FileMetadata FILE_COPY DELETED"}
