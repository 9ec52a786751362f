"""One connection of a recipient: its commands one after another, after its login.

Nothing that a peer names is looked up but the clones that are under way; whatever it sends, only the files that were
listed when the directory was proven ever leave.
"""

from __future__ import annotations

import logging
import re
import threading
import time

from innoclone.donor.account import Guest
from innoclone.donor.answers import answer, parameters, refusal
from innoclone.donor.channel import Channel
from innoclone.donor.clones import Services
from innoclone.donor.comparing import Comparing, agreed, is_wished
from innoclone.donor.course import Course, Task
from innoclone.donor.elsewhere import refuse_overwriting
from innoclone.donor.offer import Wish, refuse_keys
from innoclone.donor.reception import Reception
from innoclone.donor.relay import Relay, RelayedServer
from innoclone.donor.sending import Sender
from innoclone.donor.shelf import Shelf
from innoclone.donor.takings import Recipient
from innoclone.errors import (
    CloneError,
    Interrupted,
    NetworkError,
    ProtocolError,
    SnapshotGone,
    one_line,
)
from innoclone.transport.donorerrors import passed_on
from innoclone.wire.descriptors import Locator, StageNumber
from innoclone.wire.handshake import Err, Ok
from innoclone.wire.rpc import (
    COM_CLONE,
    Ack,
    Attach,
    Command,
    Complete,
    Execute,
    Exit,
    Failure,
    Init,
    Locators,
    ProtocolVersion,
    Reinit,
    parse_command,
)

__all__ = ["Conversation"]

log = logging.getLogger("innoclone.donor")
COM_QUIT, COM_QUERY, COM_PING, COM_RESET_CONNECTION = 0x01, 0x03, 0x0E, 0x1F  # my_command.h
COMMAND_PACKET = 1 << 16  # bytes; a recipient's are short, but for the chunks of COM_REINIT
CHUNKS_PER_BYTE = 1  # of a bitmap in COM_REINIT: a stock recipient's has 4 bytes for 8 chunks
IDLE = 8 * 3600.0  # seconds between commands: a recipient may drop its data meanwhile
READING, WRITING = 60.0, 60.0  # seconds; a recipient may stop reading while it flushes
OK = b"\0"
NETWORK_ERRORS = range(1153, 1162)  # with which a recipient says that it lost a connection, not that it gives up
STATES = {  # as a stock donor's processlist has them; what takes no part in a stage is "starting"
    StageNumber.FILE_COPY: "clone (file copy)", StageNumber.PAGE_COPY: "clone (page copy)",
    StageNumber.REDO_COPY: "clone (redo copy)",
}  # fmt: skip
KILL = re.compile(r"\s*KILL\s+(?:CONNECTION\s+)?(\d{1,10})\s*;?\s*\Z", re.IGNORECASE)


