"""Differences of files that several threads compare, in parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innoclone.commands.diff import PART, diff
from innoclone.errors import FileError
from small_clones import small_clone_version

PAGE = 16384
PARTS = 3  # of the large file; its pages are a hole, but for those that are written here


def test_files_of_several_parts(tmp_path: Path) -> None:
    """Pages at the borders of parts, and beyond the end of the shorter file, are each counted once."""
    old, new = (small_clone_version(tmp_path / name, 0) for name in ("old", "new"))
    one, other = (directory / "schema" / "t.ibd" for directory in (old, new))
    os.truncate(one, PARTS * PART)
    os.truncate(other, PARTS * PART + 5 * PAGE)
    with other.open("r+b") as file:
        for place in (PART - PAGE, PART, 2 * PART - 1, PARTS * PART - PAGE):
            file.seek(place)
            file.write(b"x")
    found = {row.new_name: (row.pages, row.differing) for row in diff(old, new)}
    assert found.pop("schema/t.ibd") == (PARTS * PART // PAGE + 5, 4 + 5)
    assert not any(differing for _, differing in found.values())


def test_a_file_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with an error that names the files, and no thread is left behind."""
    old, new = (small_clone_version(tmp_path / name, 0) for name in ("old", "new"))
    monkeypatch.setattr("innoclone.commands.diff.Blocks", _refusing)
    with pytest.raises(FileError, match=r"can't compare .*ibd"):
        diff(old, new)


def _refusing() -> object:
    raise OSError(5, "Input/output error")
