"""How far a clone has come, whatever connections, attempts and processes come and go: its stage, chunks and files.

Everything here is also in the journal (where the clone has one), each step before its effect can be relied on by the
donor. The order, for each stage (rule 7 of docs/design.md):

1. START is in the journal and durable, then renames of files by DDL are carried out, then the chunks begin at none.
2. A block is written, then its chunk counts it; every few seconds data is synced, and the count saved beside.
3. When all connections are behind the END, all data is synced, then the END is in the journal and durable, and only
   then the donor gets its acknowledgement: it goes on from there, and can't be asked for the stage any more.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from innoclone.errors import CloneError
from innoclone.files.system import file_error, sync_directory
from innoclone.records.chunks import Chunks, Found, distrust
from innoclone.records.journal import Journal
from innoclone.records.status import CloneStatus, Stage, StageStatus
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import FileTable
from innoclone.stream.suspects import Suspects
from innoclone.wire.descriptors import BITMAP_WORD, ChunkInfo, Locator, StageNumber, StateDescriptor

__all__ = ["STAGES", "Course", "Unsynced", "all_chunks"]

STAGES = {
    StageNumber.FILE_COPY: Stage.FILE_COPY,
    StageNumber.PAGE_COPY: Stage.PAGE_COPY,
    StageNumber.REDO_COPY: Stage.REDO_COPY,
}


class Unsynced:
    """Files written since the last checkpoint. Connections add to them while a checkpoint takes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: set[Path] = set()

    def add(self, *paths: Path) -> None:
        """They were written to; before the block is counted."""
        with self._lock:  # else the set could be taken between the look at the name and the addition
            self._paths.update(paths)

    def take(self) -> set[Path]:
        """All of them; from now on there are none."""
        with self._lock:
            paths, self._paths = self._paths, set()
            return paths


class Course:
    """One clone's way through its stages. Written by the master connection, chunks by all."""

    def __init__(
        self, target: Target, table: FileTable, suspects: Suspects, status: CloneStatus, journal: Journal | None
    ) -> None:
        self.target, self.table, self.suspects, self.status = target, table, suspects, status
        self.journal = journal
        self.stage = StageNumber.INIT
        self.listed = False  # the list of files is complete: from here on the clone can be continued
        self.ended = False  # the stage's END was acknowledged, or is about to be
        self._chunks: Chunks | None = None
        self.unsynced = Unsynced()
        self._saving = threading.Lock()

    @property
    def chunks(self) -> Chunks:
        """Those of the stage."""
        assert self._chunks is not None, "there are none before FILE_COPY"
        return self._chunks

    @property
    def reached(self) -> tuple[int, ...]:
        """Grows with every block that is there, and with nothing else."""
        if self._chunks is None:
            return ()
        found = self._chunks.found()
        return (self.stage, self.ended, len(found.done), sum(found.begun.values()))

    # ---- steps ---------------------------------------------------------------------------------------------

    def announce(self, state: StateDescriptor) -> None:
        """START of a stage was received; files that DDL renamed get their final names."""
        if self.journal is not None:
            rows = {row.stage.name: [row.begin, row.end, row.data, row.network] for row in self._begun_rows()}
            self.journal.append(
                "start", stage=state.stage, chunks=state.chunks, estimate=state.estimate, rows=rows, time=time.time()
            )
            self.journal.sync()
        self.table.begin_stage()
        self.enter(state.stage, state.chunks, None)

    def enter(self, stage: StageNumber, chunks: int, found: Found | None) -> None:
        """Be in a stage, with what was ``found`` of it."""
        with self._saving:
            self.target.check_place()
            old, self._chunks = self._chunks, Chunks(self.target.root, stage, chunks, found)
            if old is not None:
                old.close()
            self.stage, self.ended = stage, False

    def list_is_complete(self) -> None:
        """All files of FILE_COPY are described, and made."""
        if self.journal is not None:
            self.journal.append("listed")
            self._sync_directories()
            self.journal.sync()
        self.listed = True

    def end(self) -> None:
        """All connections are behind the stage's END: make it durable, then let it be acknowledged."""
        if self.journal is not None and self.stage in STAGES:
            self.save()
            self._sync_directories()
            self.journal.append("end", stage=self.stage)
            self.journal.sync()
        self.ended = True

    def locator(self, locator: Locator) -> Locator:
        """For COM_REINIT: the clone's ``locator`` with the stage, and what is there of it."""
        info = self.chunks.found().info()
        if self.ended:  # also chunks of which nothing came, because their files were dropped
            info = all_chunks(self.chunks.count)
        return Locator(locator.clone_id, locator.snapshot_id, locator.index, self.stage, True, info)

    # ---- what a crash of the system leaves ------------------------------------------------------------------

    def save(self) -> None:
        """A checkpoint: everything received until now is durable, and counted. Raises a file error."""
        if self.journal is None or not self.target.fsync:
            return
        with self._saving:
            if (chunks := self._chunks) is None:
                return
            self.target.check_place()
            snapshot = chunks.snapshot()
            try:
                for path in self.unsynced.take():  # after the snapshot: it counts no block whose file is missing here
                    _sync_file(path)
                self.journal.sync()
            except CloneError:
                distrust(self.target.root)  # the kernel tells of what it lost only once
                raise
            if chunks is self._chunks:
                chunks.save(snapshot)

    def count_bytes(self) -> None:
        """Keep how many bytes the stage has moved."""
        with self._saving:  # the stage and its chunks belong together
            if self.stage in STAGES and self.journal is not None:
                row = self.status.stages[STAGES[self.stage]]
                self.chunks.count_bytes(row.data, row.network)

    def _sync_directories(self) -> None:
        if self.target.fsync:
            for directory in self.target.directories():
                try:
                    sync_directory(directory)
                except OSError as error:
                    raise file_error(error, f"can't sync {directory}") from error

    def _begun_rows(self) -> list[StageStatus]:
        return [row for stage in STAGES.values() if (row := self.status.stages[stage]).begin is not None]

    def close(self) -> None:
        """Let go of the files of the journal."""
        with contextlib.suppress(CloneError, OSError):
            self.count_bytes()
        if self._chunks is not None:
            self._chunks.close()
        if self.journal is not None:
            self.journal.close()


def all_chunks(count: int) -> ChunkInfo:
    """Says that all of ``count`` chunks are there."""
    words = [0xFFFFFFFF] * (count // BITMAP_WORD)
    if count % BITMAP_WORD:
        words.append((1 << count % BITMAP_WORD) - 1)
    return ChunkInfo((), tuple(words))


def _sync_file(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # dropped by DDL meanwhile, or renamed, which is synced with its directory
    except OSError as error:
        raise file_error(error, f"can't open {path}") from error
    try:
        os.fdatasync(fd)
    except OSError as error:
        raise file_error(error, f"can't sync {path}") from error
    finally:
        os.close(fd)
