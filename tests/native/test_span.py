"""Blocks by the native library against Python: the same bytes, differences and findings, from memory and from disk."""

from __future__ import annotations

import ctypes
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innoclone.files.blocks import Blocks
from innoclone.files.copying import BLOCK, Reader
from innoclone.files.memory import aligned_memory
from innoclone.innodb.page import PageChecker
from innoclone.native.library import Library
from innoclone.native.pages import Pages
from innoclone.native.span import PIECE, Side, Span, SpanStruct
from innodb_pages import LAYOUTS, SPACE, make_page


def _cold(fd: int) -> None:
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 3 * PIECE), older_size=st.integers(0, 3 * PIECE), page=st.sampled_from([1024, 4096, 65536]),
    offset=st.integers(0, 20).map(lambda number: number * 4096), odd=st.sampled_from([0, 0, 0, 1, 512]),
    count=st.integers(1, 3 * PIECE), changes=st.lists(st.integers(0, 3 * PIECE), max_size=20), cold=st.booleans(),
)  # fmt: skip
def test_two_files(
    native: Library, tmp_path: Path, size: int, older_size: int, page: int, offset: int, odd: int, count: int,
    changes: list[int], cold: bool,
) -> None:  # fmt: skip
    """Whatever their ends, from any offset on."""
    content = random.Random(size).randbytes(3 * PIECE)
    older = bytearray(content[:older_size])
    for at in changes:
        if at < older_size:
            older[at] ^= 1
    (tmp_path / "new").write_bytes(content[:size])
    (tmp_path / "old").write_bytes(older)
    with (tmp_path / "new").open("rb") as one, (tmp_path / "old").open("rb") as other:
        found = []
        for way in (native, None):
            blocks = Blocks(native=way)
            if cold:
                _cold(one.fileno())
                _cold(other.fileno())
            with Reader(one.fileno(), blocks.memory) as ours, Reader(other.fileno(), aligned_memory(BLOCK)) as theirs:
                got = blocks.compare(ours, theirs, offset + odd, count, page)
                found.append((bytes(got.content), got.runs))
                assert blocks.read(ours, offset + odd, count).content == got.content
    assert found[0] == found[1]
    assert found[0][0] == content[offset + odd : min(size, offset + odd + count)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flags=st.sampled_from(LAYOUTS), count=st.integers(1, 40), start=st.integers(0, 10),
    cut=st.sampled_from([0, 0, 100]),
    damaged=st.sets(st.integers(0, 40), max_size=6), compared=st.booleans(), cold=st.booleans(),
)  # fmt: skip
def test_pages(
    native: Library, tmp_path: Path, flags: Any, count: int, start: int, cut: int, damaged: set[int], compared: bool,
    cold: bool,
) -> None:  # fmt: skip
    """Of every size, in blocks of several pieces; Python is shown those that it has to look at, and finds the same."""
    page, checker = flags.physical_page_size, PageChecker(flags, SPACE)
    pages = [bytearray(make_page(flags, start + number)) for number in range(count * max(1, PIECE // page // 16))]
    for number in damaged:
        if number < len(pages):
            pages[number][page // 2] ^= 1
    content = b"".join(pages)[: -cut or None]
    (tmp_path / "file").write_bytes(content)
    blocks, wanted = Blocks(native=native), checker.pages
    with (tmp_path / "file").open("rb") as file, Reader(file.fileno(), blocks.memory) as reader:
        if cold:
            _cold(file.fileno())
        if compared:
            found = blocks.compare(reader, reader, 0, BLOCK, 4096, pages=wanted, first_page=start)
        else:
            found = blocks.read(reader, 0, BLOCK, pages=wanted, first_page=start)
    assert found.content == content[:BLOCK]
    assert found.unusual is not None
    assert found.runs == []
    theirs = PageChecker(flags, SPACE, native=None)
    assert checker.check(found.content, start, found.unusual) == theirs.check(found.content, start)
    assert found.unusual == sorted(damaged & set(range(len(found.content) // page)))


def test_what_is_cut_while_it_is_read(native: Library, tmp_path: Path) -> None:
    """Fewer bytes, as any end; and a file that can't be read is an error."""
    (tmp_path / "file").write_bytes(bytes(70_000))
    span, memory = Span(native, BLOCK), aligned_memory(BLOCK)
    with (tmp_path / "file").open("r+b") as file:
        assert span.read(Side(memory, file.fileno()), 0, BLOCK) == 70_000
        os.ftruncate(file.fileno(), 5000)
        assert span.read(Side(memory, file.fileno()), 0, BLOCK) == 5000
        assert span.read(Side(memory, file.fileno()), 8192, BLOCK) == 0
    write_only = os.open(tmp_path / "file", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            span.read(Side(memory, write_only), 0, BLOCK)
        with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
            span.read(
                Side(memory, file.fileno()), 0, BLOCK, older=Side(aligned_memory(BLOCK), write_only), compared=4096
            )
    finally:
        os.close(write_only)


def test_bounds_are_checked_in_python(native: Library) -> None:
    span, side = Span(native, BLOCK), Side(aligned_memory(BLOCK), 0)
    small, fixed = Side(aligned_memory(4096), 0), Side(memoryview(bytes(BLOCK)), 0)
    for one, offset, count, older, compared in (
        (side, 0, 0, None, 0), (side, 0, BLOCK + 1, None, 0), (side, -1, 1, None, 0), (small, 0, 4097, None, 0),
        (fixed, 0, 1, None, 0), (side, 0, 4097, small, 4096), (side, 0, 1, fixed, 4096), (side, 0, 1, side, 0),
        (side, 0, 1, side, 512), (side, 0, 1, side, 12288),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="a block of"):
            span.read(one, offset, count, older=older, compared=compared)
    with pytest.raises(ValueError, match="by pages of"):
        span.read(side, 0, 1, pages=Pages(12288, SPACE, False))
    with pytest.raises(ValueError, match="refuses the arguments"):
        span.read(Side(aligned_memory(4096), -1), 0, 1)
    for most in (0, (16 << 20) + 1):
        with pytest.raises(ValueError, match="blocks of"):
            Span(native, most)


def test_bounds_are_checked_in_c(native: Library, tmp_path: Path) -> None:
    """Each has one field that makes no sense."""
    (tmp_path / "file").write_bytes(bytes(65536))
    memory, out = (ctypes.c_char * 65536)(), (ctypes.c_uint64 * 100)()
    where, room = ctypes.addressof(memory), ctypes.addressof(out)
    with (tmp_path / "file").open("rb") as file:

        def call(**fields: int) -> int:
            sound = {
                "offset": 0, "wanted": 65536, "first_page": 0, "unusual": room, "unusual_room": 4, "runs": room + 64,
                "runs_room": 10, "compared": 4096, "page_size": 16384, "space_id": SPACE,
            }  # fmt: skip
            span = SpanStruct(**(sound | {name: value for name, value in fields.items() if name in sound}))
            for side, name in ((span.ours, ""), (span.older, "older_")):
                side.buffer, side.room = fields.get(f"{name}buffer", where), fields.get(f"{name}room", 65536)
                side.file, side.direct = fields.get(f"{name}file", file.fileno()), -1
            return native.span(ctypes.byref(span))

        assert call() == 0
        assert call(older_buffer=0, runs=0, compared=0) == 0
        assert call(page_size=0, unusual=0) == 0
        for fields in (
            {"buffer": 0}, {"room": 65535}, {"file": -1}, {"wanted": (16 << 20) + 1, "room": 1 << 30},
            {"offset": 1 << 63}, {"older_file": -1}, {"older_room": 65535}, {"runs": 0}, {"compared": 0},
            {"compared": 12288}, {"runs_room": 9}, {"page_size": 12288}, {"unusual": 0}, {"unusual_room": 3},
            {"page_size": 131072},
        ):  # fmt: skip
            assert call(**fields) == -1, fields
        assert native.span(None) == -1
