"""A live server is served: recipients share its snapshot, and what they get is consistent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest

from clones import rows
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor import live, snapshot, upstream
from innoclone.donor.live import find_live
from innoclone.donor.offer import Wish
from innoclone.donor.replay import Replay
from innoclone.donor.spool import Spool
from innoclone.donor.upstream import Upstream
from innoclone.errors import CloneError, CloneRunning, Interrupted
from innoclone.receive import timings
from innoclone.records.limits import Limits
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.wire.descriptors import DataDescriptor, StageNumber, StateDescriptor
from local_clones import assert_sound_copy, booted_copy, checksums
from servers import ServerFactory, endpoint_of
from serving import ALONE, endpoint, serving, take

MIB = 1 << 20
POSITION = "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status"
FOUR = {"clone_autotune_concurrency": 0, "clone_max_concurrency": 4}


@pytest.fixture(scope="module")
def busy(make_module_server: ServerFactory) -> Server:
    """With tables of every kind, and room for a load."""
    server = make_module_server()
    fill(server.connect, 20 * MIB)
    return server


@pytest.mark.parametrize(("settings", "clause"), [(ALONE, "REQUIRE NO SSL"), (FOUR, "REQUIRE SSL")])
def test_it_boots_equal_and_tells_the_position(
    settings: dict[str, int], clause: str, programs: Programs, small_donor: Server, recipient: Server, tmp_path: Path
) -> None:
    expected = checksums(small_donor)
    log = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    target = tmp_path / "taken"
    with serving(find_live(endpoint_of(small_donor)), tmp_path) as donor:
        take(recipient, donor.port, target, clause, settings=settings)
    with booted_copy(programs, target) as server:
        assert checksums(server) == expected
        assert rows(server, POSITION)[0] == (log[0], log[1], log[4])


def test_three_share_a_snapshot_under_load_and_ddl(
    programs: Programs, busy: Server, recipient: Server, tmp_path: Path
) -> None:
    targets = [tmp_path / f"taken-{number}" for number in range(3)]
    source = find_live(endpoint_of(busy))
    with (
        Load(busy.connect, threads=2) as load,
        DdlLoop(busy.connect) as ddl,
        serving(source, tmp_path, limits=Limits(data=64)) as donor,
    ):
        threads = [
            threading.Thread(target=take, args=(recipient, donor.port, targets[0]), kwargs={"settings": FOUR}),
            threading.Thread(target=clone, args=(CloneOptions(endpoint(donor.port), targets[1], threads=1),)),
            threading.Thread(target=clone, args=(CloneOptions(endpoint(donor.port), targets[2], threads=3),)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        states = {course.given.fingerprint for course in donor.courses}
        assert len(donor.courses) == 3
        assert len(states) == 1
    assert (load.errors, ddl.errors) == ([], [])
    for target in targets:
        assert_sound_copy(programs, target)


def raw(port: int) -> Upstream:
    """A recipient that can be told each step."""
    return Upstream(endpoint(port), Wish(False, 0, tls=False), threading.Event())


def follow(recipient: Upstream, folder: Path) -> threading.Thread:
    """It acknowledges FILE_COPY, and takes the rest."""
    thread = threading.Thread(target=lambda: (recipient.follow(Spool(folder)), recipient.leave()))
    thread.start()
    return thread


def until(what: Callable[[], object]) -> None:
    """Wait for it."""
    while not what():
        threading.Event().wait(0.02)


def test_who_comes_late_waits_for_the_next_snapshot(
    small_donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a recipient has read all files it waits for no new one. Whoever gives up is not waited for any more."""
    monkeypatch.setattr(timings, "BUSY_DONOR", 0.0)
    with serving(find_live(endpoint_of(small_donor)), tmp_path) as donor:
        first, second, third = raw(donor.port), raw(donor.port), raw(donor.port)
        first.begin()
        first.claim()
        second.begin()
        assert len({course.given.fingerprint for course in donor.courses}) == 1
        thread = follow(first, tmp_path)
        until(lambda: any(course.is_past_files for course in donor.courses))
        with monkeypatch.context() as patched:
            patched.setattr(live, "PATIENCE", 0.0)
            with pytest.raises(CloneRunning, match="Too many concurrent clone operations"):
                third.begin()
        assert thread.is_alive()
        second.abandon(Interrupted("by its user"))
        thread.join()
        third.begin()
        third.claim()
        follow(third, tmp_path).join()
        assert len({course.given.fingerprint for course in donor.courses if course.error is None}) == 2


@pytest.mark.parametrize("how", ["lost", "stalled"])
def test_a_recipient_that_is_lost_or_stalls_does_not_hold_the_others(
    how: str, small_donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "STALLED", 1.0 if how == "stalled" else 1e9)
    with serving(find_live(endpoint_of(small_donor)), tmp_path) as donor:
        good, bad = raw(donor.port), raw(donor.port)
        good.begin()
        bad.begin()
        good.claim()
        thread = follow(good, tmp_path)
        course = donor.courses[1]
        if how == "lost":
            course.patience = 0.0
            bad.shut()
        thread.join()
        with pytest.raises(CloneError, match="no such clone"):
            bad.claim()
        assert course.error is not None
        assert how == "lost" or "nothing for too long" in course.error.message
        assert not course.is_past_files
        bad.shut()


def test_a_server_that_is_lost_ends_the_clones(
    make_server: ServerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "BACK_WITHIN", 1.0)
    server = make_server()
    with serving(find_live(endpoint_of(server)), tmp_path) as donor:
        recipient = raw(donor.port)
        recipient.begin()
        recipient.claim()
        server.kill()
        with pytest.raises(CloneError, match="the server was lost: "):
            until(recipient.hold)
        recipient.shut()


