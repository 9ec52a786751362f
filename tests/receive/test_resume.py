"""A clone that was broken off is continued by another process: from where it was, or anew and with the reason."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broken_off import assert_equal, break_off, copied, said
from clones import booted, check_tables, clone_server, innochecksum
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.errors import Interrupted, TargetExists
from innoclone.receive import resume, timings
from innoclone.receive.attempt import Attempt
from innoclone.records import journal
from innoclone.records.chunks import PROGRESS, distrust, read_chunks
from innoclone.records.status import CloneStatus, Stage
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.invariants import check_invariants
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Compression, SslMode
from innoclone.wire.descriptors import StageNumber
from innoclone.wire.rpc import Ack
from local_clones import checksums, local_clone
from servers import ServerFactory, endpoint_of

MIB = 1 << 20
OWN = "#innoclone"


@pytest.fixture(scope="module")
def donor(make_module_server: ServerFactory) -> Server:
    """A donor with some of everything."""
    server = make_module_server()
    fill(server.connect, 60 * MIB)
    return server


# ---- from where it was ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"threads": 1}, {"threads": 6}, {"compression": Compression("zstd", 1)}, {"fsync": False, "verify_pages": False}],
    ids=str,
)
def test_goes_on_with_other_options(donor: Server, programs: Programs, tmp_path: Path, options: dict[str, Any]) -> None:
    """Several times; what is there does not travel again."""
    directory = tmp_path / "clone"
    break_off(donor, directory, copied(8 * MIB))
    status = break_off(donor, directory, copied(25 * MIB))
    assert any("going on" in note for note in status.notes)
    again = CloneStatus()
    result = clone_server(donor, directory, status=again, **options)
    assert len(said(result)) == 1
    assert "in FILE_COPY" in said(result)[0]
    row = again.stages[Stage.FILE_COPY]
    assert sum(counter.data for counter in row.counters[1:]) < row.estimate - 16 * MIB, "counters[0] is what was there"
    assert_equal(programs, directory, donor)
    assert [path.name for path in (directory / OWN).iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("stage", [StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY])
@pytest.mark.parametrize("after", [False, True])
def test_around_an_acknowledgement(
    make_server: ServerFactory,
    programs: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: StageNumber,
    after: bool,
) -> None:
    """Right before or after the donor learned that a stage is complete, under load and DDL: nothing is lost."""
    server = make_server()
    fill(server.connect, 24 * MIB)
    real = Attempt._acknowledge

    def acknowledge(self: Attempt, ack: Ack) -> None:
        if ack.state is None or ack.state.stage is not stage:
            return real(self, ack)
        if after:
            real(self, ack)
        raise Interrupted("stopped by the test")

    directory = tmp_path / "clone"
    with Load(server.connect, threads=2) as load, DdlLoop(server.connect) as ddl:
        monkeypatch.setattr(Attempt, "_acknowledge", acknowledge)
        with pytest.raises(Interrupted):
            clone_server(server, directory)
        monkeypatch.setattr(Attempt, "_acknowledge", real)
        result = clone_server(server, directory)
    assert load.errors == []
    assert ddl.errors == []
    assert len(said(result)) == 1
    assert f"in {stage.name};" in said(result)[0]
    with booted(programs, directory) as booting, booting.connect() as connection:
        assert check_invariants(connection) == []
        assert check_tables(booting) == []
    assert innochecksum(programs, directory) == []


@pytest.mark.parametrize("size", ["4k", "64k"])
def test_page_sizes(make_server: ServerFactory, programs: Programs, tmp_path: Path, size: str) -> None:
    """Chunks and blocks are so many pages, whatever their size: the bytes that are there are counted by that."""
    server = make_server(init=[f"--innodb-page-size={size}"])
    fill(server.connect, 40 * MIB)
    directory, whole = tmp_path / "clone", CloneStatus()
    break_off(server, directory, copied(25 * MIB), threads=1)
    shutil.copytree(directory, tmp_path / "copy")
    status = CloneStatus()
    result = clone_server(server, directory, status=status)
    assert "in FILE_COPY" in said(result)[-1]
    with booted(programs, directory, [f"--innodb-page-size={size}"]) as booting:
        assert checksums(booting) == checksums(server)
    clone_server(server, tmp_path / "other", status=whole)
    there, all_of_it = status.stages[Stage.FILE_COPY], whole.stages[Stage.FILE_COPY]
    assert abs(there.data - all_of_it.data) < MIB, "the two clones are of different moments"
    if size == "4k":  # a chunk of 64 KiB pages has 256 MiB
        _change(tmp_path / "copy")
        assert "was changed since" in said(clone_server(server, tmp_path / "copy"))[-1]


def test_only_the_sync_is_left(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """When all data is there the donor isn't needed any more, not even its address has to be right."""
    directory = tmp_path / "clone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("innoclone.receive.recipient.finish_files", _interrupt)
        with pytest.raises(Interrupted):
            clone_server(donor, directory)
    elsewhere = endpoint_of(donor, ssl_mode=SslMode.DISABLED, port=1)
    result = clone(CloneOptions(donor=elsewhere, directory=directory))
    assert "in DONE" in said(result)[0]
    assert_equal(programs, directory, donor)


