"""The one account that may take clones."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from innoclone.records.keys import PasswordKey

__all__ = ["Account", "AccountCredentials"]


@dataclass(frozen=True)
class Account:
    """A user name and a password. It has what a clone takes (BACKUP_ADMIN), and nothing else."""

    user: str
    password: str = field(repr=False)


class AccountCredentials:
    """`Credentials` for it. The password is known here, so that no client has to tell it."""

    def __init__(self, account: Account, key: PasswordKey) -> None:
        self._user, self._key = account.user, key
        secret = account.password.encode("utf-8", "surrogateescape")
        self._digest = hashlib.sha256(hashlib.sha256(secret).digest()).digest() if secret else None

    @property
    def public_key(self) -> bytes:
        """RSA public key, PEM."""
        return self._key.public

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
