"""The agent itself: it listens, gives each connection a thread, and stops in order."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

from innoclone.agent.accounts import Accounts
from innoclone.agent.cloneprocess import Words
from innoclone.agent.clones import Clones
from innoclone.agent.counters import Counters
from innoclone.agent.credentials import Memory
from innoclone.agent.faults import StatementError
from innoclone.agent.fixedvariables import fixed_variables
from innoclone.agent.managed import settle_in_background
from innoclone.agent.priority import give_way
from innoclone.agent.room import Client, Room
from innoclone.agent.session import Session, refusal
from innoclone.agent.settings import AgentSettings
from innoclone.agent.sql.budget import Pool
from innoclone.agent.variables import Variables
from innoclone.agent.web import Web
from innoclone.errors import NetworkError
from innoclone.records.folders import claim
from innoclone.transport.failedlogins import FailedLogins, peer_of
from innoclone.transport.keys import PasswordKey, own_certificate
from innoclone.transport.listening import Listener, server_context
from innoclone.transport.served import ServedConnection

__all__ = ["Agent"]

log = logging.getLogger("innoclone.agent")
REFUSE_WITHIN = 1.0  # seconds to tell a client that there is no room
END_WITHIN = 5.0  # seconds for threads after their connections were shut


class Agent:
    """Made ready by the constructor, run by `serve`, ended by `stop` from any thread or signal handler."""

    def __init__(self, settings: AgentSettings, words: Words = Words()) -> None:  # noqa: B008  # frozen
        """Everything that can fail fails here: files, keys, addresses. Raises a `CloneError`."""
        self.settings = settings
        folder = settings.folder
        self._claim = claim(folder)  # until the process ends
        self.accounts = Accounts(folder)
        self.memory = Memory()
        self.pool = Pool()
        self.counters = Counters()
        self.password_key = PasswordKey(folder)
        if settings.ssl_cert is not None and settings.ssl_key is not None:
            self.tls = server_context(settings.ssl_cert, settings.ssl_key)
        else:
            self.tls = server_context(*own_certificate(folder))
        self.failed_logins = FailedLogins(settings.max_failed_logins, settings.block_time)
        self._lock = threading.Lock()
        self._sessions: dict[int, tuple[Session, threading.Thread]] = {}
        self._last = 0
        self._began = time.monotonic()
        self.started = time.time()
        self.room = Room.for_connections(settings.max_connections)
        self._listener = Listener(
            host=settings.bind_address or None, port=settings.port, path=settings.socket_path.absolute(),
            short=log.warning,
        )  # fmt: skip
        try:
            fixed = fixed_variables(
                self.port, str(settings.socket_path.absolute()), str(folder), settings.max_allowed_packet,
                self.room.connections, settings.wait_timeout,
            )  # fmt: skip
            self.variables = Variables(folder, fixed, changed=self._changed)
            self.clones = Clones(folder, self.variables, settings.server, settings.managed, words)
            self.web: Web | None = None
            if settings.web_port is not None:
                self.web = Web(self, settings.web_bind_address, settings.web_port)
        except BaseException:
            self._listener.close()
            raise

    @property
    def port(self) -> int:
        """The TCP port, 0 where there is none."""
        return self._listener.port

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return len(self._sessions)

    @property
    def uptime(self) -> int:
        """Seconds."""
        return int(time.monotonic() - self._began)

    def statistics(self) -> str:
        """The line that COM_STATISTICS answers."""
        return f"Uptime: {self.uptime}  Threads: {self.connected}  Slow queries: 0"

    def session(self, number: int) -> Session | None:
        """The connection of that id."""
        found = self._sessions.get(number)
        return None if found is None else found[0]

    def sessions(self) -> list[Session]:
        """All connections, oldest first."""
        with self._lock:
            return [session for session, _ in self._sessions.values()]

    def serve(self, *, stopping: Callable[[], None] = lambda: None) -> None:
        """Accept until `stop`, then end everything in order: clones can be continued, threads have ended.

        ``stopping`` is called when that begins.
        """
        give_way()
        if self.web is not None:
            self.web.start()
        if self.settings.managed is not None:
            clones = self.clones
            settle_in_background(self.settings.managed, clones.settled, clones.launcher, then=clones.resume)
        else:
            self.clones.resume()
        try:
            for sock in self._listener.accept():
                self._begin(sock)
        finally:
            stopping()
            self._listener.close()
            with self._lock:
                left = list(self._sessions.values())
            for session, _ in left:
                if not session.waits_for_clone:  # which is stopped in order, so that it can be continued
                    session.kill(query_only=False)
            self.clones.close(self.settings.stop_timeout)
            if self.web is not None:
                self.web.stop()
            for session, _ in left:
                session.kill(query_only=False)
            end = time.monotonic() + END_WITHIN
            for session, thread in left:
                thread.join(max(end - time.monotonic(), 0))
                session.connection.shut()

    def stop(self) -> None:
        """Let `serve` end."""
        self._listener.wake()

    def _changed(self, name: str) -> None:
        self.clones.changed(name)

    def _begin(self, sock: socket.socket) -> None:
        try:
            connection = ServedConnection(
                sock, most=self.settings.max_allowed_packet, timeout=self.settings.connect_timeout
            )
            host, uid = connection.peer_host, connection.peer_uid
        except OSError:  # gone before it began
            sock.close()
            return
        kind = Client.of(uid)
        if kind is not Client.ADMINISTRATOR and self.failed_logins.is_blocked(peer_of(host, uid)):
            self._refuse(connection, StatementError(1129, host))
            return
        with self._lock:
            full = self.room.is_full(kind, [session.kind for session, _ in self._sessions.values()])
            if not full:
                self._last += 1
                session = Session(self, connection, self._last, kind)
                name = f"innoclone-client-{session.number}"
                thread = threading.Thread(target=self._run, args=(session,), name=name, daemon=True)
                self._sessions[session.number] = (session, thread)
        if full:
            self.counters.add("Connection_errors_max_connections")
            log.warning("connection from %s refused: there are %d", host, self.room.most(kind))
            self._refuse(connection, StatementError(1040))
            return
        self.counters.add("Connections")
        self.counters.peak("Max_used_connections", self.connected)
        thread.start()

    def _run(self, session: Session) -> None:
        try:
            session.run()
        except Exception:
            log.exception("connection %d: unexpected", session.number)
        finally:
            with self._lock:
                del self._sessions[session.number]

    def _refuse(self, connection: ServedConnection, error: StatementError) -> None:
        connection.set_timeout(REFUSE_WITHIN)
        try:
            connection.write([refusal(error)])
        except NetworkError as failed:
            log.debug("can't refuse: %s", failed.message)
        connection.close()
