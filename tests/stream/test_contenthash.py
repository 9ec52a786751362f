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


def test_a_block_is_told_by_its_pages() -> None:
    one, other = ContentHash(bytes(KEY)), ContentHash(new_key())
    pages = bytes(range(64)) * HASH
    assert len(one.of_block(pages)) == HASH
    assert one.of_block(pages) != other.of_block(pages)
    assert one.of_block(pages) == ContentHash(bytes(KEY)).of_block(pages)
    swapped = pages[HASH : 2 * HASH] + pages[:HASH] + pages[2 * HASH :]
    assert one.of_block(swapped) != one.of_block(pages)


def test_words_that_move_between_pages_are_seen() -> None:
    """What GMAC over GMACs would not see: with one key both are one polynomial, and the two changes cancel out."""
    hashing, page = ContentHash(new_key()), 4096
    first, second = bytearray(page), bytearray(page)
    moved = (bytearray(page), bytearray(page))
    first[-HASH:] = moved[1][-2 * HASH : -HASH] = b"w" * HASH
    before = hashing.of_pages(memoryview(first + second), page)
    after = hashing.of_pages(memoryview(moved[0] + moved[1]), page)
    assert before != after
    assert hashing.of(before) == hashing.of(after), "that is what GMAC would say"
    assert hashing.of_block(before) != hashing.of_block(after)
