"""Records of the redo log (innoclone.innodb.logrecords). That real logs parse is in tests/innodb/test_positions.py."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.logrecords import Incomplete, PageWrite, next_mtr
from redo_logs import compressed, multi, single, string_write, write

VALUES = st.one_of(st.integers(0, 0xFFFFFFFF), st.integers(0xFFFFFB00, 0xFFFFFFFF), st.integers(0, 300))


@given(VALUES, VALUES, st.integers(0, 0xFFFF), st.sampled_from((1, 2, 4)), VALUES, st.binary(max_size=300))
def test_writes_are_found_and_others_passed_over(
    space: int, page: int, offset: int, size: int, value: int, content: bytes
) -> None:
    """Of a page that is asked for every write, of others none; 64 bits have a compressed upper half."""
    value %= 1 << 8 * size
    other = write(space ^ 1, page, 7, 9)
    upper, lower = 5, 0x01020304
    eight = b"\x08" + compressed(space) + compressed(page) + bytes(2) + compressed(upper) + lower.to_bytes(4, "big")
    mtr = multi(other, write(space, page, offset, value, size), string_write(space, page, 0, content), eight)
    found: list[PageWrite] = []
    assert next_mtr(b"before" + mtr + b"behind", 6, space, page, found) == 6 + len(mtr)
    assert found == [
        PageWrite(size, offset, value.to_bytes(size, "big")), PageWrite(30, 0, content),
        PageWrite(8, 0, bytes((0, 0, 0, 5, 1, 2, 3, 4))),
    ]  # fmt: skip
    for cut in range(len(mtr)):
        with pytest.raises(Incomplete):
            next_mtr(mtr[:cut], 0, space, page, [])


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_incomplete(data: bytes) -> None:
    with contextlib.suppress(Incomplete, ValueError):
        assert 0 < next_mtr(data, 0, 0, 5, []) <= len(data)


def test_what_no_server_writes_is_refused() -> None:
    """A type of 8.0.27 and older, one that is not there at all, a lone record inside a group, an index description of
    another version: no guess where they end."""
    inside = multi(write(1, 2, 3, 4), single(write(1, 2, 3, 4)))
    wide = single(write(0, 5, 3, 0x100, 1))
    for data in (b"\x89\x00\x05", b"\xcf\x00\x05", inside, bytes((67 | 0x80, 1, 5, 2, 0, 0, 0, 0, 0)), wide):
        with pytest.raises(ValueError, match=r"type|single|version|into 1 bytes"):
            next_mtr(data.ljust(64, b"\0"), 0, 0, 5, [])


def test_other_records_of_the_page_are_told() -> None:
    """MLOG_INIT_FILE_PAGE2 of page 5: a caller can't say what the page has then."""
    found: list[PageWrite] = []
    assert next_mtr(single(b"\x3b\x00\x05"), 0, 0, 5, found) == 3
    assert found == [PageWrite(59, 0, None)]


# ---- records of every type, as the functions of mtr0log.cc and row0*.cc write them ---------------------------------

PLACE = compressed(7) + compressed(9)  # a tablespace and a page that nobody asks for
ROLL = bytes(7)
OLD_ROW = b"\x05" + ROLL + b"\x83\x01" + bytes(4)  # position, roll pointer, transaction id
OLD_ROW_FORMAT, COMPACT = b"\x01\x00", b"\x01\x01\x00\x02\x00\x01\x80\x04\x80\x04"  # 2 fields, 1 of them unique
INSTANT = b"\x01\x05\x00\x02\x00\x01\x00\x01\x80\x04\x80\x04"
# 3 fields have changed: logical position, physical one with its flags, and versions where those say so
VERSIONED = b"\x01\x03\x00\x01\x00\x01\x80\x04\x00\x03\x00\x01\x80\x01\x01\x00\x02\xc0\x02\x01\x02\x00\x03\x00\x03"
REDUNDANT_VERSIONED = b"\x01\x02\x00\x02\x00\x00"
INDEXES = (OLD_ROW_FORMAT, COMPACT, INSTANT, VERSIONED, REDUNDANT_VERSIONED)
UPDATES = b"\x00" + OLD_ROW + b"\x00\x60\x00\x02" + b"\x03\x05hello" + b"\x04" + compressed(0xFFFFFFFF)

