"""Clone commands and responses (innoclone.wire.rpc): what is written is read back; any bytes are one, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire_strategies as some
from innoclone.errors import ProtocolError
from innoclone.wire.descriptors import Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import (
    INNODB,
    Ack,
    Config,
    DataDescription,
    Locators,
    ResponseCode,
    parse_command,
    parse_response,
)


@given(some.commands)
def test_commands_come_back(command):
    assert parse_command(command.serialize()) == command


@given(some.responses)
def test_responses_come_back(response):
    assert parse_response(response.serialize()) == response


@given(some.responses, st.data())
def test_a_damaged_response_is_parsed_or_refused(response, data):
    """One byte changed at a time, so that the damage is deep inside of what looks right."""
    original = response.serialize()
    position = data.draw(st.integers(0, len(original) - 1))
    for value in {0, 1, 0x7F, 0x80, 0xFF, original[position] ^ 1, original[position] ^ 0x80}:
        some.parse_or_refuse(parse_response, original[:position] + bytes([value]) + original[position + 1 :])


@given(some.commands, st.data())
def test_a_damaged_command_is_parsed_or_refused(command, data):
    original = command.serialize()
    position, value = data.draw(st.integers(0, len(original) - 1)), data.draw(st.integers(0, 255))
    some.parse_or_refuse(parse_command, original[:position] + bytes([value]) + original[position + 1 :])


def test_at_most_sixteen_engines():
    entry = Locators(0x103, (Locator(1, 2),)).serialize()[5:]
    head = b"\x01\x03\x01\0\0"
    assert parse_response(head + entry * 16)
    with pytest.raises(ProtocolError):
        parse_response(head + entry * 17)


@pytest.mark.parametrize("parser", [parse_command, parse_response])
@given(data=st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(parser, data):
    some.parse_or_refuse(parser, data)


def test_another_engine_than_innodb_is_refused():
    locators = Locators(0x103, (Locator(1, 2),)).serialize()
    with pytest.raises(ProtocolError, match="storage engine 7: only InnoDB") as refused:
        parse_response(locators[:5] + b"\x07" + locators[6:])
    assert "its own tools" in refused.value.advice
    ack = Ack(0, Locator(1, 2), None).serialize()
    with pytest.raises(ProtocolError, match="storage engine 7 in COM_ACK"):
        parse_command(ack[:5] + b"\x07" + ack[6:])
    described = DataDescription(StateDescriptor(StageNumber.DONE)).serialize()
    for engine, index in ((7, 0), (INNODB, 1)):
        with pytest.raises(ProtocolError, match=f"engine {engine}, locator {index}"):
            parse_response(described[:1] + bytes([engine, index]) + described[3:])


def test_the_object_in_a_setting():
    assert Config("key", '{"a": 1}', ResponseCode.CONFIG_V4).json == {"a": 1}
    with pytest.raises(ProtocolError, match="not JSON"):
        _ = Config("key", "{").json
    with pytest.raises(ProtocolError, match="not JSON"):
        _ = Config("key", "[" * 100_000).json
    with pytest.raises(ProtocolError, match="not a JSON object"):
        _ = Config("key", "[]").json


@pytest.mark.parametrize(("code", "shown"), [(0, "''"), (3, "''"), (ord("H"), "'H'"), (200, "''")])
def test_a_response_that_nobody_knows(code, shown):
    """A letter is shown: what speaks HTTP begins with one."""
    with pytest.raises(ProtocolError, match=f"clone response {code} {shown} is unknown"):
        parse_response(bytes([code]) + b"TTP")
    with pytest.raises(ProtocolError, match="clone command 77 is unknown"):
        parse_command(b"\x4d")
