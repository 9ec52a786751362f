"""Encryption at rest: the block that holds a tablespace's key, where it lies, and what is encrypted with the key.

A tablespace has a key and an initialization vector of its own. They stand in page 0, and those of the redo log in the
header of each of its files, encrypted ("wrapped") with a master key that only the keyring has. So a clone gets another
master key by changing 111 bytes of a tablespace; its pages stay as they are.

Layout: os0enc.h and os0enc.cc (Encryption::INFO_SIZE, fill_encryption_info), fsp0fsp.cc
(fsp_header_get_encryption_offset), log0constants.h (LOG_ENCRYPTION). All integers are big-endian; tested with 9.7.4.
"""

from __future__ import annotations

import hmac
import re
import struct
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from innoclone.dataclass import dataclass
from innoclone.innodb.page import (
    ENCRYPTED_TYPES,
    HEADER_SIZE,
    NO_CHECKSUM,
    PAGE_TYPE,
    TRAILER_SIZE,
    CompressedHeader,
    PageType,
    checksum,
    zip_checksum,
)
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SpaceFlags
from innoclone.native.crc import crc32c
from innoclone.native.library import Buffer

__all__ = [
    "BUILT_IN", "INFO_SIZE", "REDO_BLOCK_AT", "SECRET_SIZE", "EncryptionInfo", "MasterKey", "Secret", "decrypt_page",
    "decrypt_redo_block", "info_offset", "is_being_decrypted", "is_old_page_info", "put_page_info", "put_redo_info",
    "read_page_info", "read_redo_info",
]  # fmt: skip

SECRET_SIZE = 64  # a tablespace's key and its initialization vector, 32 bytes each
INFO_SIZE = 111
REDO_BLOCK_AT = 2 * BLOCK_SIZE  # the block of a redo file's header that has the key; its checksum is at its end

_IN_REDO_BLOCK = 48
_AES_BLOCK = 16
_ORIGINAL_TYPE = 26 + 2  # FIL_PAGE_ORIGINAL_TYPE_V1: where an encrypted page keeps its type
_RTREE = 17854  # FIL_PAGE_RTREE
_BEFORE_INFO = 150  # bytes of page 0 before the extent descriptors (FSEG_PAGE_DATA + FSP_HEADER_SIZE)
_DESCRIPTOR = 24  # bytes of an extent's descriptor without the bitmap of its pages (XDES_BITMAP)
_OPERATION = 115 + 8  # from the block on: behind its reserve (INFO_MAX_SIZE) and SDI's version and root page
_DECRYPTION = b"\x02"  # Encryption::Progress
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_REDO_ENCRYPTED = 1 << 15  # in the length of a redo block (LOG_BLOCK_ENCRYPT_BIT_MASK of log0constants.h)


@dataclass(frozen=True, slots=True)
class Secret:
    """A tablespace's key and initialization vector in clear. Nothing shows them."""

    raw: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no key: ValueError, which does not tell it."""
        if len(self.raw) != SECRET_SIZE:
            raise ValueError(f"a tablespace's key of {len(self.raw)} bytes")

    @property
    def crc(self) -> int:
        """What the block says of it, and by what a wrong master key is seen."""
        return crc32c(self.raw)


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key of the keyring that wraps others. ``uuid`` is the server's that made it, or a clone's own."""

    uuid: str
    number: int
    raw: bytes = field(repr=False)

    NAME: ClassVar[re.Pattern[str]] = re.compile(r"INNODBKey-([0-9a-fA-F-]{36})-([1-9][0-9]{0,9})")

    @property
    def name(self) -> str:
        """Its name in a keyring."""
        return f"INNODBKey-{self.uuid}-{self.number}"

    def wrap(self, secret: Secret) -> bytes:
        """``secret`` encrypted with this key."""
        return self._run(secret.raw, encrypt=True)

    def unwrap(self, wrapped: bytes) -> Secret:
        """The reverse; with a wrong key something else comes out, which the caller's crc tells."""
        return Secret(self._run(wrapped, encrypt=False))

    def info(self, secret: Secret) -> EncryptionInfo:
        """The block for a tablespace with this key."""
        return EncryptionInfo(EncryptionInfo.MAGIC, self.number, self.uuid, self.wrap(secret), secret.crc)

    def _run(self, data: bytes, *, encrypt: bool) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        # What the server does: a random key and a random vector have no two equal blocks.
        cipher = Cipher(algorithms.AES(self.raw), modes.ECB())  # noqa: S305
        run = cipher.encryptor() if encrypt else cipher.decryptor()
        return run.update(data) + run.finalize()


