"""Clone connections to a donor: opened, put into clone mode, a clone begun on them."""

from __future__ import annotations

import re
import threading
from dataclasses import field
from typing import NamedTuple

from innoclone.dataclass import dataclass
from innoclone.errors import (
    CloneError,
    CloneRunning,
    ConfigurationMismatch,
    ConnectionLimit,
    Interrupted,
    ProtocolError,
)
from innoclone.receive import timings
from innoclone.receive.transfer import Transfer
from innoclone.transport.connection import Connection
from innoclone.transport.donorerrors import from_donor
from innoclone.transport.endpoint import Endpoint
from innoclone.wire.descriptors import Locator, StateDescriptor
from innoclone.wire.rpc import (
    COM_CLONE,
    Attach,
    Collation,
    Command,
    Complete,
    Config,
    DataDescription,
    Exit,
    Failure,
    Init,
    Locators,
    Plugin,
    ProtocolVersion,
    Reinit,
    Response,
    parse_response,
)
from innoclone.wire.serverversion import check_version

__all__ = [
    "NO_CLONE", "Access", "DonorParameters", "Identity", "Session", "attach", "begin", "call", "heed_waiting_donor",
    "leave", "reinit",
]  # fmt: skip

NO_CLONE = 1815  # ER_INTERNAL_ERROR: a donor's answer to COM_ATTACH and COM_REINIT for a clone that is over
MAX_PARAMETERS = 20_000
MAX_PARAMETER_BYTES = 16 << 20  # a stock donor sends 15 kB in about 370 messages


@dataclass
class DonorParameters:
    """What the donor told about itself in answer to COM_INIT."""

    version: str = ""
    config: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)  # name -> shared library, "" = built in
    collations: list[str] = field(default_factory=list)
    maturity: str = ""
    network_timeout: int = 5  # minutes for which the donor keeps the snapshot after a network failure

    def take(self, response: Response) -> None:
        """One parameter message."""
        if isinstance(response, Plugin):
            self.plugins[response.name] = response.library or ""
        elif isinstance(response, Collation):
            self.collations.append(response.name)
        elif isinstance(response, Config):
            self.config[response.key] = response.value
            if response.key == "json_configs":
                self.maturity = str(response.json.get("maturity", ""))
                self.config.setdefault("version", str(response.json.get("version", "")))
            elif response.key == "clone_donor_timeout_after_network_failure" and re.fullmatch(
                "[0-9]{1,4}", response.value
            ):
                self.network_timeout = int(response.value)
        else:
            raise ProtocolError(f"{type(response).__name__} in answer to COM_INIT")


class Identity(NamedTuple):
    """Which run of which server a donor is: clones are numbered anew when it starts."""

    uuid: str
    started: int  # seconds since the epoch, by the donor's clock


@dataclass(frozen=True)
class Access:
    """How connections to a donor are made. ``receive_buffer``: bytes, 0 = the system's choice."""

    donor: Endpoint
    transfer: Transfer
    receive_buffer: int
    stopped: threading.Event

    def connect(self, stopped: threading.Event | None = None) -> Connection:
        """A connection in clone mode; ``stopped`` ends it in place of the own event.

        A server counts connections for a moment longer than they are there: where an account may have few, those that
        we have just closed.
        """
        stopped = stopped or self.stopped
        for wait in timings.CONNECTION_LIMIT:
            try:
                return self._connect(stopped)
            except ConnectionLimit as error:
                if "per_hour" in error.message or stopped.wait(wait):
                    raise
        return self._connect(stopped)

    def _connect(self, stopped: threading.Event) -> Connection:
        connection = Connection(
            self.donor, self.transfer.compression, timeout=self.transfer.stall_timeout,
            receive_buffer=self.receive_buffer, stopped=stopped,
        )  # fmt: skip
        try:
            check_version(connection.greeting.version)
            connection.command(bytes([COM_CLONE]))
        except BaseException:
            connection.close()
            raise
        return connection


@dataclass
class Session:
    """A clone that the donor has begun."""

    access: Access
    protocol: int
    locator: Locator
    parameters: DonorParameters
    identity: Identity | None = None

    @property
    def keeps(self) -> float:
        """Seconds for which the donor keeps the snapshot when the connection is lost."""
        return self.parameters.network_timeout * 60.0


def begin(access: Access, request: bytes = b"") -> tuple[Session, Connection]:
    """Start a clone: its session and the master connection. ``request`` is seen by donors of our own alone.

    Waits a while for a donor that has not noticed yet that an earlier recipient is gone. Raises what the donor
    reports, `VersionUnsupported`, `ConfigurationMismatch`, `ProtocolError` or a network error.
    """
    waited = 0.0
    while True:
        master = access.connect()
        try:
            locators, parameters = _init(master, access.transfer, request)
        except CloneRunning:
            master.close()
            if access.stopped.wait(1.0):
                raise Interrupted("stopped") from None
            if waited >= timings.BUSY_DONOR:
                raise
            waited += 1.0
            continue
        except BaseException:
            master.close()
            raise
        return Session(access, locators.version, locators.locators[0], parameters), master


