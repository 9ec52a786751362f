"""Pages of page compression: what each needs is written, the rest of its slot becomes a hole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innoclone.files import holes as module
from innoclone.files.holes import hole_writer
from innodb_pages import PLAIN, compress, make_page

PAGE, BLOCK = 16384, 4096


def test_a_new_file_gets_holes_without_punching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = compress(make_page(PLAIN, 1)) + make_page(PLAIN, 2) + compress(make_page(PLAIN, 3))
    path = tmp_path / "file"
    monkeypatch.setattr(module, "punch_hole", lambda *_: pytest.fail("nothing was there"))
    with path.open("w+b") as file:
        for at in (0, len(data)):
            hole_writer(PAGE, BLOCK)(file.fileno(), memoryview(data), at)
        os.ftruncate(file.fileno(), 2 * len(data))  # as at the end of a clone
        os.fsync(file.fileno())
    assert path.read_bytes() == 2 * data
    if os.statvfs(path).f_bsize == BLOCK:
        assert path.stat().st_blocks * 512 < 2 * len(data)


def test_compressed_pages_leave_holes_and_others_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [make_page(PLAIN, number) for number in range(4)]
    pages[1:3] = map(compress, pages[1:3])
    data = b"".join(pages) + b"a part of a page"
    path = tmp_path / "file"
    path.write_bytes(os.urandom(PAGE + len(data)))  # what was there before
    before = path.read_bytes()
    punched: list[tuple[int, int]] = []
    punch = module.punch_hole

    def note(fd: int, offset: int, length: int) -> bool:
        punched.append((offset, length))
        return punch(fd, offset, length)

    monkeypatch.setattr(module, "punch_hole", note)
    with path.open("r+b") as file:
        hole_writer(PAGE, BLOCK)(file.fileno(), memoryview(data), PAGE)
    found = path.read_bytes()
    assert found == before[:PAGE] + data
    assert [offset // PAGE for offset, _ in punched] == [2, 3]
    assert all(length % BLOCK == offset % BLOCK == 0 < length < PAGE for offset, length in punched)
