"""Checkpoints: what one claims was synced, whatever connections write meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from innoclone.errors import CloneError
from innoclone.receive.resume import Resumable
from innoclone.receive.state import CloneState, Unsynced
from innoclone.records.chunks import Found, read_chunks
from innoclone.records.journal import Journal, read_journal
from innoclone.records.status import CloneStatus
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import FileTable
from innoclone.stream.suspects import Suspects
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber
from innodb_pages import PLAIN

FILES = 30_000
FILE = StageNumber.FILE_COPY


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
    journal = Journal(target.folder, new=True, fsync=False)
    status = CloneStatus()
    state = CloneState(target, FileTable(target, 90704, verify=False), Suspects(journal), status, journal)
    state.enter(StageNumber.FILE_COPY, 8, None)
    failed: list[Exception] = []
    ended = threading.Event()

    def count() -> None:
        while not ended.is_set():
            try:
                state.count_bytes()
            except CloneError as error:
                failed.append(error)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        for _ in range(300):
            for stage in (StageNumber.PAGE_COPY, StageNumber.REDO_COPY, StageNumber.FILE_COPY):
                old = state.chunks
                state.enter(stage, 8, None)
                old.count_bytes(1, 1)
    finally:
        ended.set()
        counting.join()
    assert failed == []
    state.close()
    target.discard()


def test_a_file_written_during_a_checkpoint_is_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is counted of it meanwhile is not in the checkpoint."""
    target = Target(tmp_path / "clone")
    journal = Journal(target.folder, new=True, fsync=True)
    status = CloneStatus()
    state = CloneState(target, FileTable(target, 90704, verify=False), Suspects(journal), status, journal)
    state.enter(StageNumber.FILE_COPY, 8, None)
    synced: list[str] = []

    def sync(paths: Iterable[Path]) -> None:
        for path in paths:
            synced.append(path.name)
            if path.name == "early":  # another connection writes on
                state.unsynced.add(Path("late"))
                state.chunks.finish(state.chunks.begin(2))

    monkeypatch.setattr(target, "checkpoint", sync)
    state.unsynced.add(Path("early"))
    state.chunks.finish(state.chunks.begin(1))
    state.save()
    saved = read_chunks(target.folder, durable=True)
    assert saved is not None
    assert synced == ["early"]
    assert set(saved.done) == {1}
    state.save()
    saved = read_chunks(target.folder, durable=True)
    assert saved is not None
    assert synced == ["early", "late"]
    assert set(saved.done) == {1, 2}
    state.close()
    target.discard()


def test_a_file_that_was_being_dropped_goes(tmp_path: Path) -> None:
    """Killed between the journal's word of it and the deed, while another connection wrote to the journal behind it."""
    target = Target(tmp_path / "clone")
    journal = Journal(target.folder, new=True, fsync=False)
    listed = [
        FileMetadata(FILE, 65536, 65536, PLAIN.raw, 4096, FileFlag(0), index + 5, index, index + 1, index + 1, name)
        for index, name in enumerate(("db/a.ibd", "db/b.ibd"))
    ]
    for meta in (*listed, replace(listed[0], flags=FileFlag.DELETED)):
        journal.append("file", descriptor=meta.serialize().hex(), stage=FILE, in_stage=True, adopted=False)
    journal.append("bad", index=1, first=0, count=1, bad=[0])
    journal.close()
    for meta in listed:
        target.create(target.place(meta.name, meta.space_id))
    start = {"chunks": 2, "rows": {}, "estimate": 0, "time": 0.0}
    begin = {"version": "9.7.4", "variables": {"innodb_page_size": "16384"}, "began": 0.0}
    left = Resumable(
        root=target.root, begin=begin, events=read_journal(target.folder), stage=FILE, start=start, ended=False,
        crashed=False, found=Found(FILE, 2),
    )  # fmt: skip
    left.state(target, CloneStatus(), verify=True, threads=1).close()
    assert [path.name for path in (target.root / "db").iterdir()] == ["b.ibd"]
    target.discard()
