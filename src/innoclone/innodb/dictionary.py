"""Which files a server had: the rows of mysql.tablespace_files, read from the pages of mysql.ibd.

Only for a tablespace whose changes are all in its pages, as a clean shutdown leaves it. The table's clustered index is
found by what is in its first row, because the page in which it begins is written down nowhere that is easier to read.

Layout: page0types.h (PAGE_*), rem0wrec.h and rem0rec.h (records of the compact format), tablespace_files.cc (columns
tablespace_id, ordinal_position, file_name, se_private_data; the first two are the key).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from innoclone.innodb.page import HEADER_SIZE, PAGE_TYPE

__all__ = ["DictionaryFile", "tablespace_files"]

Page = Callable[[int], bytes]

INDEX_PAGE = 17855  # FIL_PAGE_INDEX
NO_PAGE = 0xFFFFFFFF
OWN_FILE = "mysql.ibd"  # the first row's

_NEIGHBOURS = struct.Struct(">8x I I")  # FIL_PAGE_PREV, FIL_PAGE_NEXT
_INDEX = struct.Struct(f">{HEADER_SIZE + 4}x H 20x H Q")  # PAGE_N_HEAP, PAGE_LEVEL, PAGE_INDEX_ID
_COMPACT = 0x8000  # in PAGE_N_HEAP
_ROOTS_SEGMENT = HEADER_SIZE + 36  # PAGE_BTR_SEG_LEAF, which only an index' root has
_INFIMUM, _SUPREMUM = 99, 112
_RECORD = 5  # bytes of a record's header, which lie before it
_DELETED = 0x20  # in their first byte
_KEY = struct.Struct(">Q I")
_CHILD = struct.Struct(">12x I")  # of a record above the leaves: key, page
_NAME_AT = 8 + 4 + 6 + 7  # behind the key, transaction and undo record
_MOST_RECORDS = 1 << 13  # that a page of 64 KiB can hold
_SPACE_ID = re.compile(rb"id=(\d{1,10});")  # in se_private_data


@dataclass(frozen=True)
class DictionaryFile:
    """``name`` as the server wrote it, absolute or relative to its data directory; ``space_id`` where a row tells."""

    name: str
    space_id: int | None


def tablespace_files(page: Page, count: int) -> list[DictionaryFile]:
    """All rows of the table. ``page`` reads one of the ``count`` pages of mysql.ibd. ValueError if they make no
    sense."""
    try:
        number = _first_leaf(page, count)
        found: list[DictionaryFile] = []
        seen: set[int] = set()
        index = _index(page(number))
        while number != NO_PAGE:
            content = page(number) if number < count and number not in seen else b""
            if not content or _index(content) != index:
                raise ValueError("the index of mysql.tablespace_files is damaged")
            seen.add(number)
            found += [_row(content, at) for at in _records(content)]
            number = _NEIGHBOURS.unpack_from(content)[1]
    except (struct.error, IndexError, UnicodeError) as error:
        raise ValueError(f"a page of the data dictionary is damaged: {error}") from error
    return found


def _first_leaf(page: Page, count: int) -> int:
    for number in range(count):
        if _is_root(page(number)) and (leaf := _descend(page, count, number)) is not None:
            return leaf
    raise ValueError("mysql.tablespace_files is not found in the data dictionary")


def _is_root(content: bytes) -> bool:
    """Whether an index begins in this page."""
    if struct.unpack_from(">H", content, PAGE_TYPE)[0] != INDEX_PAGE:
        return False
    heap, _, _ = _INDEX.unpack_from(content)
    alone = _NEIGHBOURS.unpack_from(content) == (NO_PAGE, NO_PAGE)
    return bool(alone and heap & _COMPACT and any(content[_ROOTS_SEGMENT : _ROOTS_SEGMENT + 10]))


def _descend(page: Page, count: int, number: int) -> int | None:
    """The first leaf of the index that begins here, None if it is another table's."""
    content = page(number)
    _, level, index = _INDEX.unpack_from(content)
    while level:
        at = next(_records(content), None)
        if at is None or at + _CHILD.size > len(content):
            return None
        number = _CHILD.unpack_from(content, at)[0]
        if number >= count or _index(content := page(number)) != index:
            return None
        _, below, _ = _INDEX.unpack_from(content)
        if below != level - 1:
            return None
        level = below
    at = next(_records(content), None)
    try:
        first = None if at is None else (_KEY.unpack_from(content, at), _row(content, at).name)
    except (struct.error, UnicodeError, ValueError):
        return None
    return number if first == ((1, 1), OWN_FILE) else None


def _index(content: bytes) -> int:
    """The id of the index that a page belongs to, 0 if it belongs to none."""
    if struct.unpack_from(">H", content, PAGE_TYPE)[0] != INDEX_PAGE:
        return 0
    return int(_INDEX.unpack_from(content)[2])


def _records(content: bytes) -> Iterator[int]:
    """Where the live records of a page begin, in order."""
    at = _INFIMUM
    for _ in range(_MOST_RECORDS):
        step = struct.unpack_from(">H", content, at - 2)[0]
        at = (at + step) & 0xFFFF
        if at == _SUPREMUM:
            return
        if not step or not _SUPREMUM < at < len(content):
            break
        if not content[at - _RECORD] & _DELETED:
            yield at
    raise ValueError("a page of the data dictionary has no order")


def _row(content: bytes, at: int) -> DictionaryFile:
    """A row whose record begins here. Lengths lie before its header, backwards, behind a byte that says whether
    se_private_data is NULL."""
    head = at - _RECORD - 2
    length = content[head]
    if length & 0x80:  # two bytes: the column may have more than 255
        length = (length & 0x3F) << 8 | content[head - 1]
    begin = at + _NAME_AT
    name = content[begin : begin + length]
    if not name or len(name) < length or b"\0" in name:
        raise ValueError("a row of mysql.tablespace_files is damaged")
    told = None if content[at - _RECORD - 1] & 1 else _SPACE_ID.match(content, begin + length)
    return DictionaryFile(name.decode(), int(told[1]) if told else None)
