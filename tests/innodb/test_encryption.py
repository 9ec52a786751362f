"""The block that holds a tablespace's key, and what is encrypted with it (innoclone.innodb.encryption)."""

from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.encryption import (
    BUILT_IN,
    INFO_SIZE,
    SECRET_SIZE,
    EncryptionInfo,
    MasterKey,
    Secret,
    decrypt_page,
    decrypt_redo_block,
    info_offset,
    is_being_decrypted,
    is_old_page_info,
    put_page_info,
    put_redo_info,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.page import NO_CHECKSUM, Findings, PageChecker, PageType
from innoclone.innodb.redo import BLOCK_SIZE, LogEnd, scan_blocks
from innoclone.innodb.space import KIB, SpaceFlags
from innodb_pages import LAYOUTS, PLAIN, SPACE, ZIPPED, compress, flags_for, make_page
from redo_logs import log_block

UUID = "57ba5101-c165-4b57-9624-7a3c4121a8b9"
keys = st.binary(min_size=32, max_size=32)
secrets = st.binary(min_size=SECRET_SIZE, max_size=SECRET_SIZE).map(Secret)
masters = st.builds(MasterKey, st.just(UUID), st.integers(1, 2**32 - 1), keys)
MASTER, SECRET = MasterKey(UUID, 7, bytes(range(32))), Secret(bytes(range(100, 164)))


@pytest.mark.parametrize(
    ("page", "zipped", "offset"),
    [(4, 0, 1558), (8, 0, 3734), (16, 0, 10390), (32, 0, 20630), (64, 0, 41110), (16, 8, 5270)],
)
def test_where_it_lies(page: int, zipped: int, offset: int) -> None:
    """As it was found in the files of a server."""
    assert info_offset(flags_for(page * KIB, zipped * KIB)) == offset


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_it_fits_into_every_page(flags: SpaceFlags) -> None:
    assert info_offset(flags) + 115 + 8 + 5 < flags.physical_page_size  # and the progress of ALTER behind it


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_a_tablespace_that_is_being_decrypted(flags: SpaceFlags) -> None:
    page = bytearray(make_page(flags, 0))
    put_page_info(memoryview(page), flags, MASTER.info(SECRET).serialize())
    at = info_offset(flags) + 115
    page[at : at + 8] = struct.pack(">II", 1, 3)  # SDI: its version, its root page
    found = []
    for operation in (0, 1, 2):  # none, ENCRYPTION='Y', ENCRYPTION='N', with the pages that are done
        page[at + 8 : at + 13] = struct.pack(">BI", operation, 1663)
        found.append(is_being_decrypted(page, flags))
    assert found == [False, False, True]
    assert not is_being_decrypted(page[: at + 8], flags)


@given(masters, secrets)
def test_wrapped_and_unwrapped(master: MasterKey, secret: Secret) -> None:
    info = master.info(secret)
    data = info.serialize()
    assert len(data) == INFO_SIZE
    assert info.key_name == master.name
    assert EncryptionInfo.parse(b"xyz" + data, 3) == info
    assert info.open(master) == secret
    assert info.is_of(master)
    assert secret.raw not in data
    assert info.sent() is None


@given(masters, secrets, st.integers(0, INFO_SIZE * 8 - 1))
def test_a_flipped_bit(master: MasterKey, secret: Secret, bit: int) -> None:
    data = bytearray(master.info(secret).serialize())
    data[bit // 8] ^= 1 << bit % 8
    info = EncryptionInfo.parse(data, 0)
    assert info is None or not info.is_of(master)


@given(masters, masters, secrets)
def test_another_key(master: MasterKey, other: MasterKey, secret: Secret) -> None:
    info = master.info(secret)
    assert info.is_of(other) == (master == other)


@pytest.mark.parametrize("magic", [b"\0\0\0", b"lCA", b"lCB"])
def test_no_block(magic: bytes) -> None:
    assert EncryptionInfo.parse(magic + bytes(INFO_SIZE), 0) is None


@pytest.mark.parametrize("magic", [b"lCA", b"lCB"])
def test_a_block_of_before_8_0_is_told_from_none(magic: bytes) -> None:
    flags = flags_for(16 * KIB, 0)
    page = bytearray(16 * KIB)
    assert not is_old_page_info(page, flags)
    page[info_offset(flags) : info_offset(flags) + 3] = magic
    assert is_old_page_info(page, flags)


def test_the_key_that_opens_a_block_whatever_it_is_called() -> None:
    other = MasterKey(UUID, MASTER.number + 1, bytes(32))
    masters = {one.name: one for one in (other, MASTER)}
    renamed = EncryptionInfo(EncryptionInfo.MAGIC, MASTER.number + 7, UUID, MASTER.wrap(SECRET), SECRET.crc)
    assert renamed.opened_by(masters) == MASTER
    assert renamed.opened_by({other.name: other}) is None
    assert EncryptionInfo(EncryptionInfo.MAGIC, 3, UUID, BUILT_IN.wrap(SECRET), SECRET.crc).opened_by({}) == BUILT_IN


def test_what_a_donor_sends() -> None:
    clear = EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, SECRET.raw, SECRET.crc)
    assert clear.sent() == SECRET
    wrapped = EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, BUILT_IN.wrap(SECRET), SECRET.crc)
    assert wrapped.sent() == SECRET
    assert EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, SECRET.raw, SECRET.crc ^ 1).sent() is None
    assert EncryptionInfo(EncryptionInfo.MAGIC, 3, UUID, BUILT_IN.wrap(SECRET), SECRET.crc).sent() is None