def _interrupt(*_: object, **__: object) -> None:
    raise Interrupted("stopped by the test")


# ---- a crash of the system ---------------------------------------------------------------------------------------


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of them."""
    monkeypatch.setattr(timings, "COUNTING", 0.05)
    monkeypatch.setattr(timings, "CHECKPOINT", 0.1)


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the machine look as if it had been started anew."""

    def reboot() -> None:
        for module in (journal, resume):
            monkeypatch.setattr(module, "boot_id", lambda: "another")

    return reboot


@pytest.mark.parametrize("fault", ["crash", "write error"])
def test_what_was_not_synced_is_lost(
    donor: Server, programs: Programs, tmp_path: Path, checkpoints: None, reboot: Callable[[], None], fault: str
) -> None:
    """After a crash of the system or a failed write all that the last checkpoint doesn't claim may be rubbish."""
    directory = tmp_path / "clone"
    break_off(donor, directory, copied(30 * MIB))
    durable, running = read_chunks(directory / OWN, durable=True), read_chunks(directory / OWN, durable=False)
    assert durable is not None
    assert running is not None
    assert durable.done
    assert set(durable.done) <= set(running.done)
    lost = {*running.done, *running.begun} - {*durable.done, *durable.begun}
    assert _spoil(directory, lost) or not lost
    if fault == "crash":
        (directory / OWN / PROGRESS).write_bytes(b"")
        reboot()
    else:
        distrust(directory / OWN)
    result = clone_server(donor, directory)
    assert "going on" in said(result)[0]
    assert_equal(programs, directory, donor)


def _spoil(directory: Path, chunks: set[int]) -> int:
    """Overwrite the files of these chunks; how many that were."""
    count = 0
    for event in journal.read_journal(directory / OWN):
        if event["event"] == "file":
            meta = resume._descriptor(event)
            if chunks & set(range(meta.first_chunk, meta.last_chunk + 1)):
                path = directory / meta.name.removeprefix("./")
                path.write_bytes(b"\xa5" * path.stat().st_size)
                count += 1
    return count


@pytest.mark.parametrize("fault", ["crash", "write error"])
def test_the_same_without_fsync(donor: Server, tmp_path: Path, reboot: Callable[[], None], fault: str) -> None:
    directory = tmp_path / "clone"
    break_off(donor, directory, copied(10 * MIB), fsync=False)
    if fault == "crash":
        reboot()
    else:
        distrust(directory / OWN)
    result = clone_server(donor, directory)
    assert "without fsync nothing is known to be on disk; a new one begins, in full" in said(result)[0]


# ---- anew, and why -----------------------------------------------------------------------------------------------


def _change(directory: Path) -> None:
    found = read_chunks(directory / OWN, durable=False)
    assert found is not None
    assert _spoil(directory, set(found.done))


def _remove(directory: Path) -> None:
    (directory / "mysql.ibd").unlink()


def _lose_journal(directory: Path) -> None:
    (directory / OWN / journal.JOURNAL).unlink()


def _lose_progress(directory: Path) -> None:
    (directory / OWN / PROGRESS).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_change, "was changed since"),
        (_remove, "mysql.ibd is missing"),
        (_lose_journal, "it left no journal"),
        (_lose_progress, "going on"),
    ],
)
def test_a_directory_that_was_touched(
    donor: Server, programs: Programs, tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    directory = tmp_path / "clone"
    break_off(donor, directory, copied(30 * MIB), threads=1)
    damage(directory)
    result = clone_server(donor, directory)
    assert reason in said(result)[-1]
    assert_equal(programs, directory, donor)


def test_another_clone_came_in_between(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """It displaces the snapshot."""
    directory = tmp_path / "clone"
    break_off(donor, directory, copied(10 * MIB))
    clone_server(donor, tmp_path / "other")
    result = clone_server(donor, directory)
    assert "the donor doesn't keep its snapshot any more; a new one begins, in full" in said(result)[-1]
    assert_equal(programs, directory, donor)


def test_an_unfinished_clone_of_another_server(donor: Server, make_server: ServerFactory, tmp_path: Path) -> None:
    """It is left alone."""
    directory = tmp_path / "clone"
    break_off(donor, directory, copied(10 * MIB))
    before = sorted(directory.rglob("*"))
    other = make_server()
    for again in (clone_server, local_clone):
        with pytest.raises(TargetExists, match="unfinished clone of another server") as caught:
            again(other, directory)
        assert "innoclone discard" in caught.value.advice
        assert sorted(directory.rglob("*")) == before


def test_a_journal_cut_anywhere(donor: Server, programs: Programs, tmp_path: Path) -> None:
    """As a crash of the system may leave it; the clone goes on or begins anew, and is right."""
    directory = tmp_path / "clone"
    chooser = random.Random(20)
    for _ in range(3):
        shutil.rmtree(directory, ignore_errors=True)
        break_off(donor, directory, copied(20 * MIB))
        path = directory / OWN / journal.JOURNAL
        whole = path.read_bytes()
        cut = chooser.randrange(len(whole))
        path.write_bytes(whole[:cut] + bytes(chooser.randrange(64)))
        result = clone_server(donor, directory)
        assert len(said(result)) >= 1
        assert_equal(programs, directory, donor)
