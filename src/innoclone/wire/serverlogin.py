"""The server's side of a login, without I/O: feed it the client's packets, send what it returns.

caching_sha2_password only; a client that begins with another plugin is asked to switch. The fast path needs what is
remembered of an earlier login in full; without it the client sends the password itself, under TLS, over a Unix socket
or under our RSA key. Source: MySQL's protocol documentation ("Caching SHA-2 Pluggable Authentication").
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from innoclone.errors import ProtocolError
from innoclone.wire.commands import ChangeUser
from innoclone.wire.handshake import (
    NONCE_LENGTH,
    AuthMoreData,
    AuthSwitch,
    Capability,
    Err,
    Greeting,
    HandshakeResponse,
    SslRequest,
)
from innoclone.wire.login import FAST_OK, FULL_NEEDED, NOTHING_MORE, REQUEST_KEY, SHA2

__all__ = ["OFFERED", "Credentials", "ServerLogin", "ServerStep", "digest_matches"]

OFFERED = (
    Capability.LONG_PASSWORD
    | Capability.FOUND_ROWS
    | Capability.LONG_FLAG
    | Capability.CONNECT_WITH_DB
    | Capability.PROTOCOL_41
    | Capability.INTERACTIVE
    | Capability.TRANSACTIONS
    | Capability.SECURE_CONNECTION
    | Capability.MULTI_RESULTS
    | Capability.PLUGIN_AUTH
    | Capability.CONNECT_ATTRS
    | Capability.PLUGIN_AUTH_LENENC
)
NEEDED = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION
SSL_REQUEST = 32  # bytes; a response in full is longer
LONGEST_PASSWORD = 512  # bytes with the NUL; what an RSA key of 4096 bits can carry is less
BAD_HANDSHAKE = Err(1043, "08S01", "Bad handshake")
OLD_CLIENT = Err(
    1251,
    "08004",
    "Client does not support authentication protocol requested by server; consider upgrading MySQL client",
)
INSECURE = Err(
    3159, "HY000", "Connections using insecure transport are prohibited while --require_secure_transport=ON."
)


class Credentials(Protocol):
    """What a login asks about accounts; the implementation knows from which host the client comes."""

    @property
    def public_key(self) -> bytes:
        """RSA public key, PEM."""

    def is_trusted(self, user: str) -> bool:
        """The transport itself vouches for the user (peer credentials of a Unix socket)."""

    def has_empty_password(self, user: str) -> bool:
        """The account exists and has no password."""

    def remembered(self, user: str) -> bytes | None:
        """SHA256(SHA256(password)) if the account has been logged in to, else None."""

    def is_password(self, user: str, password: bytes) -> bool:
        """The account exists and that is its password; right ones are remembered. Takes its time."""

    def decrypt(self, data: bytes) -> bytes:
        """With the RSA key. Raises `ProtocolError`."""


@dataclass(frozen=True)
class ServerStep:
    """What to do next: send ``payload`` if there is one, then start TLS if ``start_tls``.

    ``logged_in`` ends the login well, ``refused`` says that the payload is the error that ends it.
    """

    payload: bytes | None = None
    start_tls: bool = False
    logged_in: bool = False
    refused: bool = False


class _Phase(enum.Enum):
    RESPONSE = enum.auto()
    SCRAMBLE = enum.auto()  # after a switch
    PASSWORD = enum.auto()  # or the request of a key
    ENCRYPTED = enum.auto()
    DONE = enum.auto()


class ServerLogin:
    """One login. ``client_host`` is for the message only; ``tls``: offer it, ``tls_required``: take no password
    without it; ``private``: nobody else can read the transport (a Unix socket); ``more``: capabilities to offer."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        version: str,
        connection_id: int,
        nonce: bytes,
        client_host: str,
        tls: bool,
        tls_required: bool = False,
        private: bool = False,
        more: Capability = NOTHING_MORE,
    ) -> None:
        self._credentials = credentials
        self._nonce, self._host = nonce, client_host
        self._tls_required, self._private = tls_required, private
        self._phase = _Phase.RESPONSE
        self._tls_wanted = False
        offered = OFFERED | more | (Capability.SSL if tls else NOTHING_MORE)
        self.greeting = Greeting(version, connection_id, nonce, offered, SHA2)
        self.user = ""
        self.database = ""
        self.capabilities = NOTHING_MORE  # what both have
        self.zstd_level = 0  # that the client asks for
        self.attributes: Mapping[str, str] = {}  # what the client says of itself
        self.trusted = False  # by the transport alone, without a password

    @classmethod
    def changing_user(
        cls, credentials: Credentials, change: ChangeUser, before: ServerLogin, nonce: bytes
    ) -> tuple[ServerLogin, ServerStep]:
        """COM_CHANGE_USER: a login on a connection that had one, which begins with the switch to a fresh nonce."""
        login = cls(
            credentials, version=before.greeting.version, connection_id=before.greeting.connection_id, nonce=nonce,
            client_host=before._host, tls=False, private=before._private,
        )  # fmt: skip
        login.user, login.database, login.capabilities = change.user, change.database, before.capabilities
        return login, login._begin(None)

    def tls_started(self) -> None:
        """The TLS handshake that a step asked for is done."""
        self._private = True

    def is_guess(self, payload: bytes) -> bool:
        """Whether `receive` would compare what the client sends with something secret, and its answer tell of that."""
        return not (self._phase is _Phase.RESPONSE and len(payload) == SSL_REQUEST)

    def receive(self, payload: bytes) -> ServerStep:
        """Take one packet of the client. Never raises: a packet that makes no sense is refused with MySQL's error."""
        with contextlib.suppress(ProtocolError):
            match self._phase:
                case _Phase.RESPONSE:
                    return self._responded(payload)
                case _Phase.SCRAMBLE:
                    return self._scrambled(payload)
                case _Phase.PASSWORD:
                    return self._told(payload)
                case _Phase.ENCRYPTED:
                    return self._encrypted(payload)
        return self._refuse(BAD_HANDSHAKE)  # it makes no sense, or all is over

    def _responded(self, payload: bytes) -> ServerStep:
        offered = self.greeting.capabilities
        if len(payload) == SSL_REQUEST and not self._tls_wanted:
            request = SslRequest.parse(payload)
            if not request.capabilities & offered & Capability.SSL:
                return self._refuse(BAD_HANDSHAKE)
            self._tls_wanted = True
            return ServerStep(start_tls=True)
        response = HandshakeResponse.parse(payload, offered)
        if response.capabilities & NEEDED != NEEDED:
            return self._refuse(BAD_HANDSHAKE)
        self.user, self.database, self.capabilities = response.user, response.database, response.capabilities
        self.zstd_level, self.attributes = response.zstd_level, dict(response.attributes)
        if self._tls_required and not self._private:
            return self._refuse(INSECURE)
        if not response.capabilities & Capability.PLUGIN_AUTH:
            return self._refuse(OLD_CLIENT)
        return self._begin(response.auth if response.plugin == SHA2 else None)

    def _begin(self, scramble: bytes | None) -> ServerStep:
        if self._credentials.is_trusted(self.user):
            self.trusted = True
            return self._done(ServerStep(logged_in=True))
        if scramble is None:
            self._phase = _Phase.SCRAMBLE
            return ServerStep(AuthSwitch(SHA2, self._nonce).serialize())
        return self._scrambled(scramble)

    def _scrambled(self, scramble: bytes) -> ServerStep:
        if scramble in (b"", b"\0"):
            return self._verdict(self._credentials.has_empty_password(self.user), given=False)
        known = self._credentials.remembered(self.user)
        if known is not None and digest_matches(known, scramble, self._nonce):
            # The OK packet follows at once, as the protocol wants it.
            return self._done(ServerStep(AuthMoreData(FAST_OK).serialize(), logged_in=True))
        self._phase = _Phase.PASSWORD
        return ServerStep(AuthMoreData(FULL_NEEDED).serialize())

    def _told(self, payload: bytes) -> ServerStep:
        if self._private:
            return self._decided(payload)
        if payload != REQUEST_KEY[SHA2]:  # a client may have our key already
            return self._encrypted(payload)
        self._phase = _Phase.ENCRYPTED
        return ServerStep(AuthMoreData(self._credentials.public_key).serialize())

    def _encrypted(self, payload: bytes) -> ServerStep:
        try:
            return self._decided(self._unmasked(self._credentials.decrypt(payload)))
        except ProtocolError:
            return self._verdict(False, given=True)

    def _unmasked(self, masked: bytes) -> bytes:
        mask = self._nonce * (len(masked) // NONCE_LENGTH + 1)
        return bytes(a ^ b for a, b in zip(masked, mask, strict=False))

    def _decided(self, told: bytes) -> ServerStep:
        """``told`` is the password and a NUL."""
        if not told.endswith(b"\0") or len(told) > LONGEST_PASSWORD:
            return self._verdict(False, given=True)
        return self._verdict(self._credentials.is_password(self.user, told[:-1]), given=True)

    def _verdict(self, right: bool, *, given: bool) -> ServerStep:
        if right:
            return self._done(ServerStep(logged_in=True))
        message = f"Access denied for user '{self.user}'@'{self._host}' (using password: {'YES' if given else 'NO'})"
        return self._refuse(Err(1045, "28000", message))

    def _refuse(self, error: Err) -> ServerStep:
        return self._done(ServerStep(error.serialize(), refused=True))

    def _done(self, step: ServerStep) -> ServerStep:
        self._phase = _Phase.DONE
        return step


def digest_matches(known: bytes, scramble: bytes, nonce: bytes) -> bool:
    """Whether a client's answer to ``nonce`` shows that it has the password of which ``known`` is SHA256(SHA256(p))."""
    if len(scramble) != len(known):
        return False
    mask = hashlib.sha256(known + nonce).digest()
    once = bytes(a ^ b for a, b in zip(scramble, mask, strict=True))
    return hmac.compare_digest(hashlib.sha256(once).digest(), known)
