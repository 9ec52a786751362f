"""Files that a recipient makes itself: new tablespaces, and the holes of page-compressed ones.

When a table is created on the donor during a clone, the donor sends its name, space id and flags; what was written
to it follows as changed pages and redo. Recovery needs a file to apply them to, with a valid page 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from innoclone.innodb.encryption import info_offset
from innoclone.innodb.page import (
    COMPRESSED_TYPES,
    HEADER_SIZE,
    PAGE_TYPE,
    TRAILER_SIZE,
    CompressedHeader,
    checksum,
    zip_checksum,
)
from innoclone.innodb.space import MIB, SpaceFlags, is_undo
from innoclone.native.library import Buffer

_INITIAL_PAGES = 7  # FIL_IBD_FILE_INITIAL_SIZE
_INITIAL_UNDO_SIZE = 16 * MIB  # UNDO_INITIAL_SIZE
_SPACE_VERSION = 1  # DD_SPACE_CURRENT_SPACE_VERSION
# Server version at 8, space version at 12, space id at 34 and 38, flags at 54 (fsp_header_init_fields).
_PAGE0 = struct.Struct(">8x II 18x II 12x I")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


def initial_file(space_id: int, flags: SpaceFlags, server_version: int, info: bytes = b"") -> tuple[bytes, int]:
    """Page 0 and the size in bytes of a tablespace file that was created during the clone.

    The rest of the file is zeros. ``server_version`` is the donor's as a number, 90704 for 9.7.4; ``info`` is the block
    with the key of an encrypted one, without which a server refuses it (MY-012662). Page 0 has the
    physical page size: with a logical one a server refuses a ROW_FORMAT=COMPRESSED tablespace at recovery.
    """
    page = bytearray(flags.physical_page_size)
    _PAGE0.pack_into(page, 0, server_version, _SPACE_VERSION, space_id, space_id, flags.raw)
    at = info_offset(flags)
    page[at : at + len(info)] = info
    if flags.is_compressed:
        _U32.pack_into(page, 0, zip_checksum(page))
    else:
        crc = checksum(page)
        _U32.pack_into(page, 0, crc)
        _U32.pack_into(page, len(page) - TRAILER_SIZE, crc)
    return bytes(page), _INITIAL_UNDO_SIZE if is_undo(space_id) else _INITIAL_PAGES * len(page)


class Run(NamedTuple):
    """Part of a buffer: ``length`` bytes from ``offset`` on to be written, then ``hole`` bytes to be punched."""

    offset: int
    length: int
    hole: int


def page_compression_runs(buffer: Buffer, page_size: int, fs_block: int) -> Iterator[Run]:
    """What to write and what to punch of a buffer of pages of a page-compressed file.

    A compressed page uses the start of its slot, rounded up to ``fs_block``, the file system's block size in bytes.
    Adjacent pages without a hole come as one run. Pages that aren't compressed, or whose length makes no sense, are
    written in full; so is a part of a page at the end.
    """
    view = memoryview(buffer)
    start = 0
    for page in range(0, len(view) - page_size + 1, page_size):
        used = _used(view, page, page_size, fs_block)
        if used < page_size:
            yield Run(start, page + used - start, page_size - used)
            start = page + page_size
    if start < len(view):
        yield Run(start, len(view) - start, 0)


def _used(view: memoryview, page: int, page_size: int, fs_block: int) -> int:
    """Bytes of the slot that the page at offset ``page`` needs."""
    if _U16.unpack_from(view, page + PAGE_TYPE)[0] not in COMPRESSED_TYPES:
        return page_size
    used = HEADER_SIZE + CompressedHeader.parse(view, page).compressed_size
    return min(-(-used // fs_block) * fs_block, page_size)
