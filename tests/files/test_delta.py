"""Updating files: any two files, any holes; only what differs is written."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innoclone.files import delta as module
from innoclone.files.copying import BLOCK, copy_file
from innoclone.files.delta import Delta, update_file

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


def test_a_source_that_becomes_shorter_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut by somebody while it is read: the target would be neither the old nor the new."""
    source, target = tmp_path / "new", tmp_path / "old"
    source.write_bytes(os.urandom(BLOCK + PAGE))
    target.write_bytes(b"older")
    with source.open("r+b") as one, target.open("r+b") as other:

        def cut(*_: int) -> None:
            os.ftruncate(one.fileno(), BLOCK)

        with pytest.raises(OSError, match="became shorter"):
            update_file(one.fileno(), other.fileno(), PAGE, cut)


def test_large_runs_go_around_the_cache_and_single_pages_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the caller may write himself, and sees each block."""
    source, target = tmp_path / "new", tmp_path / "old"
    content = bytearray(os.urandom(2 * BLOCK))
    target.write_bytes(content)
    content[:BLOCK] = os.urandom(BLOCK)
    content[BLOCK + PAGE] ^= 1
    source.write_bytes(content)
    small: list[tuple[int, int]] = []
    write_all = module.write_all

    def through(fd: int, data: memoryview, offset: int) -> None:
        small.append((offset, len(data)))
        write_all(fd, data, offset)

    monkeypatch.setattr(module, "write_all", through)
    seen: list[tuple[int, int]] = []
    with source.open("rb") as one, target.open("r+b") as other:
        delta = update_file(
            one.fileno(), other.fileno(), PAGE, lambda *_: None, look=lambda block, at, _: seen.append((at, len(block)))
        )
        assert os.pread(other.fileno(), 2 * BLOCK, 0) == content
        assert small == [(BLOCK + PAGE, PAGE)]
        assert delta == Delta(2 * BLOCK, BLOCK + PAGE, 2 * BLOCK // PAGE, BLOCK // PAGE + 1)
        assert seen == [(0, BLOCK), (BLOCK, BLOCK)]
        os.ftruncate(other.fileno(), PAGE)
        runs: list[tuple[int, int]] = []

        def write(fd: int, run: memoryview, offset: int) -> None:
            assert fd == other.fileno()
            runs.append((offset, len(run)))

        update_file(one.fileno(), other.fileno(), PAGE, lambda *_: None, write)
        assert runs == [(PAGE, BLOCK - PAGE), (BLOCK, BLOCK)]
