"""The steps of a replacement without servers: a crash at every one of them, and again while that is put right."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from innoclone.commands import replace as operation
from innoclone.errors import BootFailed, DiskFull, FileError, TargetBusy, TargetUnusable
from innoclone.files import replacing
from innoclone.files.belongings import carry
from innoclone.files.replacing import Note, Places, Step
from innoclone.records.managedserver import Managed
from innoclone.transport.endpoint import Endpoint
from replacements import World, crash_everywhere

TWICE = [("new", False, True), ("bad", False, True)]


@pytest.mark.parametrize(
    ("new", "keep", "twice"),
    [("new", True, False), ("bad", False, False), *(pytest.param(*each, marks=pytest.mark.long) for each in TWICE)],
)
def test_a_crash_at_every_step_and_another_while_it_is_put_right(
    tmp_path: Path, new: str, keep: bool, twice: bool
) -> None:
    # In a process of its own: to fork this one a thousand times would take long, large as it is.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        first, outcomes, seen = pool.submit(crash_everywhere, tmp_path / "w", new, keep, twice).result()
    assert first > 20
    assert outcomes > (100 if twice else 20)
    assert seen == ({"old"} if new == "bad" else {"old", "new"})


def test_without_a_crash_the_new_data_is_served_and_the_old_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path / "w", "new", keep=False)
    world.replace()
    assert world.assert_whole({"new"}) == "new"


def test_new_data_that_no_server_comes_up_on_is_swapped_back(tmp_path: Path) -> None:
    world = World(tmp_path / "w", "bad", keep=False)
    with pytest.raises(BootFailed, match="it does not start"):
        world.replace()
    assert world.assert_whole({"old"}) == "old"


def test_a_failure_of_the_way_back_too_is_told_and_put_right_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "w", "bad", keep=False)
    start = world.server.start

    def fails(*_: object) -> None:
        raise BootFailed("not today")

    monkeypatch.setattr(world.server, "start", fails)
    with pytest.raises(BootFailed, match="could not be started on its old data: not today"):
        world.replace()
    note = world.places.read()
    assert note is not None
    assert note.step is Step.BACK
    monkeypatch.setattr(world.server, "start", start)
    world.settle()
    assert world.assert_whole({"old"}) == "old"


def test_directories_that_somebody_moved_are_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path / "w", "new", keep=False)
    world.places.begin("", 0.0, keep=False)
    world.places.data.rename(tmp_path / "elsewhere")
    world.places.data.mkdir()
    with pytest.raises(FileError, match="neither the old data nor the new"):
        world.settle()
    assert (world.places.new / "mysql.ibd").read_text() == "new"


@pytest.mark.parametrize("content", ["", "{}", "[]", "nonsense", '{"format": 2}', '{"format": 1, "step": "x"}'])
def test_a_damaged_note_is_no_reason_to_guess(tmp_path: Path, content: str) -> None:
    world = World(tmp_path / "w", "new", keep=False)
    (world.places.folder / replacing.NOTE).write_text(content)
    with pytest.raises(FileError, match="damaged"):
        world.settle()


def test_only_one_process_replaces_a_servers_data(tmp_path: Path) -> None:
    places = World(tmp_path / "w", "new", keep=False).places
    lock = places.claim()
    with pytest.raises(TargetBusy):
        Places(places.data).claim()
    os.close(lock)
    os.close(places.claim())


def test_what_is_no_data_directory_is_not_claimed(tmp_path: Path) -> None:
    with pytest.raises(TargetUnusable, match="not a server's data directory"):
        Places(tmp_path).claim()
    assert not Places(tmp_path).folder.exists()


# ---- the old data ----------------------------------------------------------------------------------------------


def replaced(world: World) -> Note:
    """Exchanged, and the server is up on the new data."""
    note = world.places.begin("", 0.0, keep=world.keep)
    carry([world.places.data / "auto.cnf"], world.places.new)
    world.places.exchange()
    world.server.state.write_text("new")
    return note


HELD = "import fcntl, sys; file = open(sys.argv[1], 'r+'); fcntl.lockf(file, fcntl.LOCK_EX); print(); input()"


@pytest.mark.parametrize("keep", [False, True])
def test_old_data_that_a_server_runs_on_is_left_alone(tmp_path: Path, keep: bool) -> None:
    world = World(tmp_path / "w", "new", keep=keep)
    note = replaced(world)
    command = [sys.executable, "-c", HELD, str(world.places.new / "mysql.ibd")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as somebody:
        assert somebody.stdout is not None
        somebody.stdout.readline()
        with pytest.raises(TargetBusy, match="a server runs on"):
            world.places.put_aside(note)
        with pytest.raises(TargetBusy, match="a server runs on"):
            world.places.exchange()
        assert (world.places.new / "mysql.ibd").read_text() == "old"
        somebody.communicate(b"\n")
    world.settle()
    assert world.assert_whole({"new"}) == "new"


def test_a_server_on_the_new_data_that_is_not_the_trials_is_left_alone(tmp_path: Path) -> None:
    """Only a private mysqld that outlived its process is ended."""
    world = World(tmp_path / "w", "new", keep=False)
    command = [sys.executable, "-c", HELD, str(world.places.new / "mysql.ibd")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as somebody:
        assert somebody.stdout is not None
        somebody.stdout.readline()
        with pytest.raises(TargetBusy, match="a server runs on"):
            operation._end_trial(Managed(world.places.data, Endpoint()), world.places)
        with pytest.raises(TargetBusy, match="a server runs on"):
            world.places.remove_new(None)
        assert somebody.poll() is None
        somebody.communicate(b"\n")
    assert (world.places.new / "mysql.ibd").read_text() == "new"


def test_old_data_stays_where_the_server_ended_after_it_had_come_up(tmp_path: Path) -> None:
    world = World(tmp_path / "w", "new", keep=False)
    note = replaced(world)
    world.server.state.unlink()
    with pytest.raises(BootFailed, match="the server ended after"):
        operation._drop(world.places, world.server, note)
    assert (world.places.new / "mysql.ibd").read_text() == "old"
    assert world.places.read() == note
    world.settle()
    assert world.assert_whole({"new"}) == "new"


def test_a_full_disk_never_lets_new_data_that_was_served_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last note needs no space: later the server may be down, for another reason, when the agent is started."""
    world = World(tmp_path / "w", "new", keep=False)
    note = replaced(world)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json, "dumps", full)
    monkeypatch.setattr(Places, "put_aside", full)
    with pytest.raises(OSError, match="No space"):
        operation._drop(world.places, world.server, note)
    monkeypatch.undo()
    written = world.places.read()
    assert written is not None
    assert written.step is Step.DONE
    world.settle()
    assert world.assert_whole({"new"}) == "new"