class Conversation:
    """Runs in a thread of its own, but for `shut`."""

    def __init__(self, services: Services, channel: Channel, number: int) -> None:
        self.number, self.channel, self.host = number, channel, channel.peer_host
        self.since = time.time()  # since when it does what it does
        self._reception = Reception(services, channel, number)
        self.thread = threading.current_thread()  # until it has one of its own
        self.logged_in = self.in_clone = False
        self.course: Course | None = None
        self.task: Task | None = None
        self._relay: Relay | None = None
        self._services = services
        self._comparing = Comparing(services, channel)
        self.is_shut = False

    def shut(self) -> None:
        """End it, from any thread."""
        self.is_shut = True
        self._comparing.stop()
        self.channel.shut()

    def kill(self, *, query_only: bool) -> None:
        """As KILL does, from any thread: end the clone that it takes part in, or the connection."""
        course = self.course
        if course is not None:
            course.fail(Interrupted("the clone was killed at the donor"))
        elif not query_only:
            self.shut()

    def run(self) -> None:
        """The whole life of the connection. Never raises."""
        try:
            self.logged_in = self._reception.log_in()
            if self.logged_in:
                self.channel.set_timeouts(IDLE, READING, WRITING)
                self._serve()
        except NetworkError as error:
            log.debug("connection %d: %s", self.number, error.message)
        except CloneError as error:  # what makes no sense, or what is served has gone
            log.warning("%sconnection %d from %s: %s", self._prefix, self.number, self.host, one_line(error.message))
        finally:
            self.channel.close()
            if self._relay is not None:
                self._relay.close()
            self._leave(lost=True)

    # ---- commands outside of clone mode --------------------------------------------------------------------

    def _serve(self) -> None:
        channel = self.channel
        while not self.is_shut:
            channel.sequence = 0
            self.since = time.time()
            payload = channel.read()
            if payload is None or payload[:1] == bytes([COM_QUIT]):
                return
            code = payload[0] if payload else -1
            if code == COM_CLONE:
                self._begin_clone()
            elif code in (COM_PING, COM_RESET_CONNECTION):
                channel.write([Ok().serialize()])
            elif code == COM_QUERY:
                channel.write(self._query(payload[1:].decode("utf-8", "replace")))
            else:
                channel.write([refusal(1047)])

    def _begin_clone(self) -> None:
        refused, source = self._refusal(), self._services.source
        if refused[:1] == OK and isinstance(source, Shelf):
            source = source.there()
        if refused[:1] == OK and isinstance(source, RelayedServer):
            self._pass_on(source)
            return
        self.channel.write([refused])
        if refused[:1] == OK:
            self._clone()

    def _query(self, statement: str) -> list[bytes]:
        """KILL is all that a stock recipient ever says, when its own statement was killed; ours asks a little."""
        match = KILL.match(statement)
        if match is None:
            refused = self._refusal()
            if refused[:1] != OK:
                return [refused]
            return answer(statement, self._services.source.description, self._services.began)
        self._services.clones.kill(int(match[1]), self.host)
        if self._relay is not None:
            self._relay.kill(int(match[1]))
        return [Ok().serialize()]

    def _refusal(self) -> bytes:
        """OK, or why there is no clone to be had: to COM_CLONE, and to what is asked before it."""
        if not self.guest.may_clone:
            log.warning("%s%s has no privilege BACKUP_ADMIN", self._prefix, self._recipient)
            return refusal(1227)
        try:
            _ = self._services.source.description
        except CloneError as error:
            number, text = passed_on(error.code, error.message)
            log.warning("%s%s gets no clone: %s", self._prefix, self._recipient, one_line(text))
            return Err(number, error.sqlstate, one_line(text)).serialize()
        return Ok().serialize()

    @property
    def _prefix(self) -> str:
        return self._services.options.prefix

    @property
    def guest(self) -> Guest:
        """Who it is, and what it may do."""
        return self._reception.guest

    @property
    def _recipient(self) -> Recipient:
        return self._reception.recipient

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent."""
        return self.channel.received, self.channel.sent

    @property
    def state(self) -> str:
        """What it does, as a stock donor's processlist has it."""
        if not self.in_clone:
            return "" if self.logged_in else "login"
        course, task = self.course, self.task
        return STATES.get(course.stage, "starting") if course is not None and task is not None else "starting"

    def _pass_on(self, source: RelayedServer) -> None:
        """Clone mode with a server behind us. Its connection stays: it may be asked to kill another one."""
        if self._relay is not None:
            self._relay.close()
        said = Ok().serialize()
        try:
            self._relay = Relay(source, self._services, self.channel, self.number, self._recipient)
        except CloneError as error:
            number, text = passed_on(error.code, error.message)
            said = Err(number, error.sqlstate, one_line(text)).serialize()
        self.channel.write([said])
        if self._relay is not None and said[:1] == OK:
            self.channel.most = COMMAND_PACKET + source.chunks // CHUNKS_PER_BYTE
            self.in_clone = True
            self._relay.run()
            self.in_clone = False

    # ---- clone mode ----------------------------------------------------------------------------------------

    def _clone(self) -> None:
        """Until COM_EXIT, or an answer that is an error."""
        self.channel.most = COMMAND_PACKET + self._services.source.chunks // CHUNKS_PER_BYTE
        self.in_clone = True
        try:
            self._commands()
        finally:
            self.in_clone = False

    def _commands(self) -> None:
        while not self.is_shut:
            self.channel.sequence = 0
            payload = self.channel.read()
            if payload is None:
                raise NetworkError("the recipient is gone")
            try:
                if Comparing.means(payload):
                    self.course = self._comparing.answer(payload, self.course)
                    continue
                command = parse_command(payload)
                self._command(command)
            except (NetworkError, ProtocolError):
                raise
            except CloneError as error:
                self._failed(error)
                return
            if isinstance(command, Exit):
                return

    def _failed(self, error: CloneError) -> None:
        log.warning("%sconnection %d from %s: %s", self._prefix, self.number, self.host, one_line(error.message))
        if self.course is not None and self.task is not None:
            self.course.fail(error)
        if self.channel.is_torn:
            raise NetworkError("a message was broken off")
        self.channel.say(Failure(*passed_on(error.code, error.message)).serialize())
        self._leave()

    def _command(self, command: Command) -> None:
        match command:
            case Init():
                self._init(command)
            case Attach():
                self._attach(command)
            case Reinit():
                self._reinit(command)
            case Execute():
                self._execute()
            case Ack():
                self._ack(command)
            case Exit():
                self._leave()
                self.channel.say(Complete().serialize())

    def _init(self, command: Init) -> None:
        self._refuse_second()
        version = self._version(command.version)
        compared = is_wished(command.padding) and version >= ProtocolVersion.V3
        self.course = course = self._services.clones.begin(
            self._recipient, Wish(command.block_ddl, command.ddl_timeout, self.channel.is_tls),
            lambda: self.is_shut or self.channel.is_gone, compared=compared,
        )  # fmt: skip
        self.task, course.master = course.begin(self.shut), self.number
        refuse_keys(course.given, tls=self.channel.is_tls)  # a stock recipient drops its own data on the answer to this
        if self._reception.makes_new_files:
            refuse_overwriting(course.given, self.channel)
        self.channel.say(*parameters(version, course.given.description, self._services.options.reconnect_timeout))
        if compared:
            self.channel.say(agreed(course.given))
        self.channel.say(self._locators(version, course), Complete().serialize())

    def _version(self, theirs: int) -> int:
        """The highest that both know. A stock recipient of 9.7 crashes when it is answered with a lower one than it
        asked for and not told what it wants to know (tested), so none is."""
        if theirs < ProtocolVersion.V1:
            raise ProtocolError(f"clone protocol {theirs:#x}")
        return min(theirs, ProtocolVersion.V4)

    def _locators(self, version: int, course: Course) -> bytes:
        locator = Locator(course.clone_id, course.given.fingerprint, 0, course.stage)
        return Locators(version, (locator,)).serialize()

    def _attach(self, command: Attach) -> None:
        self._refuse_second()
        course = self._services.clones.find(_only(command.locators))
        self.task = course.attach(self.shut, lambda: self.is_shut or self.channel.is_gone)
        self.course = course
        self.channel.say(self._locators(self._version(command.version), course), Complete().serialize())

    def _reinit(self, command: Reinit) -> None:
        self._refuse_second()
        locator = _only(command.locators)
        course = self._services.clones.find(locator, revived_by=self._recipient)
        self.task, course.master = course.restart(locator, self.shut), self.number
        self.course = course
        log.info("%s%s goes on with its clone at %s", self._prefix, self.host, course.stage.name)
        self.channel.say(self._locators(self._version(command.version), course), Complete().serialize())

    def _refuse_second(self) -> None:
        if self.course is not None:
            raise ProtocolError("a second clone on one connection")

    def _execute(self) -> None:
        course, task = self.course, self.task
        if course is None or task is None:
            raise ProtocolError("COM_EXECUTE without a clone")
        services, new = self._services, self._reception.makes_new_files
        refuse_keys(course.given, tls=self.channel.is_tls)
        course.was_executed = True
        sender = Sender(self.channel, course, task, services.limits, services.reading, holes=new)
        sender.run()
        course.detach(task)
        self.task = None
        if task.number == 0:
            services.clones.completed(course)

    def _ack(self, command: Ack) -> None:
        course = self._services.clones.find(command.locator)
        if command.error in NETWORK_ERRORS:
            course.break_off()
        elif command.error:
            course.fail(Interrupted(f"the recipient gave up with error {command.error}"))
        elif command.state is not None:
            course.acknowledge(command.state.stage)
        self.channel.say(Complete().serialize())

    def _leave(self, *, lost: bool = False) -> None:
        """What this connection was to a clone is over; ``lost``: not by its own will."""
        course, task = self.course, self.task
        self.course = self.task = None
        self._comparing.close()
        if course is None:
            return
        if task is not None:
            if not course.was_executed:
                self._services.clones.drop(course)
            if lost:
                course.lost(task)
            else:
                course.detach(task)
        self._services.clones.tidy()


def _only(locators: tuple[Locator, ...]) -> Locator:
    if len(locators) != 1:
        raise SnapshotGone("one InnoDB clone is all there is here")
    return locators[0]
