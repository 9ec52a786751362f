"""Replication from a source, in statements and in what the replica's threads say of themselves.

The names changed in 8.0.22 (START REPLICA) and 8.0.23 (CHANGE REPLICATION SOURCE); older servers get the older ones.

A clone has the tables in which its donor kept the settings of *its* replication, if it was a replica itself. So the
statements begin with a reset of all channels, and state every setting there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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
    "reset_channels",
    "start_replica",
    "words",
]

PASSWORD = "<password>"  # noqa: S105 - what stands in a printed statement instead of one
HEARTBEAT = 30.0  # seconds: half of replica_net_timeout's default, as CHANGE REPLICATION SOURCE takes it
FEW_RETRIES = 80400  # from this version on a replica tries 10 times by default, before 86400 times

# Settings that a replica of the donor has no reason to have other than by default, and since when there are such
# (manual, "CHANGE REPLICATION SOURCE TO Statement").
DEFAULTS = (
    (80000, ("SOURCE_BIND=''", "SOURCE_DELAY=0", "IGNORE_SERVER_IDS=()")),
    (80018, ("SOURCE_COMPRESSION_ALGORITHMS='uncompressed'", "SOURCE_ZSTD_COMPRESSION_LEVEL=3")),
    (80018, ("PRIVILEGE_CHECKS_USER=NULL",)),
    (80019, ("REQUIRE_ROW_FORMAT=0",)),
    (80020, ("REQUIRE_TABLE_PRIMARY_KEY_CHECK=STREAM",)),
    (80022, ("NETWORK_NAMESPACE=''",)),
    (80023, ("SOURCE_CONNECTION_AUTO_FAILOVER=0", "ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS=OFF")),
    (80027, ("GTID_ONLY=0",)),
)


class Position(NamedTuple):
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


def reset_channels(version: int) -> list[str]:
    """The statements after which a server has no replication channel, nor anything else of its donor's replication.

    Without a name they are for all channels, those of a group that isn't started included. The functions' list of
    sources (mysql.replication_asynchronous_connection_failover) outlives RESET REPLICA ALL; 8.0.27 can empty it.
    """
    statements = [words("STOP REPLICA", version), words("RESET REPLICA ALL", version)]
    return [*statements, "SELECT asynchronous_connection_failover_reset()"] if version >= 80027 else statements


def change_source(
    source: Endpoint,
    version: int,
    position: Position | None,
    *,
    user: str | None = None,
    password: str = PASSWORD,
    heartbeat: float = HEARTBEAT,
    others: Mapping[str, str] | None = None,
) -> str:
    """CHANGE REPLICATION SOURCE TO for a replica of ``version``, with every setting that this version has.

    ``position`` None is GTID auto-positioning. ``source`` is one that `as_source` made. Without ``user`` no account is
    named: START REPLICA names it then. ``heartbeat`` is in seconds; ``others`` replace settings by name.
    """
    account = [f"SOURCE_USER={literal(user)}", f"SOURCE_PASSWORD={literal(password)}"] if user is not None else []
    if position is None:
        place = ["SOURCE_AUTO_POSITION=1"]
    else:
        place = ["SOURCE_AUTO_POSITION=0", f"SOURCE_LOG_FILE={literal(position.file)}"]
        place.append(f"SOURCE_LOG_POS={position.offset}")
    retries = 10 if version >= FEW_RETRIES else 86400
    rest = ["SOURCE_CONNECT_RETRY=60", f"SOURCE_RETRY_COUNT={retries}", f"SOURCE_HEARTBEAT_PERIOD={heartbeat:g}"]
    rest += [setting for since, settings in DEFAULTS if version >= since for setting in settings]
    server = [f"SOURCE_HOST={literal(source.host)}", f"SOURCE_PORT={source.port}", *account]
    lines = [server, place, _tls(source, version), rest]
    text = ",\n  ".join(", ".join(_setting(each, version, others or {}) for each in line) for line in lines)
    return words("CHANGE REPLICATION SOURCE TO ", version) + text


def _setting(text: str, version: int, others: Mapping[str, str]) -> str:
    """``NAME=value`` with the name as the version has it; a value may hold the same words, and stays as it is."""
    name, _, value = text.partition("=")
    return f"{words(name, version)}={others.get(name, value)}"


def _tls(source: Endpoint, version: int) -> list[str]:
    """All settings of TLS, and of the key that caching_sha2_password needs in its place for its full path."""
    on = source.ssl_mode is not SslMode.DISABLED
    files = {"CA": source.ssl_ca, "CERT": source.ssl_cert, "KEY": source.ssl_key} if on else {}
    options = [f"SOURCE_SSL={int(on)}"]
    for name in ("CA", "CAPATH", "CERT", "KEY", "CRL", "CRLPATH", "CIPHER"):
        options.append(f"SOURCE_SSL_{name}={literal(str(files.get(name) or ''))}")
    options.append(f"SOURCE_SSL_VERIFY_SERVER_CERT={int(source.ssl_mode is SslMode.VERIFY_IDENTITY)}")
    options.append("SOURCE_TLS_VERSION=''")
    if version >= 80019:
        options.append("SOURCE_TLS_CIPHERSUITES=NULL")
    # The key is what we were told, and only where there is no TLS.
    path = source.server_public_key_path if not on else None
    options.append(f"SOURCE_PUBLIC_KEY_PATH={literal(str(path or ''))}")
    return [*options, f"GET_SOURCE_PUBLIC_KEY={int(not on and source.get_server_public_key)}"]


def start_replica(version: int, until: str = "") -> str:
    """START REPLICA, with an UNTIL clause if one is given."""
    return words(f"START REPLICA{' UNTIL ' + until if until else ''}", version)


class Threads(NamedTuple):
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
