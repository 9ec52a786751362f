"""A loop of every kind of DDL for a sandbox, made so that a clone taken at any moment can be checked.

Every table of the schemas ``ddl_*`` is made whole by one atomic CREATE TABLE ... SELECT, and from then on holds `ROWS`
rows (``wave_*``: a multiple of that, also none) which carry their own checksums, whatever it is called at the moment.
"""

# ruff: noqa: S608 - every statement is made of our own constants
from __future__ import annotations

import time
from collections.abc import Callable

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from innoclone.sandbox.fill import Connect
from innoclone.sandbox.load import Background

__all__ = ["OPERATIONS", "ROWS", "DdlLoop"]

ROWS = 500
_SOURCE = "ddl_a.keep_source"
_SETUP = (
    *(f"CREATE SCHEMA IF NOT EXISTS {schema}" for schema in ("ddl_a", "ddl_b")),
    f"CREATE TABLE IF NOT EXISTS {_SOURCE} (PRIMARY KEY (id)) SELECT CAST(i AS SIGNED) AS id,"
    f" CAST(REPEAT(SHA2(i, 256), 3) AS CHAR(200)) AS payload, CRC32(REPEAT(SHA2(i, 256), 3)) AS checksum"
    f" FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i FROM n) AS n",
)
_UNDO_WAIT = 20.0  # seconds until purge must have emptied an inactive undo tablespace


def _new(table: str, options: str = "", columns: str = "PRIMARY KEY (id)") -> list[str]:
    """Make a table with its rows in one statement, in place of one that an earlier round left."""
    return [f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} ({columns}) {options} SELECT * FROM {_SOURCE}"]


def _alter(table: str, *changes: str) -> list[str]:
    return [f"ALTER TABLE {table} {change}" for change in changes]


_PARTITIONS = f"PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN ({ROWS + 1}))"

