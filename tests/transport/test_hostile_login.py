"""Peers that are no MySQL server, servers that can't be cloned, and logins that are attacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from arena import Arena
from hostile import CAPABILITIES, GREETING, NONCE, Action, Donor, Peer
from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    ConnectFailed,
    ConnectionLimit,
    NotMySQL,
    PluginMissing,
    PrivilegeMissing,
    ProtocolError,
    TlsFailed,
    UnsafeLogin,
    VersionUnsupported,
)
from innoclone.receive import timings
from innoclone.transport.endpoint import Compression, SslMode
from innoclone.wire.handshake import AuthMoreData, AuthSwitch, Capability, Err
from innoclone.wire.login import ClientLogin, KeyTrust
from receiving import receive_into

TRUSTING = KeyTrust(from_peer=True)
SHA2, NATIVE, SHA256 = "caching_sha2_password", "mysql_native_password", "sha256_password"


@pytest.fixture
def arena(tmp_path: Path) -> Arena:
    return Arena(tmp_path)


def greets_with(data: bytes) -> Action:
    def action(peer: Peer, _payload: bytes) -> None:
        peer.raw(data)
        peer.close()

    return action


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example.org ESMTP ready\r\n",
        b"-ERR unknown command\r\n",
        b"\x05\0\0\0\x0b\x08\x05\x1a\0",  # the notice with which the X protocol greets
        b"\x01\0\0\0\x09",  # a server of the protocol before 4.1
        b"\0\0\0\0",
        b"\xff\xff\xff\0" + b"\n" * 100,
        b"\x0a\0\0\0\x0a9.7.4\0abcd",
    ],
    ids=["http", "ssh", "smtp", "redis", "mysqlx", "protocol 9", "empty", "endless", "short"],
)
def test_something_else_answers(arena, data):
    error = arena.refused(Donor().at("master greeting", greets_with(data)))
    assert isinstance(error, NotMySQL)
    assert (error.code, error.exit_status) == (2012, 3)


@pytest.mark.parametrize("version", ["5.7.44-log", "8.0.16", "5.5.5-10.11.6-MariaDB", "11.4.2-MariaDB-log"])
def test_a_server_without_clone(arena, version):
    donor = Donor()
    donor.greeting = replace(GREETING, version=version)
    error = arena.refused(donor)
    assert isinstance(error, VersionUnsupported)
    assert (error.code, error.exit_status) == (3864, 5)
    assert version in error.message


def test_a_server_whose_version_is_none(arena):
    donor = Donor()
    donor.greeting = replace(GREETING, version="newest")
    assert isinstance(arena.refused(donor), ProtocolError)


@pytest.mark.parametrize("mode", [SslMode.REQUIRED, SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY])
def test_tls_is_not_offered(tmp_path, mode):
    with Donor() as donor, pytest.raises(TlsFailed) as caught:
        receive_into(tmp_path / "target", replace(donor.endpoint, ssl_mode=mode))
    assert (caught.value.code, caught.value.exit_status) == (2026, 3)
    assert "master auth" not in donor.said, "no credentials were sent"


def test_preferred_tls_does_without(tmp_path):
    with Donor() as donor:
        assert receive_into(tmp_path / "target", replace(donor.endpoint, ssl_mode=SslMode.PREFERRED)).cipher == ""


def test_tls_is_offered_and_not_spoken(tmp_path):
    donor = Donor()
    donor.greeting = replace(GREETING, capabilities=CAPABILITIES | Capability.SSL)
    with donor, pytest.raises(TlsFailed):
        receive_into(tmp_path / "target", replace(donor.endpoint, ssl_mode=SslMode.REQUIRED))


@pytest.mark.parametrize(
    ("number", "step", "kind", "exit_status"),
    [
        (1045, "auth", AccessDenied, 4),
        (1045, "login ok", AccessDenied, 4),
        (1040, "greeting", ConnectionLimit, 3),
        (3168, "greeting", ConnectFailed, 3),
        (1129, "greeting", ConnectFailed, 3),
        (1130, "greeting", ConnectFailed, 3),
        (1203, "login ok", ConnectionLimit, 3),
        (1226, "login ok", ConnectionLimit, 3),
        (1226, "clone ok", ConnectionLimit, 3),
        (3032, "login ok", ConnectFailed, 3),
        (3032, "clone ok", ConnectFailed, 3),
        (1184, "clone ok", ConnectFailed, 3),
        (1862, "login ok", AccessDenied, 4),
        (1820, "clone ok", AccessDenied, 4),
        (3118, "login ok", AccessDenied, 4),
        (3955, "login ok", AccessDenied, 4),
        (1524, "login ok", AuthPluginUnsupported, 4),
        (3159, "login ok", TlsFailed, 3),
        (2059, "auth", AuthPluginUnsupported, 4),
        (1227, "clone ok", PrivilegeMissing, 4),
        (1524, "clone ok", PluginMissing, 5),
    ],
)
def test_the_server_says_no(arena, monkeypatch, number, step, kind, exit_status):
    monkeypatch.setattr(timings, "CONNECTION_LIMIT", ())  # the script knows its connections by their order
    answer = Err(number, "HY000", "this is why").serialize()
    error = arena.refused(Donor().at(f"master {step}", lambda peer, _: peer.send(answer)))
    assert type(error) is kind
    assert error.exit_status == exit_status
    assert error.code == number or f"{number}" in error.message
    assert "this is why" in error.message
    general = (AccessDenied, ConnectFailed, AuthPluginUnsupported)
    assert error.code in (1045, 2059) or kind not in general or error.advice != kind.hint, "nobody is told what to do"


@pytest.mark.parametrize("step", ["greeting", "auth", "clone ok"])
def test_what_a_server_says_is_fit_for_a_terminal(arena, step):
    answer = Err(1045, "\x1b[2J\x07", "\x1b]0;evil\x07\r\n\u202e" + "x" * 100_000).serialize()
    error = arena.refused(Donor().at(f"master {step}", lambda peer, _: peer.send(answer)))
    assert error.message.isprintable()
    assert len(error.message) < 1000


def test_an_error_without_sqlstate_instead_of_a_greeting(arena):
    """What a server sends that blocks the host: it does not know yet whom it speaks to."""
    message = b"\xff\x6a\x04Host '10.0.0.1' is not allowed to connect"
    error = arena.refused(Donor().at("master greeting", lambda peer, _: peer.send(message)))
    assert isinstance(error, ConnectFailed)
    assert "1130" in error.message


def test_an_authentication_plugin_that_nobody_asked_for(arena):
    for name in ("mysql_clear_password", "authentication_ldap_sasl_client", "dialog", "../../evil"):
        switch = AuthSwitch(name, NONCE).serialize()
        error = arena.refused(Donor().at("master auth", lambda peer, _, switch=switch: peer.send(switch)))
        assert isinstance(error, AuthPluginUnsupported)
        assert (error.code, error.exit_status) == (2059, 4)
        assert name in error.message


@pytest.mark.parametrize(
    "answer",
    [
        AuthSwitch(SHA2, NONCE).serialize(),
        AuthSwitch(NATIVE, NONCE).serialize(),
        AuthSwitch(SHA256, NONCE).serialize(),
        AuthMoreData(b"\x03").serialize(),
        AuthMoreData(b"\x04").serialize(),
    ],
    ids=["switch to sha2", "switch to native", "switch to sha256", "fast path", "full path"],
)
def test_a_login_that_never_ends(arena, answer):
    def endless(peer: Peer, _payload: bytes) -> None:
        while True:
            peer.send(answer)

    donor = Donor().at("master auth", endless)
    donor.takes_key = True
    assert isinstance(arena.refused(donor), ProtocolError)


@pytest.mark.parametrize("nonce", [b"", b"x", b"x" * 19])
@pytest.mark.parametrize("plugin", [SHA2, NATIVE, SHA256])
def test_a_nonce_that_is_too_short(plugin, nonce):
    """An answer to it would tell more about the password than one to a real nonce."""
    login = started()
    with pytest.raises(ProtocolError):
        login.receive(b"\xfe" + plugin.encode() + b"\0" + nonce)


def started(key: KeyTrust = TRUSTING, password: str = "secret") -> ClientLogin:  # noqa: S107 - what hostile.py has
    login = ClientLogin("clone", password, tls=False, tls_required=False, key=key)
    login.receive(GREETING.serialize())
    return login


def pem(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_public_keys_that_are_none():
    small = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - smaller than any server's
    keys = [b"", b"no key", pem(ec.generate_private_key(ec.SECP256R1()).public_key()), b"-----BEGIN PUBLIC KEY-----\n"]
    for key in keys:
        login = started()
        assert login.receive(b"\x01\x04").payload == b"\x02"
        with pytest.raises(ProtocolError):
            login.receive(b"\x01" + key)
    login = started()
    login.receive(b"\x01\x04")
    assert login.receive(b"\x01" + pem(small)).payload is not None
    login = started(password="x" * 200)  # more than such a key can carry
    login.receive(b"\x01\x04")
    with pytest.raises(ProtocolError):
        login.receive(b"\x01" + pem(small))


def test_the_password_never_travels_in_the_clear():
    """Not even to a server that asks for it without TLS, whatever it answers; under a key only if we were told to."""
    key = rsa.generate_private_key(65537, 2048)
    trusts = (KeyTrust(), KeyTrust(from_peer=True), KeyTrust(pem(key.public_key())))
    for answer in (b"\x01\x04", *(AuthSwitch(plugin, NONCE).serialize() for plugin in (SHA2, NATIVE, SHA256))):
        for trust in trusts:
            login = started(trust)
            asks = answer == b"\x01\x04" or SHA256.encode() in answer
            if asks and trust == trusts[0]:
                with pytest.raises(UnsafeLogin) as caught:
                    login.receive(answer)
                assert (caught.value.code, caught.value.exit_status) == (2061, 4)
                continue
            sent = login.receive(answer).payload or b""
            assert b"secret" not in sent
            assert (len(sent) == 256) == (asks and trust.pinned is not None)
            assert (len(sent) == 1) == (asks and trust.pinned is None)


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
def test_compression_that_was_not_offered_is_not_used(tmp_path, algorithm):
    with Donor() as donor:
        received = receive_into(tmp_path / "target", donor.endpoint, compression=Compression(algorithm))
    assert received.compression == "off"
