"""A clone on the donor's own host: the server keeps the snapshot, the files are copied by us.

The donor believes a recipient that says in COM_REINIT which chunks it has. So the list of files is taken from a first
COM_EXECUTE, every chunk of FILE_COPY is claimed, the files are copied at the speed of the file system, and only pages
that changed meanwhile and the redo come over the connection.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass

from innoclone.errors import BadPage, CloneError, ConfigurationMismatch, ProtocolError
from innoclone.files.copying import Method
from innoclone.files.names import OWN_DIR
from innoclone.receive.attempt import Received, Run
from innoclone.receive.barrier import Stopped
from innoclone.receive.course import Course, all_chunks
from innoclone.receive.crew import Crew
from innoclone.receive.finish import finish_files
from innoclone.receive.session import begin, reinit
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Stage
from innoclone.server.donorfiles import DonorFiles
from innoclone.sinks.directory import Target
from innoclone.sources.localcopy import CopySummary, FileCopier
from innoclone.stream.filetable import FileTable
from innoclone.stream.pagecheck import ExpectedFile, check_files
from innoclone.stream.suspects import Suspects
from innoclone.transport.donorerrors import from_donor
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.wire.descriptors import Locator, StageNumber, StateDescriptor
from innoclone.wire.rpc import DataDescription, Failure, parse_response
from innoclone.wire.serverversion import version_number

__all__ = ["CopiedLocally", "copy_local"]

SYNC_THREADS = 4
RENEW = 600.0  # seconds; a donor waits at most 30 minutes for an acknowledgement, and COM_REINIT starts that anew
REINIT_TIMEOUT = 60.0  # seconds: the donor takes up to 30 to notice that the old connection is gone
POLL = 0.2  # seconds between looks at the donor's connection while files are copied


class _Handover(Exception):
    """The master connection is to be replaced by a new one."""


@dataclass(frozen=True)
class CopiedLocally:
    """A finished local clone: what a remote one has, and what the copy did."""

    received: Received
    summary: CopySummary
    reflink: bool


def copy_local(
    donor: Endpoint,
    files: DonorFiles,
    target: Target,
    *,
    threads: int,
    limits: Limits,
    block_ddl: bool,
    ddl_timeout: int,
    stall_timeout: float,
    verify_pages: bool | None,
    methods: tuple[Method, ...],
    status: CloneStatus,
    stopped: threading.Event,
    renew: float = RENEW,
) -> CopiedLocally:
    """Clone the server whose ``files`` are here into ``target``, up to and including the sync. Raises a `CloneError`.

    ``verify_pages``: check every page that passes through memory (None); what did not is read again (True); or no
    page is checked (False). ``renew``: seconds of copying after which the donor's patience is renewed.
    """
    if verify_pages is not False and Method.READ_WRITE in methods:
        methods = tuple(method for method in methods if method is not Method.KERNEL)  # nobody sees what it copies
    session, master = begin(
        donor, Compression(), stall_timeout=stall_timeout, ddl_timeout=ddl_timeout, block_ddl=block_ddl,
        stopped=stopped, receive_buffer=limits.receive_buffer,
    )  # fmt: skip
    with contextlib.closing(master):
        if not session.parameters.network_timeout:
            raise ConfigurationMismatch(
                "the donor gives the clone up while its connection is replaced:"
                " clone_donor_timeout_after_network_failure is 0",
                hint="set that variable to 5, its default, on the donor; or use 'innoclone clone'",
            )
        table = FileTable(target, version_number(session.parameters.version), verify=verify_pages is not False)
        course = Course(target, table, Suspects(), status, None)
        run = _LocalRun(session, master, course, limits, Crew(1, None, status))
        run.prepare(files, threads, methods, renew)
        with contextlib.closing(course):
            received = run.run(stopped)
    finish_files(table, target, course.suspects, status, stopped, threads=SYNC_THREADS)
    if verify_pages and run.copier.unseen:
        _verify(received, target, stopped)
    if target.base is not None:
        run.copier.summary.renamed = target.base.renamed
        run.copier.summary.removed = target.base.remove_rest()
    return CopiedLocally(received, run.copier.summary, run.reflink)


class _LocalRun(Run):
    """A run whose FILE_COPY data comes from the donor's own files."""

    copier: FileCopier
    reflink = False

    def prepare(self, files: DonorFiles, threads: int, methods: tuple[Method, ...], renew: float) -> None:
        """Before `run`: where the files are and how they are copied."""
        self._files, self._renew = files, renew
        self.reflink = Method.REFLINK in methods and files.can_reflink(self.target.root / OWN_DIR)
        self.copier = FileCopier(
            self.table, files, self.target, self.course.suspects, limits=self.limits, stopped=self.barrier.stopped,
            threads=threads,
            methods=methods if self.reflink else tuple(method for method in methods if method is not Method.REFLINK),
        )  # fmt: skip
        self._copy_threads = threads

    def _lead(self) -> None:
        try:
            with contextlib.suppress(_Handover):
                self._link(0, self.master, master=True).run()
            stage = self.status.stages[Stage.FILE_COPY]
            stage.threads, stage.measured = self._copy_threads, not self.reflink
            self.copier.start(stage)
            while True:
                self._replace_master()
                with contextlib.suppress(_Handover):
                    self._link(0, self.master, master=True, resumed=True).run()
                    break
        except BaseException:
            self.barrier.stopped.set()  # so that the copying ends at once
            raise
        finally:
            self.copier.close()

    def _replace_master(self) -> None:
        """Close the master connection and go on with a new one, every chunk of FILE_COPY claimed."""
        self.master.shut()
        self.master.close()
        self.master = self.connections[0] = self.session.connect()
        if self.barrier.stopped.is_set():
            raise Stopped  # whoever stopped this may have shut the old connection only
        old, claim = self.session.locator, all_chunks(self.course.chunks.count)
        locator = Locator(old.clone_id, old.snapshot_id, old.index, StageNumber.FILE_COPY, True, claim)
        self.master.set_timeout(REINIT_TIMEOUT)
        reinit(self.master, self.session, locator)
        self.master.set_timeout(self.session.stall_timeout)

    def _on_listed(self) -> None:
        if not self.reflink:
            self._check_room(file for file in self.table.data if not file.adopted)
        self.barrier.listed()
        raise _Handover

    def _on_state(self, state: StateDescriptor) -> None:
        if state.stage is StageNumber.FILE_COPY and not state.is_start:
            self._await_copies()
        super()._on_state(state)

    def _await_copies(self) -> None:
        """Until every file is copied; meanwhile the donor says that it is alive, or that the clone is over."""
        deadline = time.monotonic() + self._renew
        while not self.copier.wait(POLL):
            while self.master.readable():
                response = parse_response(self.master.read_packet())
                if isinstance(response, Failure):
                    raise from_donor(response.number, response.message)
                state = response.descriptor if isinstance(response, DataDescription) else None
                if not isinstance(state, StateDescriptor) or not state.is_keepalive:
                    raise ProtocolError("the donor goes on before the copy is acknowledged")
            if time.monotonic() > deadline:
                raise _Handover

    def _begin_stage(self, state: StateDescriptor) -> None:
        if state.stage is StageNumber.PAGE_COPY and not self.copier.wait(0):
            raise ProtocolError("the donor goes on before the copy is acknowledged")
        if state.stage is StageNumber.PAGE_COPY and (names := self.table.missing()):
            raise CloneError(
                f"{len(names)} files vanished and the donor does not say that they were dropped: {names[0]}",
                hint="clone again; if it happens again, use 'innoclone clone'",
            )
        super()._begin_stage(state)


def _verify(received: Received, target: Target, stopped: threading.Event) -> None:
    """Check every page, where some were copied without passing through our hands. Raises `BadPage`, `Interrupted`."""
    expected = [
        ExpectedFile(os.path.relpath(file.path, target.root), file.metadata.space_id, file.flags.raw)
        for file in received.table.all_files()
        if file.flags is not None
    ]
    problems = list(check_files(target.root, expected, threads=2, cancel=stopped).problems())
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise BadPage(f"damaged: {', '.join(problems[:5])}{more}")
