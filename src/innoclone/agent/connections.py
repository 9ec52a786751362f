"""The connections of MySQL clients: which there are, and how many there may be.

Each kind of client has its own number, so that none takes another's place. All of them together stay below the limit of
open files, with a reserve for the agent's own.
"""

from __future__ import annotations

import enum
import logging
import resource
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from innoclone.agent.accounts.caller import Caller
from innoclone.agent.accounts.credentials import is_administrator
from innoclone.errors import UsageError

__all__ = ["ADMINISTRATORS", "ClientKind", "Connection", "ConnectionLimits", "Connections"]

log = logging.getLogger("innoclone.agent")
ADMINISTRATORS = 16  # connections
FILES_OF_RECIPIENT = 2  # a connection, and the file that is sent over it
RESERVED = 128  # descriptors: the status page's connections, files, modules, the pipes of a clone's process


class ClientKind(enum.Enum):
    """Where a connection comes from."""

    TCP = enum.auto()
    SOCKET = enum.auto()
    ADMINISTRATOR = enum.auto()
    """By the socket too, from root or the agent's own user."""
    RECIPIENT = enum.auto()
    """Of a stored clone that the agent serves. How many there may be is for its donor to say."""

    @classmethod
    def of(cls, uid: int | None) -> ClientKind:
        """By the user id at the other end of a Unix socket, None for TCP."""
        if uid is None:
            return cls.TCP
        return cls.ADMINISTRATOR if is_administrator(uid) else cls.SOCKET


@dataclass(frozen=True)
class ConnectionLimits:
    """``connections`` are as many as there may be over TCP, and as many again over the socket."""

    connections: int

    @classmethod
    def for_connections(cls, wanted: int, recipients: int = 0) -> ConnectionLimits:
        """``wanted``, beside so many of recipients, or fewer where the limit of open files (RLIMIT_NOFILE) allows no
        more; it is raised as far as needed and allowed. Raises `UsageError` where not even one is possible."""
        reserved = RESERVED + ADMINISTRATORS + FILES_OF_RECIPIENT * recipients
        needed = reserved + 2 * wanted
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = hard if hard != resource.RLIM_INFINITY else needed
        if soft != resource.RLIM_INFINITY and soft < needed:
            soft = max(soft, min(needed, most))
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft == resource.RLIM_INFINITY or soft >= needed:
            return cls(wanted)
        possible = (soft - reserved) // 2
        if possible < 1:
            raise UsageError(f"the limit of open files is {soft}", hint="raise it: ulimit -n, LimitNOFILE in systemd")
        log.warning("max_connections is %d, not %d: the limit of open files is %d", possible, wanted, soft)
        return cls(possible)

    def most(self, kind: ClientKind) -> int:
        """Connections of that kind that there may be."""
        return ADMINISTRATORS if kind is ClientKind.ADMINISTRATOR else self.connections

    def is_full(self, kind: ClientKind, there: Iterable[ClientKind]) -> bool:
        """Whether those that are ``there`` are as many as there may be."""
        return sum(one is kind for one in there) >= self.most(kind)


class Connection(Protocol):
    """What others ask a connection; its own thread is what changes it."""

    number: int
    kind: ClientKind

    @property
    def command(self) -> str:
        """Its kind of work, as the processlist has it."""

    @property
    def since(self) -> float:
        """When that began, seconds since the epoch."""

    @property
    def info(self) -> str:
        """The statement that runs."""

    @property
    def state(self) -> str:
        """What it does, as the processlist has it."""

    @property
    def caller(self) -> Caller:
        """Who sends the statements."""

    @property
    def schema(self) -> str:
        """The one that USE chose, if any."""

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent."""

    @property
    def is_cloning(self) -> bool:
        """Whether its statement is a clone that runs."""

    def kill(self, *, query_only: bool) -> None:
        """KILL: end the statement that runs, and the connection too unless ``query_only``."""

    def join(self, seconds: float) -> None:
        """Wait so long for its end, then break it off."""


C = TypeVar("C", bound=Connection)


class Connections:
    """Those that there are, by the id that KILL takes. For all threads."""

    def __init__(self, limits: ConnectionLimits) -> None:
        """``limits`` are for `open`."""
        self.limits = limits
        self._lock = threading.Lock()
        self._open: dict[int, Connection] = {}
        self._last = 0

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def open(self, kind: ClientKind, make: Callable[[int], C]) -> C | None:
        """One more, made with its id; None where there are as many of its kind as there may be."""
        with self._lock:
            if self.limits.is_full(kind, [connection.kind for connection in self._open.values()]):
                return None
            self._last += 1
            connection = make(self._last)
            self._open[self._last] = connection
            return connection

    def next_number(self) -> int:
        """The id for a connection that `add` will be told of."""
        with self._lock:
            self._last += 1
            return self._last

    def add(self, connection: Connection) -> None:
        """One more that somebody else has let in."""
        with self._lock:
            self._open[connection.number] = connection

    def count(self, kind: ClientKind) -> int:
        """How many there are of a kind."""
        return sum(connection.kind is kind for connection in self.all())

    def remove(self, number: int) -> None:
        """It has ended."""
        with self._lock:
            del self._open[number]

    def get(self, number: int) -> Connection | None:
        """The connection of that id."""
        return self._open.get(number)

    def all(self) -> list[Connection]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._open.values())
