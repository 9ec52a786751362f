"""Realistic data of a chosen size for a sandbox: every kind of table and tablespace that a clone can meet.

The rows come from expressions over a running number ``i``, so the same size gives the same tables; only the bytes of
BLOBs are random. Filling again adds rows.
"""

# ruff: noqa: S608 - every statement is made of our own constants
from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

__all__ = ["Connect", "fill", "size_on_disk"]

Connect: TypeAlias = "Callable[[], Connection[Cursor]]"
"""Makes a connection with every privilege, in autocommit mode."""

# ER_INNODB_COMPRESSION_FAILURE: page compression needs a file system that punches holes smaller than a page.
_NO_PUNCH_HOLE = 4029
_LARGEST_ROUND = 100 * 1024 * 1024  # bytes
_BATCH = 2 * 1024 * 1024  # bytes of one INSERT: big enough to be fast, small enough to be an everyday transaction


@dataclass(frozen=True)
class _Table:
    """``columns`` and ``options`` make it; each row is ``values`` of i; it gets ``share`` of the whole size."""

    name: str  # quoted, with its schema
    columns: str
    options: str = ""
    values: str = ""
    share: float = 0.0
    row_bytes: float = 1.0  # a row's size on disk with its indexes, roughly
    key_block_size: int = 0  # KiB, for ROW_FORMAT=COMPRESSED


_HEX = "SHA2(i, 256)"
_WORDS = ["clone", "donor", "page", "redo", "undo", "größe", "snapshot", "binlog", "position", "stage", "trout", "été"]
_WORD_LIST = ", ".join(f"'{word}'" for word in _WORDS)
_TEXT = "CONCAT_WS(' ', " + ", ".join(
    f"ELT(1 + CRC32(CONCAT(i, '/{n}')) % {len(_WORDS)}, {_WORD_LIST})" for n in range(10)
) + ", i)"  # fmt: skip
# Half of a BLOB is random, the other half compresses well.
_BLOB = "CONCAT(" + ", ".join(["RANDOM_BYTES(1024)"] * 16) + ", REPEAT(SHA2(i, 256), 256))"
_PAYLOAD = f"i, CRC32(i), CONCAT({_HEX}, REPEAT('innoclone ', 12))"
_PAYLOAD_COLUMNS = "id BIGINT PRIMARY KEY, number INT UNSIGNED, payload VARCHAR(250), KEY number (number)"

_SCHEMAS = ["shop", "docs", "größe-Daten", "packed", "misc", "empty"]
_GENERAL_TABLESPACE = "shared_space"
_UNDO_TABLESPACE = "undo_extra"


def _payload_table(
    name: str, options: str = "", *, share: float = 0.03, row_bytes: float = 420, key_block_size: int = 0
) -> _Table:
    """One whose rows are of no meaning: what counts is how they are kept."""
    return _Table(
        name,
        _PAYLOAD_COLUMNS,
        options,
        values=_PAYLOAD,
        share=share,
        row_bytes=row_bytes,
        key_block_size=key_block_size,
    )


