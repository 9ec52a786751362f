"""The keys that open a store: each wraps the same master key, by a passphrase (scrypt) or a file of random bytes.

They are objects in ``keys/``, made and never changed, so a key is replaced by making another and removing the first.
Who had a removed key, and a copy of its object or of the master key, can still read: then a new store is the answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from innoclone.errors import CloneError, StoreDamaged, StoreKeyWrong, StoreMissing, UsageError
from innoclone.files.system import file_error
from innoclone.store.objects import Gone, Objects
from innoclone.store.sealing import KEY, derive

__all__ = [
    "LATEST_MOMENT",
    "PASSPHRASE",
    "KeyEntry",
    "Secret",
    "add_key",
    "find_master",
    "key_entries",
    "remove_key",
    "secret_of",
]

PASSPHRASE = "INNOCLONE_STORE_PASSPHRASE"  # noqa: S105 - the name of a variable
FOLDER = "keys"
COST = {"n": 1 << 16, "r": 8, "p": 1}  # 64 MiB, a fifth of a second
MOST_MEMORY = 1 << 30  # bytes that a store may ask scrypt for
SHORTEST, LONGEST = 8, 32  # characters of a passphrase, bytes of a key file, at least
LARGEST = 1 << 20  # bytes of a key file
MAKE_ONE = f"(umask 077; head -c {KEY} /dev/urandom >{{file}}) makes a key: keep a copy elsewhere"
LATEST_MOMENT = 1e11  # seconds since the epoch: the year 5138
LONGEST_ENTRY = 1 << 16  # bytes
ID = re.compile(r"[0-9a-f]{16}\Z")


@dataclass(frozen=True)
class Secret:
    """What the user has: ``kind`` is ``passphrase`` or ``file``."""

    kind: str
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class KeyEntry:
    """One key of a store as it lies there; ``created`` in seconds since the epoch by its maker's clock."""

    id: str
    kind: str
    created: float


def secret_of(key_file: Path | None, passphrase_file: Path | None, *, new: bool = False) -> Secret | None:
    """The secret that was named, or that of the environment; None where there is none. A ``new`` one opens nothing yet:
    who has no file for it may make one. Raises `UsageError`."""
    if key_file is not None and passphrase_file is not None:
        raise UsageError("--key-file and --passphrase-file don't go together", hint="name the one that opens the store")
    if key_file is not None:
        content = _content(key_file, MAKE_ONE.format(file=shlex.quote(str(key_file))) if new else "")
        if len(content) < LONGEST:
            raise UsageError(
                f"{key_file} is too short for a key: {len(content)} bytes of {LONGEST}",
                hint="a passphrase goes with --passphrase-file; " + MAKE_ONE.format(file="ANOTHER"),
            )
        return Secret("file", content)
    if passphrase_file is not None:
        return _passphrase(_content(passphrase_file).partition(b"\n")[0].rstrip(b"\r"), str(passphrase_file))
    if (text := os.environ.get(PASSPHRASE)) is not None:
        return _passphrase(os.fsencode(text), PASSPHRASE)
    return None


def _content(path: Path, missing: str = "") -> bytes:
    """``missing`` is the hint where there is no such file."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        hint = missing if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"can't read {path}: {error.strerror}", hint=hint or "check the name and its mode") from error
    if len(content) > LARGEST:
        raise UsageError(f"{path} is too large for a key")
    return content


def _passphrase(text: bytes, origin: str) -> Secret:
    if len(text) < SHORTEST:
        raise UsageError(f"the passphrase of {origin} has less than {SHORTEST} characters", hint="choose a longer one")
    return Secret("passphrase", text)


def add_key(objects: Objects, bound: bytes, master: bytes, secret: Secret) -> str:
    """Make another key that opens the store; its id. ``bound`` is the store's description, which it is good for."""
    key, salt = secrets.token_hex(8), secrets.token_bytes(KEY)
    entry: dict[str, object] = {"kind": secret.kind, "salt": salt.hex(), "created": round(time.time())}
    if secret.kind == "passphrase":
        entry |= COST
    nonce = secrets.token_bytes(12)
    wrapped = nonce + AESGCM(_wrapping(secret, entry)).encrypt(nonce, master, bound)
    objects.create(f"{FOLDER}/{key}", json.dumps(entry | {"wrapped": wrapped.hex()}).encode())
    return key


