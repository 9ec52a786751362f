"""Records of the redo log (innoclone.innodb.logrecords). That real logs parse is in test_positions.py."""

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
