"""One data connection of a clone: what its reader finds goes into the table of files and the sink."""

from __future__ import annotations

from typing import Protocol

from innoclone.innodb.redo import BLOCK_SIZE, FILE_HEADER_SIZE
from innoclone.native.pages import Pages
from innoclone.receive.active import ActiveConnections
from innoclone.receive.barrier import Barrier
from innoclone.receive.meter import Meter
from innoclone.receive.reader import Item, Reader
from innoclone.receive.state import STAGES, CloneState
from innoclone.records.chunks import Slot, stamp
from innoclone.records.limits import Limits
from innoclone.stream.filetable import ClonedFile
from innoclone.transport.connection import Connection
from innoclone.wire.descriptors import DataDescriptor, FileMetadata, StageNumber, StateDescriptor, TaskMetadata
from innoclone.wire.rpc import Execute

__all__ = ["Link", "Master", "buffer_size"]

BLOCK = 1 << 20  # bytes of a donor's block with the usual pages
BUFFERS = 4  # the buffers of all connections together, in units of `Limits.buffer`
SMALLEST_BUFFER = 128 << 10


def buffer_size(buffer: int, connections: int) -> int:
    """Bytes of each connection's buffer: the largest power of two that all can afford, at most a donor's block."""
    return max(SMALLEST_BUFFER, min(BLOCK, 1 << ((BUFFERS * buffer // connections).bit_length() - 1)))


class Master(Protocol):
    """What the master connection does beside: it leads the clone through its stages. Each says whether the connection
    is read on; if not, it has done what it was for, and another takes its place."""

    def on_state(self, state: StateDescriptor) -> bool:
        """START or END of a stage was received."""

    def on_listed(self) -> bool:
        """The list of files is whole."""


class Link:
    """Takes one connection from COM_EXECUTE to its end."""

    def __init__(
        self,
        number: int,
        connection: Connection,
        *,
        state: CloneState,
        barrier: Barrier,
        active: ActiveConnections,
        limits: Limits,
        master: Master | None = None,
        resumed: bool = False,
    ) -> None:
        """``master``: this is the master connection; ``resumed``: it goes on in the state's stage after COM_REINIT."""
        self._number, self._connection, self._master, self._resumed = number, connection, master, resumed
        self._state, self._barrier, self._active = state, barrier, active
        self._reader = Reader(
            connection, state.table, master=master is not None, resumed=state.stage if resumed else None,
            chunks=state.chunks.count if resumed else 0,
        )  # fmt: skip
        self._meter = Meter(connection, limits, barrier.stopped)
        self._writer = state.sink.writer(buffer_size(limits.buffer, active.most))
        self._slot: Slot | None = None
        self._file: ClonedFile | None = None
        self._pages: Pages | None = None  # of it
        self._unit = 1  # bytes of its pages or blocks; 1: it has none
        self._stamp: bytearray | None = None  # of the block that is being received
        self._watched = 0  # a piece that begins before this byte of its file may have a key in it

    def run(self) -> bool:
        """COM_EXECUTE until COMPLETE, or (False) until the master is told not to read on. Raises what ends it."""
        try:
            self._begin_stage()
            self._connection.write_packet(Execute().serialize())
            while True:
                if self._reader.stage is StageNumber.FILE_COPY:
                    self._active.wait_turn(self._number, self._connection.network)
                item = self._reader.next()
                if item is None:
                    self._writer.drain()
                    return True
                if not self._follow(item):
                    return False
        finally:
            self._writer.close()

    def _follow(self, item: Item) -> bool:
        """Do what one item says; whether to read on."""
        if isinstance(item, DataDescriptor):
            if not self._reader.in_stage or item.stage is not self._reader.stage:
                self._step_over(item)
            self._block(item)
            return True
        self._step_over(item)
        if isinstance(item, FileMetadata):
            return self._describe(item)
        if isinstance(item, StateDescriptor):
            return self._change_stage(item)
        return True

    # ---- stages --------------------------------------------------------------------------------------------

    def _step_over(self, item: Item) -> None:
        """Come to where ``item`` belongs, in step with the other connections."""
        reader = self._reader
        stage = StageNumber.NONE if isinstance(item, TaskMetadata) else item.stage
        if self._resumed and reader.in_stage and stage > reader.stage:
            self._leave_stage()  # it had been acknowledged, so its END is not repeated
        if self._master is None:
            if reader.stage is StageNumber.INIT and not isinstance(item, TaskMetadata):
                self._join_stage(stage)
        elif not reader.in_stage and reader.stage in STAGES:
            # Behind the END come changes by DDL: no connection may still write what they are about.
            self._barrier.wait_until_ended(reader.stage)

    def _change_stage(self, state: StateDescriptor) -> bool:
        if not state.is_start:
            self._reader.check_listed()
            self._leave_stage()
        elif self._master is None:
            self._join_stage(state.stage)
        else:
            self._reader.enter(state.stage, state.chunks)
            if state.stage is StageNumber.FILE_COPY:
                self._reader.expect_files(state.files)
            self._begin_stage()
        return self._master is None or self._master.on_state(state)

    def _join_stage(self, stage: StageNumber) -> None:
        """A worker goes into a stage, after the master."""
        self._barrier.wait_until_started(stage)
        self._reader.enter(stage, self._barrier.chunks)
        self._begin_stage()

    def _begin_stage(self) -> None:
        stage = self._reader.stage
        if stage in STAGES:
            self._meter.counter = self._state.status.stages[STAGES[stage]].counter()
        self._writer.begin_stage(stage, self._meter.counter)
        self._watched = FILE_HEADER_SIZE if stage is StageNumber.REDO_COPY else 1

    def _leave_stage(self) -> None:
        """Behind the END: all that came is written, before anybody hears of it."""
        self._finish_chunk()
        self._writer.close_file()
        self._file = None
        self._reader.leave()
        if self._reader.stage is StageNumber.FILE_COPY:
            self._active.activate_all()  # no chunk is left to begin, and all wait for those that were begun
        self._barrier.ended(self._number, self._reader.stage)

    # ---- files ---------------------------------------------------------------------------------------------

    def _describe(self, metadata: FileMetadata) -> bool:
        table, in_stage = self._state.table, self._reader.in_stage
        before = len(table.data)
        self._state.describe(metadata, self._reader.stage, in_stage=in_stage)
        if self._master is None or len(table.data) == before or not in_stage:
            return True
        return not self._reader.is_listed() or self._master.on_listed()

    # ---- blocks --------------------------------------------------------------------------------------------

    def _block(self, data: DataDescriptor) -> None:
        """One block, from its descriptor to the note that it is there."""
        file = self._reader.file_of(data)
        slot = self._begin_block(data)
        if self._file is not file:
            self._file, self._pages = file, file.pages
            unit = BLOCK_SIZE if data.stage is StageNumber.REDO_COPY else 1
            self._unit = self._pages.size if self._pages is not None else unit
        self._writer.open(file)
        self._reader.content(data, self._take)
        if data.stage is StageNumber.PAGE_COPY and data.offset == 0 and not file.dropped:
            self._state.grow(file, data.file_size)
        wrote, path, digest = self._state.wrote, file.path, self._stamp
        self._writer.after(lambda: wrote(path, slot, data.block, digest))

    def _begin_block(self, data: DataDescriptor) -> Slot:
        """The slot of the block's chunk; a connection that gets another chunk has all of the one before."""
        if self._slot is None or self._slot.chunk != data.chunk:
            self._finish_chunk()
            self._slot = self._state.chunks.begin(data.chunk)
        self._stamp = bytearray() if data.stage is StageNumber.FILE_COPY else None
        return self._slot

    def _finish_chunk(self) -> None:
        self._writer.drain()
        if self._slot is not None:
            self._state.chunks.finish(self._slot)
            self._slot = None

    def _take(self, offset: int, size: int) -> None:
        """Receive ``size`` bytes of the file, check their pages, write them; in pieces that keep limits and memory low.

        This is what nearly all of a clone's time goes through: one turn of the loop for each MiB.
        """
        file, pages, writer, unit = self._file, self._pages, self._writer, self._unit
        assert file is not None, "`_block` has chosen it"
        if offset % unit or size % unit:
            pages = None  # no whole ones
        while size:
            count = min(size, self._meter.most(writer.buffer_size, unit))
            view, first = writer.buffer()[:count], file.first_page + offset // unit
            if offset < self._watched:
                seen = None
                self._connection.receive(view)
                self._watch(file, view, offset)
            else:
                seen = self._connection.receive(view, pages, first, writer.place(offset, count))
            if seen is None or not seen.is_written:
                writer.write(view, offset)
            else:
                writer.wrote(offset, count)
            if file.checker is not None and not file.dropped:
                self._check(file, view, first, None if seen is None or pages is None else seen.unusual)
            if self._stamp is not None:
                stamps = b"" if pages is None else stamp(view, unit) if seen is None else seen.stamps
                self._stamp = self._stamp + stamps if stamps else None
            self._meter.took(count)
            offset += count
            size -= count

    def _check(self, file: ClonedFile, view: memoryview, first: int, unusual: list[int] | None) -> None:
        """Look at the pages that the library found ``unusual``, or (None) at all of them."""
        checker = file.checker
        assert checker is not None, "the caller looked"
        found = checker.check(view, first) if unusual is None else checker.examine(view, first, unusual)
        bad = [page.number for page in found.bad]
        self._state.suspects.update(file.metadata.index, first, len(view) // checker.page_size, bad)

    def _watch(self, file: ClonedFile, view: memoryview, offset: int) -> None:
        """The beginning of a file, before it is checked and written: keys, and the header of a redo file where it can't
        be looked at later (`innoclone.receive.finish`)."""
        if not file.dropped:
            self._state.seal(file, self._reader.stage, view, offset)
        if self._reader.stage is StageNumber.REDO_COPY and not self._state.sink.can_read_back:
            head = self._state.redo_heads.setdefault(file.metadata.index, bytearray(FILE_HEADER_SIZE))
            piece = view[: FILE_HEADER_SIZE - offset]
            head[offset : offset + len(piece)] = piece
