"""Tablespaces: the flags that say how a file's pages are laid out, page 0's header, and the ids with a meaning.

Every tablespace file starts with page 0 (FSP_HDR), which carries the space id and a word of flags; the clone
protocol sends the same word with each file. Page size, compression and encryption of a file all follow from it.

Layout and numbers: fsp0types.h (FSP_FLAGS_*), fsp0fsp.h (FSP_*), dict0dict.h (dict_sys_t::s_*_space_id).
"""

from __future__ import annotations

import struct
from typing import ClassVar, NamedTuple

from innoclone.dataclass import dataclass

KIB = 1024
MIB = 1024 * KIB

# Ids of tablespaces. Users' tablespaces count up from 1.
SYSTEM_SPACE = 0
REDO_SPACE = 0xFFFFFFF0
TEMPORARY_SPACE = 0xFFFFFFFD  # ibtmp1
DICTIONARY_SPACE = 0xFFFFFFFE  # mysql.ibd
NO_SPACE = 0xFFFFFFFF
UNDO_SPACE_MAX = REDO_SPACE - 1
# 127 undo tablespaces with 400,000 ids each: truncating one gives it the next id of its range.
UNDO_SPACE_MIN = REDO_SPACE - 127 * 400_000
SESSION_TEMPORARY_MAX = UNDO_SPACE_MIN - 1
SESSION_TEMPORARY_MIN = UNDO_SPACE_MIN - 400_000

FLAGS_UNKNOWN = 0xFFFFFFFF
"""What the clone protocol sends as flags for a file that is not a tablespace (redo log, buffer pool dump)."""


def is_undo(space_id: int) -> bool:
    """Whether the id belongs to an undo tablespace (fsp_is_undo_tablespace), whatever its file is called."""
    return UNDO_SPACE_MIN <= space_id <= UNDO_SPACE_MAX


def is_temporary(space_id: int) -> bool:
    """Whether the id belongs to the global or a session's temporary tablespace; those are never cloned."""
    return space_id == TEMPORARY_SPACE or SESSION_TEMPORARY_MIN <= space_id <= SESSION_TEMPORARY_MAX


class BitField(NamedTuple):
    """Where a value lies in the word of flags."""

    position: int
    width: int

    @property
    def mask(self) -> int:
        """The field's bits, all set."""
        return ((1 << self.width) - 1) << self.position

    def get(self, word: int) -> int:
        """The field's value in ``word``."""
        return (word & self.mask) >> self.position

    def put(self, value: int) -> int:
        """A word with only this field set."""
        return (value << self.position) & self.mask


@dataclass(frozen=True, slots=True)
class SpaceFlags:
    """The flags of a tablespace (FSP_SPACE_FLAGS).

    Raises ValueError for a word that no server writes, so that no size is ever derived from garbage. It is the
    caller who knows whether a file or a peer is to blame.
    """

    raw: int

    POST_ANTELOPE: ClassVar[BitField] = BitField(0, 1)
    ZIP_SSIZE: ClassVar[BitField] = BitField(1, 4)
    ATOMIC_BLOBS: ClassVar[BitField] = BitField(5, 1)
    PAGE_SSIZE: ClassVar[BitField] = BitField(6, 4)
    DATA_DIRECTORY: ClassVar[BitField] = BitField(10, 1)
    SHARED: ClassVar[BitField] = BitField(11, 1)
    TEMPORARY: ClassVar[BitField] = BitField(12, 1)
    ENCRYPTION: ClassVar[BitField] = BitField(13, 1)
    SDI: ClassVar[BitField] = BitField(14, 1)
    KNOWN_BITS: ClassVar[int] = 0x7FFF

    def __post_init__(self) -> None:
        """Refuse unknown bits and impossible sizes (the rules of fsp_flags_is_valid that sizes depend on)."""
        page, zipped = self.PAGE_SSIZE.get(self.raw), self.ZIP_SSIZE.get(self.raw)
        if (
            not 0 <= self.raw <= self.KNOWN_BITS
            or not (page == 0 or 3 <= page <= 7)
            or zipped > 5
            or (zipped and (self.logical_page_size > 16 * KIB or self.zip_size > self.logical_page_size))
        ):
            raise ValueError(f"tablespace flags 0x{self.raw & 0xFFFFFFFF:08x} make no sense")

    @property
    def logical_page_size(self) -> int:
        """The server's innodb_page_size in bytes: 4, 8, 16, 32 or 64 KiB."""
        shift = self.PAGE_SSIZE.get(self.raw)
        return 512 << shift if shift else 16 * KIB

    @property
    def zip_size(self) -> int:
        """KEY_BLOCK_SIZE in bytes (1-16 KiB), 0 for a tablespace that isn't ROW_FORMAT=COMPRESSED."""
        shift = self.ZIP_SSIZE.get(self.raw)
        return 512 << shift if shift else 0

    @property
    def is_compressed(self) -> bool:
        """Whether the pages are ROW_FORMAT=COMPRESSED (not to be confused with page compression)."""
        return self.zip_size != 0

    @property
    def physical_page_size(self) -> int:
        """Bytes from one page of the file to the next."""
        return self.zip_size or self.logical_page_size

    @property
    def extent_pages(self) -> int:
        """Pages of one extent (FSP_EXTENT_SIZE): 1 MiB worth of logical pages, at least 64."""
        return max(MIB // self.logical_page_size, 64)

    @property
    def extent_size(self) -> int:
        """Bytes of one extent in the file."""
        return self.extent_pages * self.physical_page_size

    @property
    def has_data_directory(self) -> bool:
        """Whether the table was created with DATA DIRECTORY."""
        return bool(self.raw & self.DATA_DIRECTORY.mask)

    @property
    def is_shared(self) -> bool:
        """Whether it may hold several tables: a general tablespace, the dictionary's, the system tablespace."""
        return bool(self.raw & self.SHARED.mask)

    @property
    def is_encrypted(self) -> bool:
        """Whether the pages are encrypted at rest."""
        return bool(self.raw & self.ENCRYPTION.mask)


@dataclass(frozen=True, slots=True)
class SpaceHeader:
    """The part of page 0 that says what the file is."""

    space_id: int
    page_count: int  # may lag behind the file while it is being extended
    flags: int

    # FSP header at 38: space id, unused, size in pages, free limit, flags.
    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">38x I 4x I 4x I")

    @classmethod
    def parse(cls, page0: bytes | memoryview) -> SpaceHeader:
        """Read it from the first ``LAYOUT.size`` bytes, or more, of page 0."""
        return cls(*cls.LAYOUT.unpack_from(page0))
