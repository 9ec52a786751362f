"""Pages: their header, their checksums, and a fast check of many at once.

A tablespace file is a run of pages of equal size, page p at p * size. `PageChecker` tells for a buffer of such
pages which ones are damaged. It keeps no state between calls, so several threads may share one.

The layout is fil0types.h's; the checksums are those of buf0checksum.cc, page0zip.cc and os0file.cc. All integers
are big-endian.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable
from enum import Enum, IntEnum
from typing import NamedTuple

from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags
from innoclone.native.crc import crc32c
from innoclone.native.library import Buffer, Library, library
from innoclone.native.pages import Pages, unusual_pages

# Offsets in a page (FIL_PAGE_*).
PAGE_NUMBER = 4
PAGE_LSN = 16
PAGE_TYPE = 24
UNCHECKED = 26  # from here to SPACE_ID lie fields that no checksum covers: flush LSN, compression fields
COMPRESSED_HEADER = 26
SPACE_ID = 34
HEADER_SIZE = 38
TRAILER_SIZE = 8  # checksum again, low half of the LSN

NO_CHECKSUM = 0xDEADBEEF
"""Both checksum fields with innodb_checksum_algorithm=none (BUF_NO_CHECKSUM_MAGIC)."""


class PageType(IntEnum):
    """The page types that matter here (FIL_PAGE_COMPRESSED and so on)."""

    COMPRESSED = 14
    ENCRYPTED = 15
    COMPRESSED_AND_ENCRYPTED = 16
    ENCRYPTED_RTREE = 17


COMPRESSED_TYPES = frozenset({PageType.COMPRESSED, PageType.COMPRESSED_AND_ENCRYPTED})
ENCRYPTED_TYPES = frozenset({PageType.ENCRYPTED, PageType.COMPRESSED_AND_ENCRYPTED, PageType.ENCRYPTED_RTREE})


class CompressedHeader(NamedTuple):
    """Fields of a page-compressed page from byte 26 on (Compression::meta_t)."""

    version: int
    algorithm: int  # 1 zlib, 2 lz4
    original_type: int
    original_size: int  # bytes after the page header, before compression
    compressed_size: int  # bytes after the page header, in the file

    @classmethod
    def parse(cls, page: Buffer, offset: int = 0) -> CompressedHeader:
        """Read them from the page that starts at ``offset`` of ``page``."""
        return cls(*_COMPRESSED_HEADER.unpack_from(page, offset + COMPRESSED_HEADER))


_COMPRESSED_HEADER = struct.Struct(">BBHHH")
_ZLIB = 1
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_TRAILER = struct.Struct(">II")


class Verdict(Enum):
    """What the check of one page found."""

    GOOD = "good"
    NOT_VERIFIABLE = "not verifiable"  # lz4, or without a checksum of its body
    ENCRYPTED = "encrypted"  # and so not verifiable without its key
    UNDECRYPTED = "not what its key encrypts"
    TORN = "torn"  # head and tail are of different versions of the page
    CORRUPT = "corrupt"  # the checksum is wrong
    MISPLACED = "misplaced"  # a sound page, but the number it carries is not its position
    FOREIGN = "of another tablespace"  # a sound page with another space id
    TRUNCATED = "truncated"  # the buffer ends inside the page


class BadPage(NamedTuple):
    """A damaged page: its number by position in the tablespace, and what is wrong with it."""

    number: int
    verdict: Verdict


class Findings(NamedTuple):
    """The result of checking a buffer."""

    bad: list[BadPage]
    not_verifiable: int
    encrypted: int = 0  # how many of those are encrypted, and were not decrypted


def checksum(page: Buffer) -> int:
    """CRC-32C of an uncompressed page (buf_calc_page_crc32)."""
    view = memoryview(page)
    return crc32c(view[PAGE_NUMBER:UNCHECKED]) ^ crc32c(view[HEADER_SIZE:-TRAILER_SIZE])


def zip_checksum(page: Buffer) -> int:
    """CRC-32C of a ROW_FORMAT=COMPRESSED page (page_zip_calc_checksum); LSN and trailer are not special there."""
    view = memoryview(page)
    return crc32c(view[PAGE_NUMBER:PAGE_LSN]) ^ crc32c(view[PAGE_TYPE:UNCHECKED]) ^ crc32c(view[SPACE_ID:])


def _zip_checksum_innodb(page: memoryview) -> int:
    """Adler-32 over the same ranges: ROW_FORMAT=COMPRESSED with innodb_checksum_algorithm=innodb."""
    value = zlib.adler32(page[PAGE_NUMBER:PAGE_LSN], 0)
    return zlib.adler32(page[SPACE_ID:], zlib.adler32(page[PAGE_TYPE:UNCHECKED], value))


def _fold(data: memoryview) -> int:
    """The hash of innodb_checksum_algorithm=innodb (ut_fold_binary), low 32 bits."""
    fold = 0
    for byte in data:
        fold = ((((fold ^ byte ^ 1653893711) << 8) + fold) ^ 1463735687) + byte & 0xFFFFFFFF
    return fold


@functools.cache
def _zeros(page_size: int) -> bytes:
    return bytes(page_size)


@functools.cache
def _fields(page_size: int, *, is_zip: bool) -> struct.Struct:
    """The fields of a page that the fast path compares; iter_unpack then walks whole pages in C."""
    if is_zip:
        return struct.Struct(f">II 26x I {page_size - HEADER_SIZE}x")
    return struct.Struct(f">II 12x I 10x I {page_size - HEADER_SIZE - TRAILER_SIZE}x II")


class PageChecker:
    """Checks the pages of one tablespace.

    ``space_id`` is the id that every page must carry. Checked are the checksum, the low half of the LSN at both
    ends of the page, the page number against the position, and the space id. A page of zeros is good: the file
    was extended and the page never written. Page 0 isn't: the server writes it when it creates the file.

    Not verifiable, beyond page number and space id: encrypted pages without `decrypt`, page-compressed ones with lz4,
    pages without a checksum (algorithm none), and the body of pages with the old algorithm ``innodb`` (that hash
    takes Python 3 ms a page).
    """

    def __init__(self, flags: SpaceFlags, space_id: int, *, native: Library | None = library) -> None:
        """``native``: what finds the pages that are worth a look; None does it in Python, with the same result."""
        self.flags, self.page_size = flags, flags.physical_page_size
        self.space_id = space_id
        self.decrypt: Callable[[memoryview], bytes] | None = None  # gives an encrypted page as it is in clear
        self._native = native
        self._is_zip = flags.is_compressed
        self.pages = Pages(self.page_size, space_id, self._is_zip)
        # Shared, since a server may have very many tablespaces, each with a checker.
        self._zeros = _zeros(self.page_size)
        self._fields = _fields(self.page_size, is_zip=self._is_zip)
        # Servers before 8.0.20 kept the doublewrite buffer in these two extents of the system tablespace.
        # What an upgraded server still has there are copies of any pages.
        self._copies = range(flags.extent_pages, 3 * flags.extent_pages) if space_id == SYSTEM_SPACE else range(0)

    def bad_pages(self, buffer: Buffer, first_page: int) -> list[BadPage]:
        """The damaged ones among the pages in ``buffer``; ``first_page`` is the number of the first."""
        return self.check(buffer, first_page).bad

    def check(self, buffer: Buffer, first_page: int, suspects: list[int] | None = None) -> Findings:
        """Check all pages in ``buffer``; ``first_page`` is the number of the first. Never raises for any content.

        ``suspects``: where it is known already which whole pages, by index, may not be good (`innoclone.native`).

        Numbers count through all files of a tablespace: the second file of the system tablespace starts where
        the first one ends.
        """
        view = memoryview(buffer)
        if suspects is None:
            suspects = self._suspects(view[: len(view) // self.page_size * self.page_size], first_page)
        return self.examine(view, first_page, suspects)

    def examine(self, view: memoryview, first_page: int, suspects: list[int]) -> Findings:
        """The same where it is known which pages, by index, may not be good (`innoclone.native.block` tells that)."""
        whole = len(view) // self.page_size
        bad = []
        not_verifiable = encrypted = 0
        for index in suspects:
            number = first_page + index
            verdict = self._examine(view[index * self.page_size : (index + 1) * self.page_size], number)
            if verdict in (Verdict.NOT_VERIFIABLE, Verdict.ENCRYPTED):
                not_verifiable += 1
                encrypted += verdict is Verdict.ENCRYPTED
            elif verdict is not Verdict.GOOD:
                bad.append(BadPage(number, verdict))
        if whole * self.page_size != len(view):
            bad.append(BadPage(first_page + whole, Verdict.TRUNCATED))
        return Findings(bad, not_verifiable, encrypted)

    def _suspects(self, view: memoryview, first_page: int) -> list[int]:
        """Indexes of the pages that are to be examined, among them all that are not good."""
        if self._native is not None:
            return unusual_pages(self._native, view, self.page_size, self.space_id, first_page, is_zip=self._is_zip)
        return (self._zip_suspects if self._is_zip else self._plain_suspects)(view, first_page)

    def _plain_suspects(self, view: memoryview, first_page: int) -> list[int]:
        """The same in Python, for uncompressed pages.

        crc32c keeps the GIL here: letting it go for a microsecond costs more than it gives (measured).
        """
        from crc32c import crc32c  # faster for each than ours, but it loads much

        size, space_id = self.page_size, self.space_id
        body_end = size - TRAILER_SIZE
        start = 0
        found = []
        for index, (crc, number, lsn, space, last_crc, last_lsn) in enumerate(self._fields.iter_unpack(view)):
            if (
                crc32c(view[start + PAGE_NUMBER : start + UNCHECKED])
                ^ crc32c(view[start + HEADER_SIZE : start + body_end])
                != crc
                or crc != last_crc
                or lsn != last_lsn
                or number != first_page + index
                or space != space_id
            ):
                found.append(index)
            start += size
        return found

    def _zip_suspects(self, view: memoryview, first_page: int) -> list[int]:
        """The same for ROW_FORMAT=COMPRESSED."""
        size, space_id = self.page_size, self.space_id
        found = []
        for index, (crc, number, space) in enumerate(self._fields.iter_unpack(view)):
            page = view[index * size : (index + 1) * size]
            if zip_checksum(page) != crc or number != first_page + index or space != space_id:
                found.append(index)
        return found

    def _examine(self, page: memoryview, number: int) -> Verdict:
        """The verdict on a page that is not plainly good."""
        if self._is_empty(page):
            return Verdict.GOOD if number else Verdict.CORRUPT
        verdict = self._content(page)
        if verdict in (Verdict.GOOD, Verdict.NOT_VERIFIABLE, Verdict.ENCRYPTED) and number not in self._copies:
            if _U32.unpack_from(page, PAGE_NUMBER)[0] != number:
                return Verdict.MISPLACED
            if _U32.unpack_from(page, SPACE_ID)[0] != self.space_id:
                return Verdict.FOREIGN
        return verdict

    def _is_empty(self, page: memoryview) -> bool:
        """Whether the page was never written; like the server we let pass the fields that no checksum covers."""
        data = page.tobytes()
        return data == self._zeros or not (any(data[:UNCHECKED]) or any(data[SPACE_ID:]))

    def _content(self, page: memoryview) -> Verdict:
        """Whether the page is sound in itself, wherever it belongs."""
        page_type = _U16.unpack_from(page, PAGE_TYPE)[0]
        if page_type in ENCRYPTED_TYPES:
            return self._hidden_content(page)
        if self._is_zip:
            return _zip_content(page)
        if page_type == PageType.COMPRESSED:
            return _compressed_content(page)
        return _plain_content(page)

    def _hidden_content(self, page: memoryview) -> Verdict:
        if self.decrypt is None:
            return Verdict.ENCRYPTED
        try:
            plain = self.decrypt(page)
        except ValueError:
            return Verdict.NOT_VERIFIABLE  # of a form that is not known
        if _U16.unpack_from(plain, PAGE_TYPE)[0] in ENCRYPTED_TYPES:
            return Verdict.UNDECRYPTED
        return self._content(memoryview(plain))


def _zip_content(page: memoryview) -> Verdict:
    stored = _U32.unpack_from(page)[0]
    if stored == zip_checksum(page) or stored == _zip_checksum_innodb(page):
        return Verdict.GOOD
    return Verdict.NOT_VERIFIABLE if stored == NO_CHECKSUM else Verdict.CORRUPT


def _compressed_content(page: memoryview) -> Verdict:
    """Restore a page-compressed page and check that; its checksum fields are those of the original."""
    header = CompressedHeader.parse(page)
    end = HEADER_SIZE + header.compressed_size
    if end > len(page) or header.original_size != len(page) - HEADER_SIZE:
        return Verdict.CORRUPT
    if header.algorithm != _ZLIB:
        return Verdict.NOT_VERIFIABLE
    inflate = zlib.decompressobj()
    try:
        # One byte more than we accept: a bomb stays small, and zlib gets to the end of its stream.
        body = inflate.decompress(page[HEADER_SIZE:end], header.original_size + 1)
    except zlib.error:
        return Verdict.CORRUPT
    if len(body) != header.original_size or not inflate.eof or inflate.unused_data:
        return Verdict.CORRUPT
    head = bytes(page[:PAGE_TYPE]) + _U16.pack(header.original_type) + bytes(page[UNCHECKED:HEADER_SIZE])
    return _plain_content(memoryview(head + body))


def _plain_content(page: memoryview) -> Verdict:
    first = _U32.unpack_from(page)[0]
    last, last_lsn = _TRAILER.unpack_from(page, len(page) - TRAILER_SIZE)
    if _U32.unpack_from(page, PAGE_LSN + 4)[0] != last_lsn:
        return Verdict.TORN if first != last else Verdict.CORRUPT
    if first == last == checksum(page):
        return Verdict.GOOD
    if first == last == NO_CHECKSUM or last == _fold(page[:UNCHECKED]):
        return Verdict.NOT_VERIFIABLE
    return Verdict.CORRUPT
