"""Writing around the page cache: all of it or nothing, and never a silent half."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from innoclone.files.direct import DirectFile
from innoclone.files.memory import aligned_memory

PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "file").open("w+b") as opened:
        yield opened.fileno()


@pytest.fixture
def view() -> memoryview:
    memory = aligned_memory(4 * PAGE)
    memory[:] = os.urandom(4 * PAGE)
    return memory


@pytest.fixture
def direct(file: int) -> Iterator[DirectFile]:
    found = DirectFile.of(file)
    if found is None:
        pytest.skip("this file system has no O_DIRECT")
    yield found
    found.close()
    found.close()


def test_aligned_blocks_are_written(direct: DirectFile, file: int, view: memoryview) -> None:
    assert direct.write(view, PAGE)
    assert os.pread(file, 9 * PAGE, 0) == bytes(PAGE) + bytes(view)


def test_what_is_not_aligned_is_left_to_others(direct: DirectFile, file: int, view: memoryview) -> None:
    assert not direct.write(view[:100], 0)
    assert not direct.write(view, 512 + 1)
    direct.close()
    assert not direct.write(view, 0)
    assert os.fstat(file).st_size == 0


def test_a_file_system_without_it(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "open", fails)
    assert DirectFile.of(file) is None


def test_memory_that_the_device_does_not_take(direct: DirectFile, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at the first write: nothing was written, nor is it tried again."""
    tried: list[int] = []

    def refuse(*_: object) -> int:
        tried.append(1)
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "pwrite", refuse)
    for _ in range(2):
        assert not direct.write(memoryview(bytes(PAGE)), 0)
    assert tried == [1]


def test_a_short_write_goes_on_or_is_a_full_disk(
    direct: DirectFile, file: int, view: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:PAGE], offset))
        assert direct.write(view, 0)
    assert os.pread(file, 9 * PAGE, 0) == view
    monkeypatch.setattr(os, "pwrite", lambda *_: PAGE - 512)
    with pytest.raises(OSError, match="No space left"):
        direct.write(view, 0)


@pytest.mark.parametrize(("number", "first"), [(errno.EIO, True), (errno.ENOSPC, True), (errno.EINVAL, False)])
def test_a_failure_is_one(
    direct: DirectFile, view: memoryview, monkeypatch: pytest.MonkeyPatch, number: int, first: bool
) -> None:
    """Also EINVAL after something was written: False would mean that nothing was."""
    calls = 0

    def fails(*_: object) -> int:
        nonlocal calls
        calls += 1
        if calls == 1 and not first:
            return PAGE
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fails)
    with pytest.raises(OSError, match=os.strerror(number)):
        direct.write(view, 0)
