"""Who may take clones: by default one account, whose password is known here."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from innoclone.records.keys import PasswordKey
from innoclone.transport.failedlogins import FailedLogins
from innoclone.wire.serverlogin import Credentials

__all__ = ["Account", "AccountCredentials", "Entrance", "Guest"]


class Guest(Credentials, Protocol):
    """The credentials of one connection, and what whoever logged in with them may do."""

    def admit(self, user: str) -> None:
        """The login was right."""

    @property
    def may_clone(self) -> bool:
        """Whether the account has BACKUP_ADMIN, now."""


@dataclass(frozen=True)
class Entrance:
    """How recipients are let in. ``guest`` is asked for each connection, with the host that it comes from;
    ``block_time``: seconds that a host has to wait after too many failed logins."""

    guest: Callable[[str], Guest]
    tls: ssl.SSLContext
    failed_logins: FailedLogins
    block_time: float


@dataclass(frozen=True)
class Account:
    """A user name and a password. It has what a clone takes (BACKUP_ADMIN), and nothing else."""

    user: str
    password: str = field(repr=False)


class AccountCredentials:
    """A `Guest` with it. The password is known here, so that no client has to tell it."""

    may_clone = True
    """There is no other account."""

    def __init__(self, account: Account, key: PasswordKey) -> None:
        self._user, self._key = account.user, key
        secret = account.password.encode("utf-8", "surrogateescape")
        self._digest = hashlib.sha256(hashlib.sha256(secret).digest()).digest() if secret else None

    @property
    def public_key(self) -> bytes:
        """RSA public key, PEM."""
        return self._key.public

    def admit(self, user: str) -> None:
        """It can only be this account."""

    def is_trusted(self, _user: str) -> bool:
        """Nobody is without a password."""
        return False

    def has_empty_password(self, user: str) -> bool:
        """Whether that was given, which `innoclone serve` refuses."""
        return self._digest is None and user == self._user

    def remembered(self, user: str) -> bytes | None:
        """SHA256(SHA256(password))."""
        return self._digest if user == self._user else None

    def is_password(self, user: str, password: bytes) -> bool:
        """Whether it is; the same time is taken for every user."""
        told = hashlib.sha256(hashlib.sha256(password).digest()).digest()
        right = hmac.compare_digest(told, self._digest or bytes(len(told)))
        return right and user == self._user and self._digest is not None

    def decrypt(self, data: bytes) -> bytes:
        """With the RSA key. Raises `ProtocolError`."""
        return self._key.decrypt(data)
