"""Copying and updating files: any two files, any holes, every method."""

from __future__ import annotations

import ctypes
import itertools
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innoclone.files.copying import BLOCK, Method, Reader, copy_file, data_segments
from innoclone.files.delta import update_file
from innoclone.files.memory import aligned_memory
from innoclone.files.system import differing, is_cached

PAGE = 4096


def _pages(content: list[int]) -> bytes:
    return b"".join(bytes([byte]) * PAGE for byte in content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40), st.booleans())
def test_update_makes_equal_and_writes_only_what_differs(
    tmp_path: Path, new: list[int], old: list[int], shift: bool
) -> None:
    """Blocks of the middle of a page, too: the older file may end anywhere."""
    source, target = tmp_path / "new", tmp_path / "old"
    source.write_bytes(_pages(new))
    target.write_bytes(_pages(old) + (b"tail" if shift else b""))
    with source.open("rb") as one, target.open("r+b") as other:
        seen: list[tuple[int, int]] = []
        delta = update_file(one.fileno(), other.fileno(), PAGE, lambda read, written: seen.append((read, written)))
    assert target.read_bytes() == source.read_bytes()
    zeros = [0] * max(0, len(new) - len(old))  # behind the older file's end, zeros need not be written
    differing = sum(a != b for a, b in zip(new, old + zeros, strict=False))
    differing += bool(shift and zeros and new[len(old)] == 0)  # but for those in place of its tail
    assert delta.pages_written == differing
    assert delta.written == differing * PAGE
    assert delta.read == sum(read for read, _ in seen) == len(new) * PAGE
    assert delta.pages_compared == len(new)


def test_update_across_blocks(tmp_path: Path) -> None:
    """Files of several blocks, single bytes changed anywhere."""
    dice = random.Random(7)
    content = bytearray(dice.randbytes(3 * BLOCK + 5 * PAGE))
    source, target = tmp_path / "new", tmp_path / "old"
    target.write_bytes(content)
    places = {0, BLOCK - 1, BLOCK, 2 * BLOCK + 77, len(content) - 1}
    for place in places:
        content[place] ^= 1
    source.write_bytes(content)
    with source.open("rb") as one, target.open("r+b") as other:
        delta = update_file(one.fileno(), other.fileno(), PAGE, lambda read, written: None)
    assert target.read_bytes() == content
    assert delta.pages_written == len({place // PAGE for place in places})


@pytest.mark.parametrize("methods", [tuple(Method), (Method.DIRECT,), (Method.KERNEL,), (Method.READ_WRITE,)])
def test_copy_keeps_content_size_and_holes(tmp_path: Path, methods: tuple[Method, ...]) -> None:
    """Data, holes at both ends and in the middle, an odd size."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        for at in (5 * BLOCK, 20 * BLOCK):
            file.seek(at)
            file.write(os.urandom(3 * PAGE + 11))
        file.truncate(30 * BLOCK + 123)
    target = tmp_path / "target"
    moved: list[int] = []
    with source.open("rb") as one, target.open("w+b") as other:
        method = copy_file(one.fileno(), other.fileno(), moved.append, methods=methods)
        segments = list(data_segments(other.fileno(), 30 * BLOCK + 123))
    assert method in methods
    assert target.read_bytes() == source.read_bytes()
    if method is not Method.REFLINK:
        assert sum(end - start for start, end in segments) < BLOCK
        assert sum(moved) < BLOCK


def test_pieces_make_the_whole(tmp_path: Path) -> None:
    """Copied and compared part by part, in any order, with holes across the borders."""
    source, target = tmp_path / "source", tmp_path / "target"
    size = 10 * BLOCK + 3 * PAGE
    with source.open("wb") as file:
        for at in (0, 3 * BLOCK - PAGE, 7 * BLOCK):
            file.seek(at)
            file.write(os.urandom(2 * PAGE + BLOCK // 2))
        file.truncate(size)
    borders = [0, BLOCK, 3 * BLOCK, 5 * BLOCK, size]
    for older in (b"", os.urandom(size + 5)):
        target.write_bytes(older)
        with source.open("rb") as one, target.open("r+b") as other:
            os.ftruncate(other.fileno(), size)
            for start, end in reversed(list(itertools.pairwise(borders))):
                if older:
                    update_file(one.fileno(), other.fileno(), PAGE, lambda *_: None, start=start, end=end)
                else:
                    seen: list[int] = []
                    copy_file(one.fileno(), other.fileno(), seen.append, start=start, end=end)
                    assert sum(seen) <= end - start
        assert target.read_bytes() == source.read_bytes()


def test_what_is_cached(tmp_path: Path) -> None:
    """A range is cached when all of its pages are."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(BLOCK))
    with path.open("rb") as file:
        fd = file.fileno()
        assert is_cached(fd, 0, BLOCK)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert not is_cached(fd, 0, BLOCK)
        assert not is_cached(fd, 0, BLOCK), "asking does not read it"
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
        os.pread(fd, 1, 5 * PAGE)
        assert is_cached(fd, 5 * PAGE, PAGE)
        assert not is_cached(fd, 4 * PAGE, 2 * PAGE)
    assert not is_cached(-1, 0, PAGE)


def test_memory_is_aligned_and_its_own() -> None:
    """Buffers of any size: writable, at multiples of 4096, none in the place of another."""
    views = [aligned_memory(size) for size in (1, 4096, 5000, 3 << 20, 1 << 20, 1 << 20, 2 << 20, 7)]
    for number, view in enumerate(views):
        assert ctypes.addressof(ctypes.c_char.from_buffer(view)) % 4096 == 0
        view[:] = bytes([number]) * len(view)
    assert all(bytes(view) == bytes([number]) * len(view) for number, view in enumerate(views))


def test_copy_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """copy_file_range that does not work between these file systems (EXDEV) leads to reading and writing."""

    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(BLOCK + 777))
    with source.open("rb") as one, target.open("w+b") as other:
        assert copy_file(one.fileno(), other.fileno(), lambda _: None, methods=(Method.KERNEL,)) is Method.READ_WRITE
    assert target.read_bytes() == source.read_bytes()


def test_reader_without_cache(tmp_path: Path) -> None:
    """The O_DIRECT way: aligned reads, and the odd end of the file."""
    content = os.urandom(2 * BLOCK + 1234)
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with Reader(file.fileno()) as reader:
            found = b"".join(
                bytes(reader.read(at, min(BLOCK, len(content) - at))) for at in range(0, len(content), BLOCK)
            )
            assert bytes(reader.read(len(content), BLOCK)) == b""
    assert found == content


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=70), st.lists(st.integers(0, 2), max_size=70), st.integers(0, 15))
def test_pages_that_differ(one: list[int], other: list[int], cut: int) -> None:
    """Runs are those of a comparison page by page, whatever the groups; a page that isn't there as a whole differs."""
    page = 16
    left = bytearray(b"".join(bytes([value]) * page for value in one))
    right = bytearray(b"".join(bytes([value]) * page for value in other))
    left, right = left[: max(0, len(left) - cut)], right[: max(0, len(right) - cut)]
    starts = range(0, len(left), page)
    expected = {at for at in starts if left[at : at + page] != right[at : at + page]}
    if len(left) != len(right):
        expected |= {at for at in starts if at + page > min(len(left), len(right))}
    runs = list(differing(memoryview(left), memoryview(right), page))
    assert {at for start, end in runs for at in range(start, end, page)} == expected
    assert all(start < end <= len(left) for start, end in runs)
