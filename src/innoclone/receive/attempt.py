"""One attempt at a clone: a master connection, workers, and an auxiliary connection for acknowledgements.

It begins at whatever its course has reached. The steps live in session.py (connections), link.py (the stream of one
connection), barrier.py (where connections meet), filetable.py (files and DDL) and finish.py (sizes, sync).
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from innoclone.errors import (
    CloneError,
    ConnectionLimit,
    DiskSpace,
    DonorError,
    Interrupted,
    LocalFault,
    NetworkError,
    RemoteFault,
)
from innoclone.receive.barrier import Barrier, Stopped
from innoclone.receive.course import STAGES, Course
from innoclone.receive.crew import Crew
from innoclone.receive.link import Link
from innoclone.receive.session import DonorParameters, Session, attach, call, leave
from innoclone.records.limits import Limits
from innoclone.records.units import amount
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.transport.connection import Connection
from innoclone.wire.descriptors import Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import Ack

__all__ = ["Received", "Run"]

POLL = 0.1  # seconds between looks for a wish to stop
GOODBYE = 0.5  # seconds for telling the donor about a failure
LAST_WORDS = 2.0  # seconds for a thread to end once its connection is shut
NO_CLONE = 1815  # ER_INTERNAL_ERROR: what a donor answers to COM_ATTACH when the clone is over
PATIENCE = 5.0  # seconds for the donor's answer to COM_EXIT
IMPATIENCE = 0.2  # the same, once one connection was left without an answer
NOT_MINE = "error in concurrent task"  # how a donor's connection says that another one has failed
COUNTING = 0.5  # seconds between notes of how many bytes were moved
CHECKPOINT = 5.0  # seconds between checkpoints: what a crash of the system may cost


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


class Run:
    """One attempt, which ends with the transfer or with its first failure."""

    def __init__(self, session: Session, master: Connection, course: Course, limits: Limits, crew: Crew) -> None:
        self.session, self.master, self.course, self.limits = session, master, course, limits
        self.crew = crew
        self.target, self.table, self.status = course.target, course.table, course.status
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
        stage = self.course.stage
        try:
            self.auxiliary = self.session.connect()
        except CloneError as error:
            self.barrier.fail(error)
        self.barrier.join(0, stage)
        if self.course.listed:
            self.barrier.start(stage, self.course.chunks.count)
            self.barrier.listed()
        cipher = self.master.cipher  # a closed connection has none
        self.status.connections = 1
        if self.barrier.failure is None:
            self._start("clone-0", self._master)
            self._start_workers()
            self._start("clone-account", self._keep_account)
        self._supervise(stopped)
        if self.barrier.failure is not None:
            raise self.barrier.failure
        return Received(
            self.table, self.session.parameters, self.session.locator, self.status.connections, self.session.protocol,
            self.master.compression, cipher,
        )  # fmt: skip

    def _start(self, name: str, body: Callable[..., None], *arguments: int) -> None:
        job = threading.Thread(target=self._guard, args=(body, *arguments), name=name, daemon=True)
        self._jobs.append(job)
        job.start()

    def _start_workers(self) -> None:
        """As many as are wanted by now."""
        while self._workers < self.crew.wanted - 1:
            self._workers += 1
            self._start(f"clone-{self._workers}", self._worker, self._workers)

    def _keep_account(self) -> None:
        """Beside the connections: checkpoints, and what the journal says of bytes; until the master is done."""
        waited = 0.0
        while not self._finished.wait(COUNTING) and not self.barrier.stopped.is_set():
            waited += COUNTING
            self.course.count_bytes()
            if waited >= CHECKPOINT:
                self.course.save()
                waited = 0.0

    def _supervise(self, stopped: threading.Event) -> None:
        """Until all threads are done; a failure or a wish to stop wakes those that wait for the network."""
        jobs = self._jobs
        try:
            while any(job.is_alive() for job in jobs) and self.barrier.failure is None:
                for job in jobs:
                    job.join(POLL / len(jobs))
                if stopped.is_set():
                    self.barrier.fail(Interrupted("stopped"))
                self.crew.tune()
                self._start_workers()
        except BaseException:
            self.barrier.fail(Interrupted("stopped"))
            raise
        finally:
            if self.barrier.failure is not None:
                self._wake(self.barrier.failure)
            for job in jobs:
                job.join(LAST_WORDS)
            # A thread that hangs in a system call may still use its descriptors: those are left to the process's end.
            if not any(job.is_alive() for job in jobs):
                self._close_all()

    def wait_for_threads(self, stopped: threading.Event) -> None:
        """After a failure: until no thread of this attempt can write any more. Raises `Interrupted`.

        One may hang in a write to a slow disk, and what it writes then would be older than what the next attempt does.
        """
        while any(job.is_alive() for job in self._jobs):
            if stopped.wait(POLL):
                raise Interrupted("stopped")

    def _wake(self, failure: CloneError) -> None:
        """Let every thread come to its end."""
        self.crew.feed_all()
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
                answered = all(list(pool.map(lambda connection: leave(connection, PATIENCE), others)))
            leave(self.master, PATIENCE if answered else IMPATIENCE)
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
                self.barrier.stopped.wait(LAST_WORDS)  # the one whose failure it was knows the reason
            self.barrier.fail(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must end the clone, not one thread of it
            fault = CloneError(f"unexpected {type(error).__name__}: {error}")
            fault.__cause__ = error
            self.barrier.fail(fault)

    # ---- the connections -----------------------------------------------------------------------------------

    def _link(self, number: int, connection: Connection, *, master: bool, resumed: bool = False) -> Link:
        return Link(
            number, connection, course=self.course, barrier=self.barrier, crew=self.crew, limits=self.limits,
            on_state=self._on_state if master else None, on_listed=self._on_listed, resumed=resumed,
            connections=self.crew.most,
        )  # fmt: skip

    def _master(self) -> None:
        try:
            self._lead()
        finally:
            self._finished.set()
            for connection in list(self._attaching):
                connection.shut()  # nothing is left for it, and the donor's answer may never come
        self.barrier.leave(0)

    def _lead(self) -> None:
        """The master connection, from where the course is to its end."""
        self.crew.join(0)
        self._link(0, self.master, master=True, resumed=self.course.listed).run()

    def _worker(self, number: int) -> None:
        try:
            connection = self.session.connect(self.barrier.stopped)
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
            self.crew.settle_for_fewer()
        with self._noting:
            note = f"going on with fewer connections: {error.message}"
            if note not in self.status.notes:
                self.status.notes.append(note)

    def _work(self, number: int, connection: Connection) -> None:
        self._attaching.add(connection)
        if self._finished.is_set():
            return
        try:
            locator = attach(connection, self.session)
        except DonorError as error:
            if error.donor_number != NO_CLONE:
                raise
            return  # the clone is over already: nothing was left for this connection
        finally:
            self._attaching.discard(connection)
        self.barrier.join(number, locator.stage)
        self.status.connections += 1
        # The donor sends data of any file at once, and only the master gets the list of files.
        self.barrier.wait_until_listed()
        self.crew.join(number)
        try:
            self._link(number, connection, master=False).run()
        finally:
            self.crew.leave(number)
        self.barrier.leave(number)

    # ---- what the master does at stages --------------------------------------------------------------------

    def _on_state(self, state: StateDescriptor) -> None:
        if state.is_start:
            self._begin_stage(state)
        else:
            self.barrier.wait_until_ended(state.stage)
            self.course.end()
            self._acknowledge(Ack(0, self.session.locator, state.acknowledgement()))

    def _begin_stage(self, state: StateDescriptor) -> None:
        self.course.announce(state)
        if state.stage in STAGES:
            self.status.start(STAGES[state.stage], estimate=state.estimate, threads=self.crew.wanted)
        if state.stage is StageNumber.REDO_COPY:  # the pages of PAGE_COPY have their room, but for those of new files
            self._check_space(self.target.root, state.estimate)
        self.barrier.start(state.stage, state.chunks)

    def _on_listed(self) -> None:
        """The list of files is complete and no data has come yet: the last moment at which nothing is lost."""
        self._check_room(self.table.data)
        self.course.list_is_complete()
        self.barrier.listed()

    def _check_room(self, files: Iterable[ClonedFile]) -> None:
        """Compare with what is really going to be written; the donor's own estimate counts its redo capacity too."""
        needed: Counter[Path] = Counter()
        for file in (file for file in files if not file.dropped):
            needed[self.target.disk_of(file.path)] += file.metadata.allocated
        for directory, size in needed.items():
            self._check_space(directory, size)

    def _check_space(self, directory: Path, needed: int) -> None:
        free = self.target.free_bytes(directory)
        if needed > free:
            raise DiskSpace(f"{amount(needed)} are needed in {directory}, {amount(free)} are free")

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
        if self.course.journal is not None and failure.resumable and self.target.is_there():
            return
        if not self._auxiliary_free.acquire(timeout=GOODBYE):
            return  # the donor is silent
        with contextlib.suppress(CloneError, OSError):
            self.auxiliary.set_timeout(GOODBYE)
            call(self.auxiliary, Ack(failure.code, self.session.locator, None))
        self._auxiliary_free.release()
