"""How many connections there may be: each kind of client has its own number, so that none takes another's room.

All of them together stay below the limit of open files, with a reserve for the agent's own.
"""

from __future__ import annotations

import enum
import logging
import resource
from collections.abc import Iterable
from dataclasses import dataclass

from innoclone.agent.accounts.credentials import is_administrator
from innoclone.errors import UsageError

__all__ = ["ADMINISTRATORS", "Client", "Room"]

log = logging.getLogger("innoclone.agent")
ADMINISTRATORS = 16  # connections
OWN = 128  # descriptors: the status page's connections, files, modules, the pipes of a clone's process


class Client(enum.Enum):
    """Where a connection comes from."""

    TCP = enum.auto()
    SOCKET = enum.auto()
    ADMINISTRATOR = enum.auto()
    """By the socket too, from root or the agent's own user."""

    @classmethod
    def of(cls, uid: int | None) -> Client:
        """By the user id at the other end of a Unix socket, None for TCP."""
        if uid is None:
            return cls.TCP
        return cls.ADMINISTRATOR if is_administrator(uid) else cls.SOCKET


@dataclass(frozen=True)
class Room:
    """``connections`` are as many as there may be over TCP, and as many again over the socket."""

    connections: int

    @classmethod
    def for_connections(cls, wanted: int) -> Room:
        """``wanted``, or fewer where the limit of open files (RLIMIT_NOFILE) allows no more; it is raised as far as
        needed and allowed. Raises `UsageError` where there is room for none."""
        needed = OWN + ADMINISTRATORS + 2 * wanted
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = hard if hard != resource.RLIM_INFINITY else needed
        if soft != resource.RLIM_INFINITY and soft < needed:
            soft = max(soft, min(needed, most))
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft == resource.RLIM_INFINITY or soft >= needed:
            return cls(wanted)
        possible = (soft - OWN - ADMINISTRATORS) // 2
        if possible < 1:
            raise UsageError(f"the limit of open files is {soft}", hint="raise it: ulimit -n, LimitNOFILE in systemd")
        log.warning("max_connections is %d, not %d: the limit of open files is %d", possible, wanted, soft)
        return cls(possible)

    def most(self, kind: Client) -> int:
        """Connections of that kind that there may be."""
        return ADMINISTRATORS if kind is Client.ADMINISTRATOR else self.connections

    def is_full(self, kind: Client, there: Iterable[Client]) -> bool:
        """Whether those that are ``there`` leave no room for one more."""
        return sum(one is kind for one in there) >= self.most(kind)