def test_names_of_old_data_that_exist(tmp_path: Path) -> None:
    """Within one second; and what an earlier run did not come to remove."""
    world = World(tmp_path / "w", "new", keep=True)
    for name in (time.strftime("old-%Y%m%dT%H%M%S", time.localtime(time.time() + more)) for more in range(120)):
        (world.places.folder / name / "schema").mkdir(parents=True)
    kept = world.places.put_aside(replaced(world))
    assert kept is not None
    assert kept.name.endswith("-2")
    assert (kept / "mysql.ibd").read_text() == "old"
    world = World(tmp_path / "w", "new", keep=False)
    (world.places.folder / "old-dropped" / "schema").mkdir(parents=True)
    assert world.places.put_aside(replaced(world)) is None
    assert [path for path in world.places.folder.iterdir() if path.is_dir()] == []


def test_only_what_was_copied_is_removed_for_space(tmp_path: Path) -> None:
    world = World(tmp_path / "w", "new", keep=False)
    note = replaced(world)
    with pytest.raises(FileError, match="not the data that was copied"):
        world.places.remove_new(note)
    assert (world.places.new / "mysql.ibd").read_text() == "old"


# ---- faults of the file system, and what is in the way ---------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "w", "new", keep=True)


def test_the_folder_is_made_for_others_to_pass_through(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mysql.ibd").touch()
    (tmp_path / "link").symlink_to("data")
    places = Places(tmp_path / "link")
    before = os.umask(0o077)
    try:
        os.close(places.claim())
    finally:
        os.umask(before)
    assert places.folder == tmp_path / "data.innoclone"
    assert places.folder.stat().st_mode & 0o7777 == 0o711


def test_a_mount_point_is_not_claimed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == world.places.data)
    with pytest.raises(TargetUnusable, match="is a mount point"):
        world.places.claim()


