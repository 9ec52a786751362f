"""Blocks of one file and of two: what they hold, where they differ, which pages are unusual; both ways."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innoclone.files.blocks import Blocks
from innoclone.files.copying import BLOCK, Reader
from innoclone.innodb.page import PageChecker
from innoclone.native.library import Library, library
from innodb_pages import PLAIN, SPACE, make_file

PAGE = 16384


@pytest.fixture(params=[library, None], ids=["library", "Python"])
def blocks(request: pytest.FixtureRequest) -> Blocks:
    native: Library | None = request.param
    return Blocks(native=native)


def test_one_block_after_the_other(tmp_path: Path, blocks: Blocks) -> None:
    content = os.urandom(BLOCK + 777)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, Reader(file.fileno(), blocks.memory) as reader:
        assert blocks.read(reader, 0, BLOCK).content == content[:BLOCK]
        last = blocks.read(reader, BLOCK, BLOCK)
        assert last.content == content[BLOCK:]
        assert last.unusual is None
        assert not blocks.read(reader, 2 * BLOCK, BLOCK).content


def test_an_older_file_that_ends_early(tmp_path: Path, blocks: Blocks) -> None:
    """Behind its end there are zeros, so what was in the memory before counts for nothing."""
    content = bytearray(os.urandom(6 * PAGE))
    content[4 * PAGE : 5 * PAGE] = bytes(PAGE)
    older = bytearray(content[: 3 * PAGE + 10])
    older[PAGE] ^= 1
    (tmp_path / "new").write_bytes(content)
    (tmp_path / "old").write_bytes(older)
    with (
        (tmp_path / "new").open("rb") as one, (tmp_path / "old").open("rb") as other,
        Reader(one.fileno(), blocks.memory) as ours, Reader(other.fileno(), blocks.older) as theirs,
    ):  # fmt: skip
        assert blocks.compare(ours, ours, 0, BLOCK, PAGE).runs == []
        found = blocks.compare(ours, theirs, 0, BLOCK, PAGE)
    assert found.content == content
    assert found.runs == [(PAGE, 2 * PAGE), (3 * PAGE, 4 * PAGE), (5 * PAGE, 6 * PAGE)]


def test_damaged_pages_are_found(tmp_path: Path, blocks: Blocks) -> None:
    content = bytearray(make_file(PLAIN, 40))
    content[PAGE * 37 + 99] ^= 1
    (tmp_path / "file").write_bytes(content)
    checker = PageChecker(PLAIN, SPACE)
    with (tmp_path / "file").open("rb") as file, Reader(file.fileno(), blocks.memory) as reader:
        for found in (
            blocks.read(reader, PAGE, BLOCK, pages=checker.pages, first_page=1),
            blocks.compare(reader, reader, PAGE, BLOCK, PAGE, pages=checker.pages, first_page=1),
        ):
            assert [page.number for page in checker.check(found.content, 1, found.unusual).bad] == [37]
            assert found.unusual in ([36], None)
