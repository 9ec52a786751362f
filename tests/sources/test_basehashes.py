"""Hashes of an older clone, taken ahead: the same as those that are taken when a file is asked about."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from innoclone.innodb.space import SpaceHeader
from innoclone.sources import basehashes
from innoclone.sources.basehashes import BaseHashes
from innoclone.stream.contenthash import ContentHash, new_key
from innoclone.wire.comparison import BLOCK, HASH
from innodb_pages import PLAIN

PAGE = 16384
COUNT = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A tablespace of some blocks and a bit."""
    data = bytearray(os.urandom(COUNT * BLOCK + PAGE))
    SpaceHeader.LAYOUT.pack_into(data, 0, 7, 1, PLAIN.raw)
    found = tmp_path / "t.ibd"
    found.write_bytes(data)
    return found


def hashed(hashing: ContentHash, path: Path) -> BaseHashes:
    found = BaseHashes(hashing, [path])
    while found._left or any(thread.is_alive() for thread in found._threads):
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("kept", [2, COUNT])
def test_they_are_those_of_the_blocks(path: Path, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages' are kept as long as there is room; a block that isn't whole is not among them."""
    monkeypatch.setattr(basehashes, "KEPT", kept * HASH * BLOCK // PAGE)
    hashing = ContentHash(new_key())
    base, state = hashed(hashing, path), path.stat()
    content = memoryview(path.read_bytes())
    for block in range(COUNT):
        pages = hashing.of_pages(content[block * BLOCK : (block + 1) * BLOCK], PAGE)
        assert base.of(state, block, PAGE) == (hashing.of_block(pages), pages if block < kept else b"")
    assert base.of(state, COUNT, PAGE) is None


def test_they_are_of_pages_of_that_size_and_of_that_file(path: Path, tmp_path: Path) -> None:
    base = hashed(ContentHash(new_key()), path)
    assert base.of(path.stat(), 0, 4096) is None
    assert base.of(tmp_path.stat(), 0, PAGE) is None


def test_a_file_that_is_written_meanwhile_has_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Writing(basehashes.Reader):
        def read(self, offset: int, count: int) -> memoryview:
            with path.open("ab") as file:
                file.write(b"x")
            return super().read(offset, count)

    monkeypatch.setattr(basehashes, "Reader", Writing)
    assert hashed(ContentHash(new_key()), path).of(path.stat(), 0, PAGE) is None


def test_a_file_that_is_no_tablespace_has_none(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
    assert hashed(ContentHash(new_key()), path).of(path.stat(), 0, PAGE) is None
