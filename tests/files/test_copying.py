"""Copying files: content, size and holes stay, whatever way the file system has."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from innoclone.files import copying as module
from innoclone.files.copying import BLOCK, Method, Reader, Writer, copy_file, data_segments, share_blocks
from innoclone.files.memory import aligned_memory

PAGE = 4096


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


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A source of a block and a half, and an empty target."""
    (tmp_path / "source").write_bytes(os.urandom(BLOCK + 777))
    with (tmp_path / "source").open("r+b") as one, (tmp_path / "target").open("w+b") as other:
        yield one.fileno(), other.fileno()


def content(fd: int) -> bytes:
    return os.pread(fd, 4 * BLOCK, 0)


def test_shared_blocks_need_no_copy(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they can't be shared there is another way; a failure is one."""
    asked: list[tuple[int, int, int]] = []
    told: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "ioctl", lambda *arguments: asked.append(arguments))
        assert copy_file(*files, told.append) is Method.REFLINK
    assert asked == [(files[1], module.FICLONE, files[0])]
    assert told == [BLOCK + 777]
    assert content(files[1]) == b"", "which is the kernel's"
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    assert copy_file(*files, told.append) is not Method.REFLINK
    assert content(files[1]) == content(files[0])
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        share_blocks(*files)


def test_a_part_is_never_shared(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """That would be the whole file; nor is the size touched."""
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: pytest.fail("shared"))
    copy_file(*files, lambda _: None, start=100, end=200)
    assert content(files[1]) == bytes(100) + content(files[0])[100:200]


@pytest.mark.parametrize("method", [Method.DIRECT, Method.KERNEL, Method.READ_WRITE])
def test_whoever_is_told_can_stop_it(files: tuple[int, int], method: Method) -> None:
    """After each piece."""

    class Stopped(Exception):
        pass

    told: list[int] = []

    def account(count: int) -> None:
        told.append(count)
        if len(told) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        copy_file(*files, account, methods=(method,), piece=PAGE)
    assert told == [PAGE] * 3
    assert content(files[1])[: 3 * PAGE] == content(files[0])[: 3 * PAGE]


@pytest.mark.parametrize("methods", [(Method.READ_WRITE,), (Method.DIRECT,)])
def test_what_passes_through_memory_is_shown(files: tuple[int, int], methods: tuple[Method, ...]) -> None:
    seen: dict[int, bytes] = {}
    copy_file(*files, lambda _: None, methods=methods, look=lambda block, at: seen.update({at: bytes(block)}))
    assert b"".join(seen[at] for at in sorted(seen)) == content(files[0]) == content(files[1])


@pytest.mark.parametrize("method", [Method.READ_WRITE, Method.KERNEL, Method.DIRECT])
@pytest.mark.parametrize("at", [PAGE, BLOCK, 2 * BLOCK])
@pytest.mark.parametrize("end", [None, 3 * BLOCK + 777])
def test_a_source_that_becomes_shorter_is_an_error(tmp_path: Path, method: Method, at: int, end: int | None) -> None:
    """Also where what is gone looks like a hole: zeros in the place of somebody's data would be no copy."""
    path = tmp_path / "source"
    with path.open("wb") as file:
        file.write(os.urandom(BLOCK))
        file.seek(3 * BLOCK)
        file.write(os.urandom(777))
    with (
        path.open("r+b") as one, (tmp_path / "target").open("w+b") as other,
        pytest.raises(OSError, match="became shorter"),
    ):  # fmt: skip
        copy_file(
            one.fileno(), other.fileno(), lambda _: os.ftruncate(one.fileno(), at), methods=(method,), piece=PAGE,
            end=end,
        )  # fmt: skip


def test_a_failure_in_the_middle_is_an_error(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the beginning of another way."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "copy_file_range", failing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            copy_file(*files, lambda _: None, methods=(Method.KERNEL,))
    with monkeypatch.context() as patch:
        patch.setattr(os, "copy_file_range", lambda *_: 0)
        assert copy_file(*files, lambda _: None, methods=(Method.KERNEL,)) is Method.READ_WRITE
    assert content(files[1]) == content(files[0])


def test_a_file_system_that_knows_no_holes_has_data_alone(
    files: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(data_segments(files[1], 0)) == list(data_segments(files[1], 100)) == []
    os.ftruncate(files[1], 3 * BLOCK)
    assert list(data_segments(files[1], 3 * BLOCK)) == [], "nothing but a hole"
    os.pwrite(files[1], b"data", 2 * BLOCK)
    assert list(data_segments(files[1], 2 * BLOCK)) == [], "the data begins behind what was asked for"
    monkeypatch.setattr(os, "lseek", failing(errno.EINVAL))
    assert list(data_segments(files[0], 500, 7)) == [(7, 500)]
    monkeypatch.setattr(os, "lseek", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        list(data_segments(files[0], 500))


def cold(fd: int) -> None:
    """Out of the page cache with it."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def test_reading_without_o_direct(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all, or refused by the file system when it comes to it; a fault of the disk is an error."""
    expected = content(files[0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(errno.EINVAL))
        with Reader(files[0]) as reader:
            assert reader.read(PAGE, 10_000) == expected[PAGE : PAGE + 10_000]
    preadv = os.preadv
    monkeypatch.setattr(module, "is_cached", lambda *_: False)
    for number in (errno.EINVAL, errno.EIO):
        with Reader(files[0]) as reader:

            def refuse(fd: int, *more: Any, number: int = number) -> int:
                if fd != files[0]:
                    raise OSError(number, os.strerror(number))
                return preadv(fd, *more)

            monkeypatch.setattr(os, "preadv", refuse)
            if number == errno.EIO:
                with pytest.raises(OSError, match="Input/output"):
                    reader.read(0, PAGE)
            else:
                assert reader.read(0, BLOCK) == expected[:BLOCK]
                reader.close()
        reader.close()


def test_a_short_read_is_completed(files: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """O_DIRECT may stop in the middle, and the end of the file is not to be seen by that."""
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: preadv(fd, [views[0][:PAGE]], offset))
    monkeypatch.setattr(module, "is_cached", lambda *_: False)
    with Reader(files[0]) as reader:
        assert reader.read(0, 3 * PAGE) == content(files[0])[: 3 * PAGE]


@pytest.mark.parametrize("direct", [False, True])
def test_a_writer_writes_what_no_o_direct_takes(files: tuple[int, int], direct: bool) -> None:
    view = aligned_memory(2 * PAGE)
    view[:] = os.urandom(2 * PAGE)
    with Writer(files[1], direct=direct) as writer:
        writer.write(view, 0)
        writer.write(view[:100], 2 * PAGE)
        writer.write(view[:PAGE], 2 * PAGE + 100)
    assert content(files[1]) == bytes(view) + bytes(view[:100]) + bytes(view[:PAGE])