_STATEMENTS: dict[str, list[str]] = {
    "create, drop": [*_new("ddl_a.keep_made"), "DROP TABLE ddl_a.keep_made"],
    "drop, create the same name": [*_new("ddl_a.keep_same"), *_new("ddl_a.keep_same")],
    "rename": [
        "DROP TABLE IF EXISTS ddl_a.keep_later",
        *_new("ddl_a.keep_earlier"),
        "RENAME TABLE ddl_a.keep_earlier TO ddl_a.keep_later",
    ],
    "rename across schemas": [
        "DROP TABLE IF EXISTS ddl_b.keep_moved",
        *_new("ddl_a.keep_moved"),
        "RENAME TABLE ddl_a.keep_moved TO ddl_b.keep_moved",
        "RENAME TABLE ddl_b.keep_moved TO ddl_a.keep_moved",
        "RENAME TABLE ddl_a.keep_moved TO ddl_b.keep_moved",
    ],
    "swap names": [
        "DROP TABLE IF EXISTS ddl_a.keep_middle",
        *_new("ddl_a.keep_left"),
        *_new("ddl_a.keep_right", "ROW_FORMAT=COMPACT"),
        "RENAME TABLE ddl_a.keep_left TO ddl_a.keep_middle, ddl_a.keep_right TO ddl_a.keep_left,"
        " ddl_a.keep_middle TO ddl_a.keep_right",
        "RENAME TABLE ddl_a.keep_left TO ddl_a.keep_middle",
        "RENAME TABLE ddl_a.keep_right TO ddl_a.keep_left",
        "RENAME TABLE ddl_a.keep_middle TO ddl_a.keep_right",
    ],
    "truncate": [
        *_new("ddl_a.wave_emptied"),
        "TRUNCATE TABLE ddl_a.wave_emptied",
        f"INSERT INTO ddl_a.wave_emptied SELECT * FROM {_SOURCE}",
    ],
    "rebuild": [
        *_new("ddl_a.keep_rebuilt"),
        *_alter("ddl_a.keep_rebuilt", "FORCE, ALGORITHM=COPY", "ENGINE=InnoDB, ALGORITHM=INPLACE"),
        "OPTIMIZE TABLE ddl_a.keep_rebuilt",
        *_alter("ddl_a.keep_rebuilt", "CONVERT TO CHARACTER SET latin1", "CONVERT TO CHARACTER SET utf8mb4"),
    ],
    "columns": [
        *_new("ddl_a.keep_columns"),
        *_alter(
            "ddl_a.keep_columns",
            "ADD COLUMN extra INT NOT NULL DEFAULT 7, ALGORITHM=INSTANT",
            "ADD COLUMN early INT DEFAULT 8 FIRST, ALGORITHM=INSTANT",
            "DROP COLUMN extra, ALGORITHM=INSTANT",
            "ADD COLUMN twice INT AS (id * 2) VIRTUAL, ALGORITHM=INSTANT",
            "DROP COLUMN early, ALGORITHM=INPLACE",
        ),
    ],
    "indexes": [
        *_new("ddl_a.keep_indexed"),
        *_alter(
            "ddl_a.keep_indexed",
            "ADD INDEX checksum (checksum), ALGORITHM=INPLACE",
            "ADD UNIQUE INDEX payload (payload(64)), ALGORITHM=INPLACE",
            "DROP INDEX checksum",
            "ADD FULLTEXT INDEX words (payload)",
            "DROP INDEX words",
        ),
    ],
    "partitions": [
        *_new("ddl_a.wave_parted", _PARTITIONS),
        *_new("ddl_a.wave_part"),
        *_alter(
            "ddl_a.wave_parted",
            "EXCHANGE PARTITION p0 WITH TABLE ddl_a.wave_part",
            f"ADD PARTITION (PARTITION p1 VALUES LESS THAN ({2 * ROWS + 1}))",
        ),
        f"INSERT INTO ddl_a.wave_parted SELECT id + {ROWS}, payload, checksum FROM {_SOURCE}",
        *_alter(
            "ddl_a.wave_parted",
            "REBUILD PARTITION p1",
            f"REORGANIZE PARTITION p0, p1 INTO (PARTITION p VALUES LESS THAN ({2 * ROWS + 1}))",
            f"REORGANIZE PARTITION p INTO (PARTITION p0 VALUES LESS THAN ({ROWS + 1}),"
            f" PARTITION p1 VALUES LESS THAN ({2 * ROWS + 1}))",
            "TRUNCATE PARTITION p0",
            "EXCHANGE PARTITION p0 WITH TABLE ddl_a.wave_part",
            "DROP PARTITION p1",
            "REMOVE PARTITIONING",
        ),
    ],
    "row formats": [
        *_new("ddl_a.keep_formats"),
        *_alter("ddl_a.keep_formats", "ROW_FORMAT=COMPACT", "ROW_FORMAT=REDUNDANT", "ROW_FORMAT=DYNAMIC"),
    ],
    "compressed rows": [
        *_new("ddl_a.keep_zipped", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4"),
        *_alter("ddl_a.keep_zipped", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=2", "ROW_FORMAT=DYNAMIC KEY_BLOCK_SIZE=0"),
        *_alter("ddl_a.keep_zipped", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4"),
    ],
    "compressed pages": [
        *_new("ddl_a.keep_holes", "COMPRESSION='zlib'"),
        *_alter("ddl_a.keep_holes", "COMPRESSION='none'"),
        "OPTIMIZE TABLE ddl_a.keep_holes",
        *_alter("ddl_a.keep_holes", "COMPRESSION='zlib'", "FORCE"),
    ],
    "schemas": [
        "DROP SCHEMA IF EXISTS `ddl_ü`",
        "CREATE SCHEMA `ddl_ü`",
        *_new("`ddl_ü`.`keep_größe`"),
        "RENAME TABLE `ddl_ü`.`keep_größe` TO `ddl_ü`.`keep_straße/1`",
        "DROP SCHEMA `ddl_ü`",
    ],
}


def _statements(name: str) -> Callable[[Cursor], None]:
    def run(cursor: Cursor) -> None:
        for statement in _STATEMENTS[name]:
            cursor.execute(statement)

    return run


def _tablespaces(cursor: Cursor) -> None:
    """Create, fill, rename, empty and drop a general tablespace."""
    cursor.execute("DROP TABLE IF EXISTS ddl_a.keep_placed")
    for name in ("ddl_space", "ddl_renamed"):
        if _has_tablespace(cursor, name):
            cursor.execute(f"DROP TABLESPACE {name}")
    cursor.execute("CREATE TABLESPACE ddl_space ADD DATAFILE 'ddl_space.ibd'")
    for statement in (
        *_new("ddl_a.keep_placed", "TABLESPACE ddl_space"),
        "ALTER TABLESPACE ddl_space RENAME TO ddl_renamed",
        *_alter("ddl_a.keep_placed", "TABLESPACE innodb_file_per_table", "TABLESPACE ddl_renamed"),
        *_alter("ddl_a.keep_placed", "TABLESPACE innodb_file_per_table"),
        "DROP TABLESPACE ddl_renamed",
    ):
        cursor.execute(statement)


def _undo_tablespaces(cursor: Cursor) -> None:
    """Create, deactivate, reactivate and drop an undo tablespace."""
    if not _has_tablespace(cursor, "ddl_undo"):
        cursor.execute("CREATE UNDO TABLESPACE ddl_undo ADD DATAFILE 'ddl_undo.ibu'")
    for state in ("INACTIVE", "ACTIVE", "INACTIVE"):
        cursor.execute(f"ALTER UNDO TABLESPACE ddl_undo SET {state}")
    deadline = time.monotonic() + _UNDO_WAIT
    while not _has_tablespace(cursor, "ddl_undo", "empty"):
        if time.monotonic() > deadline:  # a long transaction holds purge up: leave it for the next round
            return
        time.sleep(0.05)
    cursor.execute("DROP UNDO TABLESPACE ddl_undo")


def _has_tablespace(cursor: Cursor, name: str, state: str = "%") -> bool:
    found = cursor.execute(
        "SELECT 1 FROM information_schema.innodb_tablespaces WHERE name = %s AND state LIKE %s", (name, state)
    )
    return bool(found)


OPERATIONS: dict[str, Callable[[Cursor], None]] = {
    **{name: _statements(name) for name in _STATEMENTS},
    "general tablespaces": _tablespaces,
    "undo tablespaces": _undo_tablespaces,
}
"""Every kind of DDL; each starts from whatever an earlier round, or a broken one, left."""


class DdlLoop(Background):
    """Runs `OPERATIONS` (or those named) over and over on one connection, with ``pause`` seconds between two."""

    def __init__(self, connect: Connect, *, only: tuple[str, ...] = (), pause: float = 0.0) -> None:
        super().__init__(threads=1)
        self._connect = connect
        self._names = only or tuple(OPERATIONS)
        self._pause = pause
        self.done: dict[str, int] = dict.fromkeys(self._names, 0)
        """How often each operation was carried out."""

    def _prepare(self) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            for statement in _SETUP:
                cursor.execute(statement)
            cursor.execute("SELECT @@innodb_page_size")
            (page_size,) = cursor.fetchone() or (0,)
        # The server has no ROW_FORMAT=COMPRESSED on pages above 16 KiB; holes have whole blocks, mostly of 4 KiB.
        impossible = {"compressed rows": page_size > 16384, "compressed pages": page_size <= 4096}
        self._names = tuple(name for name in self._names if not impossible.get(name))

    def _run(self, number: int) -> None:
        with self._connect() as connection:
            while not self._stopping.is_set():
                for name in self._names:
                    if self._stopping.is_set():
                        return
                    self._operate(connection, name)
                    time.sleep(self._pause)

    def _operate(self, connection: Connection[Cursor], name: str) -> None:
        try:
            with connection.cursor() as cursor:
                OPERATIONS[name](cursor)
            self.done[name] += 1
        except pymysql.err.MySQLError as error:
            self.errors.append(f"{name}: {error}")
            if not connection.open:
                raise
