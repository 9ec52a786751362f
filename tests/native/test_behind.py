"""A thread that writes: what it is given is in the file when it was waited for; what fails is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innoclone.files.direct import DirectFile
from innoclone.files.memory import aligned_memory
from innoclone.native.behind import Behind
from innoclone.native.library import Library
from innoclone.native.pages import Place

PIECE = 1 << 20


@pytest.fixture
def behind(native: Library) -> Behind:
    return Behind(native)


def test_pieces_of_several_files(behind: Behind, tmp_path: Path) -> None:
    contents = [os.urandom(PIECE), os.urandom(5), os.urandom(PIECE)]
    for number, content in enumerate(contents):
        with (tmp_path / str(number)).open("wb") as file:
            behind.give(memoryview(bytearray(content)), Place(file.fileno(), 10, direct=False))
            assert behind.wait()
            assert behind.wait(), "nothing is left to wait for"
        assert (tmp_path / str(number)).read_bytes() == bytes(10) + content
    behind.close()
    behind.close()
    assert behind.wait()


def test_around_the_page_cache(behind: Behind, tmp_path: Path) -> None:
    view = aligned_memory(PIECE)
    view[:] = os.urandom(PIECE)
    with (tmp_path / "file").open("wb") as file:
        direct = DirectFile.of(file.fileno())
        if direct is None:
            pytest.skip("no O_DIRECT here")
        behind.give(view, Place(direct.descriptor, 4096, direct=True))
        assert behind.wait()
        behind.give(view, Place(direct.descriptor, 100, direct=True))
        assert not behind.wait(), "not aligned"
        direct.close()
    behind.close()
    assert (tmp_path / "file").read_bytes() == bytes(4096) + view


def test_what_fails_is_told_once(behind: Behind, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full, (tmp_path / "file").open("wb") as file:
        behind.give(memoryview(bytearray(PIECE)), Place(full.fileno(), 0, direct=False))
        assert not behind.wait()
        behind.give(memoryview(bytearray(b"abc")), Place(file.fileno(), 0, direct=False))
        assert behind.wait()
    behind.close()
    assert (tmp_path / "file").read_bytes() == b"abc"


def test_one_piece_at_a_time(behind: Behind) -> None:
    """A pipe that nobody reads keeps the thread busy: pwrite(2) fails on one, so what is given fails at once."""
    reading, writing = os.pipe()
    view = memoryview(bytearray(10))
    behind.give(view, Place(writing, 0, direct=False))
    with pytest.raises(ValueError, match="10 bytes"):
        behind.give(view, Place(writing, 0, direct=False))
    assert not behind.wait()
    for place, piece in (
        (Place(-1, 0, direct=False), view),
        (Place(writing, -1, direct=False), view),
        (Place(writing, 0, direct=False), view[:0]),
    ):
        with pytest.raises(ValueError, match=r"refuses|0 bytes"):
            behind.give(piece, place)
    behind.close()
    with pytest.raises(ValueError, match="10 bytes"):
        behind.give(view, Place(writing, 0, direct=False))
    os.close(reading)
    os.close(writing)


def test_its_thread_ends(native: Library) -> None:
    """And takes no signals, which are for Python's."""
    before = _threads()
    several = [Behind(native) for _ in range(5)]
    more = _threads() - before
    assert len(more) == 5
    for thread in more:
        blocked = next(
            line
            for line in Path(f"/proc/self/task/{thread}/status").read_text().splitlines()
            if line.startswith("SigBlk")
        )
        assert int(blocked.split()[1], 16) & 0x7FFF0000 >> 16
    for behind in several:
        behind.close()
    assert not more & _threads()


def _threads() -> set[str]:
    return {folder.name for folder in Path("/proc/self/task").iterdir()}
