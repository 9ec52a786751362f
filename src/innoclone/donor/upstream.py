"""A clone that we take of a server to give it on: its list of files, and what it sends behind FILE_COPY.

As in a clone on the server's own host, every chunk of FILE_COPY is claimed (`innoclone.sources.local`), and the server
waits for our acknowledgement as long as we like: COM_REINIT makes it wait anew.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from innoclone.donor.heldkeys import HeldKeys
from innoclone.donor.offer import Wish
from innoclone.donor.replay import Replay
from innoclone.donor.spool import Spool
from innoclone.errors import CloneError, ConnectFailed, NetworkError, ProtocolError, SnapshotGone
from innoclone.files.names import REDO_DIR, place
from innoclone.receive import timings
from innoclone.receive.reader import Item, Reader
from innoclone.receive.session import Access, DonorParameters, Session, begin, call, heed_waiting_donor, leave, reinit
from innoclone.receive.state import all_chunks
from innoclone.receive.transfer import Transfer
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Endpoint
from innoclone.wire.descriptors import (
    DataDescriptor,
    FileFlag,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
)
from innoclone.wire.rpc import Ack, Execute
from innoclone.wire.serverversion import version_number

__all__ = ["Upstream"]

log = logging.getLogger("innoclone.donor")
BACK_WITHIN = 60.0  # seconds for which a server is tried again whose connection was lost
RETRY = 1.0  # seconds between two tries
ANYWHERE = (("/", "/"),)  # absolute names stay what they are: a recipient knows whether it wants them


class _Names:
    """Where files would be beside each other: so that no two have one name."""

    def place(self, name: str, space_id: int) -> Path:
        """Raises `PathRefused` for what no server has."""
        return place(name, space_id, Path(), ANYWHERE)

    def redo_path(self, index: int, *, old_format: bool = False) -> Path:
        """By number, whatever the format."""
        return Path(REDO_DIR, f"{index}{'-old' * old_format}")


class Upstream:
    """One clone of a server. For one thread."""

    def __init__(self, server: Endpoint, wish: Wish, stopped: threading.Event, keys: HeldKeys | None = None) -> None:
        """``keys`` holds the keys that come."""
        transfer = Transfer(block_ddl=wish.block_ddl, ddl_timeout=wish.ddl_timeout)
        self._access = Access(server, transfer, 0, stopped)
        self._keys = keys or HeldKeys()
        self._connections: list[Connection] = []  # the master, and the one for acknowledgements
        self._session: Session
        self._table: FileTable
        self._reader: Reader
        self._end: StateDescriptor  # of FILE_COPY
        self._chunks = 0  # of FILE_COPY
        self._renewed = 0.0

    @property
    def parameters(self) -> DonorParameters:
        """What the server says of itself."""
        return self._session.parameters

    @property
    def files(self) -> Sequence[ClonedFile]:
        """Its files."""
        return self._table.data

    def expect_drop(self, index: int) -> None:
        """A file is gone: the server has to say that it was dropped."""
        self._table.expect_drop(self._table.data[index])

    # ---- FILE_COPY -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new snapshot, up to its list of files. Raises what the server says, a network error, `ProtocolError`."""
        self._session, master = begin(self._access)
        self._connections = [master]
        self._connections.append(self._access.connect())
        version = version_number(self.parameters.version)
        self._table = FileTable(_Names(), version, verify=False, info=self._keys.sealing.info)
        self._execute(resumed=False)
        while True:
            item = self._next()
            if isinstance(item, StateDescriptor):
                if not item.is_start:
                    self._acknowledge(item)
                    continue
                self._reader.enter(item.stage, item.chunks)
                self._reader.expect_files(item.files)
                self._chunks = item.chunks
            elif isinstance(item, FileMetadata):
                if item.key:
                    raise ProtocolError(f"the list of files has a key, for {item.name!r}")
                self._table.add(item, item.stage, in_stage=True)
                if self._reader.is_listed():
                    return

    def claim(self) -> None:
        """Say that we have all chunks, on a new connection, and make the server wait for the acknowledgement."""
        self.shut()
        self._connections = [self._access.connect()]
        self._connections.append(self._access.connect())
        ours = self._session.locator
        locator = Locator(
            ours.clone_id, ours.snapshot_id, ours.index, StageNumber.FILE_COPY, True, all_chunks(self._chunks)
        )
        reinit(self._connections[0], self._session, locator)
        self._execute(resumed=True)
        while not isinstance(item := self._next(), StateDescriptor):
            pass
        if item.is_start or item.stage is not StageNumber.FILE_COPY:
            raise ProtocolError("the server goes on before the copy is acknowledged")
        self._end, self._renewed = item, time.monotonic()

    def hold(self) -> None:
        """Look what the server says meanwhile, and have it wait on. Raises what ends the snapshot."""
        try:
            heed_waiting_donor(self._connections[0])
        except NetworkError as error:
            self._reclaim(error)
        if time.monotonic() - self._renewed > timings.RENEW:
            self.claim()

    def _reclaim(self, lost: NetworkError) -> None:
        """A connection is lost: the server keeps the clone for a while, and recipients read on meanwhile. Raises what
        it says to that, or ``lost`` if it can't be reached."""
        log.warning("the connection to %s was lost, and is made anew: %s", self._access.donor.address, lost.message)
        end = time.monotonic() + BACK_WITHIN
        while True:
            try:
                self.claim()
            except (NetworkError, ConnectFailed):
                if time.monotonic() > end or self._access.stopped.wait(RETRY):
                    raise lost from None
            except CloneError as error:
                raise SnapshotGone(f"the server has ended its clone: {error.message}") from error
            else:
                return

    # ---- what comes behind it ------------------------------------------------------------------------------

    def follow(self, spool: Spool) -> dict[StageNumber, Replay]:
        """All files were read: acknowledge that, and keep what comes until the clone is done."""
        try:
            self._acknowledge(self._end)
        except NetworkError as error:
            self._reclaim(error)
            self._acknowledge(self._end)
        self._reader.leave()
        found: dict[StageNumber, Replay] = {}
        changes: list[FileMetadata] = []
        replay: Replay | None = None
        last = 0
        while (item := self._next()) is not None:
            if isinstance(item, StateDescriptor) and item.is_start:
                replay, changes, last = self._start(item, changes, spool), [], 0
                found[item.stage] = replay
            elif isinstance(item, StateDescriptor):
                self._reader.leave()
                self._acknowledge(item)
            elif isinstance(item, FileMetadata):
                self._describe(item, replay, changes)
            elif isinstance(item, DataDescriptor) and replay is not None:
                if not replay.follows(item, last):
                    raise ProtocolError(f"chunk {item.chunk} comes in pieces")
                self._block(item, replay)
                last = item.chunk
        found.pop(StageNumber.DONE, None)
        if found.keys() != {StageNumber.PAGE_COPY, StageNumber.REDO_COPY}:
            raise ProtocolError("the server left a stage out")
        return found

    def _start(self, item: StateDescriptor, changes: list[FileMetadata], spool: Spool) -> Replay:
        """A stage begins."""
        if item.stage is StageNumber.PAGE_COPY and (names := self._table.missing()):
            raise CloneError(
                f"{len(names)} files vanished and the server does not say that they were dropped: {names[0]}",
                hint="clone again",
            )
        self._table.begin_stage()
        self._reader.enter(item.stage, item.chunks)
        return Replay(spool, item, changes, self._keys)

    def _describe(self, item: FileMetadata, replay: Replay | None, changes: list[FileMetadata]) -> None:
        in_stage = self._reader.in_stage
        self._table.add(item, self._reader.stage, in_stage=in_stage)
        if not in_stage or replay is None:
            changes.append(item)
        elif item.flags & FileFlag.DELETED:
            replay.drop(item)
        else:
            replay.list(item)

    def _block(self, item: DataDescriptor, replay: Replay) -> None:
        file = self._reader.file_of(item)
        content = bytearray()
        self._reader.content(item, lambda _at, count: content.extend(self._connections[0].read_exact(count)))
        replay.add(item, content, self._keys.seal(file, item.stage, content, item.offset))

    # ---- end -----------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The clone is done."""
        for connection in reversed(self._connections):
            leave(connection, timings.EXIT)

    def shut(self) -> None:
        """Break off without a word."""
        for connection in self._connections:
            connection.shut()
            connection.close()

    def abandon(self, error: CloneError) -> None:
        """It is not wanted any more: the server lets go at once."""
        with contextlib.suppress(CloneError, OSError):
            if len(self._connections) > 1:
                self._connections[1].set_timeout(timings.GOODBYE)
                call(self._connections[1], Ack(error.code, self._session.locator, None))
        self.shut()

    # ---- inside --------------------------------------------------------------------------------------------

    def _execute(self, *, resumed: bool) -> None:
        master = self._connections[0]
        self._keys.sealing.secure = bool(master.cipher)
        stage = StageNumber.FILE_COPY if resumed else None
        self._reader = Reader(master, self._table, master=True, resumed=stage, chunks=self._chunks)
        master.write_packet(Execute().serialize())

    def _next(self) -> Item | None:
        item = self._reader.next()
        return self._keys.sealing.metadata(item) if isinstance(item, FileMetadata) else item

    def _acknowledge(self, end: StateDescriptor) -> None:
        call(self._connections[1], Ack(0, self._session.locator, end.acknowledgement()))
