"""Pages and flags made by hand, for the tests of innoclone.innodb and of the page check."""

from __future__ import annotations

import struct
import zlib

from innoclone.innodb.page import COMPRESSED_HEADER, HEADER_SIZE, PageType, checksum, zip_checksum
from innoclone.innodb.space import KIB, SpaceFlags

PAGE_SIZES = [4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB]


def flags_for(page_size: int, zip_size: int = 0) -> SpaceFlags:
    page_shift = 0 if page_size == 16 * KIB else (page_size // 512).bit_length() - 1
    zip_shift = (zip_size // 512).bit_length() - 1 if zip_size else 0
    return SpaceFlags(SpaceFlags.PAGE_SSIZE.put(page_shift) | SpaceFlags.ZIP_SSIZE.put(zip_shift))


SPACE = 42
LSN = 0x0000_0001_2345_6789
INDEX = 17855
PLAIN = flags_for(16 * KIB)
ZIPPED = flags_for(16 * KIB, 8 * KIB)
LAYOUTS = [*map(flags_for, PAGE_SIZES), *(flags_for(16 * KIB, k * KIB) for k in (1, 2, 4, 8, 16))]


def seal(page: bytearray, flags: SpaceFlags) -> bytes:
    """Give the page valid checksum fields."""
    if flags.is_compressed:
        struct.pack_into(">I", page, 0, zip_checksum(page))
    else:
        struct.pack_into(">I", page, 0, checksum(page))
        page[-8:-4] = page[:4]
    return bytes(page)


def make_page(flags: SpaceFlags, number: int, *, lsn: int = LSN, page_type: int = INDEX, space: int = SPACE) -> bytes:
    body = struct.pack(">I", number * 2654435761 & 0xFFFFFFFF) * (flags.physical_page_size // 4)
    page = bytearray(body[: flags.physical_page_size])
    struct.pack_into(">IIIQHQI", page, 4, number, number - 1 & 0xFFFFFFFF, number + 1, lsn, page_type, 0, space)
    if not flags.is_compressed:
        struct.pack_into(">I", page, len(page) - 4, lsn & 0xFFFFFFFF)
    return seal(page, flags)


def make_file(flags: SpaceFlags, count: int) -> bytearray:
    return bytearray(b"".join(make_page(flags, number) for number in range(count)))


def compress(page: bytes) -> bytes:
    """The page as COMPRESSION='zlib' stores it: in a slot of the same size."""
    payload = zlib.compress(page[HEADER_SIZE:])
    assert len(payload) < len(page) - HEADER_SIZE
    slot = bytearray(page[:HEADER_SIZE] + payload).ljust(len(page), b"\0")
    original_type = struct.unpack_from(">H", page, 24)[0]
    struct.pack_into(">H", slot, 24, PageType.COMPRESSED)
    struct.pack_into(">BBHHH", slot, COMPRESSED_HEADER, 2, 1, original_type, len(page) - HEADER_SIZE, len(payload))
    return bytes(slot)
