"""Are the tables of two servers equal? Row counts, content checksums and definitions, several tables at a time.

The checksum of a table is made by the servers, with one statement that reads it once, whatever order the rows come in:
the sum of the CRC-32 of every row. (BIT_XOR over the same CRCs is the usual choice, but CRC-32 is linear: values of
one length that changed places between two rows cancel out, and so do two equal rows that changed alike.)

The donor is read in transactions that are consistent snapshots. DDL there can't be kept out of a snapshot, so a table
that it changed meanwhile is *not compared*, never *different*: its definition is read before the snapshot and again
with the rows. A savepoint around each table gives its metadata lock back at once, so that DDL waits for one table only.
"""

# ruff: noqa: S608 - the names in our statements are quoted, the rest are constants
from __future__ import annotations

import concurrent.futures
import enum
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from innoclone.errors import CloneError, Interrupted, NetworkError, SqlError
from innoclone.transport.sql import LOST, Sql, understood

__all__ = [
    "Outcome", "Side", "Table", "TableResult", "compare_objects", "compare_tables", "list_objects", "list_tables",
    "quote", "read_definitions",
]  # fmt: skip

_SYSTEM_SCHEMAS = "('information_schema', 'performance_schema', 'mysql', 'sys')"
# Types whose text in a list of values would be lossy, ambiguous, huge or not allowed; CRC32() takes their bytes.
_AS_BYTES = {
    "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json",
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit", "vector",
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geomcollection", "geometrycollection",
}  # fmt: skip
# What SHOW CREATE TABLE tells of this server, not of the table.
_NOT_THE_TABLES = re.compile(r" AUTO_INCREMENT=\d+| (?:DATA|INDEX) DIRECTORY ?= ?'(?:[^']|'')*'")

POLL = 0.2  # seconds between looks for a wish to stop

NO_SUCH_TABLE = 1146
_DENIED = (1142, 1143, 1044)
_NO_SUCH_COLUMN = 1054
# Tablespace discarded (ALTER TABLE ... DISCARD TABLESPACE), missing; table corrupt; not of the storage engine. A clone
# of such a table is as its donor's is.
_NO_DATA = (1814, 1812, 1877, 194, 1030, 1712)


class Outcome(enum.Enum):
    """What came out for one table."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_COMPARED = "not compared"
    NOT_CLONED = "not cloned"


@dataclass(frozen=True)
class Table:
    """A table as the information schema has it; ``size`` is an estimate in bytes."""

    schema: str
    name: str
    engine: str
    size: int
    columns: tuple[tuple[str, str], ...]  # name, type; in order

    @property
    def full_name(self) -> str:
        """``schema.table``, for people."""
        return f"{self.schema}.{self.name}"

    @property
    def is_cloned(self) -> bool:
        """Whether its rows are part of a clone: the protocol carries InnoDB's files only."""
        return self.engine.upper() == "INNODB"


@dataclass(frozen=True)
class TableResult:
    """The outcome for one table, or for one kind of object (``views``)."""

    name: str
    outcome: Outcome
    reason: str = ""
    rows: int = 0

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.outcome.value}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Side:
    """One of the two servers: connections, each for one thread, and what it had before the snapshot."""

    connections: Sequence[Sql]
    tables: dict[str, Table] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    objects: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Content:
    """What one server says of a table."""

    definition: str = ""
    rows: int = 0
    checksum: int = 0
    error: CloneError | None = None


def quote(name: str) -> str:
    """An identifier, quoted."""
    return "`" + name.replace("`", "``") + "`"


@understood("its tables")
def list_tables(sql: Sql) -> dict[str, Table]:
    """Every base table that the account may see, but the server's own, by full name."""
    columns: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for schema, table, column, kind in sql.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS"
        f" WHERE TABLE_SCHEMA NOT IN {_SYSTEM_SCHEMAS} ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
    ):
        columns.setdefault((schema, table), []).append((column, kind.lower()))
    found = [
        Table(schema, name, engine or "unknown", int(size or 0), tuple(columns.get((schema, name), ())))
        for schema, name, engine, size in sql.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, DATA_LENGTH FROM information_schema.TABLES"
            f" WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA NOT IN {_SYSTEM_SCHEMAS}"
        )
    ]
    return {table.full_name: table for table in found}


def read_definitions(sql: Sql, tables: dict[str, Table]) -> dict[str, str]:
    """What SHOW CREATE TABLE says of each; tables that are gone or forbidden are left out."""
    found = {}
    for name, table in tables.items():
        try:
            found[name] = _definition(sql, table)
        except SqlError:
            continue
    return found


