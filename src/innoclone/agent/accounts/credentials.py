"""Who may log in: the accounts as a login sees them, and a cache of right passwords."""

from __future__ import annotations

import hashlib
import os
import pwd
import ssl
from dataclasses import dataclass

from innoclone.agent.accounts.accounts import EVERYWHERE, GRANT_OPTION, NOBODY, Account, Accounts
from innoclone.agent.sql import PRIVILEGES
from innoclone.records.keys import PasswordKey

__all__ = ["ADMINISTRATOR", "HostCredentials", "LoginKeys", "PasswordCache", "is_administrator"]

ADMINISTRATOR = Account(
    "root", "localhost", None, frozenset((name, EVERYWHERE) for name in (*PRIVILEGES, GRANT_OPTION))
)
"""Whoever is root or the agent's own user on the agent's host, through the Unix socket; it is not in the file."""


def is_administrator(uid: int | None) -> bool:
    """Whether the user id that the kernel names is root's or the agent's own."""
    return uid in (0, os.geteuid())


class PasswordCache:
    """SHA256(SHA256(password)) of accounts that were logged in to in full, for the fast path; never on disk."""

    def __init__(self) -> None:
        self._digests: dict[Account, bytes] = {}

    def get(self, account: Account) -> bytes | None:
        """The digest. A changed account is another one, so that what was remembered of it counts no more."""
        return self._digests.get(account)

    def put(self, account: Account, password: bytes) -> None:
        """Remember a password that was right."""
        self._digests = {known: d for known, d in self._digests.items() if known.name != account.name}
        self._digests[account] = hashlib.sha256(hashlib.sha256(password).digest()).digest()


@dataclass(frozen=True)
class LoginKeys:
    """What logins need besides accounts."""

    passwords: PasswordCache
    key: PasswordKey
    tls: ssl.SSLContext


@dataclass
class HostCredentials:
    """`Credentials` for a client from ``host``; ``peer`` is its user id where the transport is a Unix socket."""

    accounts: Accounts
    cache: PasswordCache
    key: PasswordKey
    host: str
    peer: int | None

    @property
    def public_key(self) -> bytes:
        """RSA public key, PEM."""
        return self.key.public

    def account(self, user: str, *, trusted: bool) -> Account | None:
        """The account that the user gets."""
        return ADMINISTRATOR if trusted else self.accounts.find(user, self.host)

    def is_trusted(self, user: str) -> bool:
        """Root or the agent's own user, by the name ``root`` or by their own."""
        return is_administrator(self.peer) and user in ("root", _name_of(self.peer))

    def has_empty_password(self, user: str) -> bool:
        """The account exists and has no password."""
        account = self.accounts.find(user, self.host)
        return account is not None and account.password is None

    def remembered(self, user: str) -> bytes | None:
        """What is remembered of the account."""
        account = self.accounts.find(user, self.host)
        return None if account is None else self.cache.get(account)

    def is_password(self, user: str, password: bytes) -> bool:
        """Compared even where there is no account, so that nobody learns which there are by the time it takes."""
        account = self.accounts.find(user, self.host)
        hashed = account.password if account is not None else None
        right = (hashed or NOBODY).matches(password)
        if account is None or hashed is None or not right:
            return False
        self.cache.put(account, password)
        return True

    def decrypt(self, data: bytes) -> bytes:
        """With the RSA key."""
        return self.key.decrypt(data)


def _name_of(uid: int | None) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name if uid is not None else None
    except KeyError:
        return None
