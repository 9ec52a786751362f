"""The parsers, with anything: what is written is read back; any bytes give a message or one of the two errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import wire_strategies as some
from innoclone.errors import NotMySQL, ProtocolError
from innoclone.wire.codec import Reader, lenenc
from innoclone.wire.descriptors import FileFlag, FileMetadata, Locator, StageNumber, parse_descriptor
from innoclone.wire.handshake import (
    AuthMoreData,
    AuthSwitch,
    Capability,
    Err,
    Greeting,
    HandshakeResponse,
    Ok,
    SslRequest,
)
from innoclone.wire.packets import CompressedHeader, PacketHeader
from innoclone.wire.rpc import Locators, parse_command, parse_response

Parser = Callable[[bytes], object]
PARSERS: list[Parser] = [
    parse_command, parse_response, parse_descriptor, Locator.parse, Greeting.parse, HandshakeResponse.parse,
    SslRequest.parse, AuthSwitch.parse, AuthMoreData.parse, Ok.parse, Err.parse,
]  # fmt: skip


def parse_or_refuse(parser: Parser, data: bytes) -> object:
    """None for data that is refused with an allowed error; anything else but a message fails the test."""
    try:
        return parser(data)
    except (ProtocolError, NotMySQL):
        return None


@given(some.commands)
def test_commands_come_back(command):
    assert parse_command(command.serialize()) == command


@given(some.responses)
def test_responses_come_back(response):
    assert parse_response(response.serialize()) == response


@given(some.descriptors, st.binary(max_size=100))
def test_descriptors_come_back_whatever_padding_follows(descriptor, padding):
    assert parse_descriptor(descriptor.serialize() + padding) == descriptor


@given(some.greetings)
def test_greetings_come_back(greeting):
    assert Greeting.parse(greeting.serialize()) == greeting


@given(some.handshake_responses)
def test_handshake_responses_come_back(response):
    assert HandshakeResponse.parse(response.serialize()) == response


@given(some.login_messages)
def test_login_messages_come_back(message):
    assert type(message).parse(message.serialize()) == message


@given(some.capabilities)
def test_an_ssl_request_comes_back(capabilities):
    assert SslRequest.parse(SslRequest(capabilities).serialize()) == SslRequest(capabilities)


@given(some.u64)
@example(0xFA)
@example(0xFB)
@example(0xFFFF)
@example(0x10000)
@example(0xFFFFFF)
@example(0x1000000)
def test_length_encoded_integers_come_back(value):
    reader = Reader(lenenc(value), "integer")
    assert reader.lenenc("value") == value
    reader.end()


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__qualname__)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(parser, data):
    parse_or_refuse(parser, data)


@given(some.responses, st.data())
def test_a_damaged_response_is_parsed_or_refused(response, data):
    """One byte changed at a time, so that the damage is deep inside of what looks right."""
    original = response.serialize()
    position = data.draw(st.integers(0, len(original) - 1))
    for value in {0, 1, 0x7F, 0x80, 0xFF, original[position] ^ 1, original[position] ^ 0x80}:
        parse_or_refuse(parse_response, original[:position] + bytes([value]) + original[position + 1 :])


@given(some.commands, st.data())
def test_a_damaged_command_is_parsed_or_refused(command, data):
    original = command.serialize()
    position, value = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(0, 255))
    parse_or_refuse(parse_command, original[:position] + bytes([value]) + original[position + 1 :])


@given(some.descriptors)
def test_a_truncated_descriptor_is_refused(descriptor):
    data = descriptor.serialize()
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            parse_descriptor(data[:length])


@given(some.greetings)
def test_a_truncated_greeting_is_no_greeting(greeting):
    """Shorter by its last bytes it may still be one, as an old server would send; never something else."""
    data = greeting.serialize()
    for length in range(len(data)):
        found = parse_or_refuse(Greeting.parse, data[:length])
        assert found is None or (found.version, found.nonce) == (greeting.version, greeting.nonce)


def test_numbers_that_would_be_negative_are_large():
    """Nothing that a peer sends as a size or place becomes a negative number."""
    huge = FileMetadata(
        StageNumber.FILE_COPY, 1 << 63, (1 << 64) - 1, 0, 0, FileFlag(0), (1 << 32) - 1, (1 << 32) - 1, 0, 0, "x"
    )
    parsed = parse_descriptor(huge.serialize())
    assert isinstance(parsed, FileMetadata)
    assert (parsed.size, parsed.allocated, parsed.index) == (1 << 63, (1 << 64) - 1, (1 << 32) - 1)


@pytest.mark.parametrize(
    ("at", "value"),
    [(62 - 4, b"\x80\0\0\0"), (62 - 4, b"\xff\xff\xff\xff"), (62 - 4, b"\0\0\x13\x88"), (4, b"\xff\xff\xff\xff")],
    ids=["negative name length", "huge name length", "name of 5000 bytes", "huge descriptor"],
)
def test_lengths_inside_a_descriptor_are_bounded(at, value):
    meta = FileMetadata(StageNumber.FILE_COPY, 1, 1, 0, 0, FileFlag(0), 1, 0, 1, 1, "./a/b.ibd")
    data = meta.serialize() + bytes(6000)
    with pytest.raises(ProtocolError):
        parse_descriptor(data[:at] + value + data[at + 4 :])


def test_a_name_is_one_terminated_string():
    meta = FileMetadata(StageNumber.FILE_COPY, 1, 1, 0, 0, FileFlag(0), 1, 0, 1, 1, "./a/b.ibd").serialize()
    assert meta.endswith(b"ibd\0")
    for bad in (meta[:-1] + b"x", meta.replace(b"/a/", b"/\0/"), meta.replace(b"/a/", b"/\xff/")):
        with pytest.raises(ProtocolError):
            parse_descriptor(bad)


def test_more_chunks_or_words_than_there_are_bytes():
    locator = Locator(1, 2).serialize()[12:]
    for tail in (b"\0\0\x01\x01", b"\0\0\0\0\xff\xff\xff\xff", b"\xff\xff\xff\xff"):
        body = locator + tail + bytes(64)
        data = b"\0\0\0\x64" + (12 + len(body)).to_bytes(4, "big") + b"\0\0\0\1" + body
        with pytest.raises(ProtocolError):
            Locator.parse(data)


def test_at_most_sixteen_engines():
    entry = Locators(0x103, (Locator(1, 2),)).serialize()[5:]
    head = b"\x01\x03\x01\0\0"
    assert parse_response(head + entry * 16)
    with pytest.raises(ProtocolError):
        parse_response(head + entry * 17)


@pytest.mark.parametrize("text", ["8.0.36\x1b[2J", "9.7.4\n", "\x9b31m", "9\x7f"])
def test_names_with_control_characters_come_from_no_server(text):
    """They would reach the user's terminal."""
    honest = Greeting("9.7.4", 1, bytes(20), Capability.PROTOCOL_41 | Capability.PLUGIN_AUTH, "caching_sha2_password")
    assert Greeting.parse(honest.serialize()) == honest
    for bad in (replace(honest, version=text), replace(honest, plugin=text)):
        with pytest.raises(NotMySQL):
            Greeting.parse(bad.serialize())
    with pytest.raises(NotMySQL):
        AuthSwitch.parse(AuthSwitch(text, bytes(20)).serialize())


@given(st.binary(min_size=4, max_size=4))
def test_packet_headers_come_back(data):
    assert PacketHeader.parse(data).serialize() == data


@given(st.binary(min_size=7, max_size=7))
def test_compressed_headers_come_back_or_are_refused(data):
    try:
        header = CompressedHeader.parse(data)
    except ProtocolError:
        return
    assert header.serialize() == data


def test_capabilities_that_nobody_knows_are_kept():
    unknown = Capability(1 << 30 | Capability.PROTOCOL_41)
    assert SslRequest.parse(SslRequest(unknown).serialize()).capabilities == unknown
