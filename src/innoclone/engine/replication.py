"""Replication from the donor, in statements and in what the replica's threads say of themselves.

The names changed in 8.0.22 (START REPLICA) and 8.0.23 (CHANGE REPLICATION SOURCE); older servers get the older ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.transport.sql import Sql, understood

__all__ = [
    "PASSWORD",
    "Position",
    "Threads",
    "as_source",
    "change_source",
    "literal",
    "read_threads",
    "start_replica",
    "words",
]

PASSWORD = "<password>"  # noqa: S105 - what stands in a printed statement instead of one


@dataclass(frozen=True)
class Position:
    """Where replication begins: a file of the source's binary log and an offset in bytes."""

    file: str
    offset: int


def literal(text: str) -> str:
    """A string literal, right for every sql_mode that has no ANSI_QUOTES."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def words(statement: str, version: int) -> str:
    """``statement`` in the words of a server of that version (80023): before 8.0.23 the older ones."""
    if version >= 80023:
        return statement
    statement = statement.replace("CHANGE REPLICATION SOURCE TO", "CHANGE MASTER TO").replace("SOURCE_", "MASTER_")
    return statement if version >= 80022 else statement.replace("REPLICA", "SLAVE")


@understood("itself")
def as_source(endpoint: Endpoint, sql: Sql) -> Endpoint:
    """How a replica on this host reaches the server that we reach with ``endpoint`` and are connected to by ``sql``.

    A replica needs TCP, takes ``localhost`` for a Unix socket, and either wants TLS or doesn't.
    """
    changes: dict[str, Any] = {}
    if endpoint.socket is not None:
        # What we need no TLS for is TCP for the replica. A server that has a certificate says how long it is good.
        certified = sql.rows("SHOW GLOBAL STATUS LIKE 'Ssl_server_not_after'")
        changes |= {
            "socket": None,
            "host": "127.0.0.1",
            "port": int(sql.value("SELECT @@GLOBAL.port")),
            "ssl_mode": SslMode.REQUIRED if certified and certified[0][1] else SslMode.DISABLED,
        }
    elif endpoint.ssl_mode is SslMode.PREFERRED:
        changes["ssl_mode"] = SslMode.REQUIRED if sql.connection.cipher else SslMode.DISABLED
    if endpoint.socket is None and endpoint.host == "localhost":
        changes["host"] = "127.0.0.1"
    return replace(endpoint, **changes)


def change_source(
    source: Endpoint, version: int, position: Position | None, *, user: str | None = None, password: str = PASSWORD
) -> str:
    """CHANGE REPLICATION SOURCE TO for a replica of ``version``; ``position`` None is GTID auto-positioning.

    ``source`` is one that `as_source` made. Without ``user`` no account is named: START REPLICA names it then.
    """
    options = [f"SOURCE_HOST={literal(source.host)}", f"SOURCE_PORT={source.port}"]
    if user is not None:
        options += [f"SOURCE_USER={literal(user)}", f"SOURCE_PASSWORD={literal(password)}"]
    options += _tls(source)
    if position is None:
        options.append("SOURCE_AUTO_POSITION=1")
    else:
        options.append("SOURCE_AUTO_POSITION=0")
        options += [f"SOURCE_LOG_FILE={literal(position.file)}", f"SOURCE_LOG_POS={position.offset}"]
    return words(f"CHANGE REPLICATION SOURCE TO {', '.join(options)}", version)


def _tls(source: Endpoint) -> list[str]:
    if source.ssl_mode is SslMode.DISABLED:
        # Without TLS caching_sha2_password needs the server's key for its full path: as we were told, and only then.
        if source.server_public_key_path is not None:
            return ["SOURCE_SSL=0", f"SOURCE_PUBLIC_KEY_PATH={literal(str(source.server_public_key_path))}"]
        return ["SOURCE_SSL=0", f"GET_SOURCE_PUBLIC_KEY={int(source.get_server_public_key)}"]
    options = ["SOURCE_SSL=1"]
    files = (("CA", source.ssl_ca), ("CERT", source.ssl_cert), ("KEY", source.ssl_key))
    options += [f"SOURCE_SSL_{name}={literal(str(path))}" for name, path in files if path is not None]
    if source.ssl_mode is SslMode.VERIFY_IDENTITY:
        options.append("SOURCE_SSL_VERIFY_SERVER_CERT=1")
    return options


def start_replica(version: int, until: str = "") -> str:
    """START REPLICA, with an UNTIL clause if one is given."""
    return words(f"START REPLICA{' UNTIL ' + until if until else ''}", version)


@dataclass(frozen=True)
class Threads:
    """What receiver and applier of a replica are doing. The errors are empty where there is none."""

    receiving: bool
    applying: bool
    receiver_error: str
    applier_error: str


@understood("its replication")
def read_threads(replica: Sql) -> Threads:
    """The state of the default channel's threads, from performance_schema."""
    receiver = replica.rows(
        "SELECT SERVICE_STATE, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE"
        " FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''"
    )
    applier = replica.rows(
        "SELECT SERVICE_STATE FROM performance_schema.replication_applier_status WHERE CHANNEL_NAME = ''"
    )
    failed: Sequence[tuple[int, str]] = replica.rows(
        "SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_worker"
        " WHERE CHANNEL_NAME = '' AND LAST_ERROR_NUMBER <> 0 UNION ALL SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE"
        " FROM performance_schema.replication_applier_status_by_coordinator"
        " WHERE CHANNEL_NAME = '' AND LAST_ERROR_NUMBER <> 0"
    )
    return Threads(
        receiving=bool(receiver) and receiver[0][0] == "ON",
        applying=bool(applier) and applier[0][0] == "ON",
        receiver_error=f"{receiver[0][1]}: {receiver[0][2]}" if receiver and receiver[0][1] else "",
        applier_error=f"{failed[0][0]}: {failed[0][1]}" if failed else "",
    )
