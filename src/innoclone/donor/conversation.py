"""One connection of a recipient: its login, and its commands one after another.

Nothing that a peer names is looked up but the clones that are under way; whatever it sends, only the files that were
listed when the directory was proven ever leave.
"""

from __future__ import annotations

import logging
import re
import threading

from innoclone.donor.answers import answer
from innoclone.donor.channel import Channel
from innoclone.donor.clones import Services
from innoclone.donor.comparing import Comparer
from innoclone.donor.course import Course, Task
from innoclone.donor.sending import Sender
from innoclone.errors import CloneError, Interrupted, NetworkError, ProtocolError, SnapshotGone, one_line
from innoclone.transport.failedlogins import LoginAttempt, peer_of
from innoclone.transport.served import OutOfOrder, PacketTooLarge, nonce
from innoclone.wire.comparison import (
    ANSWER_AT_REST,
    ANSWER_KEY,
    COMMANDS,
    REQUEST,
    Compare,
    Comparison,
    Join,
    parse_comparison,
)
from innoclone.wire.descriptors import Locator
from innoclone.wire.handshake import Capability, Err, Ok
from innoclone.wire.rpc import (
    COM_CLONE,
    Ack,
    Attach,
    Command,
    Complete,
    Config,
    Execute,
    Exit,
    Failure,
    Init,
    Locators,
    ProtocolVersion,
    Reinit,
    ResponseCode,
    parse_command,
)
from innoclone.wire.serverlogin import ServerLogin

__all__ = ["Conversation"]

log = logging.getLogger("innoclone.donor")
COM_QUIT, COM_QUERY, COM_PING, COM_RESET_CONNECTION = 0x01, 0x03, 0x0E, 0x1F  # my_command.h
COMMAND_PACKET = 1 << 16  # bytes; a recipient's are short, but for the chunks of COM_REINIT
CHUNKS_PER_BYTE = 1  # of a bitmap in COM_REINIT: a stock recipient's has 4 bytes for 8 chunks
LOGIN_WITHIN = 10.0  # seconds
IDLE = 8 * 3600.0  # seconds between commands: a recipient may drop its data meanwhile
READING, WRITING = 60.0, 60.0  # seconds; a recipient may stop reading while it flushes
NETWORK_ERRORS = range(1153, 1162)  # with which a recipient says that it lost a connection, not that it gives up
STOCK_PLUGIN = "libmysql"  # the client library that a server's clone plugin uses, in its connection attributes
KILL = re.compile(r"\s*KILL\s+(?:CONNECTION\s+)?(\d{1,10})\s*;?\s*\Z", re.IGNORECASE)
REFUSED = {
    1129: ("HY000", "Host '{}' is blocked because of many connection errors"),
    1040: ("08004", "Too many connections"),
    1047: ("08S01", "Unknown command"),
}


def refusal(number: int, *what: str) -> bytes:
    """An ERR packet."""
    state, text = REFUSED[number]
    return Err(number, state, text.format(*what)).serialize()


