"""FILE COPY from another innoclone, where an older clone is here: only pages that differ travel.

Contents decide, never an LSN: two histories that have parted can have the same. The donor is asked in COM_INIT whether
it can (`innoclone.wire.comparison`); one that can't streams its files as ever, and then the older clone is left alone
unless it may be written over (``decline``). What was received by a clone that was broken off serves as well as an
older clone does: it is one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from innoclone.errors import CloneError, ConnectFailed, ConnectionLimit, NetworkError, ProtocolError
from innoclone.records.limits import Limits
from innoclone.records.status import StageStatus
from innoclone.sources.basehashes import BaseHashes
from innoclone.sources.comparison import Comparing, Outcome, Shared, Span, layout_of
from innoclone.stream.contenthash import ContentHash, new_key
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.source import BegunClone, Stopped
from innoclone.stream.suspects import Suspects
from innoclone.transport.connection import Connection
from innoclone.transport.donorerrors import from_donor
from innoclone.wire.comparison import ANSWER_AT_REST, ANSWER_KEY, ANSWER_LIVE, BLOCK, MOST_BLOCKS, REQUEST, Join
from innoclone.wire.rpc import Complete, Failure, parse_response

__all__ = ["Increment", "Place"]

AGAIN = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)  # seconds before a lost connection is made again


class Place(Protocol):
    """Where the older clone is, and the new one will be."""

    fsync: bool

    def open(self, path: Path) -> int:
        """A descriptor for reading and writing."""


class Increment:
    """A `innoclone.stream.source.FileSource`. It begins to hash the older clone at once."""

    request = REQUEST
    claims = False

    def __init__(
        self,
        place: Place,
        base: Iterable[Path],
        *,
        threads: int,
        limits: Limits,
        accept: Callable[[], None],
        decline: Callable[[], None],
    ) -> None:
        """``base``: the older clone's tablespaces. ``accept`` is called where the donor sends increments, before the
        clone is begun here, ``decline`` where it doesn't; it may raise why that won't do."""
        self.streams = True
        self._place, self._threads, self._limits = place, threads, limits
        self._accept, self._decline = accept, decline
        self._key = new_key()
        self._hashing = ContentHash(self._key)
        self._base = BaseHashes(self._hashing, list(base))
        self._clone: BegunClone | None = None
        self._ended = threading.Event()
        self._stopped: threading.Event = self._ended  # the attempt's
        self._lanes: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._spans: Iterator[Span] = iter(())
        self._running = self._joined = 0
        self._done = threading.Event()
        self._failure: CloneError | None = None
        self._connections: set[Connection] = set()
        self.outcome = Outcome()
        self._table: FileTable | None = None

    def begun(self, clone: BegunClone) -> None:
        """Settle who supplies the files."""
        self._clone = clone
        answer = clone.answers.get(ANSWER_KEY)
        self.streams = answer not in (ANSWER_LIVE, ANSWER_AT_REST)
        if self.streams:
            self._base.stop()
            self._decline()
        else:
            self._accept()

    def files_to_come(self, files: Iterable[ClonedFile]) -> Iterable[ClonedFile]:
        """Those of which there is nothing yet."""
        return files if self.streams else [file for file in files if not file.adopted]

    def start(self, table: FileTable, suspects: Suspects, row: StageStatus, stopped: threading.Event) -> None:
        """Begin to ask. ``stopped`` ends it."""
        assert self._clone is not None, "a clone was begun"
        self._base.stop()
        self._table, self._stopped = table, stopped
        self._spans = self._spans_of(table)
        shared = Shared(
            take=self._take, opener=lambda file: self._place.open(file.path), hashing=self._hashing, base=self._base,
            suspects=suspects, limits=self._limits, stopped=self._ended, fsync=self._place.fsync,
            at_rest=self._clone.answers[ANSWER_KEY] == ANSWER_AT_REST, gone=self._gone,
        )  # fmt: skip
        row.threads = self._running = self._threads
        for number in range(self._threads):
            arguments = (Comparing(shared, row.counter()),)
            self._lanes.append(
                threading.Thread(target=self._run, args=arguments, name=f"compare-{number}", daemon=True)
            )
        for lane in self._lanes:
            lane.start()

    def wait(self, seconds: float) -> bool:
        """Whether all files are there. Raises what went wrong, or `Stopped`."""
        finished = self.streams or self._done.wait(seconds)
        if self._failure is not None:
            raise self._failure
        if not self.streams and self._stopped.is_set():
            raise Stopped
        return finished

    def close(self) -> None:
        """End what still runs, and wait for that."""
        self._ended.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.shut()
        self._base.stop()
        for lane in self._lanes:
            if lane.ident is not None:
                lane.join()

    # ---- what there is to do -------------------------------------------------------------------------------

    def _take(self) -> Span | None:
        with self._lock:
            return next(self._spans, None)

    def _spans_of(self, table: FileTable) -> Iterator[Span]:
        for file in list(table.data):
            if file.dropped or file.drop_expected:
                continue
            blocks = layout_of(file).blocks
            here = min(blocks, -(-file.path.stat().st_size // BLOCK)) if file.adopted else 0
            for known, begin, end in ((True, 0, here), (False, here, blocks)):
                for first in range(begin, end, MOST_BLOCKS):
                    yield Span(file, first, min(MOST_BLOCKS, end - first), known)

    def _gone(self, file: ClonedFile) -> None:
        """The donor's server has dropped it: what DDL did is told at the end of the stage, and must tell of this."""
        if file.flags is not None and self._table is not None:
            self._table.expect_drop(file)

    # ---- the connections -----------------------------------------------------------------------------------

    def _run(self, comparing: Comparing) -> None:
        try:
            self._persist(comparing)
        except Stopped:
            pass
        except CloneError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must fail the clone, not leave out a file
            self._fail(CloneError(f"unexpected {type(error).__name__} while comparing: {error}"))
        finally:
            comparing.close()
        with self._lock:
            done, all_of = comparing.outcome, self.outcome
            all_of.pages_compared += done.pages_compared
            all_of.pages_written += done.pages_written
            all_of.pages_new += done.pages_new
            all_of.pages_received += done.pages_received
            all_of.written += done.written
            self._running -= 1
            if not self._running:
                self._done.set()

    def _fail(self, error: CloneError) -> None:
        with self._lock:
            self._failure = self._failure or error
        self._done.set()
        self._ended.set()

    def _persist(self, comparing: Comparing) -> None:
        """One connection, and others in its place as long as the clone itself is not lost."""
        waits = iter(AGAIN)
        while True:
            try:
                connection = self._connect()
            except ConnectFailed as error:
                if isinstance(error, ConnectionLimit) and self._joined and not comparing.has_begun:
                    return  # the donor lets no more in: the others do it
                self._wait(waits, error)
                continue
            except NetworkError as error:
                self._wait(waits, error)
                continue
            try:
                comparing.run(connection)
                return
            except NetworkError as error:
                self._wait(waits, error)
            finally:
                with self._lock:
                    self._connections.discard(connection)
                connection.close()

    def _wait(self, waits: Iterator[float], error: CloneError) -> None:
        """Before another try. Raises ``error`` after the last one, `Stopped`."""
        seconds = next(waits, None)
        if seconds is None:
            raise error
        if self._ended.wait(seconds) or self._stopped.is_set():
            raise Stopped

    def _connect(self) -> Connection:
        assert self._clone is not None, "a clone was begun"
        connection = self._clone.connect(self._ended)
        try:
            connection.write_packet(Join(self._key, self._clone.locator).serialize())
            answer = parse_response(connection.read_packet())
            if isinstance(answer, Failure):
                raise from_donor(answer.number, answer.message)
            if not isinstance(answer, Complete):
                raise ProtocolError(f"{type(answer).__name__} where a comparison begins")
            with self._lock:
                self._connections.add(connection)
                self._joined += 1
        except BaseException:
            connection.close()
            raise
        return connection
