"""The agent itself: it listens, gives each connection a thread, and stops in order."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable

from innoclone.agent.accounts.accounts import Accounts
from innoclone.agent.accounts.credentials import LoginKeys, PasswordCache
from innoclone.agent.clones.managed import settle_in_background
from innoclone.agent.clones.manager import Clones
from innoclone.agent.clones.priority import lower_priority
from innoclone.agent.clones.process import LogOptions
from innoclone.agent.connections import ClientKind, ConnectionLimits, Connections
from innoclone.agent.donors.donors import Donors
from innoclone.agent.faults import StatementError
from innoclone.agent.services import Services
from innoclone.agent.sessions.session import Session, refusal
from innoclone.agent.settings import AgentSettings
from innoclone.agent.variables.fixed import fixed_variables
from innoclone.agent.variables.globals import Variables
from innoclone.agent.web.server import Web
from innoclone.errors import NetworkError
from innoclone.records.folders import claim
from innoclone.records.keys import PasswordKey, own_certificate
from innoclone.transport.failedlogins import FailedLogins, peer_of
from innoclone.transport.listening import Listener, server_context
from innoclone.transport.served import ServedConnection

__all__ = ["Agent"]

log = logging.getLogger("innoclone.agent")
REFUSE_WITHIN = 1.0  # seconds to tell a client that there are too many
END_WITHIN = 5.0  # seconds for threads after their connections were shut


class Agent:
    """Made ready by the constructor, run by `serve`, ended by `stop` from any thread or signal handler."""

    def __init__(self, settings: AgentSettings, log_options: LogOptions = LogOptions()) -> None:  # noqa: B008  # frozen
        """Everything that can fail fails here: files, keys, addresses. Raises a `CloneError`."""
        folder = settings.folder
        self._claim = claim(folder)  # until the process ends
        accounts = Accounts(folder)
        self._keys = LoginKeys(PasswordCache(), PasswordKey(folder), _tls(settings))
        connections = Connections(ConnectionLimits.for_connections(settings.max_connections, settings.recipients))
        self._listener = Listener(
            host=settings.bind_address or None, port=settings.port, path=settings.socket_path.absolute(),
            short=log.warning,
        )  # fmt: skip
        failed_logins = FailedLogins(settings.max_failed_logins, settings.block_time)
        donors: Donors | None = None
        try:
            fixed = fixed_variables(
                port=self.port, socket=str(settings.socket_path.absolute()), folder=str(folder),
                packet=settings.max_allowed_packet, connections=connections.limits.connections,
                timeout=settings.wait_timeout,
            )  # fmt: skip
            variables = Variables(folder, fixed)
            clones = Clones(folder, variables, settings.server, settings.managed, log_options)
            variables.on_change = clones.variable_changed
            donors = Donors(settings, self._keys, accounts, failed_logins, connections)
            self.services = Services(
                settings=settings, accounts=accounts, variables=variables, clones=clones, connections=connections,
                donors=donors, failed_logins=failed_logins,
            )  # fmt: skip
            self.web: Web | None = None
            if settings.web_port is not None:
                self.web = Web(self.services, settings.web_bind_address, settings.web_port)
        except BaseException:
            self._listener.close()
            if donors is not None:
                donors.stop()
            raise

    @property
    def port(self) -> int:
        """The TCP port, 0 where there is none."""
        return self._listener.port

    def serve(self, *, stopping: Callable[[], None] = lambda: None) -> None:
        """Accept until `stop`, then end everything in order: clones can be continued, threads have ended.

        ``stopping`` is called when that begins.
        """
        lower_priority()
        if self.web is not None:
            self.web.start()
        self.services.donors.start()
        self._resume()
        try:
            for sock in self._listener.accept():
                self._begin(sock)
        finally:
            stopping()
            self._listener.close()
            self._end()

    def stop(self) -> None:
        """Let `serve` end."""
        self._listener.wake()

    def _resume(self) -> None:
        """What the last agent left undone."""
        managed, clones = self.services.settings.managed, self.services.clones
        if managed is not None:
            settle_in_background(managed, clones.settled, clones.launcher, then=clones.resume)
        else:
            clones.resume()

    def _end(self) -> None:
        self.services.donors.stop()
        left = self.services.connections.all()
        for session in left:
            if not session.is_cloning:  # that clone is stopped in order, so that it can be continued
                session.kill(query_only=False)
        self.services.clones.close(self.services.settings.stop_timeout)
        if self.web is not None:
            self.web.stop()
        for session in left:
            session.kill(query_only=False)
        end = time.monotonic() + END_WITHIN
        for session in left:
            session.join(max(end - time.monotonic(), 0))

    def _begin(self, sock: socket.socket) -> None:
        services, settings = self.services, self.services.settings
        try:
            connection = ServedConnection(sock, most=settings.max_allowed_packet, timeout=settings.connect_timeout)
            host, uid = connection.peer_host, connection.peer_uid
        except OSError:  # gone before it began
            sock.close()
            return
        kind = ClientKind.of(uid)
        if kind is not ClientKind.ADMINISTRATOR and services.failed_logins.is_blocked(peer_of(host, uid)):
            _refuse(connection, StatementError(1129, host))
            return
        connections = services.connections
        session = connections.open(kind, lambda number: Session(services, self._keys, connection, number, kind))
        if session is None:
            services.counters.add("Connection_errors_max_connections")
            log.warning("connection from %s refused: there are %d", host, connections.limits.most(kind))
            _refuse(connection, StatementError(1040))
            return
        services.counters.add("Connections")
        services.counters.peak("Max_used_connections", len(connections))
        number = session.number
        session.start(then=lambda: connections.remove(number))


def _tls(settings: AgentSettings) -> ssl.SSLContext:
    if settings.ssl_cert is not None and settings.ssl_key is not None:
        return server_context(settings.ssl_cert, settings.ssl_key)
    return server_context(*own_certificate(settings.folder))


def _refuse(connection: ServedConnection, error: StatementError) -> None:
    connection.set_timeout(REFUSE_WITHIN)
    try:
        connection.write([refusal(error)])
    except NetworkError as failed:
        log.debug("can't refuse: %s", failed.message)
    connection.close()
