"""One data connection of a clone: reads what the donor streams and puts it where it belongs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial

from innoclone.errors import FileError, ProtocolError
from innoclone.files.delta import Delta, Write, write_differing
from innoclone.files.direct import DIRECT_MIN, DirectFile
from innoclone.files.holes import hole_writer
from innoclone.files.memory import aligned_memory
from innoclone.files.system import file_error, start_writeback, write_all
from innoclone.receive.barrier import Barrier
from innoclone.receive.course import STAGES, Course
from innoclone.receive.crew import Crew
from innoclone.receive.writebehind import WriteBehind
from innoclone.records.chunks import Slot, stamp
from innoclone.records.limits import Limits
from innoclone.records.status import Counter
from innoclone.stream.filetable import MAX_FILES, ClonedFile
from innoclone.transport.connection import BEFORE_BULK, READ_AHEAD, Connection
from innoclone.transport.donorerrors import from_donor
from innoclone.wire.descriptors import (
    DataDescriptor,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
    TaskMetadata,
)
from innoclone.wire.rpc import (
    Complete,
    DataDescription,
    Execute,
    Failure,
    ResponseCode,
    parse_response,
)
from innoclone.wire.stream import Stream

__all__ = ["Link"]

MAX_BLOCK = 16 << 20  # bytes of one DATA message; a donor's are 64 pages, 4 MiB at the most
MAX_ERROR = 64 << 10  # bytes of an ERROR message
BLOCK = 1 << 20  # bytes of a donor's block with the usual pages
BUFFERS = 4  # the buffers of all connections together, in units of `Limits.buffer`
SMALLEST_BUFFER = 128 << 10
MEAL = 1 << 20  # bytes that a compressed connection must have got off the wire ...
HUNGER = 25.0  # ... in so many seconds, or it goes on without a pause: the donor's patience is 60 s
FEW = 2  # connections up to which each one writes on a thread of its own; more overlap anyhow
WRITEBACK = 8 << 20  # bytes after which the kernel is asked to start writing to disk


class _Wire:
    """The network limit of a compressed connection, and its part of the wire.

    Buffers on the way can hold a MiB of packets, and in them so much data that a data limit lets it pass in minutes
    only. To the donor that looks like a dead connection (seen after a minute).
    """

    def __init__(self, limits: Limits, stopped: threading.Event) -> None:
        self._limits, self._stopped = limits, stopped
        self._count = 0
        self._since = time.monotonic()

    @property
    def starving(self) -> bool:
        """Too little was read for too long."""
        return time.monotonic() - self._since > HUNGER

    @property
    def piece(self) -> int:
        return self._limits.piece if self._limits.rate else MAX_BLOCK

    def moved(self, count: int) -> None:
        self._count += count
        if self._count >= MEAL:
            self._count, self._since = 0, time.monotonic()
        if self._limits.rate:
            self._limits.pause(0, count, self._stopped)


def buffer_size(buffer: int, connections: int) -> int:
    """Bytes of each connection's buffer: the largest power of two that all can afford, at most a donor's block."""
    return max(SMALLEST_BUFFER, min(BLOCK, 1 << ((BUFFERS * buffer // connections).bit_length() - 1)))


class Link:
    """Streams one connection. The callbacks are the master's: START or END of a stage; the list of files is whole."""

    def __init__(
        self,
        number: int,
        connection: Connection,
        *,
        course: Course,
        barrier: Barrier,
        crew: Crew,
        limits: Limits,
        on_state: Callable[[StateDescriptor], None] | None = None,
        on_listed: Callable[[], None] = lambda: None,
        resumed: bool = False,
        connections: int = 1,
    ) -> None:
        """``resumed``: the master goes on in the stage of the ``course`` after COM_REINIT.

        ``connections``: how many there are, which bounds the buffer of each.
        """
        self._number = number
        self._connection = connection
        self._course, self._barrier, self._crew, self._limits = course, barrier, crew, limits
        self._target, self._table = course.target, course.table
        self._on_state = on_state
        self._on_listed = on_listed
        self._slot: Slot | None = None
        self._stamp: bytearray | None = None  # of the block that is being received
        self._order = Stream(master=on_state is not None, resumed=course.stage if resumed else None)
        self._stage = course.stage if resumed else StageNumber.INIT
        self._in_stage = self._resumed = resumed
        self._chunks = course.chunks.count if resumed else 0
        self._files = -1  # how many the master announced
        self._compressed = connection.compression != "off"
        self._wire = _Wire(limits, barrier.stopped)
        connection.slow_down(self._wire)
        self._network = 0
        self._counter = Counter()
        size = buffer_size(limits.buffer, connections)
        self._buffer = aligned_memory(size)  # page-aligned, as O_DIRECT wants it
        ahead = connections <= FEW and not limits.rate
        self._behind = WriteBehind(size, f"clone-{number}-write") if ahead else None
        self._direct: DirectFile | None = None
        self._old = memoryview(bytearray(size if course.target.base is not None else 0))
        self._open_file: ClonedFile | None = None
        self._fd = -1

    def run(self) -> None:
        """COM_EXECUTE until COMPLETE. Raises whatever ends it earlier."""
        try:
            self._prepare()
            self._connection.write_packet(Execute().serialize())
            while self._step():
                pass
            self._settle()
        finally:
            if self._behind is not None:
                self._behind.close()
            self._close_file()

    def _step(self) -> bool:
        if self._stage is StageNumber.FILE_COPY:
            self._crew.pause(self._number, self._connection.network)
        response = parse_response(self._connection.read_packet())
        if isinstance(response, Complete):
            self._order.complete()
            return False
        if isinstance(response, Failure):
            raise from_donor(response.number, response.message)
        if not isinstance(response, DataDescription):
            raise ProtocolError(f"{type(response).__name__} in the data stream")
        descriptor = response.descriptor
        if isinstance(descriptor, StateDescriptor) and descriptor.is_keepalive:
            return True
        self._order.check(descriptor)
        if self._resumed and self._in_stage and _stage_of(descriptor) > self._stage:
            self._leave_stage()  # it had been acknowledged, so its END is not repeated
        if self._on_state is not None and not self._in_stage and self._stage in STAGES:
            self._barrier.wait_until_ended(self._stage)
        if self._stage is StageNumber.INIT and self._on_state is None and not isinstance(descriptor, TaskMetadata):
            self._enter(descriptor.stage)
        if isinstance(descriptor, DataDescriptor):
            self._data(descriptor)
        elif isinstance(descriptor, FileMetadata):
            self._file(descriptor)
        elif isinstance(descriptor, StateDescriptor):
            self._state(descriptor)
        return True

    def _file(self, metadata: FileMetadata) -> None:
        before = len(self._table.data)
        self._table.add(metadata, self._stage, in_stage=self._in_stage)
        if self._on_state is None or len(self._table.data) == before or not self._in_stage:
            return
        if len(self._table.data) == self._files:
            self._on_listed()
        elif len(self._table.data) > self._files:
            raise ProtocolError(f"the donor announced {self._files} files and describes more")

    # ---- stages --------------------------------------------------------------------------------------------

    def _state(self, state: StateDescriptor) -> None:
        if state.is_start:
            self._start(state)
        else:
            if len(self._table.data) < self._files:
                raise ProtocolError(f"the donor announced {self._files} files and listed {len(self._table.data)}")
            self._leave_stage()
        if self._on_state is not None:
            self._on_state(state)

    def _leave_stage(self) -> None:
        self._finish_chunk()
        self._close_file()
        self._in_stage = False
        if self._stage is StageNumber.FILE_COPY:
            self._crew.feed_all()  # no chunk is left to begin, and all wait for those that were begun
        self._barrier.ended(self._number, self._stage)

    def _start(self, state: StateDescriptor) -> None:
        if self._on_state is None:
            self._enter(state.stage)
            return
        self._stage, self._in_stage, self._chunks = state.stage, True, state.chunks
        if state.stage is StageNumber.FILE_COPY:
            self._files = state.files
            if not 0 < state.files <= MAX_FILES:
                raise ProtocolError(f"the donor announces {state.files} files")
        self._prepare()

    def _enter(self, stage: StageNumber) -> None:
        """A worker follows into a stage, after the master."""
        self._barrier.wait_until_started(stage)
        self._stage, self._in_stage, self._chunks = stage, True, self._barrier.chunks
        self._prepare()

    def _prepare(self) -> None:
        if self._stage in STAGES:
            self._counter = self._course.status.stages[STAGES[self._stage]].counter()
        # Single pages come buffered; big blocks are left in the socket until their place is known.
        self._connection.read_ahead = READ_AHEAD if self._stage is StageNumber.PAGE_COPY else BEFORE_BULK

    # ---- data ----------------------------------------------------------------------------------------------

    def _data(self, data: DataDescriptor) -> None:
        connection = self._connection
        if not 1 <= data.chunk <= self._chunks:
            raise ProtocolError(f"chunk {data.chunk} of {self._chunks} in {data.stage.name}")
        if data.length > MAX_BLOCK or data.offset > 1 << 48:
            raise ProtocolError(f"a block of {data.length} bytes at offset {data.offset}")
        if data.stage is StageNumber.FILE_COPY and len(self._table.data) < self._files:
            raise ProtocolError("data before the list of files is complete")
        file = self._table.find(data.index, data.stage)
        if data.stage is StageNumber.FILE_COPY and data.offset + data.length > file.size:
            raise ProtocolError(f"data up to {data.offset + data.length} of a file of {file.size} bytes")
        slot = self._chunk(data)
        header = connection.read_header()
        if header.length < 1 or (code := connection.read_exact(1)[0]) != ResponseCode.DATA:
            if header.length and code == ResponseCode.ERROR and header.length <= MAX_ERROR:
                failure = parse_response(bytes([code]) + connection.read_exact(header.length - 1))
                assert isinstance(failure, Failure), "that is what the code says"
                raise from_donor(failure.number, failure.message)
            raise ProtocolError("a DATA descriptor without its DATA")
        at, size = data.offset, header.length - 1
        end = data.offset + data.length
        while True:
            if at + size > end:
                raise ProtocolError(f"a block of {data.length} bytes is followed by more")
            self._move(file, at, size)
            at += size
            if not header.is_continued:
                break
            header = connection.read_header()
            size = header.length
        if at != end:
            raise ProtocolError(f"a block of {data.length} bytes is followed by {at - data.offset}")
        if data.stage is StageNumber.PAGE_COPY and data.offset == 0 and not file.dropped:
            self._table.grow(file, data.file_size)
        path, stamp = file.path, self._stamp

        def note() -> None:
            self._course.unsynced.add(path)
            self._course.chunks.wrote(slot, data.block, stamp)

        if self._behind is None:
            note()
        else:
            self._behind.put(note)

    def _chunk(self, data: DataDescriptor) -> Slot:
        """The slot of the block's chunk; a connection that gets another chunk has all of the one before."""
        if self._slot is None or self._slot.chunk != data.chunk:
            self._finish_chunk()
            self._slot = self._course.chunks.begin(data.chunk)
        self._stamp = bytearray() if data.stage is StageNumber.FILE_COPY else None
        return self._slot

    def _settle(self) -> None:
        """Until all that was received is written."""
        if self._behind is not None:
            self._behind.drain()

    def _finish_chunk(self) -> None:
        self._settle()
        if self._slot is not None:
            self._course.chunks.finish(self._slot)
            self._slot = None

    def _move(self, file: ClonedFile, offset: int, size: int) -> None:
        """``size`` bytes from the connection into the file, in pieces that keep limits and memory small."""
        connection = self._connection
        fd = self._descriptor(file)
        page = file.flags.physical_page_size if file.flags is not None else 1
        seen = file.checker is not None or file.hole_block or file.adopted  # the bytes must be looked at
        # Measured: around the page cache even with a copy in user space beats splice, which goes through it.
        splice = not seen and self._direct is None and connection.can_splice and fd >= 0 and size > page
        while size:
            wanted = len(self._buffer)
            if self._limits.rate:
                wanted = min(wanted, max(self._limits.piece, page))
            count = min(size, wanted - wanted % page)  # whole pages, for the checks
            if splice:
                connection.splice(fd, offset, count)
                self._stamp = None
            else:
                behind = self._behind if self._direct is not None and fd >= 0 else None
                buffer = self._buffer if behind is None else behind.buffer()
                view = buffer[:count]
                connection.read_into(view)
                if file.checker is not None and fd >= 0:
                    first = file.first_page + offset // page
                    bad = [item.number for item in file.checker.bad_pages(view, first)]
                    self._course.suspects.update(file.metadata.index, first, count // page, bad)
                if behind is not None:
                    behind.put(partial(self._write, file, fd, view, offset, page), buffer)
                elif fd >= 0:
                    self._write(file, fd, view, offset, page)
                if self._stamp is not None:
                    whole = file.flags is not None and offset % page == 0 and count % page == 0
                    self._stamp = self._stamp + stamp(view, page) if whole else None
            self._account(count)
            offset += count
            size -= count
        if fd >= 0 and self._target.fsync and offset % WRITEBACK == 0 and self._direct is None:
            start_writeback(fd, offset - WRITEBACK, WRITEBACK)

    def _account(self, count: int) -> None:
        network, paced = count, count
        if self._compressed:  # `_Wire` has paced what was on the wire
            network, self._network = self._connection.network - self._network, self._connection.network
            paced = 0
        self._counter.data += count
        self._counter.network += network
        if self._limits.rate:
            starving = self._compressed and self._wire.starving and self._connection.readable()
            self._limits.pause(count, paced, self._barrier.stopped, urgent=starving)

    def _write(self, file: ClonedFile, fd: int, view: memoryview, offset: int, page: int) -> None:
        try:
            if file.adopted:
                old = self._old[: os.preadv(fd, [self._old[: len(view)]], offset)]
                delta = Delta()
                write_differing(fd, offset, view, old, page, delta, self._writer(file, page))
                self._counter.written += delta.written
            elif self._direct is None or not self._direct.write(view, offset):
                self._writer(file, page)(fd, view, offset)
                self._counter.written += len(view)
        except OSError as error:
            raise file_error(error, f"can't write {file.path}") from error

    def _writer(self, file: ClonedFile, page: int) -> Write:
        """How pages of ``file`` are written: with holes where it is page-compressed."""
        return hole_writer(page, file.hole_block) if file.hole_block else write_all

    def _descriptor(self, file: ClonedFile) -> int:
        """The open descriptor of ``file``, or -1 if it was dropped and its bytes go nowhere."""
        if file.dropped:
            return -1
        if self._open_file is not file:
            self._settle()
            self._close_file()
            try:
                self._fd = self._target.open(file.path)
            except FileError:
                if file.dropped:  # on another connection, just now
                    return -1
                raise
            self._open_file = file
            if (
                self._stage is StageNumber.FILE_COPY
                and file.size >= DIRECT_MIN
                and not (file.hole_block or file.adopted)
            ):
                self._direct = DirectFile.of(self._fd)
        return self._fd

    def _close_file(self) -> None:
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._open_file = -1, None


def _stage_of(descriptor: DataDescriptor | FileMetadata | StateDescriptor | TaskMetadata | Locator) -> StageNumber:
    return getattr(descriptor, "stage", StageNumber.NONE)
