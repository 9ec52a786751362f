"""Page checksums and the page checker (innoclone.innodb.page), on pages made here.

Pages that a server wrote are in tests/innodb/test_real.py.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.page import (
    HEADER_SIZE,
    NO_CHECKSUM,
    BadPage,
    Findings,
    PageChecker,
    PageType,
    Verdict,
)
from innoclone.innodb.space import KIB, SpaceFlags
from innoclone.native.library import library
from innodb_pages import LAYOUTS, LSN, PLAIN, SPACE, ZIPPED, compress, make_file, make_page


@pytest.fixture(scope="module", params=["native", "python"], autouse=True)
def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever is tested here holds with the native library and without."""
    if request.param == "native" and library is None:
        pytest.skip("the native library is not there")
    with pytest.MonkeyPatch.context() as patch:
        defaults = PageChecker.__init__.__kwdefaults__
        patch.setitem(defaults, "native", library if request.param == "native" else None)
        yield


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_sound_pages(flags: SpaceFlags) -> None:
    checker = PageChecker(flags, SPACE)
    file = make_file(flags, 5)
    assert checker.check(file, 0) == Findings([], 0)
    size = flags.physical_page_size
    assert checker.check(memoryview(file)[2 * size :], 2) == Findings([], 0)
    assert checker.check(b"", 7) == Findings([], 0)


@given(st.sampled_from(LAYOUTS), st.data())
def test_a_flipped_bit_is_found(flags: SpaceFlags, data: st.DataObject) -> None:
    size = flags.physical_page_size
    # What no checksum covers can't be found: 26..33, and the LSN of a ROW_FORMAT=COMPRESSED page.
    blind = set(range(26, 34)) | (set(range(16, 24)) if flags.is_compressed else set())
    offset = data.draw(st.integers(0, size - 1).filter(lambda o: o not in blind))
    file = make_file(flags, 3)
    file[size + offset] ^= 1 << data.draw(st.integers(0, 7))
    verdict = PageChecker(flags, SPACE).check(file, 0)
    expected = Verdict.FOREIGN if 34 <= offset < 38 and not flags.is_compressed else Verdict.CORRUPT
    assert verdict == Findings([BadPage(1, expected)], 0)


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_swapped_pages(flags: SpaceFlags) -> None:
    pages = [make_page(flags, number) for number in (0, 2, 1, 3)]
    bad = PageChecker(flags, SPACE).bad_pages(b"".join(pages), 0)
    assert bad == [BadPage(1, Verdict.MISPLACED), BadPage(2, Verdict.MISPLACED)]


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_page_of_another_tablespace(flags: SpaceFlags) -> None:
    page = make_page(flags, 3, space=SPACE + 1)
    assert PageChecker(flags, SPACE).bad_pages(page, 3) == [BadPage(3, Verdict.FOREIGN)]


def test_torn_page() -> None:
    old, new = make_page(PLAIN, 5), make_page(PLAIN, 5, lsn=LSN + 100)
    torn = new[: 4 * KIB] + old[4 * KIB :]
    assert PageChecker(PLAIN, SPACE).bad_pages(torn, 5) == [BadPage(5, Verdict.TORN)]


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_truncated(flags: SpaceFlags) -> None:
    file = make_file(flags, 3)[:-1]
    assert PageChecker(flags, SPACE).bad_pages(file, 10)[-1] == BadPage(12, Verdict.TRUNCATED)


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_page_of_zeros_is_sound(flags: SpaceFlags) -> None:
    page = bytearray(flags.physical_page_size)
    checker = PageChecker(flags, SPACE)
    assert checker.check(page, 9) == Findings([], 0)
    assert checker.bad_pages(page, 0) == [BadPage(0, Verdict.CORRUPT)]  # page 0 is never empty
    page[26] = 1  # like the server
    assert checker.check(page, 9) == Findings([], 0)
    page[-1] = 1
    assert checker.bad_pages(page, 9) == [BadPage(9, Verdict.CORRUPT)]


