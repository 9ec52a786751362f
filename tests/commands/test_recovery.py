"""Data of a server that crashed are recovered on a copy; what could reach the original is refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from clones import outside_donor, rows
from innoclone.commands.recovery import _absolute_name, recovered_copy
from innoclone.donor.binlogpage import EVENT, IN_USE, MAGIC, OF_RELAY_LOG
from innoclone.donor.stored import look
from innoclone.errors import DiskFull, TargetUnusable
from innoclone.server.programs import Programs
from local_clones import booted_copy, checksums
from servers import ServerFactory


@pytest.fixture
def crashed(make_server: ServerFactory) -> tuple[Path, dict[str, object]]:
    """Data of a server that was killed, and what was in it."""
    server = make_server()
    rows(server, "CREATE DATABASE lost")
    rows(server, "CREATE TABLE lost.t (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(200))")
    rows(server, "INSERT INTO lost.t (a) VALUES (REPEAT('a', 200)), (REPEAT('b', 200))")
    for _ in range(9):
        rows(server, "INSERT INTO lost.t (a) SELECT a FROM lost.t")
    rows(server, "DELETE FROM lost.t WHERE id % 7 = 0")
    expected = checksums(server)
    server.kill()
    return server.datadir, expected


def state(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Every file, by what changes when it is written to."""
    found = {path: path.stat() for path in directory.rglob("*") if path.is_file()}
    return {str(path): (one.st_size, one.st_mtime_ns, one.st_ino) for path, one in found.items()}


def test_the_copy_has_all_and_the_original_is_not_touched(
    crashed: tuple[Path, dict[str, object]], programs: Programs, tmp_path: Path
) -> None:
    """With the transactions that the binary log knows; and nothing of the copy is left."""
    directory, expected = crashed
    before = state(directory)
    place = tmp_path / "place"
    place.mkdir()
    logs = len(list(directory.glob("binlog.0*")))
    with recovered_copy(directory, place) as copy:
        assert len(list(copy.glob("binlog.0*"))) == logs + 1
        stored = look(copy)
        assert stored.pages.count == 1
        stored.close()
        with booted_copy(programs, copy) as server:
            assert checksums(server) == expected
    assert [path for path in place.iterdir() if path.is_dir()] == []
    assert state(directory) == before


def flag(directory: Path, found: int, flags: int) -> None:
    """Make the last binary log one that was closed, or a relay log."""
    log = sorted(directory.glob("binlog.0*"))[-1]
    at = len(MAGIC) + EVENT.size - 2
    content = bytearray(log.read_bytes())
    assert content[at] == found
    content[at] = flags
    log.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: (path / "binlog.000001").unlink(), "binary logs"),
        (lambda path: (path / "binlog.index").unlink(), "binary logs"),
        (lambda path: (path / "binlog.index").write_text(""), "binary logs"),
        (lambda path: flag(path, IN_USE, 0), "binary logs"),
        (lambda path: flag(path, IN_USE, OF_RELAY_LOG | IN_USE), "binary logs"),
        (lambda path: (path / "link").symlink_to("/etc"), "symbolic link"),
    ],
)  # fmt: skip
def test_what_is_refused(damage: object, why: str, crashed: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    assert callable(damage)
    damage(crashed[0])
    with pytest.raises(TargetUnusable, match=why), recovered_copy(crashed[0], tmp_path):
        pass
    assert not list(tmp_path.glob("innoclone-recovered-*"))


def test_nothing_is_left_of_a_copy_that_ended_early(
    crashed: tuple[Path, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full is known in every language, and Ctrl-C leaves no half copy."""
    program = tmp_path / "bin" / "cp"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$LC_ALL" = C ] && echo "cp: write: No space left on device" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        with pytest.raises(DiskFull, match="too little"), recovered_copy(crashed[0], tmp_path):
            pass
    assert not list(tmp_path.glob("innoclone-recovered-*"))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("innoclone.commands.recovery.subprocess.run", interrupted)
    with pytest.raises(KeyboardInterrupt), recovered_copy(crashed[0], tmp_path):
        pass
    assert not list(tmp_path.glob("innoclone-recovered-*"))


def test_a_server_with_files_elsewhere_is_refused(make_server: ServerFactory, tmp_path: Path) -> None:
    """By its dictionary, and by its redo log alone: the last files may be known to no page yet."""
    server, outside = outside_donor(make_server, tmp_path)
    server.kill()
    with pytest.raises(TargetUnusable, match=str(outside)), recovered_copy(server.datadir, tmp_path):
        pass
    named = [name for path in server.datadir.glob("#innodb_redo/#ib_redo*") if (name := _absolute_name(path))]
    assert named
    assert named[0].startswith(str(outside))


@pytest.mark.parametrize("at", [0, 480, 490, 495, 496, 900])
def test_an_absolute_name_is_found_wherever_it_lies(at: int, tmp_path: Path) -> None:
    """Across the borders of blocks, and whatever its length looks like; a relative one is none."""
    for name in (b"/data/x.ibd\0", b"/" + b"d" * 40 + b".ibd\0", b"/srv/undo_7\0", b"/a/" + b"b" * 300 + b".ibu\0"):
        assert _absolute_name(_redo(tmp_path, at, name)) == name[:-1].decode()
    for name in (b"./db/t.ibd\0", b"/data/x.txt\0", b"undo_001\0"):
        assert _absolute_name(_redo(tmp_path, at, name)) is None


def _redo(folder: Path, at: int, name: bytes) -> Path:
    """A file whose log has the name ``at`` bytes from its begin."""
    log = b"\1" * at + b"a/b\0c" + struct.pack(">H", len(name)) + name
    log += b"\2" * (-len(log) % 496)
    blocks = [b"\3" * 12 + log[start : start + 496] + b"\4" * 4 for start in range(0, len(log), 496)]
    path = folder / "#ib_redo1"
    path.write_bytes(bytes(2048) + b"".join(blocks))
    return path
