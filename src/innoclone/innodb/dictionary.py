"""Which files a server had: the rows of mysql.tablespace_files and mysql.tablespaces, read from the pages of mysql.ibd.

Only for a tablespace whose changes are all in its pages, as a clean shutdown leaves it. A table's clustered index is
found by what is in its first row, because the page in which it begins is written down nowhere that is easier to read.

Layout: page0types.h (PAGE_*), rem0wrec.h and rem0rec.h (records of the compact format), tablespace_files.cc (columns
tablespace_id, ordinal_position, file_name, se_private_data; the first two are the key), tablespaces.cc (id, which is
the key; name, options, se_private_data and more).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from innoclone.innodb.page import HEADER_SIZE, PAGE_TYPE

__all__ = ["DictionaryFile", "space_ids", "tablespace_files"]

Page = Callable[[int], bytes]
R = TypeVar("R")

INDEX_PAGE = 17855  # FIL_PAGE_INDEX
NO_PAGE = 0xFFFFFFFF
OWN_FILE = "mysql.ibd"  # the first row's
OWN_NAME = b"mysql"  # and the first tablespace's

_NEIGHBOURS = struct.Struct(">8x I I")  # FIL_PAGE_PREV, FIL_PAGE_NEXT
_INDEX = struct.Struct(f">{HEADER_SIZE + 4}x H 20x H Q")  # PAGE_N_HEAP, PAGE_LEVEL, PAGE_INDEX_ID
_COMPACT = 0x8000  # in PAGE_N_HEAP
_ROOTS_SEGMENT = HEADER_SIZE + 36  # PAGE_BTR_SEG_LEAF, which only an index' root has
_INFIMUM, _SUPREMUM = 99, 112
_RECORD = 5  # bytes of a record's header, which lie before it
_DELETED = 0x20  # in their first byte
_KEY = struct.Struct(">Q I")
_CHILD = struct.Struct(">I")  # of a record above the leaves, behind the key: the page
_NAME_AT = 8 + 4 + 6 + 7  # behind the key, transaction and undo record
_MOST_RECORDS = 1 << 13  # that a page of 64 KiB can hold
_SPACE_ID = re.compile(rb"id=(\d{1,10});")  # in se_private_data
_SPACE_ID_AMONG = re.compile(rb"(?:\A|;)id=(\d{1,10});")
_TABLESPACE = struct.Struct(">Q 13x")  # id, transaction and undo record: then the name


@dataclass(frozen=True)
class DictionaryFile:
    """``name`` as the server wrote it, absolute or relative to its data directory; ``space_id`` where a row tells.
    ``tablespace`` is the id of its row in mysql.tablespaces."""

    name: str
    space_id: int | None
    tablespace: int = field(default=0, compare=False)


@dataclass(frozen=True)
class _Table(Generic[R]):
    """``key`` in bytes; ``is_first`` knows the first row, which others' have not, ``row`` is what is made of each. Both
    may raise ValueError, struct.error, IndexError, UnicodeError."""

    name: str
    key: int
    is_first: Callable[[bytes, int], bool]
    row: Callable[[bytes, int], R]


def tablespace_files(page: Page, count: int) -> list[DictionaryFile]:
    """All rows of the table. ``page`` reads one of the ``count`` pages of mysql.ibd. ValueError if they make no
    sense."""
    return _rows(page, count, _Table("tablespace_files", _KEY.size, _is_first_file, _row))


def space_ids(page: Page, count: int) -> dict[int, int]:
    """The space ids of all tablespaces that have one, by the ids of their rows in mysql.tablespaces. ValueError as
    above."""
    found = _rows(page, count, _Table("tablespaces", 8, _is_first_tablespace, _tablespace))
    return {number: space_id for number, space_id in found if space_id is not None}


def _rows(page: Page, count: int, table: _Table[R]) -> list[R]:
    try:
        number = _first_leaf(page, count, table)
        found: list[R] = []
        seen: set[int] = set()
        index = _index(page(number))
        while number != NO_PAGE:
            content = page(number) if number < count and number not in seen else b""
            if not content or _index(content) != index:
                raise ValueError(f"the index of mysql.{table.name} is damaged")
            seen.add(number)
            found += [table.row(content, at) for at in _records(content)]
            number = _NEIGHBOURS.unpack_from(content)[1]
    except (struct.error, IndexError, UnicodeError) as error:
        raise ValueError(f"a page of the data dictionary is damaged: {error}") from error
    return found


def _first_leaf(page: Page, count: int, table: _Table[R]) -> int:
    for number in range(count):
        if _is_root(page(number)) and (leaf := _descend(page, count, number, table)) is not None:
            return leaf
    raise ValueError(f"mysql.{table.name} is not found in the data dictionary")


def _is_root(content: bytes) -> bool:
    """Whether an index begins in this page."""
    if struct.unpack_from(">H", content, PAGE_TYPE)[0] != INDEX_PAGE:
        return False
    heap, _, _ = _INDEX.unpack_from(content)
    alone = _NEIGHBOURS.unpack_from(content) == (NO_PAGE, NO_PAGE)
    return bool(alone and heap & _COMPACT and any(content[_ROOTS_SEGMENT : _ROOTS_SEGMENT + 10]))


def _descend(page: Page, count: int, number: int, table: _Table[R]) -> int | None:
    """The first leaf of the index that begins here, None if it is another table's."""
    content = page(number)
    _, level, index = _INDEX.unpack_from(content)
    while level:
        at = next(_records(content), None)
        if at is None or at + table.key + _CHILD.size > len(content):
            return None
        number = _CHILD.unpack_from(content, at + table.key)[0]
        if number >= count or _index(content := page(number)) != index:
            return None
        _, below, _ = _INDEX.unpack_from(content)
        if below != level - 1:
            return None
        level = below
    at = next(_records(content), None)
    try:
        return number if at is not None and table.is_first(content, at) else None
    except (struct.error, IndexError, UnicodeError, ValueError):
        return None