_TABLES = [
    _Table(
        "shop.customers",
        "id BIGINT PRIMARY KEY, name VARCHAR(60) NOT NULL, email VARCHAR(60) NOT NULL, city VARCHAR(30), profile JSON,"
        " domain VARCHAR(60) AS (SUBSTRING_INDEX(email, '@', -1)) VIRTUAL,"
        " level INT AS (profile->'$.level') STORED,"
        " UNIQUE KEY email (email), KEY city (city, name), KEY domain (domain), KEY level (level)",
        values=f"i, CONCAT('Customer ', LEFT({_HEX}, 40)), CONCAT(i, '@', LEFT({_HEX}, 8), '.example'),"
        f" LEFT(SHA2(i % 500, 256), 12), JSON_OBJECT('level', i % 10, 'tags', JSON_ARRAY('a', i, {_HEX}))",
        share=0.07,
        row_bytes=800,
    ),
    _Table(
        "shop.orders",
        "id BIGINT PRIMARY KEY, customer BIGINT NOT NULL, created DATETIME(3) NOT NULL, total DECIMAL(12,2) NOT NULL,"
        " state ENUM('new', 'paid', 'sent') NOT NULL, note VARCHAR(100),"
        " KEY customer (customer, created), KEY created (created),"
        " FOREIGN KEY (customer) REFERENCES shop.customers (id) ON DELETE CASCADE",
        values="i, 1 + CRC32(i) % {customers}, '2020-01-01' + INTERVAL i MINUTE, (i % 100000) / 100, 1 + i % 3,"
        f" IF(i % 3, NULL, {_HEX})",
        share=0.09,
        row_bytes=210,
    ),
    _Table(
        "shop.items",
        "id BIGINT AUTO_INCREMENT PRIMARY KEY, `order` BIGINT NOT NULL, article INT NOT NULL, amount INT NOT NULL,"
        " KEY `order` (`order`), KEY article (article),"
        " FOREIGN KEY (`order`) REFERENCES shop.orders (id) ON DELETE CASCADE",
        values="i, 1 + CRC32(i) % {orders}, CRC32(CONCAT('a', i)) % 5000, 1 + i % 9",
        share=0.08,
        row_bytes=160,
    ),
    _Table(
        "shop.events",
        "id BIGINT NOT NULL, happened DATE NOT NULL, kind SMALLINT NOT NULL, payload VARCHAR(200),"
        " PRIMARY KEY (id, happened), KEY kind (kind, happened)",
        "PARTITION BY RANGE COLUMNS (happened) ("
        + ", ".join(f"PARTITION p{year} VALUES LESS THAN ('{year + 1}-01-01')" for year in range(2020, 2025))
        + ", PARTITION rest VALUES LESS THAN (MAXVALUE))",
        values=f"i, '2020-01-01' + INTERVAL i % 2190 DAY, i % 200, CONCAT({_HEX}, {_HEX})",
        share=0.09,
        row_bytes=480,
    ),
    _Table(
        "shop.sessions",
        "id BIGINT NOT NULL, user BIGINT, token CHAR(64) CHARACTER SET ascii, PRIMARY KEY (id), KEY user (user)",
        "PARTITION BY HASH (id) PARTITIONS 4",
        values=f"i, i % 10000, {_HEX}",
        share=0.06,
        row_bytes=310,
    ),
    _Table(
        "docs.files",
        "id BIGINT PRIMARY KEY, name VARCHAR(100), body LONGBLOB, KEY name (name)",
        values=f"i, CONCAT('file ', i), {_BLOB}",
        share=0.27,
        row_bytes=53_000,
    ),
    _Table(
        "docs.articles",
        "id BIGINT UNSIGNED PRIMARY KEY, title VARCHAR(80), body TEXT, FULLTEXT KEY words (title, body)",
        values=f"i, CONCAT('Article ', i), {_TEXT}",
        share=0.03,
        row_bytes=1600,
    ),
    _Table(
        "docs.places",
        "id BIGINT PRIMARY KEY, spot POINT NOT NULL SRID 4326, name VARCHAR(80), SPATIAL KEY spot (spot)",
        values=f"i, ST_SRID(POINT(CRC32(i) % 360 - 179.5, CRC32(CONCAT('y', i)) % 180 - 89.5), 4326), {_HEX}",
        share=0.03,
        row_bytes=260,
    ),
    _payload_table("`größe-Daten`.`größe-Daten`", share=0.05),
    _payload_table("`größe-Daten`.`表 1/2 €`"),
    _payload_table("packed.redundant_rows", "ROW_FORMAT=REDUNDANT"),
    _payload_table("packed.compact_rows", "ROW_FORMAT=COMPACT"),
    _payload_table("packed.zip_8k", "ROW_FORMAT=COMPRESSED", row_bytes=180, key_block_size=8),
    _payload_table("packed.zip_4k", "ROW_FORMAT=COMPRESSED", share=0.02, row_bytes=135, key_block_size=4),
    _payload_table("packed.pages_zlib", "COMPRESSION='zlib'"),
    _payload_table("misc.shared_one", f"TABLESPACE {_GENERAL_TABLESPACE}"),
    _payload_table("misc.shared_two", f"TABLESPACE {_GENERAL_TABLESPACE}"),
    # What a clone does not carry: these two arrive empty.
    _Table(
        "misc.myisam_rows",
        "id BIGINT PRIMARY KEY, word VARCHAR(70)",
        "ENGINE=MyISAM",
        values=f"i, {_HEX}",
        share=0.0002,
        row_bytes=90,
    ),
    _Table(
        "misc.csv_rows",
        "id BIGINT NOT NULL, word VARCHAR(70) NOT NULL",
        "ENGINE=CSV",
        values=f"i, {_HEX}",
        share=0.0001,
        row_bytes=75,
    ),
    _Table("shop.nothing_yet", "id BIGINT AUTO_INCREMENT PRIMARY KEY, body JSON"),
    _Table("docs.no_parts_yet", "id BIGINT PRIMARY KEY", "PARTITION BY HASH (id) PARTITIONS 3"),
    _Table("`größe-Daten`.`x.y#z@0024`", "id INT PRIMARY KEY, text TEXT, FULLTEXT KEY (text)"),
]


