"""Messages of a login (innoclone.wire.handshake): what is written is read back; any bytes are one, or refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

import wire_strategies as some
from innoclone.errors import NotMySQL, ProtocolError
from innoclone.wire.handshake import (
    AuthMoreData,
    AuthSwitch,
    Capability,
    Err,
    Greeting,
    HandshakeResponse,
    Ok,
    SslRequest,
    encoded,
    native_scramble,
    rsa_encrypt_password,
    sha2_scramble,
)
from logins import Accounts


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


@pytest.mark.parametrize("password", ["", "secret", "pässwörd", "\udcff"])
def test_scrambles_prove_the_password_without_telling_it(password):
    """What the plugins' own documentation says, computed the other way round, as a server does."""
    nonce = bytes(range(20))
    if not password:
        assert sha2_scramble(password, nonce) == native_scramble(password, nonce) == b""
        return
    once = hashlib.sha256(encoded(password)).digest()
    mask = hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest()
    assert bytes(a ^ b for a, b in zip(sha2_scramble(password, nonce), mask, strict=True)) == once
    known = hashlib.sha1(hashlib.sha1(encoded(password)).digest()).digest()  # noqa: S324 - the server's plugin
    mask = hashlib.sha1(nonce + known).digest()  # noqa: S324
    found = bytes(a ^ b for a, b in zip(native_scramble(password, nonce), mask, strict=True))
    assert hashlib.sha1(found).digest() == known  # noqa: S324


def test_a_password_under_a_key():
    nonce = bytes(range(1, 21))
    raw = rsa_encrypt_password("geheim" * 9, nonce, Accounts.public_key)
    plain = Accounts(remembers=False).decrypt(raw)
    assert bytes(a ^ b for a, b in zip(plain, nonce * 3, strict=False)) == b"geheim" * 9 + b"\0"
    with pytest.raises(ProtocolError, match="2048 bits is too small"):
        rsa_encrypt_password("x" * 300, nonce, Accounts.public_key)
    with pytest.raises(ProtocolError, match="not a PEM public key"):
        rsa_encrypt_password("x", nonce, b"no key")
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = curve.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ProtocolError, match="not an RSA key"):
        rsa_encrypt_password("x", nonce, pem)


def test_a_response_with_a_schema_and_attributes():
    """Attributes count as far as they make sense; who claims more than was offered sends only what both have."""
    capabilities = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH
    wanted = HandshakeResponse(capabilities | Capability.CONNECT_WITH_DB, "eve", b"x" * 20, "p", database="shop")
    assert HandshakeResponse.parse(wanted.serialize()) == wanted
    claimed = wanted.capabilities | Capability.CONNECT_ATTRS | Capability.ZSTD
    raw = claimed.to_bytes(4, "little") + wanted.serialize()[4:]
    for attributes in (b"\1a\1b", b"\1a\1b\1c", b"\1a\1b\5c"):
        found = HandshakeResponse.parse(raw + bytes([len(attributes)]) + attributes + b"\x07")
        assert found == replace(wanted, capabilities=claimed, zstd_level=7, attributes=(("a", "b"),))
    assert HandshakeResponse.parse(raw, wanted.capabilities) == wanted


def test_a_first_packet_that_is_no_greeting():
    with pytest.raises(NotMySQL, match="starts with nothing"):
        Greeting.parse(b"")
    with pytest.raises(NotMySQL, match=r"does not speak protocol 4\.1"):
        Greeting.parse(Greeting("3.23", 1, bytes(20), Capability(0), "").serialize())


def test_an_error_before_the_login_has_no_state():
    assert Err.parse(b"\xff\x10\x04Too many connections") == Err(1040, "HY000", "Too many connections")
