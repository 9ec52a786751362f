"""A write load for a sandbox that shows a torn snapshot: in every consistent state of it, sums and checksums are exact.

* ``traffic.accounts``: transfers move money between rows; the sum never changes.
* ``traffic.plus`` and ``traffic.minus``: every transaction adds +v to one and -v to the other, or takes both away.
* ``traffic.blobs``: each row is rewritten together with the checksum of its body.
"""

# ruff: noqa: S608 - every statement is made of our own constants
from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from innoclone.sandbox.fill import Connect

__all__ = ["ACCOUNTS", "BALANCE", "Background", "Load"]

ACCOUNTS = 1000
BALANCE = 1000
_BLOBS = 64
_LOOK = 0.05  # seconds
_RETRY = (1205, 1213)  # ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK: the transaction was rolled back, the next may do

_SETUP = (
    "CREATE SCHEMA IF NOT EXISTS traffic",
    "CREATE TABLE IF NOT EXISTS traffic.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL, changed TIMESTAMP(6)"
    " DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY balance (balance))",
    "CREATE TABLE IF NOT EXISTS traffic.plus (id BIGINT AUTO_INCREMENT PRIMARY KEY, v INT NOT NULL, note VARCHAR(100),"
    " KEY v (v))",
    "CREATE TABLE IF NOT EXISTS traffic.minus (id BIGINT PRIMARY KEY, v INT NOT NULL, note VARCHAR(100), KEY v (v))",
    "CREATE TABLE IF NOT EXISTS traffic.blobs (id INT PRIMARY KEY, body LONGBLOB, checksum INT UNSIGNED NOT NULL)",
    "INSERT IGNORE INTO traffic.accounts (id, balance) WITH RECURSIVE n (i) AS"
    f" (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ACCOUNTS}) SELECT i, {BALANCE} FROM n",
    "INSERT IGNORE INTO traffic.blobs WITH RECURSIVE n (i) AS"
    f" (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {_BLOBS}) SELECT i, '', 0 FROM n",
)


class Background(ABC):
    """Something that runs on threads until it is stopped; what goes wrong there is kept in ``errors``."""

    def __init__(self, threads: int) -> None:
        self.errors: list[str] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(n,), daemon=True) for n in range(threads)]

    def start(self) -> Self:
        """Prepare, then let the threads go."""
        self._prepare()
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Let every thread finish what it is at, and wait for it."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def __enter__(self) -> Self:
        """`start` it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """`stop` it."""
        self.stop()

    def _guarded(self, number: int) -> None:
        try:
            self._run(number)
        except (pymysql.err.Error, OSError) as error:
            self.errors.append(f"{type(self).__name__} {number}: {error}")

    @abstractmethod
    def _prepare(self) -> None:
        """What must be there before the threads start."""

    @abstractmethod
    def _run(self, number: int) -> None:
        """One thread's work, until ``_stopping`` is set."""


class Load(Background):
    """Transactions on ``threads`` connections, with ``pause`` seconds between two of one connection."""

    def __init__(self, connect: Connect, *, threads: int = 2, pause: float = 0.0) -> None:
        super().__init__(threads)
        self._connect = connect
        self._pause = pause
        self._committed = [0] * threads
        self._resting = threading.Event()

    @property
    def transactions(self) -> int:
        """How many were committed so far."""
        return sum(self._committed)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """No transaction is begun within the block."""
        self._resting.set()
        try:
            yield
        finally:
            self._resting.clear()

    def _prepare(self) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            for statement in _SETUP:
                cursor.execute(statement)

    def _run(self, number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - a load, not a secret
        with self._connect() as connection:
            connection.autocommit(False)
            while not self._stopping.is_set():
                if self._resting.is_set():
                    time.sleep(_LOOK)
                    continue
                try:
                    _transaction(connection, dice)
                    self._committed[number] += 1
                except pymysql.err.OperationalError as error:
                    if error.args[0] not in _RETRY:
                        raise
                    connection.rollback()
                if self._pause:
                    time.sleep(self._pause)


def _transaction(connection: Connection[Cursor], dice: random.Random) -> None:
    with connection.cursor() as cursor:
        kind = dice.random()
        if kind < 0.6:
            one, other = sorted(dice.sample(range(1, ACCOUNTS + 1), 2))  # in order, so that two can't deadlock
            amount = dice.randint(-50, 50)
            change = "UPDATE traffic.accounts SET balance = balance + %s WHERE id = %s"
            cursor.execute(change, (amount, one))
            cursor.execute(change, (-amount, other))
        elif kind < 0.85:
            value, note = dice.randint(1, 1000), f"{dice.getrandbits(200):050x}"
            cursor.execute("INSERT INTO traffic.plus (v, note) VALUES (%s, %s)", (value, note))
            cursor.execute(
                "INSERT INTO traffic.minus (id, v, note) VALUES (%s, %s, %s)", (cursor.lastrowid, -value, note)
            )
        elif kind < 0.9:
            if cursor.execute("SELECT id FROM traffic.plus ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"):
                (oldest,) = cursor.fetchone() or (0,)
                cursor.execute("DELETE FROM traffic.plus WHERE id = %s", (oldest,))
                cursor.execute("DELETE FROM traffic.minus WHERE id = %s", (oldest,))
        else:
            body = dice.randbytes(dice.randint(1, 20_000)) + b"innoclone" * dice.randint(0, 2_000)
            # MySQL assigns from left to right, so the checksum is that of the new body.
            cursor.execute(
                "UPDATE traffic.blobs SET body = %s, checksum = CRC32(body) WHERE id = %s",
                (body, dice.randint(1, _BLOBS)),
            )
    connection.commit()
