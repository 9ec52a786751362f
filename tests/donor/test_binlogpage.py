"""innoclone.donor.binlogpage: which binary log a server that was shut down has written last, if any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from innoclone.donor.binlogpage import CHECKSUM, EVENT, binlog_position
from innoclone.files.names import REDO_DIR
from restores import rewrite

AtRest = tuple[Path, dict[str, object]]


@pytest.fixture
def logs(at_rest: AtRest, tmp_path: Path) -> Path:
    """What of a server's directory counts."""
    (tmp_path / REDO_DIR).mkdir()
    for pattern in ("binlog.*", f"{REDO_DIR}/*"):
        for path in at_rest[0].glob(pattern):
            shutil.copy2(path, tmp_path / path.relative_to(at_rest[0]))
    return tmp_path


def later(directory: Path, seconds: float) -> None:
    """The server ran on, with its binary log elsewhere, and was shut down then."""
    for path in (directory / REDO_DIR).iterdir():
        at = path.stat().st_mtime + seconds
        os.utime(path, (at, at))


def leave_open(log: bytearray) -> None:
    """Without its last event."""
    del log[-EVENT.size - CHECKSUM :]


def test_the_last_log_is_where_it_ends(logs: Path) -> None:
    last = max(logs.glob("binlog.0*"))
    assert binlog_position(logs) == (last.name, last.stat().st_size)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda logs: later(logs, 3600), id="the server ran on without it"),
        pytest.param(lambda logs: later(logs, -3600), id="an older copy of the data"),
        pytest.param(lambda logs: rewrite(max(logs.glob("binlog.0*")), lambda data: data.pop()), id="cut short"),
        pytest.param(lambda logs: rewrite(max(logs.glob("binlog.0*")), leave_open), id="not closed"),
        pytest.param(lambda logs: shutil.copy(logs / "binlog.index", logs / "other.index"), id="two of them"),
        pytest.param(lambda logs: (logs / "binlog.index").unlink(), id="no index"),
    ],
)  # fmt: skip
def test_what_is_not_proven_is_not_told(change: Callable[[Path], object], logs: Path) -> None:
    assert binlog_position(logs) is not None
    change(logs)
    assert binlog_position(logs) is None
