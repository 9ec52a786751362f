"""The records inside the redo log: where each one ends, and what it writes where it is a plain write to a page.

A record begins with its type, and with the tablespace and the page that it changes; how long it is follows from its
type alone, so that a log can be walked through without any page. Records come in mini-transactions, which count only
as a whole. Only what servers of format 6 (8.0.30 and newer) write is known here; another type is a ValueError, never a
guess.

Layout: mtr0types.h (types), mtr0log.cc (mlog_parse_index and what comes before it), mach0data.cc (compressed integers),
and the functions that recv_parse_or_apply_log_rec_body in log0recv.cc calls for each type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["WRITES", "Incomplete", "PageWrite", "next_mtr"]

Data = bytes | bytearray


class Incomplete(Exception):
    """The data ends inside a mini-transaction."""


class PageWrite(NamedTuple):
    """One record of a page that was asked for: what it writes at ``offset``; None for anything but a plain write."""

    type: int
    offset: int
    content: bytes | None


_SINGLE = 0x80  # on the type: the only record of its mini-transaction (MLOG_SINGLE_REC_FLAG)
_MULTI_REC_END = 31
_DUMMY_RECORD = 32
_TABLE_DYNAMIC_META = 62
_WRITE_STRING = 30
_NBYTES = (1, 2, 4)
_EIGHT_BYTES = 8
WRITES = frozenset({*_NBYTES, _EIGHT_BYTES, _WRITE_STRING})
"""Types of plain writes (MLOG_1BYTE and so on, MLOG_WRITE_STRING)."""

_SQL_NULL = 0xFFFFFFFF  # as the length of a field (UNIV_SQL_NULL)
_ROLL_PTR = 7  # bytes of a roll pointer (DATA_ROLL_PTR_LEN)
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")

# Bytes of a compressed integer by its first byte, the bits of that byte that count, and what is added.
_FORMS = ((0x80, 1, 0x7F, 0), (0xC0, 2, 0x3F, 0), (0xE0, 3, 0x1F, 0), (0xF0, 4, 0x0F, 0), (0xF8, 5, 0, 0),
          (0xFC, 2, 0x03, 0xFFFFFC00), (0xFE, 3, 0x01, 0xFFFE0000), (0x100, 4, 0, 0xFF000000))  # fmt: skip
_BY_FIRST = [next(form for form in _FORMS if first < form[0]) for first in range(256)]
_SIZE = bytes(form[1] for form in _BY_FIRST)


def _u16(data: Data, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _compressed(data: Data, at: int) -> tuple[int, int]:
    """A compressed integer and where it ends (mach_parse_compressed)."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    _, size, mask, base = _BY_FIRST[first]
    value = first & mask
    for byte in data[at + 1 : at + size]:
        value = value << 8 | byte
    return value | base, at + size


def _much_compressed(data: Data, at: int) -> int:
    """The end of a 64-bit integer of which the upper half is mostly absent (mach_parse_u64_much_compressed)."""
    if data[at] == 0xFF:
        at += 1
        at += _SIZE[data[at]]
    return at + _SIZE[data[at]]


def _u64(data: Data, at: int) -> int:
    """The end of a 64-bit integer with a compressed upper half (mach_u64_parse_compressed)."""
    return at + _SIZE[data[at]] + 4


# ---- the body of each type: from its begin to its end ----------------------------------------------------------


_COMPACT, _VERSIONED, _INSTANT = 1, 2, 4
_INDEX_LOG_VERSION = 1
_V_ADDED, _V_DROPPED = 0x8000, 0x4000  # on a physical position: one more byte follows


def _index(data: Data, at: int) -> int:
    """The description of an index that stands before most records of index pages (mlog_parse_index)."""
    version, flags = data[at], data[at + 1]
    if version != _INDEX_LOG_VERSION or flags & ~(_COMPACT | _VERSIONED | _INSTANT):
        raise ValueError(f"an index is described in version {version} with flags {flags:#x}")
    at += 2
    if flags & (_COMPACT | _VERSIONED):
        fields = _u16(data, at)
        at += 2
        if flags & _COMPACT:
            at += (2 if flags & _INSTANT else 0) + 2 + 2 * fields
    if flags & _VERSIONED:
        changed = _u16(data, at)
        at += 2
        for _ in range(changed):
            place = _u16(data, at + 2)
            at += 4 + bool(place & _V_ADDED) + bool(place & _V_DROPPED)
    return at


