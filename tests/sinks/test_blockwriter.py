"""Blocks into the files of a directory: by whichever way they are written, the bytes are those that came."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innoclone.errors import DiskFull, FileError
from innoclone.records.status import Counter
from innoclone.sinks.blockwriter import FileWriter
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber
from innodb_pages import PLAIN, make_page

PAGE, MIB = 16384, 1 << 20
FILE, PAGES = StageNumber.FILE_COPY, StageNumber.PAGE_COPY


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path / "clone", fsync=True)


def cloned(target: Target, name: str, size: int, *, adopted: bool = False) -> ClonedFile:
    meta = FileMetadata(FILE, size, size, PLAIN.raw, 4096, FileFlag(0), 5, 0, 1, 1, name)
    path = target.place(name, 5)
    if not path.exists():
        target.create(path)
    return ClonedFile(meta, path, path, size, PLAIN, adopted=adopted)


def pages_of(size: int, seed: int = 1) -> bytes:
    body = random.Random(seed).randbytes(PAGE - 64)
    return b"".join(make_page(PLAIN, number, space=5)[:64] + body for number in range(size // PAGE))


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("size", [2 * MIB, 6 * MIB + PAGE])
def test_a_file_comes_in_pieces(target: Target, size: int, placed: bool) -> None:
    """Large ones go around the page cache, and pages of the next stage over what was written before; ``placed``: who
    receives them writes them; else a thread does, if the library is there."""
    content, noted = bytearray(pages_of(size)), []
    counter = Counter()
    file = cloned(target, "db/t.ibd", size)
    writer = FileWriter(target.open, buffer=MIB, old=0, fsync=True, behind=not placed)

    def give(at: int, count: int) -> None:
        view = writer.buffer()[:count]
        view[:] = content[at : at + count]
        place = writer.place(at, count)
        if placed:
            assert place is not None
            assert place.offset == at
            os.pwrite(place.file, view, place.offset)
            writer.wrote(at, count)
        else:
            writer.write(view, at)
        writer.after(lambda: noted.append(at))

    writer.begin_stage(FILE, counter)
    writer.open(file)
    for at in range(0, size, MIB):
        give(at, min(MIB, size - at))
    writer.drain()
    assert noted == list(range(0, size, MIB))
    assert counter.written == size
    writer.close_file()
    writer.begin_stage(PAGES, counter)
    writer.open(file)
    content[3 * PAGE : 4 * PAGE] = bytes(reversed(content[3 * PAGE : 4 * PAGE]))
    give(3 * PAGE, PAGE)
    writer.drain()
    writer.close()
    assert file.path.read_bytes() == content


def test_a_place_around_the_page_cache(target: Target) -> None:
    """For large files and aligned pieces; once the file system has refused it, through the cache."""
    writer = FileWriter(target.open, buffer=MIB, old=0, fsync=True)
    writer.begin_stage(FILE, Counter())
    writer.open(cloned(target, "db/t.ibd", 8 * MIB))
    aligned, odd = writer.place(MIB, MIB), writer.place(MIB, 1000)
    assert aligned is not None
    assert odd is not None
    if not aligned.direct:
        pytest.skip("no O_DIRECT here")
    assert fcntl.fcntl(aligned.file, fcntl.F_GETFL) & os.O_DIRECT
    assert not odd.direct
    assert not fcntl.fcntl(odd.file, fcntl.F_GETFL) & os.O_DIRECT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", refusing(os.pwrite, aligned.file))
        writer.write(writer.buffer(), 0)
    assert writer.place(MIB, MIB) == odd._replace(offset=MIB)
    writer.close()


@pytest.fixture
def written_behind(target: Target) -> Iterator[FileWriter]:
    """At the beginning of a file of 8 MiB, whose pieces a thread writes."""
    writer = FileWriter(target.open, buffer=MIB, old=0, fsync=False, behind=True)
    writer.begin_stage(FILE, Counter())
    writer.open(cloned(target, "db/t.ibd", 8 * MIB))
    if writer.place(0, MIB) is not None:
        pytest.skip("all is written at once: no native library, or no O_DIRECT here")
    yield writer
    writer.close()


def test_what_failed_is_told_with_the_next_piece(target: Target, written_behind: FileWriter) -> None:
    """The thread has failed: whoever comes next hears why, and no note says that it is written."""
    noted: list[int] = []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    written_behind.write(written_behind.buffer(), 0)
    written_behind.drain()
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB // 2, before[1]))
    try:
        written_behind.write(written_behind.buffer(), MIB)
        written_behind.after(lambda: noted.append(1))
        with pytest.raises(FileError, match=r"can't write .*t\.ibd: File too large"):
            written_behind.write(written_behind.buffer(), 2 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    written_behind.drain()
    assert noted == []


def test_a_piece_stays_as_it_is_until_it_is_written(target: Target, written_behind: FileWriter) -> None:
    """The next one comes in other memory; a note is called when its piece is written."""
    noted: list[int] = []
    for number in range(8):
        view = written_behind.buffer()
        view[:] = bytes([number]) * MIB
        assert written_behind.place(number * MIB, MIB) is None
        assert noted == list(range(max(0, number - 1)))
        written_behind.write(view, number * MIB)
        written_behind.after(lambda number=number: noted.append(number))  # type: ignore[misc]
    written_behind.drain()
    assert noted == list(range(8))
    content = target.place("db/t.ibd", 5).read_bytes()
    assert content == b"".join(bytes([number]) * MIB for number in range(8))


def refusing(pwrite: Callable[..., int], direct: int) -> Callable[..., int]:
    """A pwrite(2) that can't do it with O_DIRECT."""

    def write(fd: int, *arguments: Any) -> int:
        if fd == direct:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return pwrite(fd, *arguments)

    return write


