"""Keys that a donor sends are wrapped before anything is written (innoclone.receive.sealing), or it is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from innoclone.errors import EncryptionDamaged, EncryptionNeedsTls, EncryptionUnsupported, ProtocolError
from innoclone.files.keyring import CloneKeyring
from innoclone.innodb.encryption import (
    BUILT_IN,
    REDO_BLOCK_AT,
    EncryptionInfo,
    MasterKey,
    Secret,
    info_offset,
    put_page_info,
    put_redo_info,
    read_page_info,
    read_redo_info,
)
from innoclone.innodb.page import PageChecker
from innoclone.innodb.redo import FILE_HEADER_SIZE
from innoclone.receive.sealing import Sealing
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber
from innodb_pages import PLAIN, SPACE, make_page

UUID = "57ba5101-c165-4b57-9624-7a3c4121a8b9"
SECRET, DONORS = Secret(bytes(range(64))), MasterKey(UUID, 5, bytes(32))
CLEAR = EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, SECRET.raw, SECRET.crc)
FLIPPED = EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, SECRET.raw, SECRET.crc ^ 1)
DEFAULT = EncryptionInfo(EncryptionInfo.MAGIC, 0, UUID, BUILT_IN.wrap(SECRET), SECRET.crc)


def file_of(flags: FileFlag = FileFlag.ENCRYPTED, key: bytes = b"") -> ClonedFile:
    meta = FileMetadata(
        StageNumber.FILE_COPY, 1 << 20, 1 << 20, PLAIN.raw, 4096, flags, SPACE, 0, 1, 1, "./db/t.ibd", key
    )  # fmt: skip
    return ClonedFile(meta, Path("t"), Path("t"), meta.size, PLAIN)


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    found = Sealing(CloneKeyring(tmp_path / "home"))
    found.secure = True
    return found


def page_with(info: EncryptionInfo) -> memoryview:
    page = memoryview(bytearray(make_page(PLAIN, 0)))
    put_page_info(page, PLAIN, info.serialize())
    return page


@pytest.mark.parametrize("stage", [StageNumber.FILE_COPY, StageNumber.PAGE_COPY])
@pytest.mark.parametrize("sent", [CLEAR, DEFAULT])
def test_page_0(sealing: Sealing, stage: StageNumber, sent: EncryptionInfo) -> None:
    told: list[MasterKey] = []
    sealing.first = told.append
    page = page_with(sent)
    sealing.page0(file_of(), PLAIN, stage, page)
    info = read_page_info(page, PLAIN)
    assert info is not None
    assert info.is_of(sealing.master())
    assert told == [sealing.master()]
    assert SECRET.raw[:16] not in page.tobytes()
    assert PageChecker(PLAIN, SPACE).bad_pages(page, 0) == []
    assert sealing.sealed == {0}


def test_a_damaged_page_stays_damaged_and_shows_no_key(sealing: Sealing) -> None:
    page = page_with(CLEAR)
    page[200] ^= 1
    sealing.page0(file_of(), PLAIN, StageNumber.PAGE_COPY, page)
    assert SECRET.raw[:16] not in page.tobytes()
    assert PageChecker(PLAIN, SPACE).bad_pages(page, 0)


def test_the_donors_own_file(sealing: Sealing) -> None:
    page = page_with(DONORS.info(SECRET))
    before = page.tobytes()
    sealing.page0(file_of(), PLAIN, StageNumber.FILE_COPY, page)
    assert page.tobytes() == before
    with pytest.raises(EncryptionDamaged, match=r"first page of \./db/t\.ibd"):
        sealing.page0(file_of(), PLAIN, StageNumber.PAGE_COPY, page)


@pytest.mark.parametrize("stage", [StageNumber.FILE_COPY, StageNumber.PAGE_COPY])
def test_a_flipped_bit(sealing: Sealing, stage: StageNumber) -> None:
    with pytest.raises(EncryptionDamaged, match="does not agree with its checksum"):
        sealing.page0(file_of(), PLAIN, stage, page_with(FLIPPED))


def test_a_page_without_a_key(sealing: Sealing) -> None:
    page = memoryview(bytearray(make_page(PLAIN, 0)))
    sealing.page0(file_of(FileFlag(0)), PLAIN, StageNumber.PAGE_COPY, page)
    assert page.tobytes() == make_page(PLAIN, 0)
    assert not sealing.in_use


def test_one_that_was_being_decrypted(sealing: Sealing) -> None:
    """What its page 0 said last counts."""
    seen = []
    for operation in (0, 2, 2, 0):
        page = page_with(CLEAR)
        page[info_offset(PLAIN) + 115 + 8] = operation
        sealing.page0(file_of(), PLAIN, StageNumber.PAGE_COPY, page)
        seen.append(sealing.decrypting)
        sealing.decrypting = {*seen[-1]}
    assert seen == [set(), {0}, {0}, set()]


def test_a_description(sealing: Sealing) -> None:
    flags = FileFlag.ENCRYPTED | FileFlag.HAS_KEY
    sealed = sealing.metadata(file_of(flags, SECRET.raw).metadata)
    assert SECRET.raw[:16] not in sealed.serialize()
    assert "key" not in repr(sealed)
    info = EncryptionInfo.parse(sealing.info(sealed.key), 0)
    assert info is not None
    assert info.open(sealing.master()) == SECRET
    plain = file_of(FileFlag(0)).metadata
    assert sealing.metadata(plain) is plain


def redo_head(info: EncryptionInfo) -> bytearray:
    head = bytearray(FILE_HEADER_SIZE)
    put_redo_info(memoryview(head)[REDO_BLOCK_AT : REDO_BLOCK_AT + 512], info.serialize())
    return head


@pytest.mark.parametrize("begin", [0, 512, 1024])
def test_a_redo_header(sealing: Sealing, begin: int) -> None:
    head = redo_head(CLEAR)
    sealing.redo(memoryview(head)[begin:], begin)
    info = read_redo_info(head[REDO_BLOCK_AT:])
    assert info is not None
    assert info.is_of(sealing.master())
    assert SECRET.raw[:16] not in head


def test_what_of_a_redo_file_is_not_the_block(sealing: Sealing) -> None:
    head = redo_head(CLEAR)
    sealing.redo(memoryview(head)[:1024], 0)
    sealing.redo(memoryview(head)[1536:], 1536)
    assert not sealing.in_use
    for begin, end in ((0, 1100), (1100, 2048)):
        with pytest.raises(ProtocolError, match="a part of a redo file's header"):
            sealing.redo(memoryview(head)[begin:end], begin)
    with pytest.raises(EncryptionDamaged, match="redo log's header"):
        sealing.redo(memoryview(redo_head(FLIPPED)), 0)
    with pytest.raises(EncryptionDamaged, match="redo log's header"):
        sealing.redo(memoryview(redo_head(DONORS.info(SECRET))), 0)


def test_no_key_is_taken_without_tls_or_a_keyring(tmp_path: Path) -> None:
    plain, bare = Sealing(CloneKeyring(tmp_path / "home")), Sealing(None)
    bare.secure = True
    for sealing, error in ((plain, EncryptionNeedsTls), (bare, EncryptionUnsupported)):
        with pytest.raises(error):
            sealing.page0(file_of(), PLAIN, StageNumber.PAGE_COPY, page_with(CLEAR))
        with pytest.raises(error):
            sealing.metadata(file_of().metadata)
        with pytest.raises(error):
            sealing.redo(memoryview(redo_head(CLEAR)), 0)
    assert [*tmp_path.iterdir()] == []