BODIES: dict[int, list[bytes]] = {
    11: [b"\x00\x60\x01"], 19: [b""], 20: [b"\x00\x03abc"], 21: [b""], 22: [b"\x01", b"\x80\x81"],
    24: [b"\x83\x01" + bytes(4)], 25: [b"\x01" + bytes(4)], 26: [b"\x00\x60"], 27: [b""], 29: [b""],
    33: [bytes(4) + b"\x00\x02a\x00"], 34: [b"\x00\x02a\x00\x00\x02b\x00"], 35: [b"\x00\x02a\x00"],
    36: [b"\x00\x60"], 37: [b""], 48: [bytes(8)], 49: [bytes(24)], 50: [b"\x00\x03abc"],
    51: [b"\x00\x02\x00\x03" + bytes(8) + b"zztre"], 57: [b""], 58: [b""], 59: [b""], 61: [bytes(8)], 63: [b""],
    64: [b""], 65: [bytes(16)],
    67: [index + tail for index in INDEXES for tail in (b"\x00\x60\x06abc", b"\x00\x60\x07\x00\x05\x81\x00abc")],
    68: [index + b"\x00\x01" + OLD_ROW + b"\x00\x60" for index in INDEXES],
    69: [index + b"\x00\x60" for index in INDEXES],
    70: [index + UPDATES for index in INDEXES],
    71: [index + b"\x00\x00\x00\x03abc" for index in INDEXES],
    72: list(INDEXES), 73: [index + b"\x06" for index in INDEXES], 74: [index + b"\x06" for index in INDEXES],
    75: [index + b"\x00\x60" for index in INDEXES], 76: [index + b"\x00\x60" for index in INDEXES],
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
def test_every_type_ends_where_it_ends(kind: int) -> None:
    """And is incomplete wherever it is cut; behind it stands the next one, which is found."""
    for body in BODIES[kind]:
        record = bytes((kind,)) + PLACE + body
        alone = single(record)
        assert next_mtr(alone + b"behind", 0, 0, 5, []) == len(alone), body
        found: list[PageWrite] = []
        group = multi(record, write(0, 5, 38, 77))
        assert next_mtr(group, 0, 0, 5, found) == len(group), body
        assert found == [PageWrite(4, 38, b"\0\0\0\x4d")]
        for cut in range(len(alone)):
            with pytest.raises(Incomplete):
                next_mtr(alone[:cut], 0, 0, 5, [])


@pytest.mark.parametrize(
    "body",
    [b"\x02\x05", b"\x02\xff\x01\x05", b"\x01\x02" + bytes(24)],
    ids=["counter", "large counter", "corrupt indexes"],
)
def test_metadata_of_tables_has_no_page(body: bytes) -> None:
    """MLOG_TABLE_DYNAMIC_META: table id and version, each with or without an upper half, then what changed."""
    for table in (b"\x05", b"\xff\x01\x05"):
        record = single(b"\x3e" + table + b"\x07" + body)
        assert next_mtr(record, 0, 0, 5, []) == len(record)
        for cut in range(len(record)):
            with pytest.raises(Incomplete):
                next_mtr(record[:cut], 0, 0, 5, [])


def test_metadata_of_a_kind_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="dynamic metadata of kind 9"):
        next_mtr(single(b"\x3e\x05\x07\x09") + bytes(9), 0, 0, 5, [])


def test_a_dummy_record_is_a_mini_transaction() -> None:
    assert next_mtr(b"\x20rest", 0, 0, 5, []) == 1