def _is_first_file(content: bytes, at: int) -> bool:
    return (_KEY.unpack_from(content, at), _row(content, at).name) == ((1, 1), OWN_FILE)


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
    """A row of mysql.tablespace_files whose record begins here."""
    nulls, (length,) = content[at - _RECORD - 1], _lengths(content, at, 1)
    begin = at + _NAME_AT
    name = content[begin : begin + length]
    if not name or len(name) < length or b"\0" in name:
        raise ValueError("a row of mysql.tablespace_files is damaged")
    told = None if nulls & 1 else _SPACE_ID.match(content, begin + length)
    return DictionaryFile(name.decode(), int(told[1]) if told else None, _KEY.unpack_from(content, at)[0])


def _tablespace(content: bytes, at: int) -> tuple[int, int | None]:
    """Its id, and the space id in se_private_data; options come before that, if they are not NULL."""
    nulls = content[at - _RECORD - 1]
    count = 3 - (nulls & 1)  # name, options, se_private_data
    *before, length = _lengths(content, at, count)
    number, begin = _TABLESPACE.unpack_from(content, at)[0], at + _TABLESPACE.size + sum(before)
    told = None if nulls & 2 else _SPACE_ID_AMONG.search(content[begin : begin + length])
    return number, int(told[1]) if told else None


def _is_first_tablespace(content: bytes, at: int) -> bool:
    begin = at + _TABLESPACE.size
    return _tablespace(content, at)[0] == 1 and content[begin : begin + len(OWN_NAME)] == OWN_NAME


def _lengths(content: bytes, at: int, count: int) -> list[int]:
    """Of a record's first columns of variable length. They lie before its header, backwards, behind a byte that says
    what is NULL."""
    found, head = [], at - _RECORD - 2
    for _ in range(count):
        length = content[head]
        head -= 1
        if length & 0x80:  # two bytes: the column may have more than 255
            length = (length & 0x3F) << 8 | content[head]
            head -= 1
        found.append(length)
    return found
