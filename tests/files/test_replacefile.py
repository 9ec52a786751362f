"""A small file that is replaced whole."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from innoclone.errors import DiskFull, FileError
from innoclone.files.replacefile import replace_file


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("data", ["text \u00fc", b"bytes"])
def test_the_new_is_there_as_a_whole(
    tmp_path: Path, durable: bool, data: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old and longer than what comes")
    path.with_name("file.new").write_text("left by a crash, and longer than what comes")
    (tmp_path / "file.new").chmod(0o600)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    replace_file(path, data, mode=0o640, durable=durable)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert len(synced) == 2 * durable, "the file and its folder"


def test_its_mode_is_for_nobody_else(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", "secret")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("of somebody")
    (tmp_path / "file").symlink_to("precious")
    replace_file(tmp_path / "file", "new")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "precious").read_text() == "of somebody"


def test_a_failure_leaves_the_old(tmp_path: Path) -> None:
    """The limit of a file's size, which the kernel enforces in the middle of the writing."""
    path = tmp_path / "file"
    path.write_text("old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(FileError, match=r"can't write .*file: File too large"):
            replace_file(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "old"


def test_faults_are_told_by_their_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileError, match="No such file"):
        replace_file(tmp_path / "missing" / "file", "new")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "file").write_text("old")
    with pytest.raises(DiskFull):
        replace_file(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
