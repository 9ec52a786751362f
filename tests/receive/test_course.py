"""Checkpoints: what one claims was synced, whatever connections write meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from innoclone.errors import CloneError
from innoclone.receive import course as module
from innoclone.receive.course import Course, Unsynced
from innoclone.records.chunks import read_chunks
from innoclone.records.journal import Journal
from innoclone.records.status import CloneStatus
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import FileTable
from innoclone.stream.suspects import Suspects
from innoclone.wire.descriptors import StageNumber

FILES = 30_000


def test_nothing_is_lost_between_who_adds_and_who_takes() -> None:
    unsynced = Unsynced()
    paths = [[Path(f"{thread}-{number}") for number in range(FILES)] for thread in range(3)]

    def add(mine: list[Path]) -> None:
        for path in mine:
            unsynced.add(path)

    threads = [threading.Thread(target=add, args=(mine,)) for mine in paths]
    for thread in threads:
        thread.start()
    taken: set[Path] = set()
    while any(thread.is_alive() for thread in threads):
        taken.update(unsynced.take())
    taken.update(unsynced.take())
    assert taken == {path for mine in paths for path in mine}


def test_bytes_are_counted_while_the_stage_ends(tmp_path: Path) -> None:
    """Another thread counts; it met the old stage's file, closed."""
    target = Target(tmp_path / "clone")
    journal = Journal(target.root, new=True, fsync=False)
    status = CloneStatus()
    course = Course(target, FileTable(target, 90704, verify=False), Suspects(journal), status, journal)
    course.enter(StageNumber.FILE_COPY, 8, None)
    failed: list[Exception] = []
    ended = threading.Event()

    def count() -> None:
        while not ended.is_set():
            try:
                course.count_bytes()
            except CloneError as error:
                failed.append(error)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        for _ in range(300):
            for stage in (StageNumber.PAGE_COPY, StageNumber.REDO_COPY, StageNumber.FILE_COPY):
                old = course.chunks
                course.enter(stage, 8, None)
                old.count_bytes(1, 1)
    finally:
        ended.set()
        counting.join()
    assert failed == []
    course.close()
    target.discard()


def test_a_file_written_during_a_checkpoint_is_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is counted of it meanwhile is not in the checkpoint."""
    target = Target(tmp_path / "clone")
    journal = Journal(target.root, new=True, fsync=True)
    status = CloneStatus()
    course = Course(target, FileTable(target, 90704, verify=False), Suspects(journal), status, journal)
    course.enter(StageNumber.FILE_COPY, 8, None)
    synced: list[str] = []

    def sync(path: Path) -> None:
        synced.append(path.name)
        if path.name == "early":  # another connection writes on
            course.unsynced.add(Path("late"))
            course.chunks.finish(course.chunks.begin(2))

    monkeypatch.setattr(module, "_sync_file", sync)
    course.unsynced.add(Path("early"))
    course.chunks.finish(course.chunks.begin(1))
    course.save()
    saved = read_chunks(target.root, durable=True)
    assert saved is not None
    assert synced == ["early"]
    assert set(saved.done) == {1}
    course.save()
    saved = read_chunks(target.root, durable=True)
    assert saved is not None
    assert synced == ["early", "late"]
    assert set(saved.done) == {1, 2}
    course.close()
    target.discard()