def fill(connect: Connect, size: int, *, threads: int = 4, progress: Callable[[float], None] = lambda _: None) -> int:
    """Add about ``size`` bytes of tables over ``threads`` connections; returns how much the files grew by rows.

    ``progress`` is told the part that is done, 0 to 1. Raises `pymysql.err.MySQLError`.
    """
    with ExitStack() as opened:
        connections = [opened.enter_context(connect()) for _ in range(threads)]
        cursor = connections[0].cursor()
        tables = _create(cursor)
        before = size_on_disk(cursor)
        next_number = {table.name: _next_number(cursor, table) for table in tables}
        for connection in connections:
            # A row may come before the one that it refers to; at the end of a round every one is there.
            connection.cursor().execute("SET SESSION foreign_key_checks = 0, cte_max_recursion_depth = 100000000")
        # How much a row takes on disk is only an estimate (files grow by whole extents), so look after each round.
        step = min(size / 10, _LARGEST_ROUND)
        done = 0.0
        while (grown := size_on_disk(cursor) - before) < size:
            done = max(done, grown / size)  # the server may give back what it had taken before
            progress(done)
            work = []
            for table in tables:
                low = next_number[table.name]
                end = next_number[table.name] = low + math.ceil(step * table.share / table.row_bytes)
                rows = max(1, int(_BATCH / table.row_bytes))
                work += [(table, first, min(first + rows, end)) for first in range(low, end, rows)]
            parents = {name: next_number[f"shop.{name}"] - 1 for name in ("customers", "orders")}
            _insert_all(connections, work, parents)
        progress(1.0)
        return grown


def _insert_all(
    connections: list[Connection[Cursor]], work: list[tuple[_Table, int, int]], parents: dict[str, int]
) -> None:
    """Insert the rows from ``first`` up to ``end`` of each piece of work, each piece one transaction."""
    idle = list(connections)

    def insert(piece: tuple[_Table, int, int]) -> None:
        table, first, end = piece
        connection = idle.pop()
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table.name} ({_plain_columns(cursor, table)}) "
                f"WITH RECURSIVE numbers (i) AS (SELECT {first} UNION ALL"
                f" SELECT i + 1 FROM numbers WHERE i < {end - 1})"
                f" SELECT {table.values.format(**parents)} FROM numbers"
            )
        idle.append(connection)

    with ThreadPoolExecutor(len(connections)) as pool:
        try:
            for future in [pool.submit(insert, piece) for piece in work]:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def size_on_disk(cursor: Cursor) -> int:
    """The allocated bytes of all InnoDB tablespaces but the undo and temporary ones."""
    return int(
        _value(
            cursor,
            "SELECT SUM(allocated_size) FROM information_schema.innodb_tablespaces"
            " WHERE space_type NOT IN ('Undo', 'System')",
        )
    )


def _create(cursor: Cursor) -> list[_Table]:
    """Schemas, tablespaces and tables, as far as they are not there; returns the tables that get rows."""
    for schema in _SCHEMAS:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS `{schema}` DEFAULT CHARACTER SET utf8mb4")
    for kind, name, suffix in (("", _GENERAL_TABLESPACE, "ibd"), ("UNDO", _UNDO_TABLESPACE, "ibu")):
        if not cursor.execute("SELECT 1 FROM information_schema.innodb_tablespaces WHERE name = %s", (name,)):
            cursor.execute(f"CREATE {kind} TABLESPACE {name} ADD DATAFILE '{name}.{suffix}'")
    page_size = int(_value(cursor, "SELECT @@innodb_page_size"))
    found = []
    for table in _TABLES:
        options = table.options
        if table.key_block_size:
            if page_size > 16384:  # the server has no ROW_FORMAT=COMPRESSED there
                continue
            options += f" KEY_BLOCK_SIZE={min(table.key_block_size, page_size // 1024)}"
        try:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({table.columns}) {options}")
        except pymysql.err.OperationalError as error:
            if error.args[0] != _NO_PUNCH_HOLE:
                raise
            continue
        if table.share:
            found.append(table)
    return found


def _next_number(cursor: Cursor, table: _Table) -> int:
    return int(_value(cursor, f"SELECT COALESCE(MAX(id), 0) + 1 FROM {table.name}"))


def _plain_columns(cursor: Cursor, table: _Table) -> str:
    """The columns that are not generated."""
    cursor.execute(f"SHOW COLUMNS FROM {table.name}")
    return ", ".join(f"`{row[0]}`" for row in cursor.fetchall() if "GENERATED" not in row[5])


def _value(cursor: Cursor, statement: str) -> Any:
    cursor.execute(statement)
    row = cursor.fetchone()
    assert row is not None, "an aggregate or a variable always gives a row"
    return row[0]