def _insert(data: Data, at: int) -> int:
    size, at = _compressed(data, _index(data, at) + 2)
    if size & 1:  # info bits, origin and mismatch differ from those of the record before
        at += 1
        at += _SIZE[data[at]]
        at += _SIZE[data[at]]
    return at + (size >> 1)


def _system_columns(data: Data, at: int) -> int:
    """Position, roll pointer and transaction id (row_upd_parse_sys_vals)."""
    return _u64(data, at + _SIZE[data[at]] + _ROLL_PTR)


def _delete_mark(data: Data, at: int) -> int:
    return _system_columns(data, _index(data, at) + 2) + 2


def _update_in_place(data: Data, at: int) -> int:
    at = _system_columns(data, _index(data, at) + 1) + 2
    fields, at = _compressed(data, at + 1)
    for _ in range(fields):
        at += _SIZE[data[at]]
        size, at = _compressed(data, at)
        if size != _SQL_NULL:
            at += size
    return at


def _copied_list(data: Data, at: int) -> int:
    at = _index(data, at)
    return at + 4 + (_u16(data, at) << 16 | _u16(data, at + 2))


def _zip_header(data: Data, at: int) -> int:
    return at + 2 + data[at + 1]


def _zip_compress(data: Data, at: int) -> int:
    return at + 12 + _u16(data, at) + _u16(data, at + 2)


def _string(data: Data, at: int) -> int:
    return at + 4 + _u16(data, at + 2)


def _name(data: Data, at: int) -> int:
    return at + 2 + _u16(data, at)


_INDEX_CORRUPTED, _AUTO_INC = 1, 2


def _dynamic_metadata(data: Data, at: int) -> int:
    """After table id and version: AUTO_INCREMENT's counter or corrupt indexes (MetadataRecover::parseMetadataLog)."""
    kind = data[at]
    if kind == _AUTO_INC:
        return _much_compressed(data, at + 1)
    if kind == _INDEX_CORRUPTED:
        return at + 2 + 12 * data[at + 1]
    raise ValueError(f"dynamic metadata of kind {kind}")


def _plus(count: int) -> Callable[[Data, int], int]:
    return lambda data, at: at + count


