"""The recipient: attempts at one clone until it is done, the donor has given it up, or no attempt can help.

The story of an attempt is in run.py, what lasts from one to the next in course.py, and resume.py finds what an earlier
process left.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from innoclone.errors import CloneError, ConnectFailed, NetworkError, SnapshotGone
from innoclone.receive.attempt import Received, Run
from innoclone.receive.autotune import Autotune
from innoclone.receive.course import Course
from innoclone.receive.crew import Crew
from innoclone.receive.finish import finish_files
from innoclone.receive.resume import Resumable, begin_event, reconnect
from innoclone.receive.retry import Retries
from innoclone.receive.session import Session, begin
from innoclone.records.journal import Journal
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus
from innoclone.server.preflight import DonorFacts
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import FileTable
from innoclone.stream.suspects import Suspects
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.wire.descriptors import StageNumber
from innoclone.wire.serverversion import version_number

__all__ = ["Received", "receive"]

SYNC_THREADS = 4


AUXILIARY = 1  # connections besides those that carry data


def receive(
    donor: Endpoint,
    target: Target,
    *,
    threads: int | None,
    max_concurrency: int = 1,
    compression: Compression,
    limits: Limits,
    block_ddl: bool,
    ddl_timeout: int,
    stall_timeout: float,
    verify_pages: bool,
    status: CloneStatus,
    stopped: threading.Event,
    retry_for: float | None = 0.0,
    facts: DonorFacts | None = None,
    resumable: Resumable | None = None,
    on_begun: Callable[[float], None] = lambda _: None,
) -> Received:
    """Clone ``donor`` into ``target``, up to and including the sync of all files. Raises a `CloneError`.

    ``threads``: connections that carry data; None: as many as measured to help, up to ``max_concurrency``.
    ``stopped`` may be set at any time from another thread; the clone then ends with `Interrupted` within a second.
    ``retry_for``: seconds for which a lost connection is tried again; None: as long as the donor keeps the snapshot.
    With ``resumable`` the clone goes on where an earlier process left it. Otherwise ``facts`` about the donor go into
    the journal; without them there is none, and a failure is final. ``on_begun`` gets the seconds for which the donor
    keeps the snapshot when the connection is lost.
    """
    wanted = threads or max_concurrency
    if facts is not None and 0 < facts.connections <= wanted:
        wanted = max(1, facts.connections - AUXILIARY)
        status.notes.append(
            f"{wanted} data connection{'s' if wanted > 1 else ''}: the account may have {facts.connections} connections"
            " at a time (max_user_connections)"
        )
        threads = None if threads is None else wanted
    connections = limits.connections(wanted, compressed=compression.algorithm != "off")
    if threads is not None and connections < threads:
        status.notes.append(f"{connections} instead of {threads} connections: the bandwidth limit is too low for more")
    autotune = Autotune(connections) if threads is None else None
    if resumable is not None:
        session = resumable.session(donor, compression, stall_timeout, limits.receive_buffer, stopped)
        course = resumable.course(
            target, status, verify=verify_pages, threads=connections if autotune is None else autotune.wanted
        )
        master = None
    else:
        with _nothing_lost() if retry_for != 0 else contextlib.nullcontext():
            session, master = begin(
                donor, compression, stall_timeout=stall_timeout, ddl_timeout=ddl_timeout, block_ddl=block_ddl,
                stopped=stopped, receive_buffer=limits.receive_buffer,
            )  # fmt: skip
        try:
            course = _new_course(session, target, status, facts, verify=verify_pages)
        except BaseException:
            master.close()
            raise
    on_begun(session.parameters.network_timeout * 60.0)
    with contextlib.closing(course):
        patience = session.parameters.network_timeout * 60.0 if retry_for is None else retry_for
        received = _attempts(
            session, master, course, limits, lambda: Crew(connections, autotune, status), Retries(patience), stopped
        )
        finish_files(course.table, target, course.suspects, status, stopped, threads=SYNC_THREADS)
    return received


@contextlib.contextmanager
def _nothing_lost() -> Iterator[None]:
    """The connection may break here without harm: a new clone may as well begin."""
    try:
        yield
    except (NetworkError, ConnectFailed) as error:
        raise SnapshotGone("the connection broke before anything was copied", lost=error) from error


def _new_course(
    session: Session, target: Target, status: CloneStatus, facts: DonorFacts | None, *, verify: bool
) -> Course:
    target.clear()  # not before a donor has said that it will give something new
    journal = None
    if facts is not None:
        journal = Journal(target.root, new=True, fsync=target.fsync)
        journal.append("begin", **begin_event(session, facts, target, began=status.begin))
        journal.sync()
    table = FileTable(target, version_number(session.parameters.version), verify=verify, journal=journal)
    return Course(target, table, Suspects(journal), status, journal)


def _attempts(
    session: Session,
    master: Connection | None,
    course: Course,
    limits: Limits,
    new_crew: Callable[[], Crew],
    retries: Retries,
    stopped: threading.Event,
) -> Received:
    """Until an attempt comes to the end, with a new master connection for each after the first."""
    attempt: Run | None = None
    while True:
        try:
            if course.stage is StageNumber.DONE:  # nothing is left that the donor would be needed for
                if master is not None:
                    master.close()
                return Received(
                    course.table, session.parameters, session.locator, course.status.connections, session.protocol,
                    "", "",
                )  # fmt: skip
            if master is None:
                master = reconnect(session, course)
                if attempt is not None:
                    course.status.restarts += 1
            with contextlib.closing(master):
                attempt = Run(session, master, course, limits, new_crew())
                return attempt.run(stopped)
        except SnapshotGone:
            raise
        except CloneError as error:
            master = None
            # What counts is not the bytes that were moved: the same ones may come again and again.
            if course.journal is None or not retries.may_help(error, course.reached, course.status):
                raise
            if attempt is not None:
                attempt.wait_for_threads(stopped)
            if not course.listed:
                with _nothing_lost():
                    raise
            retries.wait(stopped)
