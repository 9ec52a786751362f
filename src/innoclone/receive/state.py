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
import threading
import time
from pathlib import Path

from innoclone.errors import CloneError
from innoclone.receive.carryout import carry_out
from innoclone.receive.sealing import Sealing
from innoclone.records.chunks import Chunks, Found, Slot, distrust
from innoclone.records.journal import Journal
from innoclone.records.status import CloneStatus, Stage, StageStatus
from innoclone.stream.filetable import Adopt, ClonedFile, FileTable
from innoclone.stream.sink import Sink
from innoclone.stream.suspects import Suspects
from innoclone.wire.descriptors import (
    BITMAP_WORD,
    ChunkInfo,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
)

__all__ = ["STAGES", "CloneState", "Unsynced", "all_chunks"]

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


class CloneState:
    """One clone: the stage it is in, its files and what is there of them. Written by the master connection, chunks by
    all. What must outlive the process lies in the sink's folder."""

    def __init__(
        self,
        sink: Sink,
        table: FileTable,
        suspects: Suspects,
        status: CloneStatus,
        journal: Journal | None,
        sealing: Sealing | None = None,
    ) -> None:
        self.sealing = sealing or Sealing(None)
        self.sink, self.table, self.suspects, self.status = sink, table, suspects, status
        self.journal = journal
        self.stage = StageNumber.INIT
        self.listed = False  # the list of files is complete: from here on the clone can be continued
        self.ended = False  # the stage's END was acknowledged, or is about to be
        self._chunks: Chunks | None = None
        self.unsynced = Unsynced()
        self.redo_heads: dict[int, bytearray] = {}  # of redo files, where the sink can't read them back
        self._saving = threading.Lock()
        self._changing = threading.Lock()  # the table of files

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

    @property
    def row(self) -> StageStatus | None:
        """What the status says of the stage, if it is one in which data comes."""
        return self.status.stages[STAGES[self.stage]] if self.stage in STAGES else None

    # ---- files ---------------------------------------------------------------------------------------------

    def describe(self, meta: FileMetadata, stage: StageNumber, *, in_stage: bool) -> None:
        """Take a description of a file: into the table, the journal and the sink, in this order. One of the initial
        list goes into the journal last, since the list counts only when it is complete.

        Raises what `FileTable.add` does, `EncryptionUnsupported`, `KeyringFailed`, a file error.
        """
        meta = self.sealing.metadata(meta)
        with self._changing:
            actions = self.table.add(meta, stage, in_stage=in_stage)
            if actions is None:
                return
            listed = any(isinstance(action, Adopt) for action in actions)
            if not listed:
                self._tell(meta, stage, in_stage=in_stage)
            for action in actions:
                adopted = carry_out(action, self.sink)
                if listed:
                    self.table.data[meta.index].adopted = adopted
                    self._tell(meta, stage, in_stage=in_stage, adopted=adopted, later=True)

    def _tell(
        self, meta: FileMetadata, stage: StageNumber, *, in_stage: bool, later: bool = False, adopted: bool = False
    ) -> None:
        if self.journal is not None:
            raw = meta.serialize().hex()
            self.journal.append("file", later=later, descriptor=raw, stage=stage, in_stage=in_stage, adopted=adopted)

    def seal(self, file: ClonedFile, stage: StageNumber, view: memoryview, offset: int) -> None:
        """Bytes from the beginning of a file, whole pages or blocks, are about to be looked at and written. Raises
        `EncryptionDamaged`, `KeyringFailed`, `ProtocolError`."""
        self.sealing.seal(file, stage, view, offset)

    def grow(self, file: ClonedFile, size: int) -> None:
        """Page 0 of ``file`` came again, with the size that the tablespace has by now."""
        grown = self.table.grow(file, size)
        if grown is not None and self.journal is not None:
            self.journal.append("size", index=grown.metadata.index, size=grown.size)

    def wrote(self, path: Path, slot: Slot, blocks: int, stamp: bytes | bytearray | None) -> None:
        """A block is written: so many of its chunk are there now. In this order: what is counted is synced."""
        self.unsynced.add(path)
        self.chunks.wrote(slot, blocks, stamp)

    # ---- steps ---------------------------------------------------------------------------------------------

    def announce(self, state: StateDescriptor) -> None:
        """START of a stage was received; files that DDL renamed get their final names."""
        if self.journal is not None:
            rows = {row.stage.name: [row.begin, row.end, row.data, row.network] for row in self._begun_rows()}
            self.journal.append(
                "start", stage=state.stage, chunks=state.chunks, estimate=state.estimate, rows=rows, time=time.time()
            )
            self.journal.sync()
        with self._changing:
            for action in self.table.begin_stage():
                carry_out(action, self.sink)
        self.enter(state.stage, state.chunks, None)

    def enter(self, stage: StageNumber, chunks: int, found: Found | None) -> None:
        """Be in a stage, with what was ``found`` of it."""
        with self._saving:
            self.sink.check_place()
            old, self._chunks = self._chunks, Chunks(self.sink.folder, stage, chunks, found)
            if old is not None:
                old.close()
            self.stage, self.ended = stage, False

    def list_is_complete(self) -> None:
        """All files of FILE_COPY are described, and made."""
        if self.journal is not None:
            self.journal.append("listed")
            self.sink.sync_names()
            self.journal.sync()
        self.listed = True

    def end(self) -> None:
        """All connections are behind the stage's END: make it durable, then let it be acknowledged."""
        if self.journal is not None and self.stage in STAGES:
            self.save()
            self.sink.sync_names()
            self.journal.append("end", stage=self.stage)
            self.journal.sync()
        self.ended = True

    def locator(self, locator: Locator, *, all_there: bool = False) -> Locator:
        """For COM_REINIT: the clone's ``locator`` with the stage, and what is there of it.

        ``all_there``: all of its chunks, whoever brought them; the donor believes that.
        """
        info = self.chunks.found().info()
        if self.ended or all_there:  # also chunks of which nothing came, because their files were dropped
            info = all_chunks(self.chunks.count)
        return Locator(locator.clone_id, locator.snapshot_id, locator.index, self.stage, True, info)

    # ---- what a crash of the system leaves ------------------------------------------------------------------

    def save(self) -> None:
        """A checkpoint: everything received until now is durable, and counted. Raises a file error."""
        if self.journal is None or not self.sink.fsync:
            return
        with self._saving:
            if (chunks := self._chunks) is None:
                return
            self.sink.check_place()
            snapshot = chunks.snapshot()
            try:
                # After the snapshot: it counts no block whose file is missing here.
                self.sink.checkpoint(self.unsynced.take())
                self.journal.sync()
            except CloneError:
                distrust(self.sink.folder)  # the kernel tells of what it lost only once
                raise
            if chunks is self._chunks:
                chunks.save(snapshot)

    def count_bytes(self) -> None:
        """Keep how many bytes the stage has moved."""
        with self._saving:  # the stage and its chunks belong together
            if (row := self.row) is not None and self.journal is not None:
                self.chunks.count_bytes(row.data, row.network)

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
