"""What clients do to a server's binary log: rotate, purge, XA, rollbacks, other engines, rows that look like redo."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from innoclone.sandbox.fill import Connect
from innoclone.sandbox.load import Background

__all__ = ["Trouble"]

_SETUP = (
    "CREATE SCHEMA IF NOT EXISTS trouble",
    "CREATE TABLE IF NOT EXISTS trouble.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(3000), KEY v (v(20)))",
    "CREATE TABLE IF NOT EXISTS trouble.zip (id BIGINT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(3000)) ROW_FORMAT={zip}",
    "CREATE TABLE IF NOT EXISTS trouble.old (id BIGINT AUTO_INCREMENT PRIMARY KEY, v BLOB) ROW_FORMAT=REDUNDANT",
    "CREATE TABLE IF NOT EXISTS trouble.other (v INT) ENGINE=MyISAM",
    "CREATE TABLE IF NOT EXISTS trouble.texts (id BIGINT AUTO_INCREMENT PRIMARY KEY, v TEXT, g POINT NOT NULL"
    " SRID 0, FULLTEXT (v), SPATIAL KEY (g))",
)
_KEPT = 300  # rows of a table


class Trouble(Background):
    """Runs on two connections: one for whole transactions, one that fiddles with the log itself."""

    def __init__(self, connect: Connect, *, pause: float = 0.005) -> None:
        super().__init__(threads=2)
        self._connect, self._pause = connect, pause
        self._fields = b""

    def _prepare(self) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@innodb_page_size")
            (size,) = cursor.fetchone() or (0,)
            # The begin of the log records that write a position: in a row's data they are none.
            offsets = [size - 962 + field for field in (0, 4, 8, 12)]
            self._fields = b"".join(
                bytes((kind, 0, 5)) + at.to_bytes(2, "big") + b"\xf0\x01\x02\x03\x04"
                for at in offsets for kind in (0x84, 4, 30)
            )  # fmt: skip
            for statement in _SETUP:
                cursor.execute(statement.format(zip="COMPRESSED" if size <= 16384 else "DYNAMIC"))

    def _run(self, number: int) -> None:
        dice = random.Random(number)
        step = self._transact if number else self._fiddle
        while not self._stopping.is_set():
            with self._connect() as connection, suppress(pymysql.err.MySQLError):
                while not self._stopping.is_set():  # what fails (a lock, an XA state) gets a new connection
                    step(connection, dice)
                    time.sleep(self._pause)

    def _transact(self, connection: Connection[Cursor], dice: random.Random) -> None:
        data = self._fields * dice.randint(1, 8) + dice.randbytes(dice.randint(0, 500))
        with connection.cursor() as cursor:
            table = dice.choice(("t", "zip", "old"))
            match dice.randrange(8):
                case 0 | 1:
                    cursor.execute(f"INSERT INTO trouble.{table} (v) VALUES (%s)", (data,))
                case 2:
                    cursor.execute(f"UPDATE trouble.{table} SET v = %s ORDER BY id DESC LIMIT 3", (data,))
                case 3:
                    cursor.execute("START TRANSACTION")
                    cursor.execute(f"INSERT INTO trouble.{table} (v) VALUES (%s)", (data,))
                    cursor.execute(dice.choice(("ROLLBACK", "COMMIT")))
                case 4:
                    _xa(cursor, dice, table, data)
                case 5:
                    cursor.execute("INSERT INTO trouble.other VALUES (1)")
                case 6:
                    cursor.execute(
                        "INSERT INTO trouble.texts (v, g) VALUES (%s, ST_SRID(POINT(%s, %s), 0))",
                        (f"{dice.getrandbits(80):x} clone redo undo", dice.random(), dice.random()),
                    )
                case _:
                    for name in ("t", "zip", "old", "texts"):
                        cursor.execute(f"DELETE FROM trouble.{name} ORDER BY id LIMIT {_KEPT // 10}")

    def _fiddle(self, connection: Connection[Cursor], dice: random.Random) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                dice.choice(
                    (
                        "FLUSH BINARY LOGS", "FLUSH BINARY LOGS", "FLUSH PRIVILEGES", "FLUSH TABLES trouble.other",
                        "ANALYZE TABLE trouble.t", "PURGE BINARY LOGS BEFORE NOW()",
                        "ALTER TABLE trouble.t ALTER COLUMN v SET DEFAULT 'x'",
                        "CREATE OR REPLACE VIEW trouble.view AS SELECT 1",
                        "CREATE USER IF NOT EXISTS passing@localhost", "DROP USER IF EXISTS passing@localhost",
                    )
                )
            )  # fmt: skip
            time.sleep(dice.random() / 10)


def _xa(cursor: Cursor, dice: random.Random, table: str, data: bytes) -> None:
    name = f"'x{dice.getrandbits(40):x}'"
    cursor.execute(f"XA START {name}")
    cursor.execute(f"INSERT INTO trouble.{table} (v) VALUES (%s)", (data,))
    cursor.execute(f"XA END {name}")
    if dice.random() < 0.3:
        cursor.execute(f"XA COMMIT {name} ONE PHASE")
        return
    cursor.execute(f"XA PREPARE {name}")
    time.sleep(dice.random() / 20)
    cursor.execute(f"XA {dice.choice(('COMMIT', 'ROLLBACK'))} {name}")
