"""What is known of a clone that is to be a replica: by its manifest, or by the server that runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError, SqlError, TargetUnusable
from innoclone.records.manifest import read_manifest
from innoclone.server.channels import Channel, read_channels
from innoclone.server.replication import Position
from innoclone.server.snapshot import plain
from innoclone.transport.endpoint import LOOPBACK, Endpoint
from innoclone.transport.sql import Sql, understood
from innoclone.wire.serverversion import version_number

__all__ = ["KnownClone", "clone_in", "clone_of_server", "is_remote", "manifest_of_server"]


@dataclass(frozen=True)
class KnownClone:
    """What matters for a replica. ``server_id`` is 0 and ``uuid`` empty where no server is asked."""

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


def clone_in(directory: Path) -> KnownClone:
    """What the manifest of a clone knows. Raises `TargetUnusable` before its GTID set is known."""
    manifest = read_manifest(directory)
    known = _recovered(manifest)
    if not known:
        raise TargetUnusable(
            f"the GTID set of {directory} is not known yet",
            hint=f"recover it first: innoclone boot {directory}",
        )
    donor = manifest.get("donor", {})
    gtids = known["gtid_executed"]
    return KnownClone(
        version=version_number(donor.get("version", "")), gtid_executed=gtids, cloned_gtids=gtids,
        position=_known(known), donor=donor, noted=_noted(manifest),
    )  # fmt: skip


def _recovered(manifest: dict[str, Any]) -> dict[str, Any]:
    """The position that a server found, with the GTID set; empty where none has recovered the clone."""
    position: dict[str, Any] = manifest.get("position", {})
    return {} if position.get("gtid_executed") is None else position


def _known(position: dict[str, Any]) -> Position | None:
    return Position(position["binlog_file"], position["binlog_position"]) if position.get("binlog_file") else None


def _noted(manifest: dict[str, Any]) -> list[Channel] | None:
    rows: Sequence[dict[str, Any]] | None = manifest.get("channels")
    return None if rows is None else [Channel.recorded(row) for row in rows]


def manifest_of_server(endpoint: Endpoint, sql: Sql) -> dict[str, Any]:
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
def clone_of_server(endpoint: Endpoint, replica: Sql) -> KnownClone:
    """What a running server knows of the clone that it was, and its manifest if that is here. Raises `SqlError`."""
    version, gtids, gtid_mode, server_id, uuid = replica.rows(
        "SELECT VERSION(), @@GLOBAL.gtid_executed, @@GLOBAL.gtid_mode, @@GLOBAL.server_id, @@GLOBAL.server_uuid"
    )[0]
    manifest = manifest_of_server(endpoint, replica)
    try:
        rows = replica.rows(
            "SELECT SOURCE, BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status"
            " WHERE STATE = 'Completed'"
        )
    except SqlError:
        rows = []  # the table is the clone plugin's, which may not be loaded
    clone = KnownClone(
        version=version_number(version), gtid_executed=plain(gtids), gtid_mode=gtid_mode, server_id=int(server_id),
        uuid=uuid,
    )  # fmt: skip
    if rows:
        source, file, offset, cloned = rows[0]
        position = Position(file, int(offset)) if file else None
        clone = replace(clone, donor_address=source or "", position=position, cloned_gtids=plain(cloned or ""))
    known = _recovered(manifest)
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
