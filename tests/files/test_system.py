"""Linux calls without a name in Python."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innoclone.errors import CloneError, DiskFull, FileError, TooManyOpenFiles
from innoclone.files import system as module
from innoclone.files.copying import BLOCK
from innoclone.files.system import (
    allocate,
    differing,
    file_error,
    is_cached,
    is_hole,
    punch_hole,
    start_writeback,
    sync_directory,
    write_all,
)

PAGE = 4096


def test_what_is_a_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    with path.open("w+b") as file:
        fd = file.fileno()
        assert is_hole(fd, 0, BLOCK), "an empty file"
        os.pwrite(fd, b"x", 10 * BLOCK)
        assert is_hole(fd, 20 * BLOCK, BLOCK), "behind the end"
        if not is_hole(fd, 0, BLOCK):
            pytest.skip("this file system does not tell")
        assert is_hole(fd, BLOCK, 9 * BLOCK)
        assert not is_hole(fd, BLOCK, 9 * BLOCK + 1)
        assert not is_hole(fd, 10 * BLOCK, BLOCK)
    assert_tells_nothing(errno.EINVAL, monkeypatch)
    with pytest.raises(OSError, match="descriptor"):
        is_hole(-1, 0, BLOCK)


def assert_tells_nothing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*_: int) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "lseek", unable)
        assert not is_hole(0, 0, BLOCK)


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


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EMFILE, TooManyOpenFiles),
     (errno.ENFILE, TooManyOpenFiles), (errno.EIO, FileError), (errno.EACCES, FileError)],
)  # fmt: skip
def test_errors_are_of_the_class_that_fits(number: int, kind: type[CloneError]) -> None:
    error = file_error(OSError(number, os.strerror(number)), "can't write x")
    assert type(error) is kind
    assert error.message == f"can't write x: {os.strerror(number)}"
    assert file_error(OSError("of Python's own"), "can't").message == "can't: of Python's own"


def test_a_hole_frees_space_and_leaves_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(16 * PAGE))
    before = path.read_bytes()
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        blocks = os.fstat(file.fileno()).st_blocks
        if not punch_hole(file.fileno(), PAGE, 8 * PAGE):
            pytest.skip("this file system has no holes")
        assert os.fstat(file.fileno()).st_blocks < blocks
    assert path.read_bytes() == before[:PAGE] + bytes(8 * PAGE) + before[9 * PAGE :]
    with path.open("rb") as file, pytest.raises(FileError, match="can't punch a hole: Bad file descriptor"):
        punch_hole(file.fileno(), 0, PAGE)  # not open for writing


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_holes_is_no_error(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def fallocate(self, *_: int) -> int:
            return -1

    monkeypatch.setattr(module, "_libc", Old())
    monkeypatch.setattr(module.ctypes, "get_errno", lambda: number)
    assert not punch_hole(0, 0, PAGE)


def test_starting_to_write_is_no_matter_of_success(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(PAGE))
        file.flush()
        start_writeback(file.fileno(), 0, PAGE)
    start_writeback(-1, 0, PAGE)


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), b"0123456789", 5)
        write_all(file.fileno(), b"", 99)
    assert (tmp_path / "file").read_bytes() == bytes(5) + b"0123456789"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=40), st.lists(st.integers(0, 2), max_size=40), st.integers(0, 15))
def test_python_finds_the_same_as_the_native_library(one: list[int], other: list[int], cut: int) -> None:
    left = bytearray(b"".join(bytes([value]) * 16 for value in one))
    right = bytearray(b"".join(bytes([value]) * 16 for value in other))[: max(0, 16 * len(other) - cut)]
    found = [list(differing(memoryview(left), memoryview(right), 16, **how)) for how in ({}, {"native": None})]
    assert found[0] == found[1]


def test_directories_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    sync_directory(tmp_path)
    assert synced == [tmp_path.stat().st_ino]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_directory(tmp_path / "file")


def test_room_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocated where the file system can; what is there stays, and a full disk is told at once."""
    path = tmp_path / "file"
    path.write_bytes(b"data")
    with path.open("r+b") as file:
        allocate(file.fileno(), 0)
        assert path.stat().st_size == 4
        allocate(file.fileno(), 1 << 20)
        found = path.stat()
        assert found.st_size == 1 << 20
        assert found.st_blocks * 512 >= 1 << 20
        assert path.read_bytes() == b"data" + bytes((1 << 20) - 4)
        for number, raised in ((errno.EOPNOTSUPP, False), (errno.ENOSYS, False), (errno.ENOSPC, True)):

            def fail(*_: object, number: int = number) -> int:
                ctypes.set_errno(number)
                return -1

            monkeypatch.setattr(module._libc, "fallocate", fail)
            with pytest.raises(OSError, match="No space") if raised else contextlib.nullcontext():
                allocate(file.fileno(), 1 << 21)