def find_master(objects: Objects, bound: bytes, secret: Secret) -> tuple[bytes, str]:
    """The master key, and the id of the key that gave it. Raises `StoreKeyWrong`, `StoreDamaged`."""
    damaged: CloneError | None = None
    tried = 0
    for name, entry in _entries(objects):
        if entry.get("kind") != secret.kind:
            continue
        tried += 1
        try:
            wrapped = bytes.fromhex(str(entry["wrapped"]))
            return AESGCM(_wrapping(secret, entry)).decrypt(wrapped[:12], wrapped[12:], bound), name
        except InvalidTag:
            continue
        except (KeyError, ValueError, TypeError) as error:
            damaged = StoreDamaged(f"{objects.address}: key {name} is not readable: {error}")
    if damaged is not None:
        raise damaged
    what = {"file": "key file", "passphrase": "passphrase"}[secret.kind]
    raise StoreKeyWrong(
        f"{objects.address}: " + (f"this {what} doesn't open the store" if tried else f"no {what} opens this store")
    )


def key_entries(objects: Objects) -> list[KeyEntry]:
    """All keys of the store, by age."""
    found = [
        KeyEntry(name, str(entry.get("kind", "?")), _moment(entry.get("created"))) for name, entry in _entries(objects)
    ]
    return sorted(found, key=lambda one: (one.created, one.id))


def remove_key(objects: Objects, key: str, *, dry_run: bool = False) -> None:
    """Remove a key, or only see that it could be; never the last one. Raises `StoreMissing`, `UsageError`."""
    there = [entry.id for entry in key_entries(objects)]
    if key not in there:
        raise StoreMissing(f"{objects.address} has no key {key}", hint="innoclone store key list URL shows them")
    if len(there) == 1:
        raise UsageError("this is the store's only key: nobody could read it without", hint="add another key first")
    if not dry_run:
        objects.delete([f"{FOLDER}/{key}"])


def _entries(objects: Objects) -> Iterator[tuple[str, dict[str, object]]]:
    for one in objects.list(FOLDER):
        name = one.name.rpartition("/")[2]
        if not ID.match(name) or one.size > LONGEST_ENTRY:
            continue
        entry: object = None
        try:
            entry = json.loads(objects.read(one.name, LONGEST_ENTRY))
        except Gone:  # it was removed a moment ago
            continue
        except (ValueError, RecursionError):
            pass
        yield name, entry if isinstance(entry, dict) else {}


def _moment(value: object) -> float:
    """Seconds since the epoch; 0 for what can't be that."""
    return float(value) if isinstance(value, int | float) and 0 <= value < LATEST_MOMENT else 0.0


def _wrapping(secret: Secret, entry: dict[str, object]) -> bytes:
    """The key that wraps the master key. Raises ValueError, KeyError, TypeError for an entry that makes no sense."""
    salt = bytes.fromhex(str(entry["salt"]))
    if secret.kind == "file":
        return derive(secret.value, b"key file", salt)
    n, r, p = (int(entry[name]) for name in ("n", "r", "p"))  # type: ignore[call-overload]
    if not (0 < 128 * n * r * p <= MOST_MEMORY and n > 1 and r > 0 and p > 0):
        raise ValueError(f"scrypt with n={n}, r={r}, p={p}")
    try:
        return hashlib.scrypt(secret.value, salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r * p, dklen=KEY)
    except (OSError, OverflowError) as error:
        raise file_error(OSError(error), "can't derive a key from the passphrase") from error
