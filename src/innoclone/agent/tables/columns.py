"""Columns of the tables that the agent has, as a 9.7 server defines them, with ours after them; rows by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from innoclone.agent.clones.errors import MESSAGE_LENGTH
from innoclone.agent.sql import BLOB, INT, Column, SqlType, Value, char, datetime_type, varchar
from innoclone.wire.results import ColumnType

__all__ = [
    "CLONE_OPERATIONS", "CLONE_PROGRESS", "CLONE_RECIPIENTS", "CLONE_SERVED", "CLONE_STATUS", "GLOBAL_VARIABLES",
    "PLUGINS", "SCHEMAS", "picked", "row",
]  # fmt: skip

_BIGINT = SqlType(ColumnType.LONGLONG, 20)


def _text(length: int) -> SqlType:
    return varchar(length, column=True)


CLONE_STATUS = [
    Column("ID", INT),
    Column("PID", INT),
    Column("STATE", char(16)),
    Column("BEGIN_TIME", datetime_type(3, ColumnType.TIMESTAMP)),
    Column("END_TIME", datetime_type(3, ColumnType.TIMESTAMP)),
    Column("SOURCE", _text(512)),
    Column("DESTINATION", _text(512)),
    Column("ERROR_NO", INT),
    Column("ERROR_MESSAGE", _text(MESSAGE_LENGTH)),
    Column("BINLOG_FILE", _text(512)),
    Column("BINLOG_POSITION", _BIGINT),
    Column("GTID_EXECUTED", BLOB),
    Column("STAGE", char(32)),  # ours: the stage that runs, or in which it ended
]
CLONE_PROGRESS = [
    Column("ID", INT),
    Column("STAGE", char(32)),
    Column("STATE", char(16)),
    Column("BEGIN_TIME", datetime_type(6, ColumnType.TIMESTAMP)),
    Column("END_TIME", datetime_type(6, ColumnType.TIMESTAMP)),
    Column("THREADS", INT),
    Column("ESTIMATE", _BIGINT),
    Column("DATA", _BIGINT),
    Column("NETWORK", _BIGINT),
    Column("DATA_SPEED", INT),
    Column("NETWORK_SPEED", INT),
    Column("ERROR_MESSAGE", _text(MESSAGE_LENGTH)),  # ours
]
CLONE_SERVED = [  # ours: the stored clones that the agent serves
    Column("NAME", _text(64)),
    Column("SOURCE", _text(512)),  # a directory, or the running server
    Column("BIND_ADDRESS", _text(255)),
    Column("PORT", INT),
    Column("VERSION", _text(64)),  # as it was looked at last
    Column("RECIPIENTS", INT),  # now
    Column("COMPLETED", _BIGINT),  # since the agent was started
    Column("FAILED", _BIGINT),
    Column("NETWORK", _BIGINT),  # bytes sent
]
CLONE_RECIPIENTS = [  # ours: who takes them now
    Column("NAME", _text(64)),
    Column("USER", _text(32)),
    Column("HOST", _text(255)),
    Column("STAGE", char(32)),
    Column("BEGIN_TIME", datetime_type(6, ColumnType.TIMESTAMP)),
    Column("THREADS", INT),
    Column("RESTARTS", INT),
    Column("ESTIMATE", _BIGINT),
    Column("DATA", _BIGINT),
    Column("NETWORK", _BIGINT),
    Column("DATA_SPEED", INT),
    Column("NETWORK_SPEED", INT),
    Column("TLS", char(3)),
    Column("COMPRESSION", char(8)),
]
CLONE_OPERATIONS = [  # ours: backups, restores and clones of commands on this host that run
    Column("ID", INT),  # in the history
    Column("PID", INT),  # of the system
    Column("OPERATION", char(32)),
    Column("STAGE", char(32)),
    Column("BEGIN_TIME", datetime_type(3, ColumnType.TIMESTAMP)),
    Column("SOURCE", _text(512)),
    Column("DESTINATION", _text(512)),
    Column("THREADS", INT),
    Column("ESTIMATE", _BIGINT),
    Column("DATA", _BIGINT),
    Column("NETWORK", _BIGINT),
    Column("DATA_SPEED", INT),
    Column("NETWORK_SPEED", INT),
]
GLOBAL_VARIABLES = [Column("VARIABLE_NAME", _text(64)), Column("VARIABLE_VALUE", _text(1024))]
PLUGINS = [
    Column("PLUGIN_NAME", _text(64)),
    Column("PLUGIN_VERSION", _text(20)),
    Column("PLUGIN_STATUS", _text(10)),
    Column("PLUGIN_TYPE", _text(80)),
    Column("PLUGIN_TYPE_VERSION", _text(20)),
    Column("PLUGIN_LIBRARY", _text(64)),
    Column("PLUGIN_LIBRARY_VERSION", _text(20)),
    Column("PLUGIN_AUTHOR", _text(64)),
    Column("PLUGIN_DESCRIPTION", BLOB),
    Column("PLUGIN_LICENSE", _text(80)),
    Column("LOAD_OPTION", _text(64)),
]
SCHEMAS = ("information_schema", "performance_schema")


def row(columns: Sequence[Column], **values: Value) -> tuple[Value, ...]:
    """A row of a table by the names of its columns, each of which must be given."""
    assert len(values) == len(columns), values.keys() ^ {column.name for column in columns}
    return tuple(values[column.name] for column in columns)


def picked(
    columns: Sequence[Column], rows: Iterable[tuple[Value, ...]], names: Sequence[str]
) -> list[tuple[Value, ...]]:
    """Of each row the columns of these names, in that order."""
    places = [next(at for at, column in enumerate(columns) if column.name == name) for name in names]
    return [tuple(values[at] for at in places) for values in rows]
