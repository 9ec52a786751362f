"""Tablespace flags, ids and page 0's header (innoclone.innodb.space)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb import space
from innoclone.innodb.space import KIB, MIB, SpaceFlags, SpaceHeader
from innodb_pages import PAGE_SIZES, flags_for


@pytest.mark.parametrize(
    ("page_size", "word", "extent_pages"),
    [
        (4 * KIB, 0x00C0, 256),
        (8 * KIB, 0x0100, 128),
        (16 * KIB, 0x0000, 64),
        (32 * KIB, 0x0180, 64),
        (64 * KIB, 0x01C0, 64),
    ],
)
def test_page_sizes(page_size: int, word: int, extent_pages: int) -> None:
    flags = SpaceFlags(word)
    assert flags == flags_for(page_size)
    assert flags.logical_page_size == flags.physical_page_size == page_size
    assert not flags.is_compressed
    assert flags.extent_pages == extent_pages
    assert flags.extent_size == max(MIB, 64 * page_size)


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("key_block_size", [1, 2, 4, 8, 16])
def test_key_block_sizes(page_size: int, key_block_size: int) -> None:
    zip_size = key_block_size * KIB
    if page_size > 16 * KIB or zip_size > page_size:
        with pytest.raises(ValueError, match="make no sense"):
            flags_for(page_size, zip_size)
        return
    flags = flags_for(page_size, zip_size)
    assert flags.is_compressed
    assert (flags.logical_page_size, flags.physical_page_size) == (page_size, zip_size)
    assert flags.extent_size == flags.extent_pages * zip_size


def test_words_of_a_real_server() -> None:
    dictionary = SpaceFlags(18432)  # mysql.ibd, see information_schema.innodb_tablespaces
    assert dictionary.is_shared
    assert not dictionary.is_encrypted
    table = SpaceFlags(16417)
    assert not table.is_shared
    assert not table.has_data_directory
    assert SpaceFlags(16417 | 1 << 13).is_encrypted
    assert SpaceFlags(16417 | 1 << 10).has_data_directory


@pytest.mark.parametrize("word", [-1, space.FLAGS_UNKNOWN, 1 << 15, 1 << 6, 8 << 6, 6 << 1])
def test_nonsense_is_refused(word: int) -> None:
    with pytest.raises(ValueError, match="make no sense"):
        SpaceFlags(word)


@given(st.integers(0, 0xFFFFFFFF) | st.integers(0, 0x7FFF))
def test_any_word_gives_sane_sizes_or_an_error(word: int) -> None:
    try:
        flags = SpaceFlags(word)
    except ValueError:
        return
    assert flags.logical_page_size in PAGE_SIZES
    assert KIB <= flags.physical_page_size <= flags.logical_page_size


def test_space_ids() -> None:
    assert space.is_undo(0xFFFFFFEF)
    assert space.is_undo(0xFFFFFFEF - 127)  # undo_001 after a truncation
    for other in (0, 1, space.UNDO_SPACE_MIN - 1, space.REDO_SPACE, space.DICTIONARY_SPACE, space.TEMPORARY_SPACE):
        assert not space.is_undo(other)
    assert space.is_temporary(space.TEMPORARY_SPACE)
    assert space.is_temporary(space.UNDO_SPACE_MIN - 1)
    assert not space.is_temporary(space.SYSTEM_SPACE)
    assert not space.is_temporary(space.DICTIONARY_SPACE)


def test_header() -> None:
    page = bytearray(64)
    page[38:42], page[46:50], page[54:58] = b"\0\0\0\7", b"\0\0\1\0", b"\0\0\x40\x21"
    assert SpaceHeader.parse(bytes(page)) == SpaceHeader(space_id=7, page_count=256, flags=0x4021)
