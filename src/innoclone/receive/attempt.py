"""One attempt at a clone: a master connection, workers, and an auxiliary connection for acknowledgements.

It begins at whatever the clone's state has reached. The steps live in session.py (connections), link.py (the stream of
one connection), barrier.py (where connections meet), state.py (files, chunks, journal) and finish.py (sizes, sync).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from innoclone.dataclass import dataclass
from innoclone.errors import (
    CloneError,
    ConnectionLimit,
    DonorError,
    Interrupted,
    LocalFault,
    NetworkError,
    ProtocolError,
    RemoteFault,
)
from innoclone.receive import timings
from innoclone.receive.active import ActiveConnections
from innoclone.receive.barrier import Barrier
from innoclone.receive.link import Link
from innoclone.receive.session import (
    NO_CLONE,
    DonorParameters,
    Session,
    attach,
    call,
    heed_waiting_donor,
    leave,
    reinit,
)
from innoclone.receive.state import STAGES, CloneState
from innoclone.records.limits import Limits
from innoclone.records.status import Stage
from innoclone.stream.filetable import FileTable
from innoclone.stream.source import FileSource, Stopped
from innoclone.transport.connection import Connection
from innoclone.wire.descriptors import Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import Ack

__all__ = ["Attempt", "Received"]

NOT_MINE = "error in concurrent task"  # how a donor's connection says that another one has failed


@dataclass(frozen=True)
class Received:
    """A finished transfer."""

    table: FileTable
    parameters: DonorParameters
    locator: Locator
    connections: int
    protocol: int
    compression: str
    cipher: str
    compared: bool = False  # only what differed from an older clone came


class Attempt:
    """One attempt, which ends with the transfer or with its first failure. It is the `Master` of its first link."""

    def __init__(
        self,
        session: Session,
        master: Connection,
        state: CloneState,
        source: FileSource,
        active: ActiveConnections,
        limits: Limits,
    ) -> None:
        self.session, self.master, self.state, self.limits = session, master, state, limits
        self.source, self.active = source, active
        self.sink, self.status = state.sink, state.status
        self.barrier = Barrier()
        self._finished = threading.Event()  # the master is through
        self._jobs: list[threading.Thread] = []
        self._attaching: set[Connection] = set()  # workers' that wait for the answer to COM_ATTACH
        self.connections: list[Connection] = [master]
        self.auxiliary: Connection | None = None
        self._auxiliary_free = threading.Lock()
        self._workers = 0  # that were started
        self._noting = threading.Lock()

    def run(self, stopped: threading.Event) -> Received:
        """Start all connections and wait for them. Raises what ended the attempt."""
        stage = self.state.stage
        try:
            self.auxiliary = self.session.access.connect()
        except CloneError as error:
            self.barrier.fail(error)
        self.barrier.join(0, stage)
        if self.state.listed:
            self.barrier.start(stage, self.state.chunks.count)
            self.barrier.listed()
        cipher = self.master.cipher  # a closed connection has none
        self.status.connections = 1
        if self.barrier.failure is None:
            self._start("clone-0", self._lead)
            self._start_workers()
            self._start("clone-account", self._keep_account)
        self._supervise(stopped)
        if self.barrier.failure is not None:
            raise self.barrier.failure
        return Received(
            self.state.table, self.session.parameters, self.session.locator, self.status.connections,
            self.session.protocol, self.master.compression, cipher,
            compared=not (self.source.streams or self.source.claims),
        )  # fmt: skip

    def _start(self, name: str, body: Callable[..., None], *arguments: int) -> None:
        job = threading.Thread(target=self._guard, args=(body, *arguments), name=name, daemon=True)
        self._jobs.append(job)
        job.start()

    def _start_workers(self) -> None:
        """As many as are wanted by now."""
        while self._workers < self.active.wanted - 1:
            self._workers += 1
            self._start(f"clone-{self._workers}", self._worker, self._workers)

    def _keep_account(self) -> None:
        """Beside the connections: checkpoints, and what the journal says of bytes; until the master is done."""
        waited = 0.0
        while not self._finished.wait(timings.COUNTING) and not self.barrier.stopped.is_set():
            waited += timings.COUNTING
            self.state.count_bytes()
            if waited >= timings.CHECKPOINT:
                self.state.save()
                waited = 0.0

    def _supervise(self, stopped: threading.Event) -> None:
        """Until all threads are done; a failure or a wish to stop wakes those that wait for the network."""
        jobs = self._jobs
        try:
            while any(job.is_alive() for job in jobs) and self.barrier.failure is None:
                for job in jobs:
                    job.join(timings.POLL / len(jobs))
                if stopped.is_set():
                    self.barrier.fail(Interrupted("stopped"))
                self.active.tune()
                self._start_workers()
        except BaseException:
            self.barrier.fail(Interrupted("stopped"))
            raise
        finally:
            if self.barrier.failure is not None:
                self._wake(self.barrier.failure)
            for job in jobs:
                job.join(timings.LAST_WORDS)
            # A thread that hangs in a system call may still use its descriptors: those are left to the process's end.
            if not any(job.is_alive() for job in jobs):
                self._close_all()

    def wait_for_threads(self, stopped: threading.Event) -> None:
        """After a failure: until no thread of this attempt can write any more. Raises `Interrupted`.

        One may hang in a write to a slow disk, and what it writes then would be older than what the next attempt does.
        """
        while any(job.is_alive() for job in self._jobs):
            if stopped.wait(timings.POLL):
                raise Interrupted("stopped")

    def _wake(self, failure: CloneError) -> None:
        """Let every thread come to its end."""
        self.active.activate_all()
        self._tell_donor(failure)
        for connection in (*self.connections, self.auxiliary):
            if connection is not None:
                connection.shut()

    def _close_all(self) -> None:
        """Leave clone mode in order where all went well, else just go.

        The master comes last: the donor answers its COM_EXIT only when the workers have left. Those leave all at once,
        because a donor far away takes a while to answer.
        """
        others = [*self.connections[1:], *([self.auxiliary] if self.auxiliary is not None else [])]
        if self.barrier.failure is None:
            with ThreadPoolExecutor(len(others)) as pool:
                answered = all(list(pool.map(lambda connection: leave(connection, timings.EXIT), others)))
            leave(self.master, timings.EXIT if answered else timings.EXIT_UNANSWERED)
        else:
            for connection in (*others, self.master):
                connection.shut()
                connection.close()

    def _guard(self, body: Callable[..., None], *arguments: int) -> None:
        """Run one thread's work; its error is the clone's."""
        try:
            body(*arguments)
        except Stopped:
            pass
        except CloneError as error:
            if isinstance(error, DonorError) and NOT_MINE in error.message:
                self.barrier.stopped.wait(timings.LAST_WORDS)  # the one whose failure it was knows the reason
            self.barrier.fail(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must end the clone, not one thread of it
            fault = CloneError(f"unexpected {type(error).__name__}: {error}")
            fault.__cause__ = error
            self.barrier.fail(fault)

    # ---- the connections -----------------------------------------------------------------------------------

    def _link(self, number: int, connection: Connection, *, master: bool, resumed: bool = False) -> Link:
        return Link(
            number, connection, state=self.state, barrier=self.barrier, active=self.active, limits=self.limits,
            master=self if master else None, resumed=resumed,
        )  # fmt: skip

    def _lead(self) -> None:
        """The master's thread."""
        try:
            with contextlib.closing(self.source):
                self._follow_master()
        finally:
            self._finished.set()
            self._end_attaching()
        self.barrier.leave(0)

    def _end_attaching(self) -> None:
        """Nothing is left for workers that are still let in. A donor that is about to answer is given the time for it,
        so that they leave in order: of one that is cut off then it keeps the clone. Its answer may also never come.
        """
        deadline = time.monotonic() + timings.LET_IN
        while self._attaching and time.monotonic() < deadline and not self.barrier.stopped.wait(timings.POLL):
            pass
        for connection in list(self._attaching):
            connection.shut()

    def _follow_master(self) -> None:
        """The master connection, from where the clone is to its end."""
        self.active.join(0)
        if not self._link(0, self.master, master=True, resumed=self.state.listed).run():
            self._follow_while_copied()

    def _follow_while_copied(self) -> None:
        """Where the files come from elsewhere the master is replaced: once the list of them is there, so that the donor
        can be told that they are, and again before its waiting for an acknowledgement ends."""
        try:
            self._start_source()
            self._replace_master()
            while not self._link(0, self.master, master=True, resumed=True).run():
                self._replace_master()
        except BaseException:
            # So that the source ends at once. Not where the donor streams: what the master hears of another
            # connection's failure is not the reason for it (`_guard` waits for that).
            self.barrier.stopped.set()
            raise

    def _replace_master(self) -> None:
        """Close the master connection and go on with a new one, every chunk of FILE COPY claimed."""
        self.master.shut()
        self.master.close()
        self.master = self.connections[0] = self.session.access.connect()
        if self.barrier.stopped.is_set():
            raise Stopped  # whoever stopped this may have shut the old connection only
        reinit(self.master, self.session, self.state.locator(self.session.locator, all_there=True))

    def _worker(self, number: int) -> None:
        try:
            connection = self.session.access.connect(self.barrier.stopped)
        except RemoteFault as error:
            self._go_on_without(error)
            return
        self.connections.append(connection)
        if self.barrier.stopped.is_set():
            connection.close()  # nobody may look at the list any more
            raise Stopped
        try:
            self._work(number, connection)
        except NetworkError:
            if not self._finished.is_set():
                raise
            # All stages were acknowledged, so all that this connection had to bring is there.

    def _go_on_without(self, error: RemoteFault) -> None:
        """One connection less; of several that are refused for one reason that is said once."""
        if isinstance(error, ConnectionLimit):
            self.active.settle_for_fewer()
        with self._noting:
            note = f"going on with fewer connections: {error.message}"
            if note not in self.status.notes:
                self.status.notes.append(note)

    def _work(self, number: int, connection: Connection) -> None:
        self._attaching.add(connection)
        if self._finished.is_set():
            self._attaching.discard(connection)
            return
        try:
            locator = attach(connection, self.session)
        except DonorError as error:
            if error.donor_number != NO_CLONE:
                raise
            return  # the clone is over already: nothing was left for this connection
        finally:
            self._attaching.discard(connection)
        if self._finished.is_set():
            return
        self.barrier.join(number, locator.stage)
        self.status.connections += 1
        # The donor sends data of any file at once, and only the master gets the list of files.
        self.barrier.wait_until_listed()
        self.active.join(number)
        try:
            self._link(number, connection, master=False).run()
        finally:
            self.active.leave(number)
        self.barrier.leave(number)

    # ---- what the master does at stages --------------------------------------------------------------------

    def on_state(self, state: StateDescriptor) -> bool:
        """START or END of a stage; whether the master goes on with its connection."""
        if state.is_start:
            self._begin_stage(state)
            return True
        if state.stage is StageNumber.FILE_COPY and not self._wait_for_files():
            return False
        self.barrier.wait_until_ended(state.stage)
        self.state.end()
        self._acknowledge(Ack(0, self.session.locator, state.acknowledgement()))
        return True

    def on_listed(self) -> bool:
        """The list of files is complete and no data has come yet: the last moment at which nothing is lost.

        What is compared with the room is what is really going to be written; the donor's own estimate counts its redo
        capacity too.
        """
        files = [file for file in self.state.table.data if not file.dropped]
        self.sink.require((file.path, file.metadata.allocated) for file in self.source.files_to_come(files))
        self.state.list_is_complete()
        self.barrier.listed()
        if not (self.source.streams or self.source.claims):
            self._start_source()
        return not self.source.claims

    def _start_source(self) -> None:
        row = self.status.stages[Stage.FILE_COPY]
        self.source.start(self.state.table, self.state.suspects, row, self.barrier.stopped)

    def _wait_for_files(self) -> bool:
        """Until every file is there; meanwhile the donor says that it is alive, or that the clone is over. False: its
        waiting has to begin anew, by COM_REINIT."""
        deadline = time.monotonic() + timings.RENEW
        while not self.source.wait(timings.COPY_POLL):
            heed_waiting_donor(self.master)
            if self.source.claims and time.monotonic() > deadline:
                return False
        return True

    def _begin_stage(self, state: StateDescriptor) -> None:
        if state.stage is StageNumber.PAGE_COPY:
            self._check_files()
        self.state.announce(state)
        if state.stage in STAGES:
            self.status.start(STAGES[state.stage], estimate=state.estimate, threads=self.active.wanted)
        if state.stage is StageNumber.REDO_COPY:  # the pages of PAGE_COPY have their room, but for those of new files
            self.sink.require([(self.sink.redo_path(0, old_format=self.state.table.old_redo), state.estimate)])
        self.barrier.start(state.stage, state.chunks)

    def _check_files(self) -> None:
        """Behind FILE COPY its files are there, or the donor has said that they were dropped."""
        if not self.source.wait(0):
            raise ProtocolError("the donor goes on before the copy is acknowledged")
        if names := self.state.table.missing():
            raise CloneError(
                f"{len(names)} files vanished and the donor does not say that they were dropped: {names[0]}",
                hint="clone again; if it happens again, use 'innoclone clone'",
            )

    def _acknowledge(self, ack: Ack) -> None:
        assert self.auxiliary is not None
        with self._auxiliary_free:
            call(self.auxiliary, ack)

    # ---- failure -------------------------------------------------------------------------------------------

    def _tell_donor(self, failure: CloneError) -> None:
        """A failure on this side ends the clone at the donor at once, unless it may be continued.

        It would keep its snapshot for minutes else.
        """
        if self.auxiliary is None or not isinstance(failure, LocalFault):
            return
        if self.state.journal is not None and failure.resumable and self.sink.is_there():
            return
        if not self._auxiliary_free.acquire(timeout=timings.GOODBYE):
            return  # the donor is silent
        with contextlib.suppress(CloneError, OSError):
            self.auxiliary.set_timeout(timings.GOODBYE)
            call(self.auxiliary, Ack(failure.code, self.session.locator, None))
        self._auxiliary_free.release()