def test_an_adopted_file_gets_what_differs(target: Target) -> None:
    old = bytearray(pages_of(2 * MIB))
    file = cloned(target, "db/t.ibd", 2 * MIB, adopted=True)
    file.path.write_bytes(old)
    target.base = object()  # type: ignore[assignment]  # there was an earlier clone
    counter = Counter()
    writer = target.writer(MIB)
    writer.begin_stage(FILE, counter)
    writer.open(file)
    assert writer.place(0, MIB) is None, "it is to be compared"
    old[5 * PAGE + 100] ^= 1
    for at in (0, MIB):
        view = writer.buffer()[:MIB]
        view[:] = old[at : at + MIB]
        writer.write(view, at)
    writer.close()
    assert file.path.read_bytes() == old
    assert counter.written == PAGE


def test_bytes_of_a_dropped_file_go_nowhere(target: Target) -> None:
    gone, there = cloned(target, "db/gone.ibd", PAGE), cloned(target, "db/there.ibd", PAGE)
    writer = target.writer(MIB)
    writer.begin_stage(FILE, Counter())
    writer.open(gone)
    gone.dropped = True
    target.unlink(gone.path)
    for file in (gone, there, gone):
        writer.open(file)
        assert (writer.place(0, PAGE) is None) == file.dropped
        view = writer.buffer()[:PAGE]
        view[:] = b"x" * PAGE
        writer.write(view, 0)
    writer.drain()
    writer.close()
    assert there.path.read_bytes() == b"x" * PAGE
    assert not gone.path.exists()


def test_a_file_that_is_missing_is_an_error_unless_it_was_dropped(target: Target) -> None:
    file = cloned(target, "db/t.ibd", PAGE)
    file.path.unlink()
    writer = target.writer(MIB)
    with pytest.raises(FileError):
        writer.open(file)
    file.dropped = True
    writer.open(file)
    writer.close()


def test_a_full_disk(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = FileWriter(target.open, buffer=MIB, old=0, fsync=False)
    writer.begin_stage(FILE, Counter())
    writer.open(cloned(target, "db/t.ibd", 8 * MIB))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull, match=r"can't write .*t\.ibd"):
        writer.write(writer.buffer(), 0)
    writer.close()


def test_a_large_new_file_gets_its_room_at_once(target: Target) -> None:
    """One without holes; what another connection has written stays."""
    file, small = cloned(target, "db/t.ibd", 8 * MIB), cloned(target, "db/s.ibd", MIB)
    holes = cloned(target, "db/h.ibd", 8 * MIB)
    holes.metadata = replace(holes.metadata, allocated=MIB)
    for one in (file, small, holes):
        writer = target.writer(MIB)
        writer.begin_stage(FILE, Counter())
        writer.open(one)
        if one is file:
            writer.write(memoryview(b"x" * 4096), 0)
            other = target.writer(MIB)
            other.begin_stage(FILE, Counter())
            other.open(file)
            other.close()
        writer.close()
    found = file.path.stat()
    if found.st_size == 4096:
        pytest.skip("this file system can't")
    assert found.st_size == 8 * MIB
    assert found.st_blocks * 512 >= 8 * MIB
    assert file.path.read_bytes() == b"x" * 4096 + bytes(8 * MIB - 4096)
    assert small.path.stat().st_size == holes.path.stat().st_size == 0


def test_a_full_disk_names_the_file_that_has_no_room(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("innoclone.sinks.blockwriter.allocate", full)
    file, writer = cloned(target, "db/t.ibd", 8 * MIB), target.writer(MIB)
    writer.begin_stage(FILE, Counter())
    with pytest.raises(DiskFull, match=r"can't write .*db/t\.ibd: No space"):
        writer.open(file)
    writer.close()
