"""Messages of a login (innoclone.wire.handshake): what is written is read back; any bytes are one, or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wire_strategies as some
from innoclone.errors import NotMySQL
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


@given(some.greetings)
def test_a_truncated_greeting_is_no_greeting(greeting):
    """Shorter by its last bytes it may still be one, as an old server would send; never something else."""
    data = greeting.serialize()
    for length in range(len(data)):
        found = some.parse_or_refuse(Greeting.parse, data[:length])
        assert found is None or (found.version, found.nonce) == (greeting.version, greeting.nonce)


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


def test_capabilities_that_nobody_knows_are_kept():
    unknown = Capability(1 << 30 | Capability.PROTOCOL_41)
    assert SslRequest.parse(SslRequest(unknown).serialize()).capabilities == unknown


@pytest.mark.parametrize(
    "kind", [Greeting, HandshakeResponse, SslRequest, AuthSwitch, AuthMoreData, Ok, Err], ids=lambda kind: kind.__name__
)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(kind, data):
    some.parse_or_refuse(kind.parse, data)