def checksum_statement(table: Table) -> str:
    """SELECT of row count and checksum.

    NULLs are told from values by a flag of their own; FLOAT has only six digits in text, as DOUBLE it is exact.
    """
    values, flags = [], []
    for name, kind in table.columns:
        column = quote(name)
        flags.append(f"ISNULL({column})")
        if kind in _AS_BYTES:
            values.append(f"CRC32({column})")
        else:
            values.append(f"CAST({column} AS DOUBLE)" if kind == "float" else column)
    row = f"CONCAT_WS(',', {', '.join([*values, *flags])})" if values else "''"
    return f"SELECT COUNT(*), COALESCE(SUM(CRC32({row})), 0) FROM {quote(table.schema)}.{quote(table.name)}"


def compare_tables(
    donor: Side,
    clone: Side,
    *,
    stopped: threading.Event,
    progress: Callable[[Table], None] = lambda _: None,
) -> list[TableResult]:
    """Compare every table that either has; as many at a time as there are connections. Big ones first.

    Raises `Interrupted`, or the donor's network error.
    """
    tables = sorted({**clone.tables, **donor.tables}.values(), key=lambda table: -table.size)
    pairs = list(zip(donor.connections, clone.connections, strict=True))
    idle = list(pairs)  # list.pop and append are atomic

    def work(table: Table) -> TableResult:
        pair = idle.pop()
        try:
            return _compare_table(table, *pair, donor, clone, pool)
        finally:
            idle.append(pair)
            progress(table)

    # A second pool for the clone's half of each pair: both servers work at the same time.
    with (
        concurrent.futures.ThreadPoolExecutor(len(pairs), "donor") as workers,
        concurrent.futures.ThreadPoolExecutor(len(pairs), "clone") as pool,
    ):
        jobs = [workers.submit(work, table) for table in tables]
        try:
            while concurrent.futures.wait(jobs, POLL, concurrent.futures.FIRST_EXCEPTION).not_done:
                if stopped.is_set() or any(job.done() and job.exception() for job in jobs):
                    break
            if stopped.is_set():
                raise Interrupted("stopped while tables were compared")
            results = [job.result() for job in jobs]
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            for connection in (*donor.connections, *clone.connections):
                connection.shut()
            raise
    return sorted(results, key=lambda result: result.name)