def test_nothing_shows_a_key() -> None:
    clear = EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, SECRET.raw, SECRET.crc)
    for text in (repr(SECRET), repr(MASTER), repr(clear), str(MASTER), f"{clear}"):
        for key in (SECRET.raw, MASTER.raw):
            assert repr(key)[2:20] not in text
            assert key.hex()[:20] not in text
    with pytest.raises(ValueError, match="of 3 bytes"):
        Secret(b"abc")


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_put_into_page_0(flags: SpaceFlags) -> None:
    checker = PageChecker(flags, SPACE)
    page = bytearray(make_page(flags, 0))
    assert read_page_info(page, flags) is None
    put_page_info(memoryview(page), flags, MASTER.info(SECRET).serialize())
    assert checker.check(page, 0) == Findings([], 0)
    assert read_page_info(page, flags) == MASTER.info(SECRET)
    changed = sum(one != two for one, two in zip(page, make_page(flags, 0), strict=True))
    assert changed <= INFO_SIZE + 8


@pytest.mark.parametrize("flags", [PLAIN, ZIPPED], ids=str)
def test_a_damaged_page_stays_damaged(flags: SpaceFlags) -> None:
    page = bytearray(make_page(flags, 0))
    page[200] ^= 1
    put_page_info(memoryview(page), flags, MASTER.info(SECRET).serialize())
    assert PageChecker(flags, SPACE).bad_pages(page, 0)


def test_a_page_without_a_checksum() -> None:
    page = bytearray(make_page(PLAIN, 0))
    for at in (0, len(page) - 8):
        struct.pack_into(">I", page, at, NO_CHECKSUM)
    put_page_info(memoryview(page), PLAIN, MASTER.info(SECRET).serialize())
    assert struct.unpack_from(">I", page)[0] == NO_CHECKSUM
    assert PageChecker(PLAIN, SPACE).check(page, 0) == Findings([], 1)


def test_put_into_a_redo_header() -> None:
    from crc32c import crc32c

    block = bytearray(BLOCK_SIZE)
    put_redo_info(memoryview(block), MASTER.info(SECRET).serialize())
    assert read_redo_info(block) == MASTER.info(SECRET)
    assert struct.unpack_from(">I", block, BLOCK_SIZE - 4)[0] == crc32c(block[:-4])


