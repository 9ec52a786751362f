"""The manifest: read with suspicion, replaced as a whole."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from innoclone.errors import DiskFull, FileError, TargetUnusable
from innoclone.files.manifest import MANIFEST, donor_text, read_manifest, timestamp, update_manifest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "#innoclone").mkdir()
    path = tmp_path / "#innoclone" / MANIFEST
    path.write_text('{"format": 1, "files": [], "left": "x"}')
    path.chmod(0o604)
    return path


@pytest.mark.parametrize(
    ("donor", "text"),
    [
        ({"host": "db1", "port": 3306, "user": "me"}, "me@db1:3306"), ({"host": "/run/s", "user": "me"}, "me@/run/s"),
        ({"host": "", "port": 0, "user": "", "via": "ssh://db1/backups"}, "ssh://db1/backups"), ({}, ""),
    ],
)  # fmt: skip
def test_where_the_donor_was_reached(donor: dict[str, object], text: str) -> None:
    assert donor_text(donor) == text


def test_fields_are_set_and_the_others_stay(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"format": 1, "files": [], "left": "y", "more": [1]}
    assert update_manifest(tmp_path, left="y", more=[1]) == read_manifest(tmp_path) == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert [entry.name for entry in path.parent.iterdir()] == [MANIFEST]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "chown", lambda *_: pytest.fail("given away"))
    update_manifest(tmp_path, left="z")
    assert read_manifest(tmp_path)["left"] == "z"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_it_to_its_owner(path: Path, tmp_path: Path) -> None:
    os.chown(path, 65534, 65533)
    update_manifest(tmp_path, left="y")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


def test_a_full_disk_leaves_the_old_one(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="can't write"):
        update_manifest(tmp_path, left="y")
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "torn{", "[]", "null", "{}", '{"format": 2}', b"\xff\xfe"])
def test_what_is_no_manifest_of_ours_is_not_taken_for_one(path: Path, tmp_path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes()
    for attempt in (lambda: read_manifest(tmp_path), lambda: update_manifest(tmp_path, left="y")):
        with pytest.raises(FileError):
            attempt()
    assert path.read_bytes() == before


def test_where_there_is_none(path: Path, tmp_path: Path) -> None:
    path.unlink()
    with pytest.raises(TargetUnusable, match="no finished clone") as caught:
        read_manifest(tmp_path)
    assert caught.value.advice == f"there is no #innoclone/{MANIFEST} in it"
    path.mkdir()
    with pytest.raises(FileError, match="can't read"):
        read_manifest(tmp_path)


def test_moments_are_in_utc() -> None:
    assert timestamp(1_700_000_000.1234) == "2023-11-14T22:13:20.123+00:00"
    assert json.dumps(timestamp(0)) == '"1970-01-01T00:00:00.000+00:00"'
