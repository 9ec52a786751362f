"""A server whose files can't be read here: what it says to a recipient is passed on, and the other way round.

Each connection of a recipient gets one of ours to the server. Whole messages of the clone protocol are passed; the
server keeps the snapshot, gives one clone at a time, and knows how to go on after a lost connection, which is lost on
both sides.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Never

from innoclone.donor.channel import Channel
from innoclone.donor.clones import Services
from innoclone.donor.course import Course, Task
from innoclone.donor.description import Description
from innoclone.donor.offer import Given, T, Wish, refuse_keys
from innoclone.donor.plans import Plan, StoredFile
from innoclone.donor.replay import Replay
from innoclone.donor.spool import Spool
from innoclone.donor.takings import Recipient
from innoclone.errors import CloneError, DonorError, EncryptionNeedsTls, NetworkError, ProtocolError
from innoclone.innodb.redo import holds_key
from innoclone.receive import timings
from innoclone.receive.session import Access
from innoclone.receive.transfer import Transfer
from innoclone.transport.connection import COM_QUERY, Connection
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.timings import STALL_TIMEOUT
from innoclone.wire.descriptors import DataDescriptor, FileFlag, FileMetadata, StageNumber, StateDescriptor
from innoclone.wire.packets import PacketHeader
from innoclone.wire.rpc import (
    Attach,
    Command,
    Complete,
    DataDescription,
    Execute,
    Exit,
    Failure,
    Init,
    Locators,
    Reinit,
    Response,
    ResponseCode,
    parse_command,
    parse_response,
)

__all__ = ["Relay", "RelayedServer"]

CHUNKS = 1 << 20  # the most that a recipient may name when it comes back
MOST = 16 << 20  # bytes of a message; a server's blocks have up to 4 MiB


@dataclass
class RelayedServer:
    """A `Source` that gives nothing by itself: `Relay` is between."""

    server: Endpoint
    description: Description
    notes: tuple[str, ...]
    encrypted: bool = False  # whether anything there is, as far as the account may see it
    stopped: threading.Event = field(default_factory=threading.Event)
    _threads: dict[tuple[str, int], int] = field(default_factory=dict)  # the server's, by host and number of ours

    @property
    def name(self) -> str:
        """The server."""
        return f"the running server {self.server}, by its own stream"

    @property
    def version(self) -> str:
        """As it was when we began."""
        return self.description.version

    @property
    def chunks(self) -> int:
        """More than there are."""
        return CHUNKS

    def begin(self, _wish: Wish, _make: Callable[[Given], T], _is_gone: Callable[[], bool]) -> Never:
        """Never asked for."""
        raise NotImplementedError

    def revive(self, _fingerprint: int) -> Given | None:
        """The server knows."""
        return None

    def close(self) -> None:
        """Whoever waits for the server ends."""
        self.stopped.set()

    def connect(self, host: str, number: int) -> Connection:
        """In clone mode, for connection ``number`` of a recipient. Raises what the server says."""
        connection = Access(self.server, Transfer(), 0, self.stopped).connect()
        self._threads[host, number] = connection.greeting.connection_id
        return connection

    def forget(self, host: str, number: int) -> None:
        """The connection is closed."""
        self._threads.pop((host, number), None)

    def kill(self, host: str, number: int, by: Connection | None) -> None:
        """End the server's side of another connection of the same host."""
        thread = self._threads.get((host, number))
        if thread is not None and by is not None:
            with contextlib.suppress(CloneError):
                by.command(bytes([COM_QUERY]) + f"KILL CONNECTION {thread}".encode())


class _Told:
    """A `Given`: a snapshot of the server's, as far as its stream tells of it."""

    encrypted = False  # where it is, `Relay` sees it in the stream

    def __init__(self, fingerprint: int, described: Description) -> None:
        self.fingerprint, self.description = fingerprint, described
        self.plans: dict[StageNumber, Plan] = {}

    @property
    def outside(self) -> tuple[Path, ...]:
        """The server itself tells names."""
        return ()

    @property
    def is_at_rest(self) -> bool:
        """The server goes on."""
        return False

    def open(self, _file: StoredFile) -> None:
        """Its files can't be read here."""

    def refuse_changed(self) -> None:
        """It is the server's."""


