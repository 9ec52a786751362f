"""A clone becomes a replica of its donor: the statements for that, and, if wished, their execution.

With gtid_mode=ON on the source a replica finds its place by itself (SOURCE_AUTO_POSITION): the clone brought the GTID
set along. Otherwise it starts at the binary log position that the clone's first boot found. A directory knows both from
its manifest, a running clone from performance_schema.clone_status, or from the manifest if it runs on this host.

Whether TLS is used, and with which files, is taken from how we reached the source. The password is never handed out.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innoclone.engine.replication import Position, as_source, change_source, read_threads, start_replica, words
from innoclone.engine.session import version_number
from innoclone.engine.snapshot import plain
from innoclone.errors import CloneError, ConfigurationMismatch, SqlError, TargetUnusable, UsageError
from innoclone.operation.options import ReplicateOptions
from innoclone.ops.manifest import read_manifest
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql

__all__ = ["replicate"]

PATIENCE = 60.0  # seconds until both threads of the replica have to run
STEADY = 1.0  # seconds for which they must: the source may refuse a receiver that has just begun
POLL = 0.2
_THIS_HOST = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class _Clone:
    """What of the clone matters. ``source_uuid`` is its donor's, empty if not known; ``server_id`` 0 if it isn't up."""

    version: int
    gtid_executed: str | None  # None: only the first boot tells it
    position: Position | None
    source_uuid: str
    gtid_mode: str = "ON"
    server_id: int = 0


def replicate(options: ReplicateOptions) -> list[str]:
    """The statements, with a placeholder for the password; executed on the clone if ``options.run``.

    Raises `UsageError` (only a running clone can execute), `TargetUnusable` where the clone's position isn't known,
    `ConfigurationMismatch` where it could not replicate from this source, `SqlError` with what the replica's threads
    report, or what connecting raises.
    """
    with ExitStack() as opened:
        source = opened.enter_context(Sql(options.source))
        if isinstance(options.replica, Endpoint):
            replica = opened.enter_context(Sql(options.replica))
            clone = _running(options.replica, replica)
        else:
            replica = None
            clone = _directory(options.replica)
        position = _position(source, clone, options.source)
        endpoint = as_source(options.source, source)
        statements = [
            change_source(endpoint, clone.version, position, user=endpoint.user),
            start_replica(clone.version),
        ]
        if options.run:
            if replica is None:
                raise UsageError(
                    f"no server runs on {options.replica} that could execute the statements",
                    hint="start one (innoclone boot DIRECTORY --port N) and name it: mysql://user@host:port",
                )
            _execute(replica, clone.version, endpoint, position)
        return statements


def _directory(directory: Path) -> _Clone:
    manifest = read_manifest(directory)
    known = manifest.get("position")
    if not known:
        raise TargetUnusable(
            f"the binary log position of {directory} is not known yet",
            hint=f"recover it first: innoclone boot {directory}",
        )
    donor = manifest.get("donor", {})
    return _Clone(
        version_number(donor.get("version", "")), known["gtid_executed"], _known(known), donor.get("uuid", "")
    )


def _known(position: dict[str, Any]) -> Position | None:
    return Position(position["binlog_file"], position["binlog_position"]) if position.get("binlog_file") else None


def _running(endpoint: Endpoint, replica: Sql) -> _Clone:
    version, gtid_executed, gtid_mode, server_id, datadir = replica.rows(
        "SELECT VERSION(), @@GLOBAL.gtid_executed, @@GLOBAL.gtid_mode, @@GLOBAL.server_id, @@GLOBAL.datadir"
    )[0]
    position, uuid = None, ""
    try:
        rows = replica.rows("SELECT BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status")
        if rows and rows[0][0]:
            position = Position(rows[0][0], int(rows[0][1]))
    except SqlError:
        pass  # the table is the clone plugin's, which may not be loaded
    if endpoint.socket is not None or endpoint.host in _THIS_HOST:
        try:
            manifest = read_manifest(Path(datadir))
            position = position or _known(manifest.get("position", {}))
            uuid = manifest.get("donor", {}).get("uuid", "")
        except CloneError:
            pass  # not a clone of ours, or not for our eyes
    return _Clone(version_number(version), plain(gtid_executed), position, uuid, gtid_mode, int(server_id))


def _position(source: Sql, clone: _Clone, endpoint: Endpoint) -> Position | None:
    """Where to begin; None = the GTID set says it. Raises `ConfigurationMismatch` where that can't work."""
    gtid_mode, server_id, uuid = source.rows("SELECT @@GLOBAL.gtid_mode, @@GLOBAL.server_id, @@GLOBAL.server_uuid")[0]
    if clone.server_id == int(server_id):
        raise ConfigurationMismatch(
            f"clone and source have the same server_id {server_id}", hint="on the clone: SET PERSIST server_id = N"
        )
    if gtid_mode == "ON":
        if clone.gtid_mode != "ON":
            raise ConfigurationMismatch(
                f"the source has gtid_mode=ON, the clone {clone.gtid_mode}", hint="start the clone with gtid_mode=ON"
            )
        if clone.gtid_executed is None:
            raise TargetUnusable(
                "the clone's GTID set is not known yet", hint="recover it first: innoclone boot DIRECTORY"
            )
        missing = plain(source.value("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_purged, %s)", (clone.gtid_executed,)))
        if missing:
            raise ConfigurationMismatch(
                f"the clone lacks transactions that {endpoint.address} has purged from its binary log: {missing}",
                hint="make a new clone",
            )
        return None
    if clone.position is None:
        raise TargetUnusable(
            "the clone's binary log position is not known, and the source has no GTIDs to do without",
            hint="name the clone's directory, after innoclone boot",
        )
    if clone.source_uuid and clone.source_uuid != uuid:
        raise ConfigurationMismatch(
            f"{endpoint.address} is not the clone's donor, so the clone's binary log position means nothing there",
            hint="replicate from the donor, or use gtid_mode=ON",
        )
    return clone.position


def _execute(replica: Sql, version: int, source: Endpoint, position: Position | None) -> None:
    """Run the statements and wait until both threads do; what they report is the error."""
    threads = read_threads(replica)
    if threads.receiving or threads.applying:
        raise UsageError("the clone replicates already", hint="stop that first: STOP REPLICA")
    replica.rows(change_source(source, version, position, user=source.user, password=source.password))
    replica.rows(start_replica(version))
    begin = well_since = time.monotonic()
    while time.monotonic() < well_since + STEADY:
        time.sleep(POLL)
        threads = read_threads(replica)
        if threads.receiving and threads.applying:
            continue
        well_since = time.monotonic()
        problem = threads.receiver_error or threads.applier_error
        if problem or well_since > begin + PATIENCE:
            replica.rows(words("STOP REPLICA", version))
            raise SqlError(
                f"the replica does not run: {problem or f'no connection within {PATIENCE:g} s'}",
                hint="the account needs REPLICATION SLAVE on the source",
            )
