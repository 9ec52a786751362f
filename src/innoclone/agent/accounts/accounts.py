"""The agent's own accounts: who may log in from where, with which password, and what they may do.

They lie in ``accounts.json`` of the agent's folder, passwords only as salted scrypt hashes. Host patterns and which of
several matching accounts counts are MySQL's (manual, "Specifying Account Names" and "Access Control, Stage 1"), but no
host name is looked up: a client is known by its address, and by ``localhost`` where that is the loopback one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innoclone.errors import FileError
from innoclone.files.replacefile import replace_file
from innoclone.files.system import file_error

__all__ = ["EVERYWHERE", "GRANT_OPTION", "Account", "Accounts", "PasswordHash", "host_matches"]

FORMAT = 1
NAME = "accounts.json"
EVERYWHERE = "*.*"
GRANT_OPTION = "GRANT OPTION"
COST = 1 << 14  # scrypt's n: about 50 ms and 16 MiB for a login in full; the fast path has none of it
AT_ONCE = 2  # hashes computed at the same time, so that a crowd of strangers takes no more memory and CPU than that
LOOPBACK = ("127.0.0.1", "::1")
_hashing = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True)
class PasswordHash:
    """A salted hash; the password can't be had from it."""

    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: bytes) -> PasswordHash:
        """With a fresh salt."""
        salt = os.urandom(16)
        return cls(salt, _scrypt(password, salt))

    def matches(self, password: bytes) -> bool:
        """Whether that is the password; takes its time."""
        return hmac.compare_digest(_scrypt(password, self.salt), self.digest)


NOBODY = PasswordHash(bytes(16), bytes(64))
"""What a password is compared with where there is no account, so that the time does not tell."""


def _scrypt(password: bytes, salt: bytes) -> bytes:
    with _hashing:
        return hashlib.scrypt(password, salt=salt, n=COST, r=8, p=1)


@dataclass(frozen=True)
class Account:
    """One account. ``grants`` are (privilege, level): ``("CLONE_ADMIN", "*.*")``."""

    user: str
    host: str = "%"
    password: PasswordHash | None = None
    grants: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    @property
    def name(self) -> tuple[str, str]:
        """User and host pattern."""
        return self.user, self.host

    def __str__(self) -> str:
        """As MySQL shows it."""
        return f"{self.user}@{self.host}"

    def may(self, privilege: str, level: str = EVERYWHERE) -> bool:
        """Whether it has the privilege on ``level`` (``schema.table``) or on something that holds it."""
        levels = {EVERYWHERE, level, f"{level.partition('.')[0]}.*"}
        return any((privilege, where) in self.grants for where in levels)


def host_matches(pattern: str, address: str) -> bool:
    """Whether a client's address fits an account's host: a name, an address, ``%`` and ``_``, a network."""
    names = {address.lower(), "localhost"} if address in LOOPBACK else {address.lower()}
    if "/" in pattern:
        try:
            return ipaddress.ip_address(address) in ipaddress.ip_network(pattern)
        except ValueError:
            return False
    return any(_fits(pattern.lower(), name) for name in names)


def _fits(pattern: str, name: str) -> bool:
    """LIKE without an escape, in time that grows with the product of the lengths at most: when a letter does not fit,
    only the last ``%`` takes one more."""
    at = here = 0
    last, taken = -1, 0
    while here < len(name):
        if at < len(pattern) and pattern[at] == "%":
            last, taken = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("_", name[here]):
            at, here = at + 1, here + 1
        elif last >= 0:
            taken += 1
            at, here = last + 1, taken
        else:
            return False
    return not pattern[at:].strip("%")


class Accounts:
    """All accounts. What is asked is answered from memory; a change is on disk before it counts."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; ``folder`` must exist. Raises a file error."""
        self._path = folder / NAME
        self._lock = threading.Lock()
        self._accounts = _read(self._path)

    def __iter__(self) -> Iterator[Account]:
        """All of them, by name."""
        return iter(sorted(self._accounts.values(), key=lambda account: account.name))

    def get(self, user: str, host: str) -> Account | None:
        """The account of exactly that name."""
        return self._accounts.get((user, host.lower()))

    def find(self, user: str, address: str) -> Account | None:
        """The account that a client from ``address`` gets: of those that match the most specific."""
        fitting = [a for a in self._accounts.values() if a.user == user and host_matches(a.host, address)]
        return min(fitting, key=_specificity, default=None)

    def put(self, *accounts: Account) -> None:
        """Add or replace. Raises a file error, and then nothing has changed."""
        with self._lock:
            self._change({**self._accounts, **{account.name: account for account in accounts}})

    def remove(self, *accounts: Account) -> None:
        """Remove. Raises a file error, and then nothing has changed."""
        gone = {account.name for account in accounts}
        with self._lock:
            self._change({name: account for name, account in self._accounts.items() if name not in gone})

    def _change(self, accounts: dict[tuple[str, str], Account]) -> None:
        _write(self._path, accounts.values())
        self._accounts = accounts


def _specificity(account: Account) -> tuple[int, int]:
    """Literal hosts first, then networks, then patterns by how late their first wildcard comes."""
    wildcard = re.search("[%_]", account.host)
    if wildcard is not None:
        return 2, -wildcard.start()
    return (1, 0) if "/" in account.host else (0, 0)


def _read(path: Path) -> dict[tuple[str, str], Account]:
    try:
        content = json.loads(path.read_bytes())
        accounts = [_parsed(entry) for entry in content["accounts"]] if content["format"] == FORMAT else None
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path} is damaged: {error}", hint="restore it, or remove it and make the accounts anew"
        ) from error
    if accounts is None:
        raise FileError(f"{path} has the format of another version of innoclone")
    return {account.name: account for account in accounts}


def _parsed(entry: dict[str, Any]) -> Account:
    hashed = entry["password"]
    password = None
    if hashed is not None:
        password = PasswordHash(base64.b64decode(hashed["salt"]), base64.b64decode(hashed["scrypt"]))
    grants = frozenset((str(privilege), str(level)) for privilege, level in entry["grants"])
    return Account(str(entry["user"]), str(entry["host"]), password, grants)


def _entry(account: Account) -> dict[str, Any]:
    hashed = None
    if account.password is not None:
        salt, digest = (base64.b64encode(data).decode() for data in (account.password.salt, account.password.digest))
        hashed = {"salt": salt, "scrypt": digest}
    return {"user": account.user, "host": account.host, "password": hashed, "grants": sorted(account.grants)}


def _write(path: Path, accounts: Iterable[Account]) -> None:
    text = json.dumps({"format": FORMAT, "accounts": [_entry(account) for account in accounts]}, indent=1)
    replace_file(path, text + "\n")
