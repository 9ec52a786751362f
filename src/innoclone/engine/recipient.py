"""The recipient: one master connection, workers, and an auxiliary connection for acknowledgements.

This file is the story of a remote clone; the steps live in session.py (connections), link.py (the stream of one
connection), barrier.py (where connections meet), filetable.py (files and DDL) and finish.py (sizes, sync).
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from innoclone.engine.barrier import Barrier, Stopped
from innoclone.engine.filetable import ClonedFile, FileTable
from innoclone.engine.finish import finish_files
from innoclone.engine.link import STAGES, Link, Suspects
from innoclone.engine.session import DonorParameters, Session, attach, begin, call, leave, version_number
from innoclone.errors import CloneError, DiskSpace, DonorError, Interrupted, LocalFault, RemoteFault
from innoclone.files.target import Target
from innoclone.ops.limits import Limits
from innoclone.ops.status import CloneStatus
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.wire.descriptors import Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import Ack

__all__ = ["Received", "Run", "receive"]

POLL = 0.1  # seconds between looks for a wish to stop
GOODBYE = 0.5  # seconds for telling the donor about a failure
LAST_WORDS = 2.0  # seconds for a thread to end once its connection is shut
NO_CLONE = 1815  # ER_INTERNAL_ERROR: what a donor answers to COM_ATTACH when the clone is over
PATIENCE = 5.0  # seconds for the donor's answer to COM_EXIT
IMPATIENCE = 0.2  # the same, once one connection was left without an answer
SYNC_THREADS = 4


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


def receive(
    donor: Endpoint,
    target: Target,
    *,
    threads: int,
    compression: Compression,
    limits: Limits,
    block_ddl: bool,
    ddl_timeout: int,
    stall_timeout: float,
    verify_pages: bool,
    status: CloneStatus,
    stopped: threading.Event,
) -> Received:
    """Clone ``donor`` into ``target``, up to and including the sync of all files. Raises a `CloneError`.

    ``stopped`` may be set at any time from another thread; the clone then ends with `Interrupted` within a second.
    """
    connections = limits.connections(threads, compressed=compression.algorithm != "off")
    if connections < threads:
        status.notes.append(f"{connections} instead of {threads} connections: the bandwidth limit is too low for more")
    session, master = begin(
        donor, compression, stall_timeout=stall_timeout, ddl_timeout=ddl_timeout, block_ddl=block_ddl, stopped=stopped,
        receive_buffer=limits.receive_buffer,
    )  # fmt: skip
    with contextlib.closing(master):
        run = Run(session, master, target, limits, verify_pages, status)
        return run.run(connections, stopped)


class Run:
    """State of one run."""

    def __init__(
        self, session: Session, master: Connection, target: Target, limits: Limits, verify: bool, status: CloneStatus
    ) -> None:
        self.session, self.master, self.target = session, master, target
        self.limits, self.status = limits, status
        self.barrier = Barrier()
        self.suspects = Suspects()
        self.table = FileTable(target, version_number(session.parameters.version), verify=verify)
        self.connections: list[Connection] = [master]
        self.auxiliary: Connection | None = None
        self._auxiliary_free = threading.Lock()
        self.threads = 1

    def run(self, threads: int, stopped: threading.Event) -> Received:
        """Start all connections, wait for them, finish the files."""
        self.threads = threads
        try:
            self.auxiliary = self.session.connect()
        except CloneError as error:
            self.barrier.fail(error)
        jobs = [threading.Thread(target=self._guard, args=(self._master,), name="clone-0", daemon=True)]
        jobs += [
            threading.Thread(target=self._guard, args=(self._worker, number), name=f"clone-{number}", daemon=True)
            for number in range(1, threads)
        ]
        self.barrier.join(0, StageNumber.INIT)
        cipher = self.master.cipher  # a closed connection has none
        self.status.connections = 1
        if self.barrier.failure is None:
            for job in jobs:
                job.start()
        self._supervise([job for job in jobs if job.ident is not None], stopped)
        if self.barrier.failure is not None:
            self.status.fail(self.barrier.failure.code, self.barrier.failure.message)
            raise self.barrier.failure
        received = Received(
            self.table, self.session.parameters, self.session.locator, self.status.connections, self.session.protocol,
            self.master.compression, cipher,
        )  # fmt: skip
        finish_files(self.table, self.target, self.suspects, self.status, stopped, threads=SYNC_THREADS)
        return received

    def _supervise(self, jobs: list[threading.Thread], stopped: threading.Event) -> None:
        """Until all threads are done; a failure or a wish to stop wakes those that wait for the network."""
        try:
            while any(job.is_alive() for job in jobs) and self.barrier.failure is None:
                for job in jobs:
                    job.join(POLL / len(jobs))
                if stopped.is_set():
                    self.barrier.fail(Interrupted("stopped"))
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

    def _wake(self, failure: CloneError) -> None:
        """Let every thread come to its end."""
        self._tell_donor(failure)
        for connection in (*self.connections, self.auxiliary):
            if connection is not None:
                connection.shut()

    def _close_all(self) -> None:
        """Leave clone mode in order where all went well, else just go.

        The master comes last: the donor answers its COM_EXIT only when the workers have left.
        """
        patience = PATIENCE
        for connection in [*self.connections[1:], self.auxiliary, self.master]:
            if connection is not None:
                if self.barrier.failure is None:
                    patience = patience if leave(connection, patience) else IMPATIENCE
                else:
                    connection.shut()
                connection.close()

    def _guard(self, body: Callable[..., None], *arguments: int) -> None:
        """Run one thread's work; its error is the clone's."""
        try:
            body(*arguments)
        except Stopped:
            pass
        except CloneError as error:
            self.barrier.fail(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must end the clone, not one thread of it
            fault = CloneError(f"unexpected {type(error).__name__}: {error}")
            fault.__cause__ = error
            self.barrier.fail(fault)

    # ---- the connections -----------------------------------------------------------------------------------

    def _link(self, number: int, connection: Connection, *, master: bool, resumed: bool = False) -> Link:
        return Link(
            number, connection, target=self.target, table=self.table, barrier=self.barrier, status=self.status,
            limits=self.limits, suspects=self.suspects, on_state=self._on_state if master else None,
            on_listed=self._on_listed, resumed=resumed, connections=self.threads,
        )  # fmt: skip

    def _master(self) -> None:
        self._link(0, self.master, master=True).run()
        self.barrier.leave(0)

    def _worker(self, number: int) -> None:
        try:
            connection = self.session.connect(self.barrier.stopped)
        except RemoteFault as error:
            self.status.notes.append(f"connection {number} was refused, going on without it: {error.message}")
            return
        self.connections.append(connection)
        if self.barrier.stopped.is_set():
            connection.close()  # nobody may look at the list any more
            raise Stopped
        try:
            locator = attach(connection, self.session)
        except DonorError as error:
            if error.donor_number != NO_CLONE:
                raise
            return  # the clone is over already: nothing was left for this connection
        self.barrier.join(number, locator.stage)
        self.status.connections += 1
        # The donor sends data of any file at once, and only the master gets the list of files.
        self.barrier.wait_until_listed()
        self._link(number, connection, master=False).run()
        self.barrier.leave(number)

    # ---- what the master does at stages --------------------------------------------------------------------

    def _on_state(self, state: StateDescriptor) -> None:
        if state.is_start:
            self._begin_stage(state)
        else:
            self.barrier.wait_until_ended(state.stage)
            self._acknowledge(Ack(0, self.session.locator, state.acknowledgement()))

    def _begin_stage(self, state: StateDescriptor) -> None:
        self.table.begin_stage()
        if state.stage in STAGES:
            self.status.start(STAGES[state.stage], estimate=state.estimate, threads=self.threads)
        if state.stage is StageNumber.REDO_COPY:  # the pages of PAGE_COPY have their room, but for those of new files
            self._check_space(self.target.root, state.estimate)
        self.barrier.start(state.stage, state.chunks)

    def _on_listed(self) -> None:
        """The list of files is complete and no data has come yet: the last moment at which nothing is lost."""
        self._check_room(self.table.data)
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
            raise DiskSpace(f"{needed} bytes are needed in {directory}, {free} are free")

    def _acknowledge(self, ack: Ack) -> None:
        assert self.auxiliary is not None
        with self._auxiliary_free:
            call(self.auxiliary, ack)

    # ---- failure -------------------------------------------------------------------------------------------

    def _tell_donor(self, failure: CloneError) -> None:
        """A failure on this side ends the clone at the donor at once; it would keep its snapshot for minutes else."""
        if self.auxiliary is None or not isinstance(failure, LocalFault):
            return
        if not self._auxiliary_free.acquire(timeout=GOODBYE):
            return  # the donor is silent
        with contextlib.suppress(CloneError, OSError):
            self.auxiliary.set_timeout(GOODBYE)
            call(self.auxiliary, Ack(failure.code, self.session.locator, None))
        self._auxiliary_free.release()
