"""What is kept for recipients: in memory while it is little, else in a file that nobody sees."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from innoclone.donor.replay import Replay
from innoclone.donor.spool import Spool
from innoclone.errors import FileError
from innoclone.wire.descriptors import DataDescriptor, FileFlag, FileMetadata, StageNumber, StateDescriptor


@pytest.mark.parametrize("memory", [1 << 20, 1000, 0])
def test_what_went_in_comes_out(memory: int, tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory)
    pieces = [os.urandom(size) for size in (1, 0, 700, 299, 4096, 1)]
    for piece in pieces:
        spool.append(piece)
    whole = b"".join(pieces)
    assert spool.size == len(whole)
    assert spool.is_in_memory == (memory > len(whole))
    assert list(tmp_path.iterdir()) == []
    for at in (0, 1, 699, 1000):
        assert spool.read(at, 2000) == whole[at : at + 2000]
    spool.close()


def test_the_file_is_for_nobody_else(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 0)
    spool.append(b"a row of somebody's")
    (found,) = [os.fstat(fd) for fd in _open_files(tmp_path)]
    assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o600, 0)
    spool.close()


def _open_files(folder: Path) -> set[int]:
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {int(path.name) for path in links if path.readlink().is_relative_to(folder)}


def test_no_room_for_the_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "not there", 10)
    spool.append(b"1234567890")
    with pytest.raises(FileError, match="can't make a temporary file"):
        spool.append(b"1")


def test_a_stage_is_replayed_from_any_block(tmp_path: Path) -> None:
    """Without the pages of a file that was dropped, which is told before it begins."""
    replay = Replay(Spool(tmp_path, 100), StateDescriptor(StageNumber.PAGE_COPY, chunks=3, files=5), [])
    blocks = [(1, 1, 0), (1, 2, 7), (1, 3, 0), (3, 1, 0), (3, 2, 7)]  # chunk, block, file
    for chunk, block, index in blocks:
        data = DataDescriptor(StageNumber.PAGE_COPY, 0, chunk, block, index, 64, block * 64, 640)
        replay.add(data, bytes([chunk, block, index, 0]) * 16)
    gone = FileMetadata(StageNumber.PAGE_COPY, 0, 0, 0, 0, FileFlag.DELETED, 9, 7, 1, 0, "./a/b.ibd")
    replay.drop(gone)
    replay.drop(gone)
    assert (replay.chunks, replay.count, replay.changes) == (3, 5, [gone])
    found = [(chunk, block) for chunk in (1, 2, 3) for block in replay.blocks(chunk, 0)]
    assert [(chunk, block.number, block.index, (block.content or b"")[:4]) for chunk, block in found] == [
        (chunk, block, index, bytes([chunk, block, index, 0])) for chunk, block, index in blocks if index != 7
    ]
    assert [block.number for block in replay.blocks(1, 1)] == [3]