@pytest.mark.parametrize("page_type", [15, 16, 17])
@pytest.mark.parametrize("flags", [PLAIN, ZIPPED], ids=str)
def test_encrypted_page(flags: SpaceFlags, page_type: int) -> None:
    page = bytearray(make_page(flags, 4, page_type=page_type))
    page[100] ^= 1
    checker = PageChecker(flags, SPACE)
    assert checker.check(page, 4) == Findings([], 1, 1)
    assert checker.bad_pages(page, 5) == [BadPage(5, Verdict.MISPLACED)]


def test_page_compressed() -> None:
    checker = PageChecker(PLAIN, SPACE)
    page = compress(make_page(PLAIN, 6))
    assert checker.check(page, 6) == Findings([], 0)
    assert checker.bad_pages(page, 7) == [BadPage(7, Verdict.MISPLACED)]
    payload_size = struct.unpack_from(">H", page, 32)[0]
    for offset in (0, 5, 20, 28, 30, 32, HEADER_SIZE, HEADER_SIZE + payload_size - 1):
        damaged = bytearray(page)
        damaged[offset] ^= 0x10
        assert [bad.verdict for bad in checker.bad_pages(damaged, 6)] in ([Verdict.CORRUPT], [Verdict.TORN])


def test_lz4_is_not_verifiable() -> None:
    page = bytearray(compress(make_page(PLAIN, 6)))
    page[27] = 2
    assert PageChecker(PLAIN, SPACE).check(page, 6) == Findings([], 1)


@given(st.binary(max_size=60))
def test_compressed_header_of_garbage(garbage: bytes) -> None:
    page = bytearray(make_page(PLAIN, 6, page_type=PageType.COMPRESSED))
    page[26 : 26 + len(garbage)] = garbage
    page[5000] ^= 1
    findings = PageChecker(PLAIN, SPACE).check(page, 6)
    assert len(findings.bad) + findings.not_verifiable == 1


@pytest.mark.parametrize("flags", [PLAIN, ZIPPED], ids=str)
def test_no_checksum(flags: SpaceFlags) -> None:
    page = bytearray(make_page(flags, 6))
    struct.pack_into(">I", page, 0, NO_CHECKSUM)
    if not flags.is_compressed:
        page[-8:-4] = page[:4]
    assert PageChecker(flags, SPACE).check(page, 6) == Findings([], 1)


def test_old_doublewrite_area_of_the_system_tablespace() -> None:
    copy = make_page(PLAIN, 7, space=9)
    checker = PageChecker(PLAIN, 0)
    assert checker.check(copy, 64) == checker.check(copy, 191) == Findings([], 0)
    assert checker.bad_pages(copy, 63) == [BadPage(63, Verdict.MISPLACED)]
    assert checker.bad_pages(copy, 192) == [BadPage(192, Verdict.MISPLACED)]
    assert checker.bad_pages(b"\1" + copy[1:], 64) == [BadPage(64, Verdict.CORRUPT)]


@given(st.sampled_from(LAYOUTS), st.binary(max_size=100), st.integers(0, 0xFFFFFFFF))
def test_anything_gets_a_verdict(flags: SpaceFlags, head: bytes, first_page: int) -> None:
    buffer = head.ljust(2 * flags.physical_page_size, b"\xa5")
    findings = PageChecker(flags, SPACE).check(buffer, first_page)
    assert len(findings.bad) + findings.not_verifiable == 2


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_a_checker_is_small(flags: SpaceFlags) -> None:
    """A server may have 50,000 tablespaces, and a clone has a checker for each."""
    PageChecker(flags, SPACE)
    tracemalloc.start()
    try:
        checkers = [PageChecker(flags, SPACE + number) for number in range(500)]
        assert tracemalloc.get_traced_memory()[0] < 1000 * len(checkers)
    finally:
        tracemalloc.stop()