_BODIES: dict[int, Callable[[Data, int], int]] = {
    1: lambda data, at: at + 2 + _SIZE[data[at + 2]],
    2: lambda data, at: at + 2 + _SIZE[data[at + 2]],
    4: lambda data, at: at + 2 + _SIZE[data[at + 2]],
    8: lambda data, at: _u64(data, at + 2),
    11: _plus(3),  # MLOG_REC_SEC_DELETE_MARK
    19: _plus(0),  # MLOG_PAGE_CREATE
    20: _name,  # MLOG_UNDO_INSERT: a length and as many bytes
    21: _plus(0),  # MLOG_UNDO_ERASE_END
    22: lambda data, at: at + _SIZE[data[at]],  # MLOG_UNDO_INIT
    24: _u64,  # MLOG_UNDO_HDR_REUSE
    25: _u64,  # MLOG_UNDO_HDR_CREATE
    26: _plus(2),  # MLOG_REC_MIN_MARK
    27: _plus(0),  # MLOG_IBUF_BITMAP_INIT
    29: _plus(0),  # MLOG_INIT_FILE_PAGE
    30: _string,  # MLOG_WRITE_STRING
    33: lambda data, at: _name(data, at + 4),  # MLOG_FILE_CREATE
    34: lambda data, at: _name(data, _name(data, at)),  # MLOG_FILE_RENAME
    35: _name,  # MLOG_FILE_DELETE
    36: _plus(2),  # MLOG_COMP_REC_MIN_MARK
    37: _plus(0),  # MLOG_COMP_PAGE_CREATE
    48: _plus(8),  # MLOG_ZIP_WRITE_NODE_PTR
    49: _plus(24),  # MLOG_ZIP_WRITE_BLOB_PTR
    50: _zip_header,  # MLOG_ZIP_WRITE_HEADER
    51: _zip_compress,  # MLOG_ZIP_PAGE_COMPRESS
    57: _plus(0),  # MLOG_PAGE_CREATE_RTREE
    58: _plus(0),  # MLOG_COMP_PAGE_CREATE_RTREE
    59: _plus(0),  # MLOG_INIT_FILE_PAGE2
    61: _plus(8),  # MLOG_INDEX_LOAD
    63: _plus(0),  # MLOG_PAGE_CREATE_SDI
    64: _plus(0),  # MLOG_COMP_PAGE_CREATE_SDI
    65: _plus(16),  # MLOG_FILE_EXTEND
    67: _insert,  # MLOG_REC_INSERT
    68: _delete_mark,  # MLOG_REC_CLUST_DELETE_MARK
    69: lambda data, at: _index(data, at) + 2,  # MLOG_REC_DELETE
    70: _update_in_place,  # MLOG_REC_UPDATE_IN_PLACE
    71: _copied_list,  # MLOG_LIST_END_COPY_CREATED
    72: _index,  # MLOG_PAGE_REORGANIZE
    73: lambda data, at: _index(data, at) + 1,  # MLOG_ZIP_PAGE_REORGANIZE
    74: lambda data, at: _index(data, at) + 1,  # MLOG_ZIP_PAGE_COMPRESS_NO_DATA
    75: lambda data, at: _index(data, at) + 2,  # MLOG_LIST_END_DELETE
    76: lambda data, at: _index(data, at) + 2,  # MLOG_LIST_START_DELETE
}


def next_mtr(data: Data, at: int, space: int, page: int, found: list[PageWrite]) -> int:
    """Walk through the mini-transaction that begins at ``at``; where it ends. Its records of one page go to ``found``.

    ``data`` is the log without the blocks' headers and trailers. Raises `Incomplete` if it ends too early, ValueError
    for what no server of format 6 writes; ``found`` is of no use then.
    """
    try:
        first = True
        while True:
            kind = data[at]
            single, kind = kind & _SINGLE, kind & ~_SINGLE
            if single and not first:
                raise ValueError(f"a single record, type {kind}, inside a group")
            at = _record(data, at + 1, kind, space, page, found)
            if single or kind in (_MULTI_REC_END, _DUMMY_RECORD):
                break
            first = False
    except IndexError:
        raise Incomplete from None
    if at > len(data):
        raise Incomplete
    return at


def _record(data: Data, at: int, kind: int, space: int, page: int, found: list[PageWrite]) -> int:
    """The end of a record of which the type was read."""
    if kind in (_MULTI_REC_END, _DUMMY_RECORD):
        return at
    if kind == _TABLE_DYNAMIC_META:
        return _dynamic_metadata(data, _much_compressed(data, _much_compressed(data, at)))
    body = _BODIES.get(kind)
    if body is None:
        raise ValueError(f"a log record of type {kind}")
    its_space, at = _compressed(data, at)
    its_page, at = _compressed(data, at)
    end = body(data, at)
    if its_page == page and its_space == space:
        found.append(_write(data, at, end, kind))
    return end


def _write(data: Data, at: int, end: int, kind: int) -> PageWrite:
    if kind not in WRITES:
        return PageWrite(kind, 0, None)
    offset = _u16(data, at)
    if kind == _WRITE_STRING:
        return PageWrite(kind, offset, bytes(data[at + 4 : end]))
    if kind == _EIGHT_BYTES:
        upper, at = _compressed(data, at + 2)
        return PageWrite(kind, offset, _U32.pack(upper) + bytes(data[at:end]))
    value, _ = _compressed(data, at + 2)
    if value >> 8 * kind:
        raise ValueError(f"a record writes {value} into {kind} bytes")
    return PageWrite(kind, offset, value.to_bytes(kind, "big"))
