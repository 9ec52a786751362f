"""Positions read from pages of real clones, against what boots find: a few of what ``./scripts/positions`` makes."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from clones import booted, rows
from innoclone.engine.pagecheck import check_redo
from innoclone.engine.programs import Programs
from innoclone.innodb.logrecords import next_mtr
from innoclone.innodb.redo import BLOCK_SIZE, FILE_HEADER_SIZE, RedoHeader
from innoclone.operation.boot import boot
from innoclone.operation.load import ACCOUNTS, BALANCE
from innoclone.operation.options import BootOptions
from innoclone.ops.manifest import read_manifest
from local_clones import local_clone
from positions.trial import Trial
from positions.variants import VARIANTS
from redo_logs import BODY
from servers import PASSWORD, ServerFactory


@pytest.mark.parametrize(("name", "clones"), [("plain", 3), ("no binary log", 1)])
def test_read_position_is_the_booted_one(
    name: str, clones: int, programs: Programs, make_server: ServerFactory, tmp_path: Path
) -> None:
    """Under load, DDL, XA and rotation; and of a whole log every record is known, and all begin where blocks say."""
    trial = Trial(programs, make_server, tmp_path, VARIANTS[name])
    try:
        for _ in range(clones):
            outcome = trial.play()
            assert outcome.word == "equal", outcome
            assert bool(outcome.found) is trial.variant.has_log
        local_clone(trial.donor, tmp_path / "walked")
    finally:
        trial.close()
    begins, said = _walk(tmp_path / "walked")
    assert begins == said
    assert len(begins) > 1


def _walk(directory: Path) -> tuple[list[int], list[int]]:
    """In which blocks of the log, from its checkpoint on, which byte is the first of a mini-transaction: by walking
    through all records, and as the blocks say."""
    report = check_redo(directory, 4096)
    assert report.checkpoint_lsn
    assert report.end_lsn
    log, base = b"", -1
    for path in sorted(
        (directory / "#innodb_redo").iterdir(), key=lambda path: int(path.name.removeprefix("#ib_redo"))
    ):
        content = path.read_bytes()
        base = RedoHeader.parse(content).start_lsn if base < 0 else base
        log += content[FILE_HEADER_SIZE:]
    first = (report.checkpoint_lsn - base) // BLOCK_SIZE
    whole, rest = divmod(report.end_lsn - base, BLOCK_SIZE)
    blocks = [log[at * BLOCK_SIZE : (at + 1) * BLOCK_SIZE] for at in range(first, whole + bool(rest))]
    groups = [int(struct.unpack_from(">H", block, 6)[0]) for block in blocks]
    data = b"".join(block[12:508] for block in blocks)[: (whole - first) * BODY + max(0, rest - 12)]
    said = [index * BODY + group - 12 for index, group in enumerate(groups) if group]
    begins, at = [], said[0]
    while at < len(data):
        if not begins or begins[-1] // BODY != at // BODY:
            begins.append(at)
        at = next_mtr(data, at, 0, 5, [])
    return begins, said


def test_log_without_checksums(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> None:
    """Said to be unknown until booted; and booted so that the log is applied, which mysqld's default would not."""
    trial = Trial(programs, make_server, tmp_path, VARIANTS["redo log without checksums"])
    try:
        command = [sys.executable, "-m", "innoclone", "local", "-h127.0.0.1", f"-P{trial.donor.port}", "-uclone"]
        directory = tmp_path / "c"
        done = subprocess.run(
            [*command, str(directory)], env={"MYSQL_PWD": PASSWORD, "XDG_STATE_HOME": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        trial.close()
    said = f"binary log position: unknown until booted (innoclone boot {directory}): the redo log has no checksums"
    assert said in done.stderr
    assert "innodb_log_checksums=OFF" in done.stderr
    assert "position" not in read_manifest(directory)
    assert boot(BootOptions(directory)).binlog_position > 0
    with booted(programs, directory) as server:
        assert rows(server, "SELECT COUNT(*), SUM(balance) FROM traffic.accounts") == [(ACCOUNTS, ACCOUNTS * BALANCE)]
