"""The login of every connection of ours, clone connections and SQL alike: `innoclone.wire.login` with I/O.

No password goes out in the clear: rule 8 of docs/design.md.
"""

from __future__ import annotations

import ssl
from typing import Protocol

from innoclone.errors import ConnectFailed, NetworkError, NotMySQL, ProtocolError, UsageError
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from innoclone.wire.handshake import Capability
from innoclone.wire.login import NOTHING_MORE, ClientLogin, KeyTrust
from innoclone.wire.packets import split

__all__ = ["Channel", "cipher_of", "log_in"]


class Channel(Protocol):
    """What a login needs of a connection. It must read no byte ahead: what follows an SSL request is encrypted."""

    def read_packet_numbered(self) -> tuple[int, bytes]:
        """The next packet: sequence number and payload. Raises `NetworkError`, `ProtocolError`."""

    def write_bytes(self, data: bytes) -> None:
        """Send. Raises `NetworkError`."""

    def begin_tls(self) -> None:
        """Do the TLS handshake. Raises `TlsFailed`."""


def log_in(
    channel: Channel, endpoint: Endpoint, compression: Compression, *, more: Capability = NOTHING_MORE
) -> ClientLogin:
    """Log in as ``endpoint`` says; ``more`` are capabilities to ask for. Raises a `RemoteFault`, or `UsageError` where
    the server's public key can't be read."""
    local = endpoint.is_private
    with_tls = not local or endpoint.tls_on_socket
    login = ClientLogin(
        endpoint.user, endpoint.password,
        tls=endpoint.ssl_mode is not SslMode.DISABLED and with_tls,
        tls_required=endpoint.ssl_mode not in (SslMode.DISABLED, SslMode.PREFERRED) and with_tls,
        secure=local, key=_key(endpoint), certificate=endpoint.ssl_cert is not None,
        compression=compression.algorithm, zstd_level=compression.level, more=more,
    )  # fmt: skip
    done = False
    while not done:
        try:
            sequence, payload = channel.read_packet_numbered()
        except NetworkError as error:
            if login.greeting is None:
                raise ConnectFailed(f"{endpoint.address} did not greet: {error.message}") from error
            raise
        except ProtocolError as error:
            if login.greeting is None:  # the first bytes make no sense as a packet's header
                raise NotMySQL(f"{endpoint.address} greeted with {error.message}") from error
            raise
        step = login.receive(payload)
        if step.payload is not None:
            sequence += 1
            channel.write_bytes(b"".join(split(step.payload, sequence)))
        if step.start_tls:
            channel.begin_tls()
            step = login.tls_started()
            channel.write_bytes(b"".join(split(step.payload or b"", sequence + 1)))
        done = step.done
    if login.greeting is None:
        raise ProtocolError("login ended before it began")
    return login


def _key(endpoint: Endpoint) -> KeyTrust:
    """As in MySQL the named key counts, and the peer's is not asked for then."""
    path = endpoint.server_public_key_path
    if path is None:
        return KeyTrust(from_peer=endpoint.get_server_public_key)
    try:
        return KeyTrust(pinned=path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"can't read the server's public key {path}: {error.strerror}",
            hint="it is public_key.pem in the server's data directory",
        ) from error


def cipher_of(sock: object) -> str:
    """TLS version and cipher of a socket, empty without TLS."""
    if isinstance(sock, ssl.SSLSocket) and (used := sock.cipher()) is not None:
        return f"{sock.version()} {used[0]}"
    return ""
