"""Positions read from pages of real clones, against what boots find: a few of what ``./scripts/positions`` makes."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from clones import booted, rows
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.innodb.logrecords import next_mtr
from innoclone.innodb.redo import BLOCK_SIZE, FILE_HEADER_SIZE, RedoHeader
from innoclone.records.manifest import read_manifest
from innoclone.records.status import CloneStatus
from innoclone.sandbox.load import ACCOUNTS, BALANCE
from innoclone.server.programs import Programs
from innoclone.stream.pagecheck import check_redo
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
    said = [begin for index, group in enumerate(groups) if group and (begin := index * BODY + group - 12) < len(data)]
    begins, at = [], said[0]
    while at < len(data):
        if not begins or begins[-1] // BODY != at // BODY:
            begins.append(at)
        at = next_mtr(data, at, 0, 5, [])
    return begins, said


def test_log_without_checksums(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> None:
    """It is read all the same; and booted so that it is applied, which a server's default setting would not do."""
    trial = Trial(programs, make_server, tmp_path, VARIANTS["redo log without checksums"])
    directory, status = tmp_path / "c", CloneStatus()
    try:
        result = local_clone(trial.donor, directory, status=status)
    finally:
        trial.close()
    assert any("innodb_log_checksums=OFF" in note for note in status.notes)
    assert result.position_from == "pages"
    found = boot(BootOptions(directory))
    assert (result.binlog_file, result.binlog_position) == (found.binlog_file, found.binlog_position)
    with booted(programs, directory) as server:
        assert rows(server, "SELECT COUNT(*), SUM(balance) FROM traffic.accounts") == [(ACCOUNTS, ACCOUNTS * BALANCE)]


# The program, as it would be with a donor whose redo log it does not know.
NO_TYPES = "import innoclone.innodb.logrecords as l; l._BODIES.clear(); from innoclone.cli import main; main()"


def test_what_cannot_be_read_is_said(
    make_server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of an unknown type: the clone is whole, only its position waits for a boot, with or without --json."""
    server = make_server()
    monkeypatch.setenv("MYSQL_PWD", PASSWORD)
    directory = tmp_path / "c"
    rows(server, "CREATE SCHEMA something")  # a commit writes the position to the redo log
    command = [sys.executable, "-c", NO_TYPES]
    where = ["local", "-h127.0.0.1", f"-P{server.port}", "-uclone", str(directory)]
    done = subprocess.run([*command, *where], capture_output=True, text=True, check=True)
    assert f"position: unknown until booted (innoclone boot {directory}): a log record of type " in done.stderr
    assert "position" not in read_manifest(directory)
    done = subprocess.run([*command, "status", str(directory)], capture_output=True, text=True, check=True)
    assert "unknown until booted" in done.stdout
    done = subprocess.run([*command, *where, "--json"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["binlog_file"], result["position_from"]) == ("", "")
    assert boot(BootOptions(directory)).binlog_file
    assert read_manifest(directory)["position"]["from"] == "boot"
