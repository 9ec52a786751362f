"""New tablespace files and the holes of page-compressed ones (innoclone.innodb.create)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.create import Run, initial_file, page_compression_runs
from innoclone.innodb.page import Findings, PageChecker, PageType
from innoclone.innodb.space import KIB, MIB, SpaceFlags, SpaceHeader
from innodb_pages import LAYOUTS, PLAIN, compress, make_page

UNDO = 0xFFFFFFEE


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
@pytest.mark.parametrize("space_id", [77, UNDO])
def test_initial_file(flags: SpaceFlags, space_id: int) -> None:
    page0, size = initial_file(space_id, flags, 90704)
    assert len(page0) == flags.physical_page_size
    assert size == (16 * MIB if space_id == UNDO else 7 * flags.physical_page_size)
    assert SpaceHeader.parse(page0) == SpaceHeader(space_id, 0, flags.raw)
    assert struct.unpack_from(">II", page0, 8) == (90704, 1)
    assert PageChecker(flags, space_id).check(page0 + bytes(3 * len(page0)), 0) == Findings([], 0)


def test_runs() -> None:
    plain = [make_page(PLAIN, number) for number in range(4)]
    packed = compress(plain[2])
    assert list(page_compression_runs(b"".join(plain), 16 * KIB, 4 * KIB)) == [Run(0, 64 * KIB, 0)]
    buffer = plain[0] + plain[1] + packed + packed + plain[3]
    assert list(page_compression_runs(buffer, 16 * KIB, 4 * KIB)) == [
        Run(0, 36 * KIB, 12 * KIB),
        Run(48 * KIB, 4 * KIB, 12 * KIB),
        Run(64 * KIB, 16 * KIB, 0),
    ]
    assert list(page_compression_runs(b"", 16 * KIB, 4 * KIB)) == []


def test_nonsense_length_is_written_in_full() -> None:
    page = bytearray(make_page(PLAIN, 1, page_type=PageType.COMPRESSED))
    struct.pack_into(">H", page, 32, 0xFFFF)
    assert list(page_compression_runs(page, 16 * KIB, 4 * KIB)) == [Run(0, 16 * KIB, 0)]


@given(st.lists(st.tuples(st.sampled_from([0, 14, 16, 17855]), st.integers(0, 0xFFFF)), max_size=8), st.integers(0, 99))
def test_runs_cover_the_buffer(pages: list[tuple[int, int]], rest: int) -> None:
    buffer = bytearray(4 * KIB * len(pages) + rest)
    for index, (page_type, length) in enumerate(pages):
        struct.pack_into(">H", buffer, index * 4 * KIB + 24, page_type)
        struct.pack_into(">H", buffer, index * 4 * KIB + 32, length)
    end = 0
    for run in page_compression_runs(buffer, 4 * KIB, 512):
        assert run.offset == end
        assert run.length > 0
        assert run.hole % 512 == 0
        end += run.length + run.hole
    assert end == len(buffer)