def _init(master: Connection, transfer: Transfer, request: bytes) -> tuple[Locators, DonorParameters]:
    master.set_timeout(transfer.ddl_timeout + timings.INIT_GRACE)
    command = Init(ProtocolVersion.V4, transfer.ddl_timeout, transfer.block_ddl, (Locator(),), request)
    master.write_packet(command.serialize())
    parameters = DonorParameters()
    locators = None
    count = size = 0
    # Donors 8.0.17 to 8.0.19 send LOCS first, later ones last: everything counts until COMPLETE.
    while not isinstance(response := _understood(payload := master.read_packet()), Complete):
        count, size = count + 1, size + len(payload)
        if count > MAX_PARAMETERS or size > MAX_PARAMETER_BYTES:
            raise ProtocolError(f"the donor's answer to COM_INIT does not end: {count} messages, {size} bytes")
        if isinstance(response, Locators):
            locators = response
        else:
            parameters.take(response)
    master.set_timeout(transfer.stall_timeout)
    if locators is None or len(locators.locators) != 1:
        raise ProtocolError("the donor did not send one InnoDB locator")
    if not ProtocolVersion.V1 <= locators.version <= ProtocolVersion.V4:
        raise ProtocolError(f"the donor chose clone protocol {locators.version:#x}")
    if locators.locators[0].clone_id == 0:
        raise ProtocolError("the donor's locator names no clone")
    parameters.version = parameters.config.get("version") or master.greeting.version
    check_version(parameters.version)
    page_size = parameters.config.get("innodb_page_size", "16384")
    if page_size not in ("4096", "8192", "16384", "32768", "65536"):
        raise ConfigurationMismatch(f"the donor's innodb_page_size is {page_size[:20]!r}")
    return locators, parameters


def _understood(payload: bytes) -> Response:
    """A response; what is wrong at the donor is raised."""
    response = parse_response(payload)
    if isinstance(response, Failure):
        raise from_donor(response.number, response.message)
    return response


def call(connection: Connection, command: Command) -> list[Response]:
    """Send a command that answers without bulk data; its responses before COMPLETE."""
    connection.write_packet(command.serialize())
    responses: list[Response] = []
    while not isinstance(response := _understood(connection.read_packet()), Complete):
        responses.append(response)
        if len(responses) > 1:  # COM_ATTACH and COM_REINIT have one, the others none
            raise ProtocolError("the donor's answer does not end")
    return responses


def attach(connection: Connection, session: Session) -> Locator:
    """Join the clone on one more connection; the donor's locator tells the stage it is in.

    The donor answers when it is in no stage's end; how long that takes depends on its load, as with COM_INIT.
    """
    transfer = session.access.transfer
    connection.set_timeout(transfer.ddl_timeout + timings.INIT_GRACE)
    command = Attach(session.protocol, transfer.ddl_timeout, transfer.block_ddl, (session.locator,))
    responses = call(connection, command)
    connection.set_timeout(transfer.stall_timeout)
    if len(responses) != 1 or not isinstance(responses[0], Locators):
        raise ProtocolError("COM_ATTACH was not answered with one locator")
    locators = responses[0].locators
    ours = session.locator
    if [(found.clone_id, found.snapshot_id) for found in locators] != [(ours.clone_id, ours.snapshot_id)]:
        raise ProtocolError("COM_ATTACH was answered for another clone")
    return locators[0]


def reinit(connection: Connection, session: Session, locator: Locator) -> Locator:
    """Go on with the clone on a new master connection; ``locator`` says the stage and what is there of it.

    The donor's own locator, which comes back, is of the same stage or the next.
    """
    transfer = session.access.transfer
    connection.set_timeout(timings.REINIT)
    command = Reinit(session.protocol, transfer.ddl_timeout, transfer.block_ddl, (locator,))
    responses = call(connection, command)
    connection.set_timeout(transfer.stall_timeout)
    if len(responses) != 1 or not isinstance(responses[0], Locators):
        raise ProtocolError("COM_REINIT was not answered with one locator")
    if len(responses[0].locators) != 1:
        raise ProtocolError("COM_REINIT was not answered with one locator")
    return responses[0].locators[0]


def heed_waiting_donor(master: Connection) -> None:
    """Read what a donor has said while it waits for FILE_COPY to be acknowledged: that it is alive, or that the clone
    is over. Raises that, or `ProtocolError` if it says anything else."""
    while master.readable():
        response = _understood(master.read_packet())
        state = response.descriptor if isinstance(response, DataDescription) else None
        if not isinstance(state, StateDescriptor) or not state.is_keepalive:
            raise ProtocolError("the donor goes on before the copy is acknowledged")


def leave(connection: Connection, patience: float) -> bool:
    """Leave clone mode and say goodbye, with ``patience`` seconds for the answer; whether there was one."""
    try:
        connection.set_timeout(patience)
        call(connection, Exit())
        connection.quit()
    except CloneError:  # what goes wrong here no longer matters
        return False
    finally:
        connection.close()
    return True