BUILT_IN = MasterKey("", 0, b"DefaultMasterKey".ljust(32, b"\0"))
"""Key 0, which every server has: before there is a keyring's, and so no secret (Encryption::DEFAULT_MASTER_KEY)."""


@dataclass(frozen=True, slots=True)
class EncryptionInfo:
    """The block itself. ``stored`` is the wrapped secret; what a donor sends for a clone has it in clear."""

    magic: bytes
    key_number: int
    uuid: str
    stored: bytes = field(repr=False)
    crc: int

    MAGIC: ClassVar[bytes] = b"lCC"  # of 8.0 and newer (KEY_MAGIC_V3)
    OLD: ClassVar[tuple[bytes, ...]] = (b"lCA", b"lCB")  # of 5.7: without a UUID, and with one
    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">3s I 36s 64s I")

    @classmethod
    def parse(cls, data: Buffer, offset: int) -> EncryptionInfo | None:
        """From ``offset`` on; None where there is none, or one of a form from before 8.0."""
        magic, number, uuid, stored, crc = cls.LAYOUT.unpack_from(data, offset)
        return cls(magic, number, uuid.decode("latin-1"), stored, crc) if magic == cls.MAGIC else None

    def serialize(self) -> bytes:
        """The bytes."""
        return self.LAYOUT.pack(self.magic, self.key_number, self.uuid.encode("latin-1"), self.stored, self.crc)

    @property
    def key_name(self) -> str:
        """The master key's name in a keyring."""
        return f"INNODBKey-{self.uuid}-{self.key_number}"

    def sent(self) -> Secret | None:
        """The secret as a donor sends it: in clear, or wrapped with the constant that all know; None for neither."""
        return self._proven(Secret(self.stored)) or (None if self.key_number else self.open(BUILT_IN))

    def open(self, master: MasterKey) -> Secret | None:
        """The secret, None if ``master`` is not its key."""
        return self._proven(master.unwrap(self.stored))

    def opened_by(self, masters: Mapping[str, MasterKey]) -> MasterKey | None:
        """The key that opens it in truth, whatever name stands in it."""
        return next((one for one in (*masters.values(), BUILT_IN) if self.open(one) is not None), None)

    def is_of(self, master: MasterKey) -> bool:
        """Whether ``master`` is named as its key, and is it."""
        return (self.uuid, self.key_number) == (master.uuid, master.number) and self.open(master) is not None

    def _proven(self, secret: Secret) -> Secret | None:
        return secret if hmac.compare_digest(_U32.pack(secret.crc), _U32.pack(self.crc)) else None


# ---- where it lies ---------------------------------------------------------------------------------------------


def info_offset(flags: SpaceFlags) -> int:
    """Where the block lies in page 0: behind the descriptors of the extents that this page describes."""
    extent = flags.extent_pages
    return _BEFORE_INFO + flags.physical_page_size // extent * (_DESCRIPTOR + extent // 4)


def read_page_info(page0: Buffer, flags: SpaceFlags) -> EncryptionInfo | None:
    """The block of a tablespace from its whole first page."""
    return EncryptionInfo.parse(page0, info_offset(flags))


def is_old_page_info(page0: Buffer, flags: SpaceFlags) -> bool:
    """Whether there is a block of a form from before 8.0, which a newer server may read and writes anew."""
    at = info_offset(flags)
    return bytes(memoryview(page0)[at : at + 3]) in EncryptionInfo.OLD


def is_being_decrypted(page0: Buffer, flags: SpaceFlags) -> bool:
    """Whether ALTER TABLESPACE ... ENCRYPTION='N' was at work when page 0 was written. Behind the block and its reserve
    are 8 bytes of SDI, then the operation (fsp_header_get_encryption_progress_offset; tested with 9.7.4)."""
    return bytes(memoryview(page0)[info_offset(flags) + _OPERATION :][:1]) == _DECRYPTION


