"""The login of every connection, by a server that is a list of what it says."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hostile import GREETING
from innoclone.errors import (
    CloneError,
    ConnectFailed,
    NetworkError,
    NotMySQL,
    ProtocolError,
    TlsFailed,
    UnsafeLogin,
    UsageError,
)
from innoclone.transport import login as protocol
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from innoclone.wire.handshake import (
    AuthMoreData,
    Capability,
    HandshakeResponse,
    Ok,
    SslRequest,
)

PASSWORD = "pässwörd of some length, with 'quotes'"
PLAIN = Compression()


class Scripted:
    """A channel to a server that says these payloads, or raises these errors, one after the other."""

    def __init__(self, *said: bytes | Exception) -> None:
        self._said, self._sequence = list(said), 0
        self.heard: list[tuple[int, bytes]] = []  # sequence numbers and payloads
        self.tls_after = -1  # packets of the client

    def read_packet_numbered(self) -> tuple[int, bytes]:
        said = self._said.pop(0)
        if isinstance(said, Exception):
            raise said
        self._sequence += 1
        return self._sequence - 1, said

    def write_bytes(self, data: bytes) -> None:
        self._sequence = data[3] + 1
        self.heard.append((data[3], data[4:]))

    def begin_tls(self) -> None:
        self.tls_after = len(self.heard)


IN = (AuthMoreData(b"\x03").serialize(), Ok().serialize())
WITH_TLS = replace(GREETING, capabilities=GREETING.capabilities | Capability.SSL)
CLEAR = Endpoint(user="u", password=PASSWORD, ssl_mode=SslMode.DISABLED)


def test_packets_are_numbered_in_turn():
    channel = Scripted(GREETING.serialize(), *IN)
    login = protocol.log_in(channel, CLEAR, PLAIN, more=Capability.MULTI_RESULTS)
    assert login.greeting == GREETING
    ((number, payload),) = channel.heard
    assert (number, channel.tls_after) == (1, -1)
    assert HandshakeResponse.parse(payload).user == "u"


def test_the_user_is_told_inside_tls_only():
    channel = Scripted(WITH_TLS.serialize(), *IN)
    protocol.log_in(channel, replace(CLEAR, ssl_mode=SslMode.PREFERRED), PLAIN)
    assert [number for number, _ in channel.heard] == [1, 2]
    assert channel.tls_after == 1
    assert SslRequest.parse(channel.heard[0][1]).capabilities & Capability.SSL
    assert HandshakeResponse.parse(channel.heard[1][1]).user == "u"


@pytest.mark.parametrize("mode", [SslMode.REQUIRED, SslMode.VERIFY_CA, SslMode.VERIFY_IDENTITY])
def test_tls_that_is_required_and_not_offered(mode, tmp_path):
    """Nothing is said then; a Unix socket needs none."""
    channel = Scripted(GREETING.serialize(), *IN)
    with pytest.raises(TlsFailed):
        protocol.log_in(channel, replace(CLEAR, ssl_mode=mode), PLAIN)
    assert channel.heard == []
    protocol.log_in(Scripted(GREETING.serialize(), *IN), replace(CLEAR, ssl_mode=mode, socket=tmp_path), PLAIN)


@pytest.mark.parametrize(
    ("error", "before", "behind"),
    [
        (NetworkError("silence"), (ConnectFailed, 2003, "did not greet: silence"), (NetworkError, 1158, "silence")),
        (ProtocolError("a header"), (NotMySQL, 2012, "greeted with a header"), (ProtocolError, 3863, "a header")),
    ],
)
def test_what_goes_wrong_before_the_greeting_is_another_error_than_behind_it(error, before, behind):
    for said, (kind, number, words) in (((error,), before), ((GREETING.serialize(), error), behind)):
        with pytest.raises(kind, match=words) as caught:
            protocol.log_in(Scripted(*said), CLEAR, PLAIN)
        assert caught.value.code == number


def test_a_login_without_a_greeting():
    with pytest.raises(CloneError):
        protocol.log_in(Scripted(Ok().serialize()), CLEAR, PLAIN)


@pytest.mark.parametrize("way", ["named", "from the peer", "none", "missing"])
def test_whose_key_the_password_is_encrypted_with(tmp_path, way):
    """The named one counts, and then no other is asked for; without any the password stays here."""
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path = tmp_path / "key.pem"
    if way == "named":
        path.write_bytes(public)
    to = replace(CLEAR, server_public_key_path=path if way in ("named", "missing") else None,
                 get_server_public_key=way == "from the peer")  # fmt: skip
    more = AuthMoreData(b"\x04").serialize()
    sends_key = [AuthMoreData(public).serialize()] if way == "from the peer" else []
    channel = Scripted(GREETING.serialize(), more, *sends_key, Ok().serialize())
    if way in ("none", "missing"):
        kind = {"none": UnsafeLogin, "missing": UsageError}[way]
        with pytest.raises(kind):
            protocol.log_in(channel, to, PLAIN)
        assert len(channel.heard) == (1 if way == "none" else 0)
        return
    protocol.log_in(channel, to, PLAIN)
    asked = [b"\x02"] if way == "from the peer" else []
    assert [payload for _, payload in channel.heard[1:-1]] == asked
    assert len(channel.heard[-1][1]) == key.key_size // 8


@pytest.mark.parametrize("algorithm", ["zlib", "zstd"])
@pytest.mark.parametrize("offered", [True, False])
def test_compression_where_it_is_offered(algorithm, offered):
    capability = {"zlib": Capability.COMPRESS, "zstd": Capability.ZSTD}[algorithm]
    greeting = replace(GREETING, capabilities=GREETING.capabilities | (capability if offered else Capability(0)))
    login = protocol.log_in(Scripted(greeting.serialize(), *IN), CLEAR, Compression(algorithm, 7))
    assert login.compression == (algorithm if offered else "off")


def test_the_cipher_of_what_has_none():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert protocol.cipher_of(ours) == ""
        context = ssl.create_default_context()
        with context.wrap_socket(ours, do_handshake_on_connect=False, server_hostname="x") as unfinished:
            assert protocol.cipher_of(unfinished) == ""
