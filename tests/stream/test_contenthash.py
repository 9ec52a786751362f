"""The hash that tells blocks and pages apart."""

from __future__ import annotations

from innoclone.stream.contenthash import ContentHash, new_key
from innoclone.wire.comparison import HASH, KEY


def test_it_is_the_gmac_of_nist() -> None:
    """AES-GCM's test case 1 (McGrew and Viega): no content, a key of zeros."""
    assert ContentHash(bytes(KEY)).of(b"") == bytes.fromhex("58e2fccefa7e3061367f1d57a4e7455a")


def test_keys_and_contents_are_told_apart() -> None:
    one, other = ContentHash(new_key()), ContentHash(new_key())
    block = bytes(range(256)) * 64
    assert one.of(block) != other.of(block)
    assert one.of(block) == one.of(memoryview(bytearray(block)))
    hashes = {one.of(block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]) for at in range(0, len(block), 97)}
    assert len(hashes) == len(range(0, len(block), 97))


def test_pages() -> None:
    hashing = ContentHash(new_key())
    block = memoryview(bytes(4096) + b"x" * 4096 + bytes(100))
    assert hashing.of_pages(block, 4096) == b"".join(map(hashing.of, (block[:4096], block[4096:8192], block[8192:])))
    assert len(hashing.of_pages(block, 4096)) == 3 * HASH
