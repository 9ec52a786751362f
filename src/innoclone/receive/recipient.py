"""The recipient: attempts at one clone until it is done, or until the table of faults says that no attempt helps.

The story of an attempt is in attempt.py, what lasts from one to the next in state.py, the table in retry.py, and
resume.py finds what an earlier process left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from innoclone.errors import CloneError, EncryptionNeedsTls
from innoclone.files.keyring import CloneKeyring
from innoclone.files.names import Mapping
from innoclone.receive.active import ActiveConnections
from innoclone.receive.attempt import Attempt, Received
from innoclone.receive.autotune import Autotune
from innoclone.receive.finish import finish_files
from innoclone.receive.resume import Resumable, begin_event, reconnect, teller
from innoclone.receive.retry import Deed, Fault, Retries, When, fault_of
from innoclone.receive.sealing import Sealing
from innoclone.receive.session import Access, Session, begin
from innoclone.receive.state import CloneState
from innoclone.receive.transfer import Controls, Transfer
from innoclone.records.journal import Journal
from innoclone.server.preflight import DonorFacts
from innoclone.sources.donor import DonorStream
from innoclone.stream.filetable import FileTable
from innoclone.stream.sink import Sink
from innoclone.stream.source import BegunClone, FileSource
from innoclone.stream.suspects import Suspects
from innoclone.transport.connection import Connection
from innoclone.transport.endpoint import Endpoint
from innoclone.wire.descriptors import StageNumber
from innoclone.wire.serverversion import version_number

__all__ = ["Received", "Recipient"]

AUXILIARY = 1  # connections besides those that carry data


class Recipient:
    """One clone of ``donor`` into ``sink``; it is run once."""

    def __init__(
        self,
        donor: Endpoint,
        sink: Sink,
        transfer: Transfer,
        controls: Controls,
        *,
        source: Callable[[], FileSource] = DonorStream,
        facts: DonorFacts | None = None,
        mapping: Mapping = (),
        left: Resumable | None = None,
        keyring: CloneKeyring | None = None,
        on_begun: Callable[[float], None] = lambda _: None,
        prepare_anew: Callable[[CloneError], DonorFacts | None] = lambda _: None,
    ) -> None:
        """``source`` makes who supplies the files of FILE COPY, for each clone that is begun.

        With ``left`` the clone goes on where an earlier process left it. Otherwise ``facts`` about the donor go into
        the journal, with the ``mapping`` of files outside; without them there is none, and it can't be gone on with.
        ``keyring`` is for an encrypted donor, which is refused without.
        ``on_begun`` gets the seconds for which the donor keeps the snapshot when the connection is lost.
        ``prepare_anew`` is called where a new clone is begun in place of one that ended with an error; it hands back
        the facts for that one.
        """
        self._donor, self._sink, self._transfer, self._controls = donor, sink, transfer, controls
        self._new_source, self._source = source, source()
        self._facts, self._mapping, self._left = facts, mapping, left
        self._keyring = keyring
        self._on_begun, self._prepare_anew = on_begun, prepare_anew
        self._retries = Retries(transfer.retry_for, controls.status)
        self._autotune: Autotune | None = None
        self._connections = 1
        self._session: Session | None = None
        self._state: CloneState | None = None
        self._master: Connection | None = None
        self._attempt: Attempt | None = None

    def run(self) -> Received:
        """The clone, up to and including the sync of all files. Raises a `CloneError`."""
        try:
            received = self._persist()
            assert self._state is not None, "that is where it was received"
            finish_files(self._state, self._controls.stopped)
            return received
        finally:
            self._forget()

    def _persist(self) -> Received:
        """Until an attempt comes to the end: the one loop over faults."""
        while True:
            try:
                if self._state is None or self._session is None:
                    self._begin()
                else:
                    return self._try(self._session, self._state)
            except CloneError as error:
                if not self._recover(error):
                    raise

    def _recover(self, error: CloneError) -> bool:
        """Do what helps against ``error``; False where nothing does. Raises what comes in between."""
        stopped, when = self._controls.stopped, self._when()
        # What counts is not the bytes that were moved: the same ones may come again and again.
        reached = self._state.reached if self._state is not None else None
        deed = self._retries.deed(error, when, reached=reached, left=self._left is not None)
        if isinstance(error, EncryptionNeedsTls) and self._donor.is_private and not self._donor.tls_on_socket:
            self._donor = self._donor.with_tls  # which the account could not see in advance
            self._forget()
            self._source = self._new_source()
            return True
        if deed is Deed.GIVE_UP:
            return False
        self._master = None
        if self._attempt is not None:
            self._attempt.wait_for_threads(stopped)
        if deed is Deed.RECONNECT:
            self._retries.wait(stopped)
            return True
        self._forget()
        if fault_of(error) is Fault.LOST and when is not When.LOCAL:
            self._retries.wait(stopped)
        self._facts, self._left = self._prepare_anew(error), None
        self._source = self._new_source()
        return True

    def _when(self) -> When:
        if not self._source.streams:
            return When.LOCAL
        if self._state is None:
            return When.BEGINNING
        if self._state.journal is None:
            return When.UNJOURNALED
        return When.COPYING if self._state.listed else When.LISTING

    # ---- a clone is begun ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A new clone, or the one that was left."""
        self._choose_connections()
        controls, transfer = self._controls, self._transfer
        access = Access(self._donor, transfer, controls.limits.receive_buffer, controls.stopped)
        if self._left is not None:
            wanted = self._connections if self._autotune is None else self._autotune.wanted
            self._session = self._left.session(access)
            self._state = self._left.state(
                self._sink, controls.status, verify=transfer.verify_pages, threads=wanted, keyring=self._keyring
            )
        else:
            self._session, master = begin(access, self._source.request)
            try:
                session = self._session
                self._source.begun(
                    BegunClone(session.keeps, session.parameters.config, session.locator, access.connect)
                )
                self._state = self._new_state(self._session)
            except BaseException:
                master.close()
                raise
            self._master = master
        self._retries.begun(self._session.keeps)
        self._on_begun(self._session.keeps)

    def _choose_connections(self) -> None:
        """How many shall carry data: as the account, the limits and the user allow it."""
        transfer, notes = self._transfer, self._controls.status.notes
        threads, facts = transfer.threads, self._facts
        wanted = threads or transfer.max_concurrency
        if facts is not None and 0 < facts.connections <= wanted:
            wanted = max(1, facts.connections - AUXILIARY)
            notes.append(
                f"{wanted} data connection{'s' if wanted > 1 else ''}: the account may have {facts.connections}"
                " connections at a time (max_user_connections)"
            )
            threads = None if threads is None else wanted
        compressed = transfer.compression.algorithm != "off"
        self._connections = self._controls.limits.connections(wanted, compressed=compressed)
        if threads is not None and self._connections < threads:
            notes.append(
                f"{self._connections} instead of {threads} connections: the bandwidth limit is too low for more"
            )
        self._autotune = Autotune(self._connections) if threads is None else None

    def _new_state(self, session: Session) -> CloneState:
        sink, status = self._sink, self._controls.status
        sink.start()  # not before a donor has said that it will give something new
        journal = None
        if self._facts is not None and self._source.streams:
            journal = Journal(sink.folder, new=True, fsync=sink.fsync)
            journal.append("begin", **begin_event(session, self._facts, sink, self._mapping, began=status.begin))
            journal.sync()
        sealing = Sealing(self._keyring, teller(self._keyring, journal))
        table = FileTable(
            sink, version_number(session.parameters.version), verify=self._transfer.verify_pages, info=sealing.info
        )
        return CloneState(sink, table, Suspects(journal), status, journal, sealing)

    # ---- and received --------------------------------------------------------------------------------------

    def _try(self, session: Session, state: CloneState) -> Received:
        """One attempt, with a new master connection for each after the first."""
        if state.stage is StageNumber.DONE:  # nothing is left that the donor would be needed for
            return Received(
                state.table, session.parameters, session.locator, state.status.connections, session.protocol, "", ""
            )
        if self._master is None:
            self._master = reconnect(session, state)
            if self._attempt is not None:
                state.status.restarts += 1
        state.sealing.secure = bool(self._master.cipher)
        with contextlib.closing(self._master):
            active = ActiveConnections(self._connections, self._autotune, state.status)
            if not self._source.streams:
                active = ActiveConnections(1, None, state.status)
            self._attempt = Attempt(session, self._master, state, self._source, active, self._controls.limits)
            return self._attempt.run(self._controls.stopped)

    def _forget(self) -> None:
        """Let go of the clone that was begun."""
        if self._master is not None:
            self._master.close()
        if self._state is not None:
            self._state.close()
        if self._attempt is None:
            self._source.close()  # else an attempt did
        self._session = self._state = self._master = self._attempt = None
