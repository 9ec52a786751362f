"""Redo log blocks and headers (innoclone.innodb.redo): any bytes give an answer.

Whole logs are in test_pagecheck.py.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.redo import FILE_HEADER_SIZE, LogEnd, RedoHeader, scan_blocks


@given(st.binary(max_size=100), st.integers(0, 8), st.integers(0, 1 << 54))
def test_blocks_of_garbage(garbage: bytes, blocks: int, block_number: int) -> None:
    buffer = garbage.ljust(blocks * 512, b"\x07")[: blocks * 512]
    scan = scan_blocks(buffer, block_number * 512)
    if blocks:
        assert scan.end is not LogEnd.GOES_ON
        assert scan.lsn == block_number * 512
    else:
        assert scan.end is LogEnd.GOES_ON


@given(st.binary(max_size=FILE_HEADER_SIZE + 9))
def test_header_of_garbage(garbage: bytes) -> None:
    with contextlib.suppress(ValueError):
        RedoHeader.parse(garbage)
