"""Hashes by which two innoclones tell blocks and pages apart: 128 bits of GMAC, the hash of AES-GCM.

A user may write rows whose pages collide under a hash that is known beforehand, also under one of the fast ones with a
seed, which are not made against that. GMAC is a universal hash: for any two contents that were written before the key
was chosen, the chance that they are hashed alike is the number of their 16 byte words by 2^128, 2^-112 for a MiB, and
the key is random and a session's own. Processors multiply for it; `bench/native` prints how fast.

A block's hash is one of its pages' hashes, so that both are known after one reading. That one is BLAKE2b: GMAC once
more with the same key would be the same polynomial, and contents can be written that it can't tell apart.
"""

from __future__ import annotations

import hashlib
import secrets

from innoclone.wire.comparison import HASH, KEY

__all__ = ["ContentHash", "new_key"]

NONCE = bytes(12)  # the same for all: equal contents shall be hashed alike, and nothing is encrypted


def new_key() -> bytes:
    """For one clone."""
    return secrets.token_bytes(KEY)


class ContentHash:
    """Hashes with one key; for use by many threads."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # not at the start of every command

        self._key, self._mac = key, AESGCM(key).encrypt

    def of(self, content: bytes | memoryview) -> bytes:
        """Of a page."""
        return self._mac(NONCE, b"", content)

    def of_pages(self, content: memoryview, page: int) -> bytes:
        """Of each page, one behind the other."""
        mac = self._mac
        return b"".join([mac(NONCE, b"", content[at : at + page]) for at in range(0, len(content), page)])

    def of_block(self, pages: bytes) -> bytes:
        """Of a block whose pages have these hashes."""
        return hashlib.blake2b(pages, digest_size=HASH, key=self._key).digest()
