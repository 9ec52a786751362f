"""The native library against Python: equal findings for all that a page can be, and for any two buffers."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from innoclone.files.system import differing
from innoclone.innodb.page import HEADER_SIZE, NO_CHECKSUM, PageChecker, PageType, _fold, _zip_checksum_innodb
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags
from innoclone.native.library import OFF, VARIABLE, Library
from innoclone.native.pages import RUNS, unusual_pages
from innoclone.native.pages import differing as native_differing
from innodb_pages import LAYOUTS, LSN, PLAIN, SPACE, compress, make_file, make_page, seal

KINDS = [
    "good", "zeros", "nearly zeros", "zeros with fields that count for nothing", "flipped", "torn", "misplaced",
    "of another space", "encrypted", "page-compressed", "damaged page-compressed", "lz4", "no checksum",
    "half no checksum", "old checksum", "wrong trailer", "wrong LSN", "wrong number", "garbage", "all ones",
]  # fmt: skip


def page_of(kind: str, flags: SpaceFlags, number: int, space: int, chance: random.Random) -> bytes:
    """A page of a tablespace, or what may be found in its place."""
    size = flags.physical_page_size
    page = bytearray(make_page(flags, number, space=space))
    if kind in ("zeros", "nearly zeros", "zeros with fields that count for nothing"):
        page = bytearray(size)
        if kind == "nearly zeros":
            page[chance.randrange(size)] = 1
        elif kind != "zeros":
            page[26:34] = chance.randbytes(8)
    elif kind == "flipped":
        page[chance.randrange(size)] ^= 1 << chance.randrange(8)
    elif kind == "torn":
        cut = chance.randrange(1, size // 512) * 512 if size > 512 else 0
        page[cut:] = make_page(flags, number, space=space, lsn=LSN + 99)[cut:]
    elif kind == "misplaced":
        page = bytearray(make_page(flags, number - chance.randrange(1, 99) & 0xFFFFFFF, space=space))
    elif kind == "of another space":
        page = bytearray(make_page(flags, number, space=space + 1))
    elif kind == "encrypted":
        page = bytearray(make_page(flags, number, space=space, page_type=chance.choice([15, 16, 17])))
        page[chance.randrange(HEADER_SIZE, size)] ^= 1
    elif kind in ("page-compressed", "damaged page-compressed", "lz4"):
        if not flags.is_compressed:
            page = bytearray(compress(bytes(page)))
            if kind != "page-compressed":
                page[27 if kind == "lz4" else chance.randrange(HEADER_SIZE + 100)] ^= 3
        else:
            struct.pack_into(">H", page, 24, PageType.COMPRESSED)
    elif kind in ("no checksum", "half no checksum"):
        struct.pack_into(">I", page, 0, NO_CHECKSUM)
        if kind == "no checksum":
            page[-8:-4] = page[:4]
    elif kind == "old checksum":  # innodb_checksum_algorithm=innodb
        if flags.is_compressed:
            struct.pack_into(">I", page, 0, _zip_checksum_innodb(memoryview(page)))
        else:
            struct.pack_into(">I", page, size - 8, _fold(memoryview(page)[:26]))
    elif kind in ("wrong trailer", "wrong LSN"):
        page[size - (8 if kind == "wrong trailer" else 1)] ^= 0x40
    elif kind == "wrong number":  # with a good checksum
        struct.pack_into(">I", page, 4, number + 1 & 0xFFFFFFFF)
        page = bytearray(seal(page, flags))
    elif kind == "garbage":
        page = bytearray(chance.randbytes(size))
    elif kind == "all ones":
        page = bytearray(b"\xff" * size)
    return bytes(page)


def the_same(
    native: Library, flags: SpaceFlags, space: int, buffer: bytes | bytearray | memoryview, first: int
) -> None:
    """Both ways find the same, and Python is shown no more than what is unusual."""
    ours, theirs = (PageChecker(flags, space, native=way) for way in (native, None))
    assert ours.check(buffer, first) == theirs.check(buffer, first)
    size = flags.physical_page_size
    whole = memoryview(buffer)[: len(buffer) // size * size]
    shown = unusual_pages(native, whole, size, space, first, is_zip=flags.is_compressed)
    suspects = theirs._suspects(whole, first)
    empty = [
        index for index in suspects
        if first + index and theirs._is_empty(whole[index * size : (index + 1) * size])
    ]  # fmt: skip
    assert shown == [index for index in suspects if index not in empty]


@settings(max_examples=60, deadline=None)
@given(
    flags=st.sampled_from(LAYOUTS),
    kinds=st.lists(st.sampled_from(KINDS), max_size=8),
    space=st.sampled_from([SPACE, SYSTEM_SPACE, 0xFFFFFFFE]),
    first=st.one_of(st.integers(0, 200), st.integers(0xFFFFFF00, 0xFFFFFF10)),
    seed=st.integers(0, 1 << 32),
)
def test_pages(either_way: Library, flags: SpaceFlags, kinds: list[str], space: int, first: int, seed: int) -> None:
    chance = random.Random(seed)
    pages = [page_of(kind, flags, first + index, space, chance) for index, kind in enumerate(kinds)]
    buffer = b"".join(pages) + chance.randbytes(chance.choice([0, 0, 1, 513, flags.physical_page_size - 1]))
    the_same(either_way, flags, space, chance.choice([bytes, bytearray])(buffer), first)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_at_every_size_and_place(either_way: Library, kind: str) -> None:
    """A page of each kind among good ones: as one of three that are summed side by side, and as one that is left."""
    chance = random.Random(kind)
    for flags in LAYOUTS:
        size = flags.physical_page_size
        for place in range(5):
            file = make_file(flags, 5)
            file[place * size : (place + 1) * size] = page_of(kind, flags, place, SPACE, chance)
            the_same(either_way, flags, SPACE, file, 0)


@pytest.mark.parametrize("flags", LAYOUTS, ids=str)
def test_every_byte_counts_or_not_alike(either_way: Library, flags: SpaceFlags) -> None:
    """One bit of each byte that is near a border of what is summed, and of some in between."""
    size = flags.physical_page_size
    page = make_page(flags, 3)
    borders = {*range(64), *range(size - 24, size), *range(64, size, 509)}
    for offset in sorted(borders):
        damaged = bytearray(page)
        damaged[offset] ^= 0x10
        the_same(either_way, flags, SPACE, damaged, 3)


@given(st.binary(max_size=300), st.integers(0, 7))
def test_crc32c(either_way: Library, data: bytes, skip: int) -> None:
    """Of any length, at any alignment."""
    view = memoryview(bytearray(data))[skip:]
    where = (ctypes.c_char * len(view)).from_buffer(view) if view else None
    assert either_way.crc32c(where, len(view)) == crc32c(view)


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(0, 9000),
    page=st.sampled_from([1, 7, 512, 1024, 4096, 16384]),
    changes=st.lists(st.integers(0, 8999), max_size=12),
    lost=st.sampled_from([0, 0, 1, 512, 5000]),
)
def test_differing(native: Library, size: int, page: int, changes: list[int], lost: int) -> None:
    one = bytearray(random.Random(size).randbytes(size))
    other = one[: max(0, size - lost)]
    for at in changes:
        if at < len(other):
            other[at] ^= 0xFF
    views = memoryview(one), memoryview(other)
    runs = list(differing(*views, page, native=native))
    assert runs == list(differing(*views, page, native=None))
    patched = bytearray(other)
    for start, end in runs:
        patched[start:end] = one[start:end]
    assert patched == one


def test_more_runs_than_one_call_tells_of(native: Library) -> None:
    for count in (RUNS - 1, RUNS, RUNS + 1, 3 * RUNS):
        one, other = bytes(2 * count), b"\0\1" * count
        assert list(native_differing(native, one, other, 1)) == [(2 * at + 1, 2 * at + 2) for at in range(count)]


def test_bounds_are_checked_in_python(native: Library) -> None:
    with pytest.raises(ValueError, match="are no pages"):
        unusual_pages(native, bytes(16385), 16384, SPACE, 0, is_zip=False)
    with pytest.raises(ValueError, match="pages of 12288"):
        unusual_pages(native, bytes(2 * 12288), 12288, SPACE, 0, is_zip=False)
    with pytest.raises(ValueError, match="16 bytes and 17 by"):
        list(native_differing(native, bytes(16), bytes(17), 4))
    with pytest.raises(ValueError, match="by pages of 0"):
        list(native_differing(native, bytes(16), bytes(16), 0))


def test_bounds_are_checked_in_c(native: Library) -> None:
    """Each call but the first of its kind has one argument that makes no sense."""
    data, out = (ctypes.c_char * 65536)(), (ctypes.c_char * 64)()
    assert native.check(data, 65536, 16384, 0, 1, 1, out, 16) == 0, "zeros"
    for length, size, room in ((65535, 16384, 16), (65536, 512, 16), (65536, 12288, 16), (65536, 131072, 16),
                               (65536, 16384, 3), (65536, 0, 16)):  # fmt: skip
        assert native.check(data, length, size, 0, 1, 1, out, room) == -1
    assert (
        native.check(None, 65536, 16384, 0, 1, 1, out, 16) == native.check(data, 65536, 16384, 0, 1, 1, None, 16) == -1
    )
    assert native.stamps(data, 65536, 16384, out, 16) == 16
    assert native.stamps(data, 65536, 16384, out, 15) == native.stamps(data, 65535, 16384, out, 16) == -1
    assert native.differing(data, data, 65536, 65536, 16384, out, 4) == 0
    for one, start, page, runs, room in ((None, 0, 16384, out, 4), (data, 65537, 16384, out, 4), (data, 0, 0, out, 4),
                                         (data, 0, 16384, None, 4), (data, 0, 16384, out, 0)):  # fmt: skip
        assert native.differing(one, data, 65536, start, page, runs, room) == -1


def test_read_only_and_sliced_buffers(native: Library) -> None:
    file = make_file(PLAIN, 4)
    checker = PageChecker(PLAIN, SPACE, native=native)
    for buffer in (bytes(file), memoryview(bytes(file)), memoryview(file)):
        assert not checker.check(buffer, 0).bad
    assert not checker.check(memoryview(bytes(file))[16384:], 1).bad
    assert not checker.check(memoryview(file)[16384:], 1).bad


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (OFF, "none (INNOCLONE_NATIVE=off), so Python does it, slower"),
        ("/nowhere/lib.so", "none (there is no /nowhere/lib.so)"),
        (__file__, "none ("),
        (ctypes.util.find_library("c"), ""),
    ],
    ids=["off", "missing", "no library", "another library"],
)
def test_version_says_which_way_runs(value: str, expected: str, tmp_path: Path) -> None:
    if not expected:  # a library that isn't ours
        (value, expected) = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()
                                 if "/libc." in line or "/ld-musl" in line), "is not innoclone's"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "innoclone", "version"],
        env={**os.environ, VARIABLE: value}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "native library: none (" in done.stdout
    assert expected in done.stdout
