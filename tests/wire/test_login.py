"""The client's side of a login (innoclone.wire.login): to whom it tells the password, and what it does not take.

The whole conversation with a server of our own is in test_serverlogin.py, with real ones in tests/transport.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    ConnectFailed,
    ConnectionLimit,
    ProtocolError,
    TlsFailed,
    UnsafeLogin,
)
from innoclone.wire.handshake import (
    AuthMoreData,
    AuthSwitch,
    Capability,
    Err,
    Greeting,
    HandshakeResponse,
    Ok,
    SslRequest,
    native_scramble,
    sha2_scramble,
)
from innoclone.wire.login import NATIVE, SHA2, SHA256, ClientLogin, KeyTrust
from logins import NONCE, PASSWORD, Accounts

OFFERED = Capability.PROTOCOL_41 | Capability.PLUGIN_AUTH | Capability.SSL | Capability.COMPRESS | Capability.ZSTD
GREETING = Greeting("9.7.4", 1, NONCE, OFFERED, SHA2)
OTHER = NONCE[::-1]
FULL = AuthMoreData(b"\x04").serialize()
FAST = AuthMoreData(b"\x03").serialize()
KEY = AuthMoreData(Accounts.public_key).serialize()
IN_THE_CLEAR = PASSWORD.encode() + b"\0"


def client(*, tls=False, tls_required=False, password=PASSWORD, **more):
    return ClientLogin("eve", password, tls=tls, tls_required=tls_required, **more)


def greeted(login, greeting=GREETING):
    """Its answer to the greeting, and after TLS if it asked for that."""
    step = login.receive(greeting.serialize())
    if step.start_tls:
        step = login.tls_started()
    return HandshakeResponse.parse(step.payload)


@pytest.mark.parametrize("plugin", [SHA2, NATIVE, "dialog"])
def test_the_answer_to_the_greeting(plugin):
    """With the account's usual plugin; one that isn't spoken is answered with our own, the server may switch."""
    response = greeted(client(), replace(GREETING, plugin=plugin))
    scramble = native_scramble if plugin == NATIVE else sha2_scramble
    assert (response.user, response.auth) == ("eve", scramble(PASSWORD, NONCE))
    assert response.plugin == (NATIVE if plugin == NATIVE else SHA2)


def test_tls_comes_before_anything_is_told():
    login = client(tls=True)
    step = login.receive(GREETING.serialize())
    assert step.start_tls
    assert SslRequest.parse(step.payload).capabilities & Capability.SSL
    assert b"eve" not in step.payload
    assert HandshakeResponse.parse(login.tls_started().payload).user == "eve"


def test_without_tls_where_it_is_not_offered_but_not_where_it_is_required():
    plain = replace(GREETING, capabilities=OFFERED & ~Capability.SSL)
    assert not greeted(client(tls=True), plain).capabilities & Capability.SSL
    with pytest.raises(TlsFailed, match=r"9\.7\.4.* does not offer TLS"):
        client(tls=True, tls_required=True).receive(plain.serialize())


@pytest.mark.parametrize(
    ("wanted", "offered", "agreed"),
    [
        ("zstd", OFFERED, "zstd"), ("zlib", OFFERED, "zlib"), ("off", OFFERED, "off"),
        ("zstd", OFFERED & ~Capability.ZSTD, "off"), ("zlib", OFFERED & ~Capability.COMPRESS, "off"),
    ],
)  # fmt: skip
def test_compression_is_what_both_want(wanted, offered, agreed):
    login = client(compression=wanted, zstd_level=7)
    response = greeted(login, replace(GREETING, capabilities=offered))
    assert login.compression == agreed
    assert response.zstd_level == (7 if agreed == "zstd" else 0)
    compressing = response.capabilities & (Capability.ZSTD | Capability.COMPRESS)
    assert compressing == {"zstd": Capability.ZSTD, "zlib": Capability.COMPRESS, "off": Capability(0)}[agreed]


@pytest.mark.parametrize("plugin", [SHA2, NATIVE])
def test_a_switch_to_a_fresh_nonce(plugin):
    login = client()
    greeted(login)
    step = login.receive(AuthSwitch(plugin, OTHER).serialize())
    assert step.payload == (native_scramble if plugin == NATIVE else sha2_scramble)(PASSWORD, OTHER)
    if plugin == SHA2:
        assert login.receive(FAST).payload is None
    assert login.receive(Ok().serialize()).done


@pytest.mark.parametrize("more", [{"tls": True}, {"secure": True}])
def test_the_password_is_told_where_nobody_listens(more):
    login = client(**more)
    greeted(login)
    assert login.receive(FULL).payload == IN_THE_CLEAR


def test_the_password_is_not_told_on_an_open_line():
    login = client()
    greeted(login)
    with pytest.raises(UnsafeLogin, match="without TLS"):
        login.receive(FULL)


def test_no_password_can_be_told_anywhere():
    login = client(password="")
    greeted(login)
    assert login.receive(FULL).payload == b"\0"


def decrypted(payload):
    plain = Accounts(remembers=False).decrypt(payload)
    return bytes(a ^ b for a, b in zip(plain, NONCE, strict=False))


def test_under_a_key_that_the_user_named():
    login = client(key=KeyTrust(pinned=Accounts.public_key))
    greeted(login)
    assert decrypted(login.receive(FULL).payload) == IN_THE_CLEAR[: len(NONCE)]


@pytest.mark.parametrize(
    ("plugin", "request_of_key", "more"),
    [
        (SHA2, b"\x02", {"key": KeyTrust(from_peer=True)}),
        (SHA256, b"\x01", {"key": KeyTrust(from_peer=True)}),
        (SHA256, b"\x01", {"secure": True}),
    ],
)
def test_under_a_key_of_the_peer_where_that_was_said(plugin, request_of_key, more):
    """sha256_password takes a Unix socket for no private line; what comes over one is trusted all the same."""
    login = client(**more)
    greeted(login)
    step = login.receive(AuthSwitch(SHA256, NONCE).serialize() if plugin == SHA256 else FULL)
    assert step.payload == request_of_key
    assert decrypted(login.receive(KEY).payload) == IN_THE_CLEAR[: len(NONCE)]
    assert login.receive(Ok().serialize()).done


def test_something_else_than_the_key():
    login = client(key=KeyTrust(from_peer=True))
    greeted(login)
    login.receive(FULL)
    with pytest.raises(ProtocolError, match="public key was expected"):
        login.receive(Ok().serialize())


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (AuthSwitch(SHA2, b"short").serialize(), "a nonce of 6 bytes"),
        (AuthMoreData(b"\x07").serialize(), "07 is not an answer"),
        (b"\x63", "packet 63 is not allowed"), (b"", "of no bytes is not allowed"),
    ],
)  # fmt: skip
def test_packets_that_no_server_sends(packet, why):
    login = client()
    greeted(login)
    with pytest.raises(ProtocolError, match=why):
        login.receive(packet)


def test_more_data_for_a_plugin_that_has_none():
    login = client()
    greeted(login, replace(GREETING, plugin=NATIVE))
    with pytest.raises(ProtocolError, match="more data for mysql_native_password"):
        login.receive(FULL)


def test_a_plugin_that_would_show_the_password():
    login = client(tls=True)
    greeted(login)
    with pytest.raises(AuthPluginUnsupported, match="mysql_clear_password"):
        login.receive(AuthSwitch("mysql_clear_password", NONCE).serialize())


def test_a_server_that_asks_without_end():
    login = client()
    greeted(login)
    for _ in range(7):
        login.receive(AuthSwitch(SHA2, OTHER).serialize())
    with pytest.raises(ProtocolError, match="asks without end"):
        login.receive(AuthSwitch(SHA2, OTHER).serialize())


def test_errors_before_and_after_the_greeting():
    unknown = Err(9999, "XX\x1b00", "go\x1b away").serialize()
    with pytest.raises(ConnectFailed, match="refused the connection: 9999") as before:
        client().receive(unknown)
    assert "\x1b" not in before.value.message
    login = client()
    greeted(login)
    with pytest.raises(AccessDenied, match="9999"):
        login.receive(unknown)
    with pytest.raises(ConnectionLimit):
        client().receive(Err(1040, "08004", "Too many connections").serialize())


@pytest.mark.parametrize(
    ("more", "hint"), [({}, "--ssl-mode"), ({"tls": True}, "--ssl-cert"), ({"tls": True, "certificate": True}, "")]
)
def test_what_denied_may_mean_depends_on_the_line(more, hint):
    login = client(**more)
    greeted(login)
    with pytest.raises(AccessDenied) as denied:
        login.receive(Err(1045, "28000", "Access denied").serialize())
    assert hint in denied.value.advice
    assert hint or denied.value.advice == AccessDenied.hint
