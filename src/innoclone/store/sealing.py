"""How bytes are sealed before they go into a store, and how pages are told apart there.

One master key a store. Each run, one command that writes, has a key of its own out of it (HKDF over the run's random
id), and within a run no two pieces have the same number: so a pair of key and nonce never seals two contents. What a
piece is (kind, object, frame) is its nonce, so none can be put in another's place. Without encryption the same pieces
are guarded by a keyed BLAKE3, against accidents only.

Pages are told apart by BLAKE3 with a key of the store, cut to 128 bits: who can insert rows must not be able to make
two pages that look the same.
"""

from __future__ import annotations

import enum
import hmac
import struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from innoclone.errors import StoreDamaged, UsageError

__all__ = ["DIGEST", "KEY", "OVERHEAD", "Piece", "Sealer", "Vault", "derive", "fingerprint"]

KEY = 32  # bytes
OVERHEAD = 16  # bytes that sealing adds
DIGEST = 16  # bytes of a page's hash


class Piece(enum.IntEnum):
    """What is sealed; part of the nonce."""

    FRAME = 1
    DIRECTORY = 2
    CONTENTS = 3
    SNAPSHOT = 4
    LEASE = 5
    MARKS = 6
    CHECK = 7


class Sealer(Protocol):
    """Seals and opens pieces of one run. ``number`` and ``frame`` say which one it is."""

    def seal(self, piece: Piece, number: int, frame: int, data: bytes | bytearray) -> bytes:
        """`OVERHEAD` bytes more than ``data``. Never twice for the same piece, number and frame."""

    def open(self, piece: Piece, number: int, frame: int, sealed: bytes | memoryview) -> bytes:
        """What was sealed. Raises `StoreDamaged`."""


class Vault:
    """The keys of one store: ``master`` is None where it isn't encrypted."""

    def __init__(self, store: bytes, master: bytes | None, *, plain_key: bytes = b"") -> None:
        """``store`` is its id; ``plain_key`` guards and tells apart where there is no master key."""
        self._store, self._master = store, master
        self.page_key = derive(master, b"pages", store) if master is not None else plain_key
        self._plain_key = plain_key

    @property
    def encrypted(self) -> bool:
        """Whether what is sealed can be read by nobody else."""
        return self._master is not None

    @property
    def master(self) -> bytes:
        """The key that all others come from."""
        assert self._master is not None
        return self._master

    def sealer(self, run: bytes) -> Sealer:
        """For what the run of this id writes, or wrote."""
        if self._master is None:
            return _Guarded(fingerprint(self._plain_key, self._store + run, KEY))
        return _Encrypted(derive(self._master, b"run " + run, self._store), self._store)


def derive(secret: bytes, purpose: bytes, salt: bytes) -> bytes:
    """A key for one purpose."""
    return HKDF(hashes.SHA256(), KEY, salt, b"innoclone store 1 " + purpose).derive(secret)


def fingerprint(key: bytes, data: bytes | bytearray | memoryview, length: int = DIGEST) -> bytes:
    """The keyed hash. Raises `UsageError` where BLAKE3 isn't installed."""
    return _blake3(data, key=key).digest(length)


class _Encrypted:
    """AES-256-GCM."""

    def __init__(self, key: bytes, store: bytes) -> None:
        self._cipher, self._store = AESGCM(key), store

    def seal(self, piece: Piece, number: int, frame: int, data: bytes | bytearray) -> bytes:
        return self._cipher.encrypt(_name(piece, number, frame), data, self._store)

    def open(self, piece: Piece, number: int, frame: int, sealed: bytes | memoryview) -> bytes:
        try:
            return self._cipher.decrypt(_name(piece, number, frame), bytes(sealed), self._store)
        except InvalidTag as error:
            raise _damaged(piece, number, frame) from error


class _Guarded:
    """No secrecy: a keyed hash behind the bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, piece: Piece, number: int, frame: int, data: bytes | bytearray) -> bytes:
        return bytes(data) + self._guard(piece, number, frame, data)

    def open(self, piece: Piece, number: int, frame: int, sealed: bytes | memoryview) -> bytes:
        data, guard = bytes(sealed[:-OVERHEAD]), bytes(sealed[-OVERHEAD:])
        if len(guard) < OVERHEAD or not hmac.compare_digest(guard, self._guard(piece, number, frame, data)):
            raise _damaged(piece, number, frame)
        return data

    def _guard(self, piece: Piece, number: int, frame: int, data: bytes | bytearray) -> bytes:
        return _blake3(_name(piece, number, frame), key=self._key).update(data).digest(OVERHEAD)


def _name(piece: Piece, number: int, frame: int) -> bytes:
    return struct.pack(">III", piece, number, frame)  # 12 bytes: the nonce


def _damaged(piece: Piece, number: int, frame: int) -> StoreDamaged:
    return StoreDamaged(f"{piece.name.lower()} {frame} of object {number} isn't what was written")


try:
    from blake3 import blake3 as _blake3
except ImportError:

    def _blake3(*_: object, **__: object) -> object:  # type: ignore[no-redef]
        raise UsageError("stores need blake3, which isn't installed", hint="pip install 'innoclone[store]'")
