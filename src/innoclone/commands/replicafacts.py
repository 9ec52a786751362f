"""What is known of a clone that is to become a replica: by its manifest, or by the server that runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from innoclone.errors import AccessDenied, CloneError, SqlError, TargetUnusable, UsageError
from innoclone.records.manifest import read_manifest
from innoclone.server.channels import Channel, read_channels
from innoclone.server.replication import Position
from innoclone.server.snapshot import plain
from innoclone.transport.endpoint import LOOPBACK, Endpoint
from innoclone.transport.sql import Sql, understood
from innoclone.wire.serverversion import version_number

__all__ = [
    "OF_REPLICA", "OF_SOURCE", "Donor", "ReplicaFacts", "facts_of_directory", "facts_of_server", "find_donor",
    "is_remote", "log_in", "recovered_position",
]  # fmt: skip


# Two servers, two accounts: which of them was refused must be clear.
OF_SOURCE = "the account for the source is named by -u, -p, an option file that names that server, or in --source"
OF_REPLICA = "the replica's account is the one in its DSN; --ask-replica-password asks for its password"


@dataclass(frozen=True)
class Donor:
    """Where a clone's manifest says that it came from. ``host`` is a path where it was reached by a Unix socket."""

    host: str
    port: int
    user: str


@dataclass(frozen=True)
class ReplicaFacts:
    """What of the clone matters. ``server_id`` is 0 and ``uuid`` empty where no server is asked."""

    version: int
    gtid_executed: str  # now
    cloned_gtids: str | None = None  # when it was cloned; None: nothing proves that it is a clone
    position: Position | None = None
    donor: dict[str, Any] = field(default_factory=dict)  # as in the manifest, empty if that can't be read
    donor_address: str = ""  # as clone_status has it
    noted: list[Channel] | None = None  # the donor's channels; None: not known
    channels: list[Channel] = field(default_factory=list)  # those that there are now
    gtid_mode: str = "ON"
    server_id: int = 0
    uuid: str = ""


def log_in(server: Endpoint, hint: str) -> Sql:
    """A connection; ``hint`` says whose account it is where that is refused. Raises what connecting does."""
    try:
        return Sql(server)
    except AccessDenied as error:
        raise AccessDenied(f"{server}: {error.message}", hint=hint) from error


def find_donor(replica: Path | Endpoint) -> Donor:
    """The donor of a clone, by its manifest. Raises `UsageError` where that isn't known, or what connecting raises."""
    hint = "name the server to replicate from: --source mysql://user@host:port"
    try:
        if isinstance(replica, Endpoint):
            with log_in(replica, OF_REPLICA) as sql:
                manifest = _manifest_of(replica, sql)
        else:
            manifest = read_manifest(replica)
    except TargetUnusable as error:
        raise UsageError(f"no source is named, and the donor is not known: {error.message}", hint=hint) from error
    donor = manifest.get("donor", {})
    if not donor.get("host"):
        raise UsageError("no source is named, and no manifest of the clone can be read here", hint=hint)
    return Donor(donor["host"], int(donor["port"]), donor["user"])


def facts_of_directory(directory: Path) -> ReplicaFacts:
    """By the manifest. Raises `TargetUnusable` for a clone that was never recovered, a file error."""
    manifest = read_manifest(directory)
    known = recovered_position(manifest)
    if not known:
        raise TargetUnusable(
            f"the GTID set of {directory} is not known yet",
            hint=f"recover it first: innoclone boot {directory}",
        )
    donor = manifest.get("donor", {})
    gtids = known["gtid_executed"]
    return ReplicaFacts(
        version=version_number(donor.get("version", "")), gtid_executed=gtids, cloned_gtids=gtids,
        position=_known(known), donor=donor, noted=_noted(manifest),
    )  # fmt: skip


def recovered_position(manifest: dict[str, Any]) -> dict[str, Any]:
    """The position that a server found, with the GTID set; empty where none has recovered the clone."""
    position: dict[str, Any] = manifest.get("position", {})
    return {} if position.get("gtid_executed") is None else position


def _known(position: dict[str, Any]) -> Position | None:
    return Position(position["binlog_file"], position["binlog_position"]) if position.get("binlog_file") else None


def _noted(manifest: dict[str, Any]) -> list[Channel] | None:
    rows: Sequence[dict[str, Any]] | None = manifest.get("channels")
    return None if rows is None else [Channel.recorded(row) for row in rows]


def _manifest_of(endpoint: Endpoint, sql: Sql) -> dict[str, Any]:
    """The manifest of the clone that a server runs on, if that is on this host and can be read; else empty."""
    if is_remote(endpoint):
        return {}
    directory = Path(sql.value("SELECT @@GLOBAL.datadir"))
    try:
        # A server in a container has its directory elsewhere, and another may be at that place here.
        if sql.value("SELECT @@GLOBAL.server_uuid") not in (directory / "auto.cnf").read_text():
            return {}
        return read_manifest(directory)
    except (CloneError, OSError, ValueError):
        return {}  # not a clone of ours, or not for our eyes


def is_remote(server: Path | Endpoint) -> bool:
    """Whether a server is known to be on another host."""
    return isinstance(server, Endpoint) and server.socket is None and server.host not in LOOPBACK


@understood("itself")
def facts_of_server(endpoint: Endpoint, replica: Sql) -> ReplicaFacts:
    """By what the server says of itself, and by the manifest where that is on this host. Raises `SqlError`."""
    version, gtids, gtid_mode, server_id, uuid = replica.rows(
        "SELECT VERSION(), @@GLOBAL.gtid_executed, @@GLOBAL.gtid_mode, @@GLOBAL.server_id, @@GLOBAL.server_uuid"
    )[0]
    manifest = _manifest_of(endpoint, replica)
    try:
        rows = replica.rows(
            "SELECT SOURCE, BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status"
            " WHERE STATE = 'Completed'"
        )
    except SqlError:
        rows = []  # the table is the clone plugin's, which may not be loaded
    clone = ReplicaFacts(
        version=version_number(version), gtid_executed=plain(gtids), gtid_mode=gtid_mode, server_id=int(server_id),
        uuid=uuid,
    )  # fmt: skip
    if rows:
        source, file, offset, cloned = rows[0]
        position = Position(file, int(offset)) if file else None
        clone = replace(clone, donor_address=source or "", position=position, cloned_gtids=plain(cloned or ""))
    known = recovered_position(manifest)
    if known and clone.cloned_gtids in (None, known["gtid_executed"]):  # else it was cloned once more, by others
        clone = replace(
            clone, cloned_gtids=known["gtid_executed"], position=clone.position or _known(known),
            donor=manifest.get("donor", {}), noted=_noted(manifest),
        )  # fmt: skip
    elif manifest and clone.cloned_gtids is not None and not known:
        clone = replace(clone, donor=manifest.get("donor", {}), noted=_noted(manifest))
    return replace(clone, channels=_channels(replica))


def _channels(replica: Sql) -> list[Channel]:
    try:
        return read_channels(replica)
    except SqlError as error:
        raise SqlError(
            f"the server's replication channels can't be looked at: {error.message}",
            hint="the account needs SELECT on mysql.* there, and REPLICATION_SLAVE_ADMIN, REPLICATION CLIENT, "
            "REPLICATION SLAVE and RELOAD",
        ) from error