def put_page_info(page0: memoryview, flags: SpaceFlags, info: bytes) -> None:
    """Put the block into page 0, and make its checksum right if it was so; a page that is damaged is left so."""
    if flags.is_compressed:
        good = _U32.unpack_from(page0)[0] == zip_checksum(page0)
        _replace(page0, info_offset(flags), info)
        if good:
            _U32.pack_into(page0, 0, zip_checksum(page0))
        return
    end = len(page0) - TRAILER_SIZE
    first, last = _U32.unpack_from(page0)[0], _U32.unpack_from(page0, end)[0]
    good = first == last == checksum(page0) and first != NO_CHECKSUM
    _replace(page0, info_offset(flags), info)
    if good:
        for at in (0, end):
            _U32.pack_into(page0, at, checksum(page0))


def read_redo_info(block: Buffer) -> EncryptionInfo | None:
    """The key's block of a redo file, from the block of the file's header at `REDO_BLOCK_AT`."""
    return EncryptionInfo.parse(block, _IN_REDO_BLOCK)


def put_redo_info(block: memoryview, info: bytes) -> None:
    """Put it into the header's block, with that block's checksum: as sent by a donor it is wrong."""
    _replace(block, _IN_REDO_BLOCK, info)
    end = BLOCK_SIZE - 4
    _U32.pack_into(block, end, crc32c(block[:end]))


def _replace(view: memoryview, at: int, data: bytes) -> None:
    view[at : at + len(data)] = data


# ---- what is encrypted with it ---------------------------------------------------------------------------------


def _decrypted(data: memoryview, secret: Secret) -> bytes:
    """CBC over all whole blocks; then the last 32 bytes once more where some are left over. Both begin with the
    vector. Undone in the reverse order."""
    whole, plain = len(data) // _AES_BLOCK * _AES_BLOCK, bytearray(data)
    if whole != len(data):
        plain[-2 * _AES_BLOCK :] = _cbc(bytes(plain[-2 * _AES_BLOCK :]), secret)
    plain[:whole] = _cbc(bytes(plain[:whole]), secret)
    return bytes(plain)


def _cbc(data: bytes, secret: Secret) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    run = Cipher(algorithms.AES(secret.raw[:32]), modes.CBC(secret.raw[32 : 32 + _AES_BLOCK])).decryptor()
    return run.update(data) + run.finalize()


def decrypt_page(page: memoryview, secret: Secret) -> bytes:
    """A page as it would be without encryption; one that isn't encrypted comes back as it is.

    Raises ValueError where the length that it names makes no sense, or was rounded up to its file system's blocks
    (page compression of before 8.0).
    """
    kind = _U16.unpack_from(page, PAGE_TYPE)[0]
    if kind not in ENCRYPTED_TYPES:
        return bytes(page)
    plain = bytearray(page)
    end = len(page)
    if kind == PageType.COMPRESSED_AND_ENCRYPTED:
        header = CompressedHeader.parse(page)
        end = HEADER_SIZE + header.compressed_size
        if header.version != 2 or end > len(page) or header.compressed_size < 2 * _AES_BLOCK:
            raise ValueError("a compressed and encrypted page of a form that is not known")
        original = PageType.COMPRESSED.value
    elif kind == PageType.ENCRYPTED_RTREE:
        original = _RTREE  # which has a number of its own where others keep their type
    else:
        original = _U16.unpack_from(page, _ORIGINAL_TYPE)[0]
        _U16.pack_into(plain, _ORIGINAL_TYPE, 0)
    plain[HEADER_SIZE:end] = _decrypted(page[HEADER_SIZE:end], secret)
    _U16.pack_into(plain, PAGE_TYPE, original)
    return bytes(plain)


def decrypt_redo_block(block: memoryview, secret: Secret) -> bytes:
    """A block of the redo log as it would be without encryption; its checksum is of that."""
    length = _U16.unpack_from(block, 4)[0]
    if not length & _REDO_ENCRYPTED:
        return bytes(block)
    plain = bytearray(block)
    plain[12:] = _decrypted(block[12:], secret)
    _U16.pack_into(plain, 4, length & ~_REDO_ENCRYPTED)
    return bytes(plain)