@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_connection_to_the_server_is_made_anew(
    which: int, programs: Programs, small_donor: Server, recipient: Server, tmp_path: Path
) -> None:
    """That of the snapshot, or the one for its acknowledgements: the recipient does not notice."""
    expected, target = checksums(small_donor), tmp_path / "taken"
    with serving(find_live(endpoint_of(small_donor)), tmp_path, limits=Limits(data=20)) as donor:
        taking = threading.Thread(
            target=take, args=(recipient, donor.port, target, "REQUIRE NO SSL"), kwargs={"settings": FOUR}
        )
        taking.start()
        until(lambda: any(course.sent > MIB for course in donor.courses))
        assert isinstance(donor.source, live.LiveServer)
        (shared,) = donor.source.snapshots
        shared._upstream._connections[which].shut()
        taking.join()
        assert [course.error for course in donor.courses] == [None]
        until(lambda: not donor.source.snapshots)
    with booted_copy(programs, target) as server:
        assert checksums(server) == expected


def test_connections_lost_at_every_turn_behind_file_copy(
    programs: Programs, busy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a stage, and before and after the server hears that one is acknowledged, under load and DDL."""
    hit: set[tuple[str, StageNumber]] = set()

    def lose(server: Upstream, turn: str, stage: StageNumber) -> None:
        if (turn, stage) not in hit:
            hit.add((turn, stage))
            for connection in server._connections:
                connection.shut()

    block, end_stage, acknowledge = Upstream._block, Upstream._end_stage, Upstream._acknowledge

    def lost_block(self: Upstream, item: DataDescriptor, replay: Replay) -> None:
        block(self, item, replay)
        lose(self, "block", item.stage)

    def lost_end(self: Upstream, end: StateDescriptor) -> None:
        end_stage(self, end)
        lose(self, "heard", end.stage)

    def unheard(self: Upstream, end: StateDescriptor) -> None:
        if self._has_ended:
            lose(self, "unheard", end.stage)
        acknowledge(self, end)

    monkeypatch.setattr(Upstream, "_block", lost_block)
    monkeypatch.setattr(Upstream, "_end_stage", lost_end)
    monkeypatch.setattr(Upstream, "_acknowledge", unheard)
    target = tmp_path / "taken"
    with (
        Load(busy.connect, threads=2) as load,
        DdlLoop(busy.connect) as ddl,
        serving(find_live(endpoint_of(busy)), tmp_path, limits=Limits(data=64)) as donor,
    ):
        clone(CloneOptions(endpoint(donor.port), target, threads=2))
        assert [course.error for course in donor.courses] == [None]
    assert (load.errors, ddl.errors) == ([], [])
    stages = (StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY)
    assert hit == {(turn, stage) for turn in ("unheard", "heard") for stage in stages} | {
        ("block", stage) for stage in stages[1:]
    }
    assert_sound_copy(programs, target)


@pytest.mark.parametrize("how", ["KILL", "UNINSTALL"])
def test_a_clone_that_the_server_ends_is_over_and_the_next_one_begins(
    how: str, programs: Programs, busy: Server, recipient: Server, tmp_path: Path
) -> None:
    """By KILL of the connection there; without the plugin each clone is refused with the server's own error."""
    with serving(find_live(endpoint_of(busy)), tmp_path, limits=Limits(data=40)) as donor:
        if how == "UNINSTALL":
            rows(busy, "UNINSTALL PLUGIN clone")
            with pytest.raises(pymysql.Error, match="Error: 1524 : Plugin 'clone' is not loaded"):
                take(recipient, donor.port, tmp_path / "never", "REQUIRE NO SSL", settings=FOUR)
            rows(busy, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
        else:
            thread = follow_statement(recipient, donor.port, tmp_path / "never")
            until(lambda: any(course.sent > MIB for course in donor.courses))
            for (number,) in rows(busy, "SELECT ID FROM performance_schema.processlist WHERE COMMAND = 'clone'"):
                with contextlib.suppress(pymysql.Error):  # it may be one that has ended
                    rows(busy, f"KILL {number}")
            assert "the server has ended its clone" in str(thread())
        take(recipient, donor.port, tmp_path / "taken", "REQUIRE NO SSL", settings=FOUR)
    with booted_copy(programs, tmp_path / "taken") as copy:
        assert checksums(copy) == checksums(busy)


def follow_statement(recipient: Server, port: int, target: Path) -> Callable[[], BaseException | None]:
    """CLONE INSTANCE in a thread; what it gives waits for its end, and says with what error."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            take(recipient, port, target, "REQUIRE NO SSL", settings=FOUR)
        except pymysql.Error as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> BaseException | None:
        thread.join(60.0)
        assert not thread.is_alive()
        return failed[0] if failed else None

    return end


def test_the_server_is_let_go_when_all_have_gone(
    small_donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, so that the next clone of it, by whomever, can begin."""
    monkeypatch.setattr(timings, "BUSY_DONOR", 0.0)
    with serving(find_live(endpoint_of(small_donor)), tmp_path) as donor:
        recipient = raw(donor.port)
        recipient.begin()
        recipient.abandon(Interrupted("by its user"))
        until(lambda: donor.courses == [])
        other = Upstream(endpoint_of(small_donor), Wish(False, 0, tls=False), threading.Event())
        until(lambda: not donor.source.snapshots)
        other.begin()
        other.abandon(Interrupted("that was all"))