class Relay:
    """Between one connection of a recipient and the server."""

    def __init__(
        self, source: RelayedServer, services: Services, channel: Channel, number: int, recipient: Recipient
    ) -> None:
        """For connection ``number`` of ours. Raises what the server says when it is asked for a clone."""
        self._source, self._services, self._channel, self._recipient = source, services, channel, recipient
        self._key = channel.peer_host, number
        self._course: Course | None = None
        self._task: Task | None = None
        self._is_master = False
        self._is_redo_head = False  # the block that comes next
        self._server = source.connect(*self._key)

    def run(self) -> None:
        """Commands to and fro until COM_EXIT, or an answer that is an error. Raises `NetworkError` where either side
        is lost, `ProtocolError`."""
        goes_on = True
        while goes_on:
            self._channel.sequence = 0
            payload = self._channel.read()
            if payload is None:
                raise NetworkError("the recipient is gone")
            try:
                goes_on = self._command(payload)
            except EncryptionNeedsTls as error:
                self._server.shut()
                self._channel.say(Failure(error.code, error.message).serialize())
                return

    def kill(self, number: int) -> None:
        """End the server's side of another connection of this host."""
        self._source.kill(self._key[0], number, self._server)

    def close(self) -> None:
        """The recipient is gone, or its connection is of no use any more."""
        self._source.forget(*self._key)
        self._server.shut()
        self._server.close()
        if self._course is not None and self._task is not None:
            self._course.detach(self._task)
            self._services.clones.tidy()

    def _command(self, payload: bytes) -> bool:
        """Pass one command on, and the answer back; whether clone mode goes on."""
        command = parse_command(payload)
        wait = STALL_TIMEOUT
        if isinstance(command, Init | Attach | Reinit):
            wait = command.ddl_timeout + timings.INIT_GRACE
            self._is_master = not isinstance(command, Attach)
        if isinstance(command, Init):
            refuse_keys(self._source, tls=self._channel.is_tls)
            # What two of ours agree on can't be passed on.
            payload = replace(command, padding=b"").serialize()
        self._server.set_timeout(wait)
        self._server.write_packet(payload)
        while True:
            message = self._message()
            response = None if message[0] == ResponseCode.DATA else parse_response(message)
            self._refuse_keys(message, response)
            sent = self._channel.sent
            self._channel.say(message)
            if response is None:
                self._count(len(message) - 1, self._channel.sent - sent)
            else:
                self._note(command, response)
            if isinstance(response, Complete | Failure):
                return not isinstance(command, Exit) and isinstance(response, Complete)

    def _count(self, data: int, network: int) -> None:
        if self._course is not None:
            self._course.count(data, network)
        self._services.limits.pause(data, network, self._source.stopped)

    def _note(self, command: Command, response: Response) -> None:
        """Who takes what, how far."""
        if isinstance(response, Locators) and response.locators:
            locator = response.locators[0]
            self._course = self._services.clones.adopt(
                locator.clone_id, lambda: _Told(locator.snapshot_id, self._source.description), self._recipient
            )
            self._task = self._course.join(self._channel.shut)
            if self._is_master:
                self._course.master = self._key[1]
        course = self._course
        if course is None or not self._is_master:
            return
        if isinstance(response, DataDescription) and isinstance(state := response.descriptor, StateDescriptor):
            if state.is_start and not state.is_keepalive:
                self._begin_stage(course, state)
        elif isinstance(response, Failure):
            course.fail(DonorError(response.message, donor_number=response.number))
        elif isinstance(response, Complete) and isinstance(command, Execute):
            self._services.clones.completed(course)

    @staticmethod
    def _begin_stage(course: Course, state: StateDescriptor) -> None:
        if isinstance(course.given, _Told) and state.stage is not StageNumber.DONE:
            course.given.plans[state.stage] = Replay(Spool(Path()), state, ())
        course.follow(state.stage)

    def _message(self) -> bytes:
        """The server's next, of all its packets."""
        parts: list[bytes] = []
        size = 0
        while True:
            header: PacketHeader = self._server.read_header()
            size += header.length
            if size > MOST:
                raise ProtocolError(f"the server sends a message of more than {MOST} bytes")
            parts.append(self._server.read_exact(header.length))
            if not header.is_continued:
                break
        if not size:
            raise ProtocolError("the server sends a message of no bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _refuse_keys(self, message: bytes, response: Response | None) -> None:
        """Keys of encrypted files travel in the clear inside: the server sees only that our connection is safe."""
        if self._channel.is_tls:
            return
        if response is None:
            if self._is_redo_head and holds_key(message[1:]):
                raise EncryptionNeedsTls("an encrypted redo log is given over TLS alone, since its key goes with it")
            return
        found = response.descriptor if isinstance(response, DataDescription) else None
        self._is_redo_head = (
            isinstance(found, DataDescriptor) and found.stage is StageNumber.REDO_COPY and not found.offset
        )
        if isinstance(found, FileMetadata) and found.flags & (FileFlag.ENCRYPTED | FileFlag.HAS_KEY):
            raise EncryptionNeedsTls("what is encrypted is given over TLS alone, since its keys go with it")