@pytest.mark.skipif(not Path("/dev/shm").is_mount(), reason="needs a second file system")
def test_a_folder_on_another_file_system_is_not_claimed(world: World) -> None:
    """Names can't be exchanged between the two."""
    world.places.folder.rename(world.places.folder.with_name("moved"))
    world.places.folder.symlink_to("/dev/shm")
    with pytest.raises(TargetUnusable, match="on another file system"):
        world.places.claim()
    assert not Path("/dev/shm/lock").exists()


def test_a_file_in_the_place_of_the_folder_stays(world: World) -> None:
    world.places.folder.rename(world.places.folder.with_name("moved"))
    world.places.folder.write_text("of somebody")
    with pytest.raises(FileError, match="can't use"):
        world.places.claim()
    assert world.places.folder.read_text() == "of somebody"


def test_data_that_is_gone_is_neither_old_nor_new(world: World) -> None:
    note = world.places.begin("donor", 1.5, keep=True)
    assert not world.places.is_new(note)
    assert world.places.read() == note
    assert (note.source, note.began, note.kept[:6]) == ("donor", 1.5, "old-20")
    world.places.data.rename(world.places.data.with_name("moved"))
    with pytest.raises(FileError, match="can't look at"):
        world.places.is_new(note)


def test_nothing_begins_without_new_data(world: World) -> None:
    world.places.new.rename(world.places.new.with_name("moved"))
    with pytest.raises(FileError, match="can't look at"):
        world.places.begin("", 0.0, keep=False)
    assert world.places.read() is None


def test_the_last_note_can_be_written_twice(world: World) -> None:
    note = world.places.begin("", 0.0, keep=False)
    for _ in range(2):
        world.places.done(note)
        written = world.places.read()
        assert written is not None
        assert written.step is Step.DONE
    world.places.forget()
    assert world.places.read() is None
    world.places.forget()


def test_a_note_that_can_not_be_written_leaves_the_earlier(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    note = world.places.begin("", 0.0, keep=False)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for attempt in (world.places.write, world.places.done):
            with pytest.raises(DiskFull, match="can't write"):
                attempt(Note(Step.BACK, note.old, note.new))
    assert not list(world.places.folder.glob("*.new"))
    written = world.places.read()
    assert written is not None
    assert written.step is Step.DONE, "which was renamed; only its durability is not known"


def test_a_note_that_can_not_be_read_is_an_error(world: World) -> None:
    """None would mean that there is nothing to put right."""
    (world.places.folder / replacing.NOTE).mkdir()
    with pytest.raises(FileError, match="can't read"):
        world.places.read()
    with pytest.raises(FileError, match="can't remove"):
        world.places.forget()


@pytest.mark.parametrize("noted", [False, True])
def test_what_was_copied_goes(world: World, noted: bool) -> None:
    world.places.remove_new(world.places.begin("", 0.0, keep=False) if noted else None)
    assert not world.places.new.exists()
    assert (world.places.data / "mysql.ibd").read_text() == "old"


def test_old_data_is_put_over_nothing(world: World) -> None:
    """Somebody has made a folder of the name that was chosen for it."""
    note = replaced(world)
    (world.places.folder / note.kept).mkdir()
    (world.places.folder / note.kept / "theirs").write_text("of somebody")
    with pytest.raises(FileError, match=r"can't put the old data .* aside"):
        world.places.put_aside(note)
    assert (world.places.folder / note.kept / "theirs").read_text() == "of somebody"
    assert (world.places.new / "mysql.ibd").read_text() == "old"
