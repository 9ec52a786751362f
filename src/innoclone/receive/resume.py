"""Going on with a clone: with a new connection, and in a new process from what an earlier one left.

A donor keeps the snapshot of a clone whose connections broke for a while, and goes on for whoever names the clone in
COM_REINIT. It believes what it is told about the chunks that are there, and numbers its clones anew when it is
restarted: so a process goes on only where donor, journal and files prove that it is the same clone, and otherwise says
why it doesn't (rule 6 of docs/design.md).
"""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from innoclone.dataclass import dataclass
from innoclone.errors import CloneError, DonorError, ProtocolError, SnapshotGone
from innoclone.files.keyring import CloneKeyring
from innoclone.files.names import OWN_DIR, Mapping
from innoclone.innodb.encryption import MasterKey
from innoclone.receive import timings
from innoclone.receive.carryout import carry_out_again
from innoclone.receive.sealing import Sealing
from innoclone.receive.session import NO_CLONE, Access, DonorParameters, Identity, Session, reinit
from innoclone.receive.state import STAGES, CloneState
from innoclone.records.chunks import NO_DIGEST, Found, read_chunks, stamp
from innoclone.records.journal import FORMAT, Journal, boot_id, read_journal
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.server.preflight import DonorFacts, donor_start
from innoclone.stream.filetable import Action, ClonedFile, Drop, FileTable
from innoclone.stream.sink import Sink
from innoclone.stream.suspects import Suspects
from innoclone.transport.connection import Connection
from innoclone.transport.sql import Sql, understood
from innoclone.transport.timings import SQL_ANSWER_TIMEOUT
from innoclone.wire.descriptors import FileMetadata, Locator, StageNumber
from innoclone.wire.serverversion import version_number

__all__ = ["Resumable", "begin_event", "find_resumable", "is_resumable", "keyring_in", "reconnect", "teller"]

SAMPLE, SAMPLE_AFTER_CRASH = 3, 24  # chunks that are read again and compared with their digests
CHUNK_PAGES, BLOCK_PAGES = 4096, 64  # of the server's page size (SNAPSHOT_DEF_CHUNK_SIZE_POW2, _DEF_BLOCK_SIZE_POW2)

Event = dict[str, Any]


def begin_event(session: Session, facts: DonorFacts, sink: Sink, mapping: Mapping, *, began: float | None) -> Event:
    """The journal's first event: which clone it is. ``mapping`` is where files outside are put."""
    session.identity = Identity(facts.variables.get("server_uuid", ""), facts.started)
    parameters = session.parameters
    return {
        "format": FORMAT,
        "began": began or time.time(),
        "donor": {
            "uuid": session.identity.uuid,
            "started": session.identity.started,
            "address": str(session.access.donor),
        },
        "variables": facts.variables,
        "version": parameters.version,
        "plugins": parameters.plugins,
        "network_timeout": parameters.network_timeout,
        "protocol": session.protocol,
        "locator": session.locator.serialize().hex(),
        "block_ddl": session.access.transfer.block_ddl,
        "ddl_timeout": session.access.transfer.ddl_timeout,
        "map_paths": [list(pair) for pair in mapping],
    } | _presence(sink)


def _presence(sink: Sink) -> Event:
    return {"boot": boot_id(), "fsync": sink.fsync, "pid": os.getpid(), "time": time.time()}


