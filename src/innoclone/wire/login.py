"""The client's side of a login, without I/O: feed it the server's packets, send what it returns.

This is the policy of every connection to a server that is not our own: the password itself is told only inside TLS or
over a Unix socket, or encrypted with an RSA key of the server that the user named or said to take from the peer
(`KeyTrust`). Without those a server gets an answer to its nonce at most. Plugins that show the password
(mysql_clear_password, dialog, ...) are not spoken at all.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    ConnectFailed,
    ProtocolError,
    TlsFailed,
    UnsafeLogin,
    one_line,
)
from innoclone.wire.handshake import (
    NONCE_LENGTH,
    AuthMoreData,
    AuthSwitch,
    Capability,
    Err,
    Greeting,
    HandshakeResponse,
    SslRequest,
    encoded,
    native_scramble,
    rsa_encrypt_password,
    sha2_scramble,
)
from innoclone.wire.refusals import refusal

__all__ = ["NOTHING_MORE", "ClientLogin", "KeyTrust", "Step"]

BASE = (
    Capability.LONG_PASSWORD
    | Capability.LONG_FLAG
    | Capability.PROTOCOL_41
    | Capability.TRANSACTIONS
    | Capability.SECURE_CONNECTION
    | Capability.PLUGIN_AUTH
    | Capability.PLUGIN_AUTH_LENENC
)
NOTHING_MORE = Capability(0)
SHA2 = "caching_sha2_password"
NATIVE = "mysql_native_password"
SHA256 = "sha256_password"  # old accounts; and what servers pretend that an account which doesn't exist uses
FAST_OK, FULL_NEEDED = b"\x03", b"\x04"
REQUEST_KEY = {SHA2: b"\x02", SHA256: b"\x01"}
MOST_PACKETS = 8  # of a server during a login: greeting, one switch, fast path, key, OK, and some patience


class Step(NamedTuple):
    """What to do next: send ``payload`` if there is one, then start TLS if ``start_tls``; ``done``: logged in."""

    payload: bytes | None = None
    start_tls: bool = False
    done: bool = False


class KeyTrust(NamedTuple):
    """Which RSA key a password may be encrypted with where the connection is not private.

    ``pinned`` is the server's key (PEM), named by the user; without one ``from_peer`` takes what the peer sends.
    """

    pinned: bytes | None = None
    from_peer: bool = False


NO_KEY = KeyTrust()


class _Phase(enum.Enum):
    GREETING = enum.auto()
    AUTH = enum.auto()
    PUBLIC_KEY = enum.auto()
    DONE = enum.auto()


class ClientLogin:
    """One login. Compression is asked for where the server offers it and ``compression`` is zlib or zstd.

    ``secure`` says that the transport is private without TLS (a Unix socket). ``tls``/``tls_required``: whether to use
    TLS where offered, and to fail where not; ``certificate``: whether we have one to show. ``more`` are capabilities
    that the caller needs.
    """

    def __init__(
        self,
        user: str,
        password: str,
        *,
        tls: bool,
        tls_required: bool,
        secure: bool = False,
        key: KeyTrust = NO_KEY,
        certificate: bool = False,
        compression: str = "off",
        zstd_level: int = 3,
        more: Capability = NOTHING_MORE,
    ) -> None:
        self._user, self._password = user, password
        self._key, self._certificate, self._more_capabilities = key, certificate, more
        self._tls, self._tls_required, self._secure = tls, tls_required, secure
        self._wanted, self._zstd_level = compression, zstd_level
        self._phase = _Phase.GREETING
        self._nonce = b""
        self._packets = 0
        self._encrypted, self._local = False, secure
        self._plugin = SHA2
        self.greeting: Greeting | None = None
        self.compression = "off"  # what was agreed

    def receive(self, payload: bytes) -> Step:
        """Take one packet of the server. Raises a `RemoteFault` when the login can't succeed."""
        self._packets += 1
        if self._packets > MOST_PACKETS:
            raise ProtocolError("login: the server asks without end")
        if payload[:1] == b"\xff":
            raise self._refused(Err.parse(payload))
        if self._phase is _Phase.GREETING:
            return self._greeted(Greeting.parse(payload))
        if self._phase is _Phase.PUBLIC_KEY:
            self._phase = _Phase.AUTH
            if payload[:1] != b"\x01":
                raise ProtocolError("login: the server's public key was expected")
            return Step(rsa_encrypt_password(self._password, self._nonce, payload[1:]))
        if payload[:1] == b"\x00":
            self._phase = _Phase.DONE
            return Step(done=True)
        if payload[:1] == b"\xfe":
            switch = AuthSwitch.parse(payload)
            self._plugin, self._nonce = switch.plugin, switch.nonce
            if self._plugin in (SHA2, NATIVE, SHA256) and len(self._nonce) != NONCE_LENGTH:
                raise ProtocolError(f"login: a nonce of {len(self._nonce)} bytes")
            return self._tell_password() if self._plugin == SHA256 else Step(self._scramble())
        if payload[:1] == b"\x01":
            return self._more(AuthMoreData.parse(payload).data)
        raise ProtocolError(f"login: packet {payload[:1].hex() or 'of no bytes'} is not allowed here")

    def tls_started(self) -> Step:
        """The TLS handshake that a step asked for is done: now the credentials."""
        self._secure = self._encrypted = True
        return Step(self._response())

    def _greeted(self, greeting: Greeting) -> Step:
        self.greeting, self._nonce, self._phase = greeting, greeting.nonce, _Phase.AUTH
        self._plugin = greeting.plugin if greeting.plugin in (SHA2, NATIVE) else SHA2
        offered = greeting.capabilities
        if self._wanted == "zstd" and offered & Capability.ZSTD:
            self.compression = "zstd"
        elif self._wanted == "zlib" and offered & Capability.COMPRESS:
            self.compression = "zlib"
        if self._tls and offered & Capability.SSL:
            return Step(SslRequest(self._capabilities() | Capability.SSL).serialize(), start_tls=True)
        if self._tls_required:
            raise TlsFailed(f"the server ({greeting.version}) does not offer TLS")
        self._tls = False
        return Step(self._response())

    def _capabilities(self) -> Capability:
        wanted = {"zstd": Capability.ZSTD, "zlib": Capability.COMPRESS}.get(self.compression, Capability(0))
        return BASE | self._more_capabilities | wanted | (Capability.SSL if self._tls else Capability(0))

    def _response(self) -> bytes:
        level = self._zstd_level if self.compression == "zstd" else 0
        return HandshakeResponse(self._capabilities(), self._user, self._scramble(), self._plugin, level).serialize()

    def _scramble(self) -> bytes:
        if self._plugin == SHA2:
            return sha2_scramble(self._password, self._nonce)
        if self._plugin == NATIVE:
            return native_scramble(self._password, self._nonce)
        raise AuthPluginUnsupported(f"the account uses {self._plugin}")

    def _more(self, data: bytes) -> Step:
        if self._plugin != SHA2:
            raise ProtocolError(f"login: more data for {self._plugin}")
        if data == FAST_OK:
            return Step()
        if data != FULL_NEEDED:
            raise ProtocolError(f"login: {data[:8].hex()} is not an answer of {SHA2}")
        return self._tell_password()

    def _tell_password(self) -> Step:
        """The password itself, for a server that has only its hash: private by the transport, or under a public key."""
        # sha256_password takes nothing but TLS for private, not even a Unix socket.
        private = self._encrypted if self._plugin == SHA256 else self._secure
        if private or not self._password:
            return Step(encoded(self._password) + b"\0")
        if self._key.pinned is not None:
            return Step(rsa_encrypt_password(self._password, self._nonce, self._key.pinned))
        if not (self._key.from_peer or self._secure):  # what comes over a Unix socket is as trusted as the socket
            raise UnsafeLogin(f"{self._plugin} asks for the password on a connection without TLS")
        self._phase = _Phase.PUBLIC_KEY
        return Step(REQUEST_KEY[self._plugin])

    def _refused(self, error: Err) -> Exception:
        known = refusal(
            error.number, error.message,
            encrypted=self._encrypted or self._local, certificate=self._certificate or self._local,
        )  # fmt: skip
        if known is not None:
            return known
        text = f"{error.number} ({one_line(error.sqlstate)}): {one_line(error.message)}"
        if self._phase is _Phase.GREETING:
            return ConnectFailed(f"the server refused the connection: {text}")
        return AccessDenied(text)