def _compare_table(
    table: Table,
    donor_sql: Sql,
    clone_sql: Sql,
    donor: Side,
    clone: Side,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> TableResult:
    name = table.full_name
    if not table.is_cloned:
        return TableResult(name, Outcome.NOT_CLONED, table.engine)
    shape = clone.tables.get(name, table)  # both are asked for the same columns
    job = pool.submit(_read, clone_sql, shape, CloneError)
    with _savepoint(donor_sql):
        there = _read(donor_sql, shape, SqlError)
    return _judge(name, there, job.result(), donor.definitions.get(name))


def _judge(name: str, donor: _Content, clone: _Content, before: str | None) -> TableResult:
    """``before`` is the donor's definition from before the snapshot, None where there was no such table."""
    number = donor.error.code if donor.error else 0
    if number in _NO_DATA and clone.error is not None and clone.error.code == number:
        return TableResult(name, Outcome.NOT_COMPARED, f"neither can be read: {clone.error.message}")
    if number in _DENIED:
        return TableResult(name, Outcome.NOT_COMPARED, "the account may not read it on the donor")
    if number == NO_SUCH_TABLE and before is None:
        return TableResult(name, Outcome.DIFFERS, "the donor has no such table")
    if donor.error and not (number == _NO_SUCH_COLUMN and donor.definition == before):
        return TableResult(name, Outcome.NOT_COMPARED, f"changed on the donor meanwhile: {donor.error.message}")
    why = _difference(donor, clone)
    if not why:
        return TableResult(name, Outcome.EQUAL, rows=donor.rows)
    if donor.definition != before and donor.definition != clone.definition:
        return TableResult(name, Outcome.NOT_COMPARED, "defined anew on the donor meanwhile")
    if clone.error is not None and clone.error.message == LOST:
        return TableResult(name, Outcome.NOT_COMPARED, "the server on the clone had ended")
    return TableResult(name, Outcome.DIFFERS, why)


def _difference(donor: _Content, clone: _Content) -> str:
    """What is different, an empty string where nothing is."""
    if clone.error is not None and clone.error.code == NO_SUCH_TABLE:
        return "the clone has no such table"
    if isinstance(clone.error, NetworkError):
        return "the server on the clone ended while it read this table, or one beside it"
    if clone.error is not None:
        return f"the clone can't read it: {clone.error.message}"
    if donor.error is not None or donor.definition != clone.definition:
        return "its definition differs"
    if donor.rows != clone.rows:
        return f"{donor.rows} rows on the donor, {clone.rows} in the clone"
    if donor.checksum != clone.checksum:
        return f"content differs in {donor.rows} rows"
    return ""


@contextmanager
def _savepoint(sql: Sql) -> Iterator[None]:
    sql.rows("SAVEPOINT one_table")
    try:
        yield
    finally:
        sql.rows("ROLLBACK TO SAVEPOINT one_table")


@understood("a table")
def _read(sql: Sql, table: Table, tolerated: type[CloneError]) -> _Content:
    """Definition and checksum; an error of the kind ``tolerated`` is part of the answer."""
    definition = ""
    try:
        definition = _definition(sql, table)
        rows, checksum = sql.rows(checksum_statement(table))[0]
    except tolerated as error:
        return _Content(definition, error=error)
    return _Content(definition, int(rows), int(checksum))


@understood("a table")
def _definition(sql: Sql, table: Table) -> str:
    text: str = sql.rows(f"SHOW CREATE TABLE {quote(table.schema)}.{quote(table.name)}")[0][1]
    return _NOT_THE_TABLES.sub("", text)


# ---- views, routines and the like --------------------------------------------------------------------------

_OBJECTS = {
    "views": ("TABLE_SCHEMA", "TABLE_NAME", "VIEWS"),
    "routines": ("ROUTINE_SCHEMA", "ROUTINE_NAME", "ROUTINES"),
    "triggers": ("TRIGGER_SCHEMA", "TRIGGER_NAME", "TRIGGERS"),
    "events": ("EVENT_SCHEMA", "EVENT_NAME", "EVENTS"),
}
# Any one of these, globally, shows all of them (manual, "INFORMATION_SCHEMA ... Table").
_SHOWN_BY = {
    "views": {"SELECT"},
    "routines": {"SELECT", "SHOW_ROUTINE"},
    "triggers": {"TRIGGER"},
    "events": {"EVENT"},
    "accounts": {"SELECT"},
}


@understood("its views and routines")
def list_objects(sql: Sql) -> dict[str, set[str]]:
    """The names of views, routines, triggers, events and accounts that the account may see, by kind."""
    found = {
        kind: {
            f"{schema}.{name}"
            for schema, name in sql.rows(
                f"SELECT {schema_column}, {name_column} FROM information_schema.{view}"
                f" WHERE {schema_column} NOT IN {_SYSTEM_SCHEMAS}"
            )
        }
        for kind, (schema_column, name_column, view) in _OBJECTS.items()
    }
    try:
        found["accounts"] = {f"{user}@{host}" for user, host in sql.rows("SELECT User, Host FROM mysql.user")}
    except SqlError:
        found["accounts"] = set()
    return found


@understood("its views and routines")
def compare_objects(
    donor: Sql, before: dict[str, set[str]], clone: dict[str, set[str]], *, ours: str = ""
) -> list[TableResult]:
    """Compare the names of what is not a table. ``before`` is the donor's list from before the snapshot, ``ours`` is
    the account that was made for the comparison."""
    after = list_objects(donor)
    user, _, host = donor.value("SELECT CURRENT_USER()").rpartition("@")
    granted = donor.rows(
        "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = %s", (f"'{user}'@'{host}'",)
    )
    privileges = {row[0] for row in granted}
    results = []
    for kind, there in after.items():
        here = clone[kind] - {ours}
        missing, extra = sorted(there - here), sorted(here - there)
        if not missing and not extra:
            results.append(TableResult(kind, Outcome.EQUAL, rows=len(there)))
        elif not _SHOWN_BY[kind] & privileges:
            results.append(TableResult(kind, Outcome.NOT_COMPARED, "the account may not see them all on the donor"))
        elif there != before[kind]:
            results.append(TableResult(kind, Outcome.NOT_COMPARED, "changed on the donor meanwhile"))
        else:
            why = [
                f"{words} {', '.join(names[:3])}" for words, names in (("missing", missing), ("extra", extra)) if names
            ]
            results.append(TableResult(kind, Outcome.DIFFERS, "; ".join(why)))
    return results