def encrypted(data: bytes, secret: Secret) -> bytes:
    """As the server does it: whole blocks in one run, then the last 32 bytes once more where some are left over."""

    def cbc(part: bytes) -> bytes:
        run = Cipher(algorithms.AES(secret.raw[:32]), modes.CBC(secret.raw[32:48])).encryptor()
        return run.update(part) + run.finalize()

    whole = len(data) // 16 * 16
    done = cbc(data[:whole]) + data[whole:]
    return done[:-32] + cbc(done[-32:]) if whole != len(data) else done


def encrypted_page(page: bytes, secret: Secret, kind: int) -> bytes:
    end = len(page)
    head = bytearray(page[:38])
    if kind == PageType.COMPRESSED_AND_ENCRYPTED:
        end = 38 + struct.unpack_from(">H", page, 32)[0]
    else:
        if kind == PageType.ENCRYPTED:
            head[28:30] = head[24:26]
    struct.pack_into(">H", head, 24, kind)
    return bytes(head) + encrypted(page[38:end], secret) + page[end:]


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", [PageType.ENCRYPTED, PageType.ENCRYPTED_RTREE])
def test_a_page_is_decrypted(flags: SpaceFlags, kind: int) -> None:
    page = make_page(flags, 5, page_type=17854 if kind == PageType.ENCRYPTED_RTREE else 17855)
    if kind == PageType.ENCRYPTED_RTREE:
        page = page[:26] + bytes(range(8)) + page[34:]  # the split's number, which no checksum covers
    hidden = encrypted_page(page, SECRET, kind)
    assert decrypt_page(memoryview(hidden), SECRET) == page
    assert decrypt_page(memoryview(page), SECRET) == page
    damaged = bytearray(hidden)
    damaged[300] ^= 1
    assert PageChecker(flags, SPACE).bad_pages(decrypt_page(memoryview(damaged), SECRET), 5)


def test_a_page_compressed_one() -> None:
    page = compress(make_page(PLAIN, 6))
    hidden = encrypted_page(page, SECRET, PageType.COMPRESSED_AND_ENCRYPTED)
    assert decrypt_page(memoryview(hidden), SECRET) == page
    size = struct.unpack_from(">H", page, 32)[0]
    for more in range(16):  # a size of whole blocks among them
        longer = page[:32] + struct.pack(">H", size + more) + page[34:]
        hidden = encrypted_page(longer, SECRET, PageType.COMPRESSED_AND_ENCRYPTED)
        assert decrypt_page(memoryview(hidden), SECRET) == longer
    for at, value in ((26, 1), (32, 0xFF)):
        damaged = bytearray(hidden)
        damaged[at] = value
        with pytest.raises(ValueError, match="not known"):
            decrypt_page(memoryview(damaged), SECRET)


@given(secrets, st.binary(min_size=38, max_size=200))
def test_the_page_of_any_garbage(secret: Secret, garbage: bytes) -> None:
    page = bytearray(make_page(PLAIN, 6, page_type=PageType.COMPRESSED_AND_ENCRYPTED))
    page[26:38] = garbage[26:38]
    try:
        plain = decrypt_page(memoryview(page), secret)
    except ValueError:
        return
    assert len(plain) == len(page)


def test_a_redo_block_is_decrypted() -> None:
    plain = log_block(512 * 100)
    hidden = bytearray(plain[:12] + encrypted(plain[12:], SECRET))
    assert decrypt_redo_block(memoryview(plain), SECRET) == plain
    hidden[4] |= 0x80
    assert decrypt_redo_block(memoryview(hidden), SECRET) == plain
    found = scan_blocks(hidden, 512 * 100, lambda block: decrypt_redo_block(block, SECRET))
    assert found == scan_blocks(plain, 512 * 100)
    assert scan_blocks(hidden, 512 * 100).not_verifiable == 1
    hidden[200] ^= 1
    assert scan_blocks(hidden, 512 * 100, lambda block: decrypt_redo_block(block, SECRET)).end is LogEnd.DAMAGED
