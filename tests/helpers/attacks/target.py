"""What an attacker knows and can do: addresses, two accounts, raw packets, and how often what was answered."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pymysql
from pymysql.connections import Connection

from innoclone.wire.handshake import Err, Greeting
from rawclient import Packets, response_to

__all__ = ["PASSWORDS", "Attack", "Breach", "Counts", "Raw", "Target", "as_nobody", "flood", "number_of", "until"]

PASSWORDS = {"weak": "weak-secret", "maker": "maker-secret", "operator": "operator-secret", "strong": "strong-secret"}
"""weak has no privilege, maker CREATE USER, operator BACKUP_ADMIN, strong all of them."""
NOBODY = 65534
PATIENCE = 20.0  # seconds


class Breach(Exception):
    """An attack got what it must not get."""


class Stop(Protocol):
    """When the attack is to end."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Target:
    """The agent as it can be reached; ``source`` is an address of this machine that is the attack's own."""

    port: int
    web_port: int
    socket: Path
    donor: str
    folder: Path
    source: str

    def raw(self) -> socket.socket:
        """A plain TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE, (self.source, 0))

    def connect(self, user: str, **more: Any) -> Connection[Any]:
        """A login of one of the accounts."""
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=PASSWORDS[user], bind_address=self.source,
            read_timeout=60, **more,
        )  # fmt: skip


Attack = Callable[[Target, Stop], str]
"""Plays until it is told to stop; what came of it. Raises `Breach`."""


class Counts(Counter[str]):
    """What was answered how often; ``2 x a, 1 x b`` as text."""

    def __str__(self) -> str:
        return ", ".join(f"{count} x {what}" for what, count in self.most_common(5)) or "nothing"


def number_of(error: pymysql.Error) -> str:
    """An error as counted."""
    return f"error {error.args[0]}"


class Raw(Packets):
    """A connection; `refused` has the number where the greeting is an error."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        first = self.payload()
        self.refused = Err.parse(first).number if first[:1] == b"\xff" else 0
        self.greeting = None if self.refused else Greeting.parse(first)

    def payload(self) -> bytes:
        """Of the next packet. Raises EOFError."""
        return self.read()[1]

    def scramble(self, user: str, password: str) -> bytes:
        """The answer to the greeting."""
        assert self.greeting is not None
        return response_to(self.greeting, user, password)


def flood(target: Target, stop: Stop, statements: Sequence[str], user: str = "weak") -> str:
    """The statements one after another, again and again, in a session that is made anew when it is lost."""
    counts = Counts()
    while not stop.is_set():
        with contextlib.suppress(OSError), _session(target, user, counts) as connection:
            for statement in statements:
                if stop.is_set():
                    break
                try:
                    with connection.cursor() as cursor:
                        cursor.execute(statement)
                        counts["answered"] += 1
                except pymysql.Error as error:
                    counts[number_of(error)] += 1
                    if not connection.open:
                        break
    return str(counts)


@contextlib.contextmanager
def _session(target: Target, user: str, counts: Counts) -> Iterator[Connection[Any]]:
    try:
        connection = target.connect(user)
    except pymysql.Error as error:
        counts[f"login: {number_of(error)}"] += 1
        time.sleep(0.05)
        raise ConnectionError from error
    with contextlib.suppress(pymysql.Error), contextlib.closing(connection):
        yield connection


def until(stop: Stop) -> None:
    """Hold what is held."""
    while not stop.is_set():
        time.sleep(0.05)


def as_nobody() -> None:
    """From here on as a user of this host who is none of the agent's."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
