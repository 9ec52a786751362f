"""Turns one connection's answer to COM_EXECUTE into stages, files and blocks, and checks what the protocol allows.

It knows nothing of descriptors, disks and limits: of a block it says which file and which bytes come, and who asks
takes exactly those off the connection (`Reader.content`).
"""

from __future__ import annotations

from collections.abc import Callable

from innoclone.errors import ProtocolError
from innoclone.stream.filetable import MAX_FILES, ClonedFile, FileTable
from innoclone.transport.connection import BEFORE_BULK, READ_AHEAD, Connection
from innoclone.transport.donorerrors import from_donor
from innoclone.wire.descriptors import DataDescriptor, FileMetadata, Locator, StageNumber, StateDescriptor, TaskMetadata
from innoclone.wire.packets import PacketHeader
from innoclone.wire.rpc import Complete, DataDescription, Failure, ResponseCode, parse_response
from innoclone.wire.stream import Stream

__all__ = ["Item", "Reader"]

MAX_BLOCK = 16 << 20  # bytes of one DATA message; a donor's are 64 pages, 4 MiB at the most
MAX_OFFSET = 1 << 48  # bytes
MAX_ERROR = 64 << 10  # bytes of an ERROR message

Item = TaskMetadata | StateDescriptor | FileMetadata | DataDescriptor


class Reader:
    """``stage`` is where the connection is, ``in_stage`` False behind its END, ``chunks`` how many it has."""

    def __init__(
        self, connection: Connection, table: FileTable, *, master: bool, resumed: StageNumber | None, chunks: int
    ) -> None:
        """``resumed``: the master goes on in this stage after COM_REINIT; it has ``chunks``."""
        self._connection, self._table = connection, table
        self._order = Stream(master=master, resumed=resumed)
        self._announced = -1  # files of the list, by the master's START
        self.stage, self.in_stage, self.chunks = StageNumber.INIT, False, 0
        connection.read_ahead = BEFORE_BULK
        if resumed is not None:
            self.enter(resumed, chunks)

    # ---- stages --------------------------------------------------------------------------------------------

    def enter(self, stage: StageNumber, chunks: int) -> None:
        """The connection is in ``stage`` now."""
        self.stage, self.in_stage, self.chunks = stage, True, chunks
        # Single pages come buffered; big blocks are left in the socket until their place is known.
        self._connection.read_ahead = READ_AHEAD if stage is StageNumber.PAGE_COPY else BEFORE_BULK

    def leave(self) -> None:
        """It is behind the stage's END."""
        self.in_stage = False

    def next(self) -> Item | None:
        """What comes next, None when all is over; keep-alives are left out. What follows a `DataDescriptor` is to be
        taken with `content` first. Raises `ProtocolError`, what the donor reports, or a network error."""
        while True:
            response = parse_response(self._connection.read_packet())
            if isinstance(response, DataDescription):
                descriptor = response.descriptor
                if isinstance(descriptor, StateDescriptor) and descriptor.is_keepalive:
                    continue
                self._order.check(descriptor)
                assert not isinstance(descriptor, Locator), "it is never in order"
                return descriptor
            if isinstance(response, Complete):
                self._order.complete()
                return None
            if isinstance(response, Failure):
                raise from_donor(response.number, response.message)
            raise ProtocolError(f"{type(response).__name__} in the data stream")

    # ---- the list of files ---------------------------------------------------------------------------------

    def expect_files(self, count: int) -> None:
        """The master's START of FILE COPY announces so many."""
        if not 0 < count <= MAX_FILES:
            raise ProtocolError(f"the donor announces {count} files")
        self._announced = count

    def is_listed(self) -> bool:
        """After a file was described: whether that was the last one. Raises `ProtocolError` for one too many."""
        if len(self._table.data) > self._announced:
            raise ProtocolError(f"the donor announced {self._announced} files and describes more")
        return len(self._table.data) == self._announced

    def check_listed(self) -> None:
        """At the end of a stage. Raises `ProtocolError` where files are missing."""
        if len(self._table.data) < self._announced:
            raise ProtocolError(f"the donor announced {self._announced} files and listed {len(self._table.data)}")

    # ---- blocks --------------------------------------------------------------------------------------------

    def file_of(self, data: DataDescriptor) -> ClonedFile:
        """Whose block it is. Raises `ProtocolError` for one that can't be."""
        if not 1 <= data.chunk <= self.chunks:
            raise ProtocolError(f"chunk {data.chunk} of {self.chunks} in {data.stage.name}")
        if data.length > MAX_BLOCK or data.offset > MAX_OFFSET:
            raise ProtocolError(f"a block of {data.length} bytes at offset {data.offset}")
        if data.stage is StageNumber.FILE_COPY and len(self._table.data) < self._announced:
            raise ProtocolError("data before the list of files is complete")
        file = self._table.find(data.index, data.stage)
        if data.stage is StageNumber.FILE_COPY and data.offset + data.length > file.size:
            raise ProtocolError(f"data up to {data.offset + data.length} of a file of {file.size} bytes")
        return file

    def content(self, data: DataDescriptor, take: Callable[[int, int], None]) -> None:
        """The bytes of a block: ``take`` is called with (offset in the file, count), and takes so many off the
        connection. More than once only where the block is longer than a packet can be."""
        header = self._data_header()
        at, size, end = data.offset, header.length - 1, data.offset + data.length
        while True:
            if at + size > end:
                raise ProtocolError(f"a block of {data.length} bytes is followed by more")
            take(at, size)
            at += size
            if not header.is_continued:
                break
            header = self._connection.read_header()
            size = header.length
        if at != end:
            raise ProtocolError(f"a block of {data.length} bytes is followed by {at - data.offset}")

    def _data_header(self) -> PacketHeader:
        """Of the DATA message that follows its descriptor; its first byte, which says what it is, is read too."""
        connection = self._connection
        header = connection.read_header()
        if header.length < 1 or (code := connection.read_exact(1)[0]) != ResponseCode.DATA:
            if header.length and code == ResponseCode.ERROR and header.length <= MAX_ERROR:
                failure = parse_response(bytes([code]) + connection.read_exact(header.length - 1))
                assert isinstance(failure, Failure), "that is what the code says"
                raise from_donor(failure.number, failure.message)
            raise ProtocolError("a DATA descriptor without its DATA")
        return header