@dataclass
class Resumable:
    """What an earlier process left of a clone that can be gone on with."""

    root: Path
    begin: Event
    events: list[Event]
    stage: StageNumber
    start: Event
    ended: bool
    crashed: bool
    found: Found

    @property
    def variables(self) -> dict[str, str]:
        """The donor's, as they were when the clone began."""
        return dict(self.begin["variables"])

    @property
    def needs_donor(self) -> bool:
        """Whether anything is still to come."""
        return self.stage is not StageNumber.DONE

    def session(self, access: Access) -> Session:
        """The session as it was, on a connection as it shall be."""
        begin = self.begin
        parameters = DonorParameters(
            begin["version"], plugins=dict(begin["plugins"]), network_timeout=begin["network_timeout"]
        )
        as_it_was = replace(access.transfer, ddl_timeout=begin["ddl_timeout"], block_ddl=begin["block_ddl"])
        return Session(
            replace(access, transfer=as_it_was), begin["protocol"], Locator.parse(bytes.fromhex(begin["locator"])),
            parameters, Identity(begin["donor"]["uuid"], begin["donor"]["started"]),
        )  # fmt: skip

    @property
    def keyring(self) -> tuple[Path, str] | None:
        """The keyring file and the name of the master key that its tablespaces' keys are wrapped with, if any are."""
        return keyring_in(self.events)

    def state(
        self, sink: Sink, status: CloneStatus, *, verify: bool, threads: int, keyring: CloneKeyring | None = None
    ) -> CloneState:
        """Rebuild what the earlier process knew. Raises `SnapshotGone` where files contradict the journal."""
        if not sink.can_read_back:
            raise SnapshotGone("what is there can't be read, so nothing of it is proven")
        sink.go_on()
        sealing = Sealing(keyring)  # which the journal tells of already, or will: see below
        table = FileTable(sink, version_number(self.begin["version"]), verify=verify, info=sealing.info)
        suspects = Suspects()
        last: tuple[Action, ...] = ()
        dropped: list[Drop] = []
        try:
            if keyring is not None and self.keyring is not None:
                keyring.take(*self.keyring)
            for event in self.events:
                last = _follow(event, table, suspects)
                dropped += [action for action in last if isinstance(action, Drop)]
            for action in last:  # what the last event says may have been done, or not
                carry_out_again(action, sink)
            _drop_again(dropped, table, sink)
        except CloneError as error:
            raise SnapshotGone(f"the journal can't be followed: {error.message}") from error
        _compare(table, self)
        journal = Journal(sink.folder, new=False, fsync=sink.fsync)
        journal.append("resumed", **_presence(sink))
        journal.sync()
        suspects.journal = journal
        self._restore(status, table, threads)
        sealing.first = teller(keyring, journal)
        state = CloneState(sink, table, suspects, status, journal, sealing)
        state.enter(self.stage, self.start["chunks"], self.found)
        state.listed, state.ended = True, self.ended
        state.unsynced.add(*(file.path for file in table.all_files()))  # who wrote them may not have synced them
        status.notes.append(self.describe(status))
        return state

    def describe(self, status: CloneStatus) -> str:
        """What it goes on with, for the user."""
        copied = sum(status.stages[stage].data for stage in STAGES.values()) / (1 << 20)
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.begin["began"]))
        return f"going on with the clone that began at {began}, in {self.stage.name}; {copied:,.1f} MiB are there"

    def _restore(self, status: CloneStatus, table: FileTable, threads: int) -> None:
        status.begin = self.begin["began"]
        for name, (begin, end, data, network) in self.start["rows"].items():
            row = status.stages[Stage[name]]
            row.state, row.begin, row.end = State.COMPLETED, begin, end or self.start["time"]
            row.measured = False  # its time has a pause in it
            counter = row.counter()
            counter.data, counter.network = data, network
        if self.stage in STAGES:
            row = status.stages[STAGES[self.stage]]
            counter = row.counter()  # before it begins: else this would look like speed
            row.measured = False  # its time has a pause in it
            counter.data, counter.network = self.found.data, self.found.network
            if self.stage is StageNumber.FILE_COPY:  # what was counted last may be half a second old
                counter.data = _bytes_there(table, self.found, int(self.variables["innodb_page_size"]))
            status.start(row.stage, estimate=self.start["estimate"], threads=threads).begin = self.start["time"]


def keyring_in(events: list[Event]) -> tuple[Path, str] | None:
    """What a journal tells of the clone's keyring: the file, and the name of its key."""
    found = next((event for event in reversed(events) if event["event"] == "keyring"), None)
    return None if found is None else (Path(found["file"]), str(found["key"]))


def teller(keyring: CloneKeyring | None, journal: Journal | None) -> Callable[[MasterKey], None]:
    """Tells the journal of the keyring, durably, before anything is wrapped with its key."""

    def first(master: MasterKey) -> None:
        if journal is not None and keyring is not None:
            journal.append("keyring", file=str(keyring.path), key=master.name)
            journal.sync()

    return first


def find_resumable(root: Path, mapping: tuple[tuple[str, str], ...]) -> Resumable:
    """What is left in ``root``. Raises `SnapshotGone`, with the reason why a clone there can't be gone on with."""
    folder = root / OWN_DIR
    events = read_journal(folder)
    if not events or events[0]["event"] != "begin":
        raise SnapshotGone("it left no journal")
    begin = events[0]
    if begin["format"] != FORMAT:
        raise SnapshotGone("its journal was written by another version of innoclone")
    starts = [event for event in events if event["event"] == "start"]
    if not starts or not is_resumable(root):
        raise SnapshotGone("nothing had been copied yet")
    if [list(pair) for pair in mapping] != begin["map_paths"]:
        raise SnapshotGone("it was begun with another --map-path")
    presence = [event for event in events if event["event"] in ("begin", "resumed")]
    crashed = any(event["boot"] != boot_id() for event in presence)
    if crashed and not all(event["fsync"] for event in presence):
        raise SnapshotGone("the machine was restarted, and without fsync nothing is known to be on disk")
    start = starts[-1]
    stage = StageNumber(start["stage"])
    ended = any(event["event"] == "end" and event["stage"] == stage for event in events)
    found = None if crashed else read_chunks(folder, durable=False)
    if found is None:
        if not all(event["fsync"] for event in presence):
            raise SnapshotGone("a file could not be written, and without fsync nothing is known to be on disk")
        found = read_chunks(folder, durable=True)
    if found is None or (found.stage, found.chunks) != (stage, start["chunks"]):
        found = Found(stage, start["chunks"])
    return Resumable(root, begin, events, stage, start, ended, crashed, found)


