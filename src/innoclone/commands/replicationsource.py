"""What is asked of a server before a replica is pointed at it."""

from __future__ import annotations

from dataclasses import dataclass

from innoclone.errors import ConfigurationMismatch, PrivilegeMissing, SqlError
from innoclone.server.channels import Channel, log_updates
from innoclone.server.replication import words
from innoclone.server.snapshot import binlog_status, plain
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql, understood
from innoclone.wire.serverversion import version_number

__all__ = ["SourceFacts", "read_source"]


@dataclass(frozen=True)
class SourceFacts:
    """The source as it is now. ``channels`` of its own and ``binlog`` (``file:position``) need privileges that a
    replica's account may lack: None and empty then."""

    address: str
    uuid: str
    server_id: int
    gtid_mode: str
    gtid_executed: str
    logs_updates: bool
    updates_name: str
    channels: list[Channel] | None
    binlog: str


@understood("itself")
def read_source(sql: Sql, endpoint: Endpoint) -> SourceFacts:
    """Raises `ConfigurationMismatch` for a server without a binary log, `PrivilegeMissing`."""
    version = version_number(sql.value("SELECT VERSION()"))
    name = log_updates(version)
    uuid, server_id, mode, gtids, log_bin, updates = sql.rows(
        "SELECT @@GLOBAL.server_uuid, @@GLOBAL.server_id, @@GLOBAL.gtid_mode, @@GLOBAL.gtid_executed,"
        f" @@GLOBAL.log_bin, @@GLOBAL.{name}"
    )[0]
    if not log_bin:
        raise ConfigurationMismatch(
            f"{endpoint.address} has no binary log: nothing can replicate from it",
            hint="start it with log_bin, or name another server with --source",
        )
    _check_account(sql, endpoint, version)
    return SourceFacts(
        address=endpoint.address,
        uuid=uuid,
        server_id=int(server_id),
        gtid_mode=mode,
        gtid_executed=plain(gtids),
        logs_updates=bool(updates),
        updates_name=name,
        channels=_channels(sql),
        binlog=_binlog(sql),
    )


def _check_account(sql: Sql, endpoint: Endpoint, version: int) -> None:
    """A statement for which the server itself asks for the privilege, roles included."""
    try:
        sql.rows("SHOW REPLICAS" if version >= 80022 else words("SHOW REPLICA HOSTS", version))
    except PrivilegeMissing:
        raise PrivilegeMissing(
            f"{endpoint.user} lacks REPLICATION SLAVE on {endpoint.address}",
            hint="name an account for replication with -u, or in the DSN of --source; on the source: CREATE USER "
            "'repl'@'%' IDENTIFIED BY '...' REQUIRE SSL; GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'",
        ) from None


def _channels(sql: Sql) -> list[Channel] | None:
    try:
        rows = sql.rows(
            "SELECT CHANNEL_NAME, HOST, PORT FROM performance_schema.replication_connection_configuration ORDER BY 1"
        )
    except (PrivilegeMissing, SqlError):
        return None
    return [Channel(name, host or "", int(port)) for name, host, port in rows]


def _binlog(sql: Sql) -> str:
    try:
        return binlog_status(sql)
    except (PrivilegeMissing, SqlError):
        return ""
