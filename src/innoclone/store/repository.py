"""A store as a whole: its description, made once and never changed, and the keys to it.

``innoclone-store.json`` says the format's version, the store's id and its cipher. Every key is bound to its exact
bytes, so who changes it, for instance to take the encryption away, has made a store that no key opens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from innoclone.errors import (
    DiskFull,
    StoreDamaged,
    StoreKeyWrong,
    StoreMissing,
    StoreUnsafe,
    TargetExists,
    UsageError,
    VersionUnsupported,
)
from innoclone.store.keys import Secret, add_key, find_master
from innoclone.store.objects import SMALL, AlreadyThere, Entry, Gone, Objects
from innoclone.store.sealing import KEY, Vault

__all__ = ["CIPHER", "FORMAT", "PROBES", "WRITTEN", "Repository", "init_store", "open_store"]

DESCRIPTION = "innoclone-store.json"
FORMAT = 1
CIPHER, NO_CIPHER = "AES-256-GCM", "none"
PROBES = "probes"
WRITTEN = ("data", "meta")  # folders of what runs write


@dataclass(frozen=True)
class Repository:
    """An open store. ``single_writer``: its place doesn't keep two writers apart, and its maker knows."""

    objects: Objects
    id: bytes
    vault: Vault
    key: str  # the id of the key that opened it, '' where it isn't encrypted
    single_writer: bool
    bound: bytes  # what keys are bound to

    @property
    def address(self) -> str:
        """Where it is."""
        return self.objects.address

    def now(self) -> float:
        """The store's own time, in seconds since the epoch: when it says that an object was written just now.

        A full folder must be able to get room: there it is when the last object was written, so nothing seems older
        than it is.
        """
        name = f"{PROBES}/{secrets.token_hex(16)}"
        try:
            self.objects.create(name, secrets.token_bytes(16))
        except DiskFull:
            there = (entry for folder in (*WRITTEN, "runs", "prune") for entry in self.objects.list(folder))
            return max((entry.modified for entry in there), default=0.0)
        try:
            return _listed(self.objects, name).modified
        finally:
            self.objects.delete([name])


def init_store(objects: Objects, secret: Secret | None, *, encrypted: bool, single_writer: bool) -> Repository:
    """Make a store. Raises `TargetExists` where one is, `UsageError` without a secret for it, `StoreUnsafe`."""
    if encrypted and secret is None:
        raise UsageError(
            "a store is encrypted, and no key was named",
            hint="--key-file, --passphrase-file or INNOCLONE_STORE_PASSPHRASE; --no-encryption is a decision",
        )
    if not encrypted and secret is not None:
        raise UsageError("a key was named, and --no-encryption", hint="say one of the two")
    with contextlib.suppress(Gone):
        objects.read(DESCRIPTION, SMALL)
        raise TargetExists(f"{objects.address} is a store already", hint="name another prefix")
    for folder in ("snapshots", *WRITTEN):
        if any(True for _ in objects.list(folder)):
            raise TargetExists(f"{objects.address} has {folder}/, and no {DESCRIPTION}", hint="name another prefix")
    if not single_writer and not creates_once(objects):
        raise StoreUnsafe(f"{objects.address} overwrites objects that were to be created only if absent")
    fields: dict[str, Any] = {
        "format": FORMAT, "id": secrets.token_hex(16), "cipher": CIPHER if encrypted else NO_CIPHER,
        "created": round(time.time()), "single_writer": single_writer,
    }  # fmt: skip
    if not encrypted:
        fields["key"] = secrets.token_hex(KEY)
    text = (json.dumps(fields, indent=1) + "\n").encode()
    if encrypted and secret is not None:  # before the description: a store that exists has a key
        add_key(objects, _bound(text), secrets.token_bytes(KEY), secret)
    try:
        objects.create(DESCRIPTION, text)
    except AlreadyThere as error:
        raise TargetExists(f"{objects.address} has just become a store", hint="name another prefix") from error
    return open_store(objects, secret)


def creates_once(objects: Objects) -> bool:
    """Whether a second object of one name is refused, and leaves the first one as it is."""
    name = f"{PROBES}/{secrets.token_hex(16)}"
    first, second = secrets.token_bytes(16), secrets.token_bytes(16)
    objects.create(name, first)
    try:
        objects.create(name, second)
    except AlreadyThere:
        with contextlib.suppress(Gone):
            return objects.read(name, len(first)) == first
    finally:
        objects.delete([name])
    return False


def open_store(objects: Objects, secret: Secret | None) -> Repository:
    """Raises `StoreMissing`, `StoreKeyWrong`, `StoreDamaged`, `VersionUnsupported` for a newer format."""
    try:
        text = objects.read(DESCRIPTION, SMALL)
    except Gone as error:
        raise StoreMissing(f"there is no store at {objects.address}") from error
    try:
        fields = json.loads(text)
        version, cipher = int(fields["format"]), str(fields["cipher"])
        if version != FORMAT or cipher not in (CIPHER, NO_CIPHER):
            raise VersionUnsupported(
                f"{objects.address} has format {version} with cipher {cipher}", hint="use a newer innoclone"
            )
        store, single = bytes.fromhex(fields["id"]), bool(fields.get("single_writer"))
        plain_key = bytes.fromhex(fields["key"]) if cipher == NO_CIPHER else b""
        if len(store) != 16 or (cipher == NO_CIPHER and len(plain_key) != KEY):
            raise ValueError("id or key has a wrong length")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise StoreDamaged(f"{objects.address}: {DESCRIPTION} makes no sense: {error}") from error
    if cipher == NO_CIPHER:
        if secret is not None:
            raise StoreKeyWrong(
                f"{objects.address} is not encrypted, and a key was given",
                hint="leave the key out if that is known; else somebody has put another store there",
            )
        return Repository(objects, store, Vault(store, None, plain_key=plain_key), "", single, _bound(text))
    if secret is None:
        raise StoreKeyWrong(f"{objects.address} is encrypted, and no key was given")
    master, key = find_master(objects, _bound(text), secret)
    return Repository(objects, store, Vault(store, master), key, single, _bound(text))


def _bound(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _listed(objects: Objects, name: str) -> Entry:
    for entry in objects.list(name.rpartition("/")[0]):
        if entry.name == name:
            return entry
    raise StoreDamaged(f"{objects.address} doesn't list {name}, which was just written")
