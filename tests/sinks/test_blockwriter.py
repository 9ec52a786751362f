"""Blocks into the files of a directory: by whichever way they are written, the bytes are those that came."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from innoclone.errors import DiskFull, FileError
from innoclone.records.status import Counter
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


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("size", [2 * MIB, 6 * MIB + PAGE])
def test_a_file_comes_in_pieces(target: Target, size: int, overlap: bool) -> None:
    """Large ones go around the page cache, and pages of the next stage over what was written before."""
    content, noted = bytearray(pages_of(size)), []
    counter = Counter()
    file = cloned(target, "db/t.ibd", size)
    writer = target.writer("w", buffer=MIB, overlap=overlap)
    writer.begin_stage(FILE, counter)
    writer.open(file)
    for at in range(0, size, MIB):
        view = writer.buffer()[: min(MIB, size - at)]
        view[:] = content[at : at + len(view)]
        writer.write(view, at)
        writer.after(lambda at=at: noted.append(at))  # type: ignore[misc]
    writer.drain()
    assert noted == list(range(0, size, MIB))
    writer.close_file()
    writer.begin_stage(PAGES, counter)
    writer.open(file)
    view = writer.buffer()[:PAGE]
    view[:] = content[3 * PAGE : 4 * PAGE] = bytes(reversed(content[3 * PAGE : 4 * PAGE]))
    writer.write(view, 3 * PAGE)
    writer.drain()
    writer.close()
    assert file.path.read_bytes() == content


def test_an_adopted_file_gets_what_differs(target: Target) -> None:
    old = bytearray(pages_of(2 * MIB))
    file = cloned(target, "db/t.ibd", 2 * MIB, adopted=True)
    file.path.write_bytes(old)
    target.base = object()  # type: ignore[assignment]  # there was an earlier clone
    counter = Counter()
    writer = target.writer("w", buffer=MIB, overlap=False)
    writer.begin_stage(FILE, counter)
    writer.open(file)
    assert not writer.can_splice
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
    writer = target.writer("w", buffer=MIB, overlap=True)
    writer.begin_stage(FILE, Counter())
    writer.open(gone)
    gone.dropped = True
    target.unlink(gone.path)
    for file in (gone, there, gone):
        writer.open(file)
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
    writer = target.writer("w", buffer=MIB, overlap=False)
    with pytest.raises(FileError):
        writer.open(file)
    file.dropped = True
    writer.open(file)
    writer.close()


def test_a_full_disk_is_heard_of_when_it_was_written_behind(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    file = cloned(target, "db/t.ibd", 8 * MIB)
    writer = target.writer("w", buffer=MIB, overlap=True)
    writer.begin_stage(FILE, Counter())
    writer.open(file)
    monkeypatch.setattr(os, "pwrite", full)
    noted = threading.Event()
    writer.write(writer.buffer(), 0)
    writer.after(noted.set)
    with pytest.raises(DiskFull, match=r"can't write .*t\.ibd"):
        writer.drain()
    writer.close()
    assert not noted.is_set(), "it is not there"


def test_bytes_from_a_socket_by_the_kernel(target: Target) -> None:
    """Small files, to which no direct writing applies."""

    class Incoming:
        can_splice = True

        def __init__(self, content: bytes) -> None:
            self.content = content

        def splice(self, fd: int, offset: int, count: int) -> None:
            os.pwrite(fd, self.content[:count], offset)

        def read_into(self, view: memoryview) -> None:
            raise AssertionError

    content = pages_of(MIB)
    file = cloned(target, "db/t.ibd", MIB)
    writer = target.writer("w", buffer=MIB, overlap=False)
    writer.begin_stage(FILE, Counter())
    writer.open(file)
    assert writer.can_splice
    writer.splice(Incoming(content), 0, MIB)
    writer.close()
    assert file.path.read_bytes() == content