def is_resumable(root: Path) -> bool:
    """Whether anything was copied to ``root``."""
    return any(event["event"] == "listed" for event in read_journal(root / OWN_DIR))


def _follow(event: Event, table: FileTable, suspects: Suspects) -> tuple[Action, ...]:
    """One event of the journal; what it asks for."""
    kind = event["event"]
    if kind == "file":
        actions = table.add(_descriptor(event), StageNumber(event["stage"]), in_stage=event["in_stage"])
        if event["adopted"]:
            table.data[-1].adopted = True
        return actions or ()
    if kind == "start":
        return table.begin_stage()
    if kind == "size":
        table.data[event["index"]].size = event["size"]
    elif kind == "bad":
        suspects.update(event["index"], event["first"], event["count"], event["bad"])
    return ()


def _drop_again(dropped: list[Drop], table: FileTable, sink: Sink) -> None:
    """A file can be dropped while other connections go on and write to the journal, so that the notice is not the last
    event. What is left of it would be in the way of a table of that name; unless that is there already."""
    there = {file.path for file in table.all_files()}
    for action in dropped:
        if action.path not in there:
            carry_out_again(action, sink)


def _descriptor(event: Event) -> FileMetadata:
    return FileMetadata.parse(bytes.fromhex(event["descriptor"]))


def _bytes_there(table: FileTable, found: Found, page_size: int) -> int:
    """Bytes of FILE_COPY that were received."""
    total, chunk_size = 0, CHUNK_PAGES * page_size
    for meta in (file.metadata for file in table.data):
        for number, chunk in enumerate(range(meta.first_chunk, meta.last_chunk + 1)):
            size = max(0, min(chunk_size, meta.size - number * chunk_size))
            blocks = found.begun.get(chunk, 0) * BLOCK_PAGES * page_size
            total += size if chunk in found.done else min(size, blocks)
    return total


# ---- proof -----------------------------------------------------------------------------------------------------


def _compare(table: FileTable, left: Resumable) -> None:
    """Files must be there, and a sample of what was received must be what the journal says."""
    for one in table.all_files():
        if not one.path.is_file() or one.path.is_symlink():
            raise SnapshotGone(f"{one.path} is missing")
    if left.stage is not StageNumber.FILE_COPY:
        return
    page_size = int(left.variables["innodb_page_size"])
    known = [chunk for chunk, digest in left.found.done.items() if digest != NO_DIGEST]
    for chunk in random.sample(known, min(len(known), SAMPLE_AFTER_CRASH if left.crashed else SAMPLE)):
        file = next((one for one in table.data if one.metadata.first_chunk <= chunk <= one.metadata.last_chunk), None)
        if file is None or file.flags is None or file.flags.is_compressed or file.dropped:
            continue
        if _digest(file, (chunk - file.metadata.first_chunk) * CHUNK_PAGES * page_size, page_size) not in (
            left.found.done[chunk], NO_DIGEST, 0,
        ):  # fmt: skip
            raise SnapshotGone(f"{file.path} was changed since")


def _digest(file: ClonedFile, offset: int, page_size: int) -> int:
    """The digest of a chunk as it is on disk; 0 where the file can't be read."""
    digest, end = 0, min(offset + CHUNK_PAGES * page_size, file.metadata.size)
    try:
        with file.path.open("rb") as source:
            source.seek(offset)
            while offset < end and (data := source.read(min(64 * page_size, end - offset))):
                digest = zlib.crc32(stamp(memoryview(data), page_size), digest)
                offset += len(data)
    except (OSError, TypeError, ValueError):
        return 0
    return digest


def reconnect(session: Session, state: CloneState) -> Connection:
    """A new master connection on which the clone goes on. Raises `SnapshotGone` when it can't, or a network error."""
    identity = session.identity
    assert identity is not None, "a clone with a journal has one"
    with Sql(session.access.donor, read_timeout=SQL_ANSWER_TIMEOUT) as sql, understood("itself"):
        uuid, started = str(sql.value("SELECT @@GLOBAL.server_uuid")), donor_start(sql)
    if uuid != identity.uuid:
        raise SnapshotGone("another server answers there")
    if abs(started - identity.started) > timings.SAME_START:
        raise SnapshotGone("the donor was restarted")
    master = session.access.connect()
    try:
        theirs = reinit(master, session, state.locator(session.locator))
    except DonorError as error:
        master.close()
        if error.donor_number != NO_CLONE:
            raise
        raise SnapshotGone("the donor doesn't keep its snapshot any more") from error
    except BaseException:
        master.close()
        raise
    if theirs.stage is not state.stage and not (theirs.stage == state.stage + 1 and state.ended):
        master.close()
        if theirs.stage > state.stage:
            raise SnapshotGone(f"the donor is in {theirs.stage.name} already, {state.stage.name} is not complete here")
        raise ProtocolError(f"the donor is in {theirs.stage.name} when {state.stage.name} was reached")
    return master