class Conversation:
    """Runs in a thread of its own, but for `shut`."""

    def __init__(self, services: Services, channel: Channel, number: int) -> None:
        self.number, self.channel, self.host = number, channel, channel.peer_host
        self.thread = threading.current_thread()  # until it has one of its own
        self.logged_in = self.in_clone = False
        self.course: Course | None = None
        self.task: Task | None = None
        self._services = services
        self._attempt = LoginAttempt(services.failed_logins, peer_of(self.host, channel.peer_uid))
        self._makes_new_files = False
        self._comparer: Comparer | None = None
        self._patience = threading.Event()  # set when the connection is to end
        self.is_shut = False

    def shut(self) -> None:
        """End it, from any thread."""
        self.is_shut = True
        self._patience.set()
        self.channel.shut()

    def run(self) -> None:
        """The whole life of the connection. Never raises."""
        try:
            if self._log_in():
                self._serve()
        except NetworkError as error:
            log.debug("connection %d: %s", self.number, error.message)
        except (PacketTooLarge, OutOfOrder, ProtocolError) as error:
            log.warning("connection %d from %s: %s", self.number, self.host, one_line(error.message))
        finally:
            self.channel.close()
            self._leave(lost=True)

    # ---- login ---------------------------------------------------------------------------------------------

    def _log_in(self) -> bool:
        services, channel = self._services, self.channel
        channel.set_deadline(LOGIN_WITHIN)
        channel.most = COMMAND_PACKET
        login = ServerLogin(
            services.credentials, version=services.stored.description.version, connection_id=self.number, nonce=nonce(),
            client_host=self.host, tls=True, tls_required=services.options.require_secure_transport,
            more=Capability.COMPRESS | Capability.ZSTD,
        )  # fmt: skip
        channel.write([login.greeting.serialize()])
        try:
            self.logged_in = self._exchange(login)
        finally:
            if not self.logged_in and self._attempt.failed(login.user):
                log.warning("%s failed to log in too often and must wait for %g s", self.host, services.block_time)
        if not self.logged_in:
            return False
        self._attempt.succeeded(login.user)
        channel.write([Ok().serialize()])
        if login.capabilities & Capability.COMPRESS:
            channel.compress("zlib", 0)
        elif login.capabilities & Capability.ZSTD:
            channel.compress("zstd", login.zstd_level if 1 <= login.zstd_level <= 22 else 0)
        self._makes_new_files = login.attributes.get("_client_name") == STOCK_PLUGIN
        channel.set_timeouts(IDLE, READING, WRITING)
        channel.most = COMMAND_PACKET + services.clones.chunks // CHUNKS_PER_BYTE
        return True

    def _exchange(self, login: ServerLogin) -> bool:
        """Packets to and fro until the login has ended; whether it went well."""
        channel = self.channel
        while True:
            payload = channel.read()
            if payload is None:
                return False
            if login.is_guess(payload) and not self._attempt.begin(LOGIN_WITHIN / 2):
                channel.write([refusal(1129, self.host)])
                return False
            step = login.receive(payload)
            if step.payload is not None:
                channel.write([step.payload])
            if step.refused:
                user = one_line(login.user)
                log.warning("connection %d from %s: login as '%s' refused", self.number, self.host, user)
                return False
            if step.start_tls:
                channel.start_tls(self._services.tls)
                login.tls_started()
            if step.logged_in:
                return True

    # ---- commands outside of clone mode --------------------------------------------------------------------

    def _serve(self) -> None:
        channel = self.channel
        while not self.is_shut:
            channel.sequence = 0
            payload = channel.read()
            if payload is None or payload[:1] == bytes([COM_QUIT]):
                return
            code = payload[0] if payload else -1
            if code == COM_CLONE:
                channel.write([Ok().serialize()])
                self.in_clone = True
                self._clone()
                self.in_clone = False
            elif code in (COM_PING, COM_RESET_CONNECTION):
                channel.write([Ok().serialize()])
            elif code == COM_QUERY:
                channel.write(self._query(payload[1:].decode("utf-8", "replace")))
            else:
                channel.write([refusal(1047)])

    def _query(self, statement: str) -> list[bytes]:
        """KILL is all that a stock recipient ever says, when its own statement was killed; ours asks a little."""
        match = KILL.match(statement)
        if match is None:
            return answer(statement, self._services.stored.description, self._services.began)
        self._services.clones.kill(int(match[1]), self.host)
        return [Ok().serialize()]

    # ---- clone mode ----------------------------------------------------------------------------------------

    def _clone(self) -> None:
        """Until COM_EXIT, or an answer that is an error."""
        while not self.is_shut:
            self.channel.sequence = 0
            payload = self.channel.read()
            if payload is None:
                raise NetworkError("the recipient is gone")
            try:
                if payload[:1] and payload[0] in COMMANDS:
                    self._compare(parse_comparison(payload))
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
        log.warning("connection %d from %s: %s", self.number, self.host, one_line(error.message))
        if self.course is not None and self.task is not None:
            self.course.fail(error)
        if self.channel.is_torn:
            raise NetworkError("a message was broken off")
        self.channel.say(Failure(error.code, error.message).serialize())
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
        compared = command.padding.startswith(REQUEST) and version >= ProtocolVersion.V3
        self.course = self._services.clones.begin(self.host, compared=compared)
        self.task, self.course.master = self.course.begin(self.shut), self.number
        agreed = [Config(ANSWER_KEY, ANSWER_AT_REST, ResponseCode.CONFIG_V3).serialize()] if compared else []
        self.channel.say(
            *self._parameters(version), *agreed, self._locators(version, self.course), Complete().serialize()
        )  # fmt: skip

    def _version(self, theirs: int) -> int:
        """The highest that both know. A stock recipient of 9.7 crashes when it is answered with a lower one than it
        asked for and not told what it wants to know (tested), so none is."""
        if theirs < ProtocolVersion.V1:
            raise ProtocolError(f"clone protocol {theirs:#x}")
        return min(theirs, ProtocolVersion.V4)

    def _parameters(self, version: int) -> list[bytes]:
        described = self._services.stored.description
        found = [Config(name, value) for name, value in described.configuration.items()]
        if version < ProtocolVersion.V4:
            found.insert(0, Config("version", described.version))
        if version >= ProtocolVersion.V3:
            minutes = str(self._services.options.reconnect_timeout)
            found.append(Config("clone_donor_timeout_after_network_failure", minutes, ResponseCode.CONFIG_V3))
        if version >= ProtocolVersion.V4:
            found.append(Config("json_configs", described.json, ResponseCode.CONFIG_V4))
        return [one.serialize() for one in found]

    def _locators(self, version: int, course: Course) -> bytes:
        locator = Locator(course.clone_id, self._services.stored.fingerprint, 0, course.stage)
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
        course = self._services.clones.find(locator, revived_by=self.host)
        self.task, course.master = course.restart(locator, self.shut), self.number
        self.course = course
        log.info("%s goes on with its clone at %s", self.host, course.stage.name)
        self.channel.say(self._locators(self._version(command.version), course), Complete().serialize())

    def _compare(self, command: Comparison) -> None:
        """A question of a recipient that has an older clone, about a clone that is under way."""
        if isinstance(command, Join):
            self._refuse_second()
            self.course = self._services.clones.find(command.locator)
            self._comparer = Comparer(command.key, self._services.stored.files)
            self.channel.say(Complete().serialize())
            return
        course, comparer = self.course, self._comparer
        if course is None or comparer is None:
            raise ProtocolError("a comparison without a clone")
        course.refuse_failed()
        sent = self.channel.sent
        if isinstance(command, Compare):
            self.channel.say(comparer.compare(command))
        else:
            head, pages = comparer.fetch(command)
            self.channel.write_data(head, pages)
            course.count(len(pages))
        self._services.limits.pause(self.channel.sent - sent, self.channel.sent - sent, self._patience)

    def _refuse_second(self) -> None:
        if self.course is not None:
            raise ProtocolError("a second clone on one connection")

    def _execute(self) -> None:
        course, task = self.course, self.task
        if course is None or task is None:
            raise ProtocolError("COM_EXECUTE without a clone")
        services = self._services
        course.was_executed = True
        sender = Sender(self.channel, course, task, services.stored, services.limits, holes=self._makes_new_files)
        sender.run()
        course.detach(task)
        self.task = None
        if task.number == 0:
            services.clones.completed(course, self.host)

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
        if self._comparer is not None:
            self._comparer.close()
            self._comparer = None
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
