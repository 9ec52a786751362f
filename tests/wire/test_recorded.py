"""Every message of a real conversation: parsed, written again, the same bytes. And the recording is not stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversations import Message, read
from innoclone.errors import ProtocolError
from innoclone.wire.descriptors import StageNumber
from innoclone.wire.handshake import Greeting, HandshakeResponse, Ok
from innoclone.wire.rpc import (
    Attach,
    Complete,
    Execute,
    Exit,
    Init,
    Locators,
    ProtocolVersion,
    parse_response,
)
from recorder import CONVERSATION, converse, load
from servers import ServerFactory

OTHER_KINDS = {"COM_CLONE", "COM_QUIT", "request for the public key", "encrypted password", "DATA"}


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
