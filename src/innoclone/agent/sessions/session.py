"""One client: its login, and its commands one after another, each answered before the next is read."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from innoclone.agent.accounts.caller import UNAUTHENTICATED, Caller
from innoclone.agent.accounts.credentials import HostCredentials, LoginKeys
from innoclone.agent.connections import ClientKind
from innoclone.agent.faults import StatementError
from innoclone.agent.services import Services
from innoclone.agent.sql import Budget, masked, running, trim
from innoclone.agent.statements.context import SessionContext
from innoclone.agent.statements.execution import Execution
from innoclone.agent.statements.prepared import Prepared
from innoclone.agent.statements.results import Answer, Done, Rows, packets
from innoclone.agent.variables.version import SERVER_VERSION
from innoclone.errors import CloneError, NetworkError, ProtocolError, TlsFailed, one_line
from innoclone.transport.failedlogins import LoginAttempt, peer_of
from innoclone.transport.served import OutOfOrder, PacketTooLarge, ServedConnection, nonce
from innoclone.wire import commands as com
from innoclone.wire.handshake import Err
from innoclone.wire.results import Eof
from innoclone.wire.serverlogin import ServerLogin, ServerStep

__all__ = ["Session", "refusal"]

log = logging.getLogger("innoclone.agent")
DRAINED, DRAINED_WITHIN = 64 << 20, 5.0  # bytes and seconds of a packet that is too large
COUNTED: dict[type[com.Command], tuple[str, ...]] = {
    com.Query: ("Queries", "Questions"), com.StmtExecute: ("Queries", "Questions", "Com_stmt_execute"),
    com.StmtPrepare: ("Queries", "Com_stmt_prepare"), com.Ping: ("Queries",), com.StmtClose: ("Queries",),
}  # fmt: skip
LOGIN_PACKET = 1 << 16  # bytes; a login's packets are short, and whoever sends them is not known yet


def refusal(error: CloneError) -> bytes:
    """An ERR packet."""
    message = error.message.encode("utf-8", "replace").decode()  # it may quote what a client sent
    return Err(error.code, error.sqlstate, message).serialize()


class Session:
    """Runs in a thread of its own, from `start` on."""

    def __init__(
        self, services: Services, keys: LoginKeys, connection: ServedConnection, number: int, kind: ClientKind
    ) -> None:
        """``number`` is the connection's id, ``kind`` says in whose number it counts."""
        self._services, self._settings, self._keys = services, services.settings, keys
        self._connection, self.number, self.kind = connection, number, kind
        self._host = connection.peer_host
        self._context = SessionContext(services, Caller(services.accounts, number, self._host))
        self._execution = Execution(self._context)
        self._prepared = Prepared(self._execution)
        self.command, self.since, self.info = "Connect", time.time(), ""
        self._login: ServerLogin | None = None
        self._is_logged_in = self._is_killed = self._is_writing = self._has_quit = False
        self._credentials = HostCredentials(
            services.accounts, keys.passwords, keys.key, self._host, connection.peer_uid
        )
        self._attempt = LoginAttempt(services.failed_logins, peer_of(self._host, connection.peer_uid))
        self._thread: threading.Thread | None = None
        connection.most = min(LOGIN_PACKET, self._settings.max_allowed_packet)

    # ---- from other threads --------------------------------------------------------------------------------

    def start(self, then: Callable[[], None]) -> None:
        """Begin; ``then`` is called at the end."""

        def run() -> None:
            try:
                self._run()
            except Exception:
                log.exception("connection %d: unexpected", self.number)
            finally:
                then()

        self._thread = threading.Thread(target=run, name=f"innoclone-client-{self.number}", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait so long for its end, then break it off."""
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join(seconds)
        self._connection.shut()

    def kill(self, *, query_only: bool) -> None:
        """KILL: end the statement that runs, and the connection too unless ``query_only``."""
        if not query_only:
            self._is_killed = True
        self._context.interrupted.set()
        if not query_only and (self.info == "" or self._is_writing):
            self._connection.shut()  # it waits for a command, or for a client that doesn't read

    @property
    def state(self) -> str:
        """As the processlist has it."""
        return "executing" if self.info else ""

    @property
    def is_cloning(self) -> bool:
        """Whether its statement is a clone that runs."""
        return self._context.is_cloning

    @property
    def caller(self) -> Caller:
        """Who sends the statements."""
        return self._context.caller

    @property
    def schema(self) -> str:
        """The one that USE chose, if any."""
        return self._context.schema

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent."""
        return self._connection.received, self._connection.sent

    # ---- its own thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        """The whole life of the connection."""
        try:
            if self._log_in():
                self._serve()
        except NetworkError as error:
            log.debug("connection %d: %s", self.number, error.message)
        except PacketTooLarge:
            self._send_last(StatementError(1153))
            if self._is_logged_in:
                self._connection.drain(DRAINED, DRAINED_WITHIN)
        except OutOfOrder:
            self._send_last(StatementError(1156))
        except ProtocolError:
            self._send_last(StatementError(1835))
        finally:
            self._services.counters.add("Bytes_received", self._connection.received)
            self._services.counters.add("Bytes_sent", self._connection.sent)
            if self._is_logged_in and not self._has_quit:
                self._services.counters.add("Aborted_clients")
            self._connection.close()
            self._execution.close()

    def _send_last(self, error: CloneError) -> None:
        with contextlib.suppress(NetworkError):
            self._connection.write([refusal(error)])

    # ---- login ---------------------------------------------------------------------------------------------

    def _log_in(self) -> bool:
        settings, connection = self._settings, self._connection
        connection.set_deadline(settings.connect_timeout)
        local = connection.peer_uid is not None
        login = ServerLogin(
            self._credentials, version=SERVER_VERSION, connection_id=self.number, nonce=nonce(),
            client_host=self._host, tls=not local, private=local, tls_required=settings.require_secure_transport,
        )  # fmt: skip
        connection.write([login.greeting.serialize()])
        if not self._converse(login, None):
            return False
        self._set_timeouts()
        connection.most = settings.max_allowed_packet
        return True

    def _converse(self, login: ServerLogin, step: ServerStep | None) -> bool:
        """A login to its end; whether it went well. One that was begun and fails counts, whatever ends it."""
        refused = False
        try:
            refused, well = self._exchange(login, step)
            return well
        finally:
            if not self._is_logged_in:
                self._failed(login, "refused" if refused else "not completed")

    def _exchange(self, login: ServerLogin, step: ServerStep | None) -> tuple[bool, bool]:
        """Packets to and fro until the login has ended; whether it was refused, and whether it went well."""
        connection = self._connection
        while True:
            if step is None:
                payload = connection.read()
                if payload is None:
                    return False, False
                if login.is_guess(payload) and not self._may_guess():
                    connection.write([refusal(StatementError(1129, self._host))])
                    return True, False
                step = login.receive(payload)
            if step.refused:
                connection.write([step.payload or b""])
                return True, False
            if step.payload is not None:
                connection.write([step.payload])
            if step.start_tls:
                self._start_tls(login)
            if step.logged_in:
                return False, self._logged_in(login)
            step = None

    def _may_guess(self) -> bool:
        seconds = self._settings.connect_timeout / 2  # then there is time left to say no
        return self.kind is ClientKind.ADMINISTRATOR or self._attempt.begin(seconds)

    def _start_tls(self, login: ServerLogin) -> None:
        try:
            self._connection.start_tls(self._keys.tls)
        except TlsFailed as error:
            raise NetworkError(error.message) from error
        login.tls_started()

    def _failed(self, login: ServerLogin, how: str) -> None:
        if not (self._attempt.has_begun or how == "refused"):
            return
        log.warning("connection %d from %s: login as '%s' %s", self.number, self._host, one_line(login.user), how)
        if self._attempt.failed(login.user):
            log.warning("%s failed too often and must wait for %g s", self._host, self._settings.block_time)

    def _logged_in(self, login: ServerLogin) -> bool:
        account = self._credentials.account(login.user, trusted=login.trusted)
        if account is None:  # dropped a moment ago
            self._connection.write([refusal(StatementError(1045, login.user, self._host, "YES"))])
            return False
        self._attempt.succeeded(login.user)
        try:
            self._execution.log_in(login.user, account, login.database, self._connection.cipher)
        except StatementError as error:
            self._connection.write([refusal(error)])
            return False
        self._is_logged_in, self._login = True, login
        self._prepared.clear()
        self._connection.write(packets(Done(), 0))
        return True

    # ---- commands ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            self._set_command("Sleep", "")
            if self._is_killed:  # looked at after it shows that it sleeps: `kill` ends a sleeper by its socket
                return
            self._connection.sequence = 0
            payload = self._connection.read()
            if payload is None:
                return
            try:
                command = com.parse(payload)
            except com.UnknownCommand:
                self._connection.write([refusal(StatementError(1047))])
                continue
            except ProtocolError:
                self._connection.write([refusal(StatementError(1835))])
                continue
            size = len(payload)
            payload = b""  # it may be large, and isn't kept while the client is silent
            if isinstance(command, com.Quit):
                self._has_quit = True
                return
            if isinstance(command, com.ChangeUser):
                if not self._change_user(command):
                    return
                continue
            for name in COUNTED.get(type(command), ()):
                self._services.counters.add(name)
            with running(self._context.begin()) as budget:
                answer = self._answer(command, size, budget)
                budget.rest()
                self._write(answer)
            del command, answer
            trim(budget.most_held)
            self._set_timeouts()

    def _write(self, answer: list[bytes]) -> None:
        self._is_writing = True  # before it is looked at whether it was killed: `kill` ends a writer by its socket
        try:
            if not self._is_killed or len(answer) == 1:
                self._connection.write(answer)
        finally:
            self._is_writing = False

    def _set_timeouts(self) -> None:
        """As the session's variables say."""
        values = self._context.variables
        idle: float = values.number("wait_timeout")
        if idle == values.begin_number("wait_timeout"):
            idle = self._settings.wait_timeout  # which may be a fraction
        self._connection.set_timeouts(idle, values.number("net_read_timeout"), values.number("net_write_timeout"))

    def _set_command(self, command: str, info: str) -> None:
        self.command, self.since, self.info = command, time.time(), info

    def _change_user(self, command: com.ChangeUser) -> bool:
        """Log in again; whoever fails is out."""
        if self._login is None:
            return False
        self._is_logged_in = False
        self._context.caller = replace(self.caller, user=UNAUTHENTICATED)
        self._connection.set_deadline(self._settings.connect_timeout)
        login, step = ServerLogin.changing_user(self._credentials, command, self._login, nonce())
        if not self._converse(login, step):
            return False
        self._set_timeouts()
        return True

    def _answer(self, command: com.Command, size: int, budget: Budget) -> list[bytes]:
        """The packets that a command of so many bytes is answered with; none for some."""
        try:
            budget.hold(2 * size)
            return self._command(command)
        except ProtocolError:
            return [refusal(StatementError(1835))]
        except CloneError as error:
            self._context.notes = [("Error", error.code, error.message)]
            return [refusal(error)]
        except Exception as error:  # a fault of ours shall end neither the agent nor the session
            log.exception("connection %d: unexpected", self.number)
            return [refusal(StatementError(1105, f"{type(error).__name__} in innoclone: see its log"))]

    def _command(self, command: com.Command) -> list[bytes]:
        match command:
            case com.Query():
                self._set_command("Query", masked(command.text, self._context.modes))
                return self._packets(self._execution.execute(command.text))
            case com.InitDb():
                self._context.use(command.text)
                return self._packets(Done())
            case com.Ping() | com.Debug():
                return self._packets(Done())
            case com.ResetConnection():
                self._execution.reset()
                self._prepared.clear()
                return self._packets(Done())
            case com.Statistics():
                return [self._statistics().encode()]
            case com.ProcessKill():
                return self._packets(self._execution.execute(f"KILL {command.number}"))
            case com.SetOption():
                return [Eof().serialize()]
            case com.FieldList():
                return self._fields(command)
            case com.StmtPrepare():
                self._set_command("Prepare", masked(command.text, self._context.modes))
                return self._prepared.prepare(command.text)
            case com.StmtExecute():
                self._set_command("Execute", masked(self._prepared.text(command.number), self._context.modes))
                answer = self._prepared.execute(command)
                return self._packets(answer, in_binary=isinstance(answer, Rows))
            case com.StmtSendLongData():
                self._prepared.long_data(command, self._settings.max_allowed_packet)
                return []
            case com.StmtClose():
                self._prepared.close(command.number)
                return []
            case com.StmtReset():
                self._prepared.reset(command.number)
                return self._packets(Done())
        raise StatementError(1047)

    def _statistics(self) -> str:
        """The line that COM_STATISTICS answers."""
        services = self._services
        return f"Uptime: {services.uptime}  Threads: {len(services.connections)}  Slow queries: 0"

    def _packets(self, answer: Answer, *, in_binary: bool = False) -> list[bytes]:
        return packets(answer, len(self._context.notes), in_binary=in_binary, status=self._context.variables.status)

    def _fields(self, command: com.FieldList) -> list[bytes]:
        table = self._context.catalog().table("", command.table, command.table)
        definitions = [column.type.definition(column.name, schema=table.schema, table=table.name, alias=table.alias)
                       for column in table.columns]  # fmt: skip
        # COM_FIELD_LIST has one more field, the default value: NULL.
        return [*(definition.serialize() + b"\xfb" for definition in definitions), Eof().serialize()]
