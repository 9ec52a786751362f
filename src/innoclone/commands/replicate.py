"""A clone becomes a replica: the statements for that, and, if wished, their execution.

With gtid_mode=ON on the source a replica finds its place by itself (SOURCE_AUTO_POSITION): the clone brought the GTID
set along. Otherwise it starts at the binary log position that the clone's first boot found, which is one in the donor's
log; or, from the donor's own source, where the donor stood in that one's log. A directory knows all that from its
manifest, a running clone from performance_schema.clone_status, or from the manifest if it runs on this host.

The donor's own channels, which come with a clone of a replica, are reset first. On a running server that happens only
if they are proven to be the donor's and nothing else (`innoclone.server.channels`).

Whether TLS is used, and with which files, is taken from how we reached the source. The password is never handed out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from innoclone.commands.knownclone import (
    KnownClone,
    clone_in,
    clone_of_server,
    is_remote,
    manifest_of_server,
)
from innoclone.commands.options import ReplicateOptions
from innoclone.commands.replicationsource import read_source
from innoclone.errors import AccessDenied, ConfigurationMismatch, TargetUnusable, UsageError
from innoclone.records.manifest import read_manifest
from innoclone.server.channels import applied_since, log_updates, own_channels, running_channels
from innoclone.server.cloned import was_kept
from innoclone.server.replicastart import ReplicaStart, start_and_await
from innoclone.server.replication import (
    HEARTBEAT,
    PASSWORD,
    Position,
    as_source,
    change_source,
    reset_channels,
    start_replica,
)
from innoclone.server.snapshot import plain
from innoclone.transport.endpoint import LOOPBACK, Endpoint
from innoclone.transport.sql import Sql

__all__ = ["Donor", "ReplicateResult", "find_donor", "replicate"]

NEW_CLONE = "make a new clone, or execute CHANGE REPLICATION SOURCE TO yourself from a position that you know"


# Two servers, two accounts: which of them was refused must be clear.
OF_SOURCE = "the account for the source is named by -u, -p, an option file that names that server, or in --source"
OF_REPLICA = "the replica's account is the one in its DSN; --ask-replica-password asks for its password"


@dataclass(frozen=True)
class ReplicateResult:
    """The statements, with a placeholder for the password, and what came of them if they were executed.

    ``caught_up`` is None if that isn't known; ``target`` is what the source had when the replica was started: a GTID
    set, or ``file:position`` of its binary log.
    """

    statements: list[str]
    executed: bool = False
    caught_up: bool | None = None
    target: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Donor:
    """Where a clone's manifest says that it came from. ``host`` is a path where it was reached by a Unix socket."""

    host: str
    port: int
    user: str


def _login(server: Endpoint, hint: str) -> Sql:
    try:
        return Sql(server)
    except AccessDenied as error:
        raise AccessDenied(f"{server}: {error.message}", hint=hint) from error


def find_donor(replica: Path | Endpoint) -> Donor:
    """The donor of a clone, by its manifest. Raises `UsageError` where that isn't known, or what connecting raises."""
    hint = "name the server to replicate from: --source mysql://user@host:port"
    try:
        if isinstance(replica, Endpoint):
            with _login(replica, OF_REPLICA) as sql:
                manifest = manifest_of_server(replica, sql)
        else:
            manifest = read_manifest(replica)
    except TargetUnusable as error:
        raise UsageError(f"no source is named, and the donor is not known: {error.message}", hint=hint) from error
    donor = manifest.get("donor", {})
    if not donor.get("host"):
        raise UsageError("no source is named, and no manifest of the clone can be read here", hint=hint)
    return Donor(donor["host"], int(donor["port"]), donor["user"])


def replicate(options: ReplicateOptions) -> ReplicateResult:
    """The statements; executed on the clone if ``options.run``.

    Raises `UsageError` (only a running clone can execute; its channels may be its own), `TargetUnusable` where the
    clone's position isn't known, `ConfigurationMismatch` where it could not replicate from this source,
    `PrivilegeMissing`, `SqlError` with what the replica's threads report, or what connecting raises.
    """
    if options.run and not isinstance(options.replica, Endpoint):
        raise UsageError(
            f"no server is named that could execute the statements, only {options.replica}",
            hint="start one (innoclone boot DIRECTORY --port N) and name it: mysql://user@host:port",
        )
    if not isinstance(options.replica, Endpoint):
        plan = _Plan(options, clone_in(options.replica))
        if was_kept(options.replica):
            plan.notes.append(
                "a server has run on the clone: if it has replicated since, don't execute this there, because it drops "
                "the server's channels; name the server instead of its directory to have that looked at"
            )
        return ReplicateResult(plan.statements(), notes=plan.notes)
    with _login(options.replica, OF_REPLICA) as replica:
        plan = _Plan(options, clone_of_server(options.replica, replica))
        plan.prove_unused(replica)
        statements = plan.statements()
        if not options.run:
            return ReplicateResult(statements, notes=plan.notes)
        reached = start_and_await(replica, plan.start(replica), options.wait)
    return ReplicateResult(
        statements,
        executed=True,
        caught_up=reached.caught_up,
        target=reached.target,
        notes=[*plan.notes, *reached.notes],
    )


class _Plan:
    """What is going to be executed. Raises like `replicate`."""

    def __init__(self, options: ReplicateOptions, clone: KnownClone) -> None:
        self.options, self.clone = options, clone
        self.notes: list[str] = []
        with _login(options.source, OF_SOURCE) as sql:
            self.facts = read_source(sql, options.source)
            self.endpoint = as_source(options.source, sql)
            self.missing = plain(
                sql.value("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_purged, %s)", (self.clone.gtid_executed,))
            )
            self.lacking = plain(
                sql.value("SELECT GTID_SUBTRACT(%s, @@GLOBAL.gtid_executed)", (clone.cloned_gtids or "",))
            )
        self._check_identity()
        self._check_log()
        self.position: Position | None = None  # None: the GTID set says where to begin
        if self.facts.gtid_mode == "ON":
            self._check_gtids()
        else:
            self.position = self._find_position()

    def statements(self, password: str = PASSWORD, heartbeat: float = HEARTBEAT) -> list[str]:
        """With a placeholder unless there is a ``password``."""
        version = self.clone.version
        change = change_source(
            self.endpoint, version, self.position, user=self.endpoint.user, password=password, heartbeat=heartbeat
        )
        return [*reset_channels(version), change, start_replica(version)]

    def start(self, replica: Sql) -> ReplicaStart:
        """All that the execution needs."""
        name = "replica_net_timeout" if self.clone.version >= 80026 else "slave_net_timeout"
        heartbeat = min(HEARTBEAT, int(replica.value(f"SELECT @@GLOBAL.{name}")) / 2)
        statements = self.statements(self.endpoint.password, heartbeat)
        return ReplicaStart(
            statements=statements,
            version=self.clone.version,
            position=self.position,
            gtids=self.facts.gtid_executed,
            binlog=self.facts.binlog,
        )

    # ---- the source ----------------------------------------------------------------------------------------

    @property
    def is_donor(self) -> bool:
        """Whether the source is what was cloned."""
        if uuid := self.clone.donor.get("uuid"):
            return bool(uuid == self.facts.uuid)
        return self.clone.donor_address == self.options.source.address

    def _check_identity(self) -> None:
        facts, clone = self.facts, self.clone
        if clone.uuid == facts.uuid:
            raise UsageError(f"{facts.address} is the clone itself", hint="name another server with --source")
        if clone.server_id == facts.server_id:
            raise ConfigurationMismatch(
                f"clone and source have the same server_id {facts.server_id}",
                hint="on the clone: SET PERSIST server_id = N",
            )
        if is_remote(self.options.replica) and self.endpoint.host in LOOPBACK:
            raise UsageError(
                f"{self.endpoint.host} is not {facts.address} but the replica itself to a server on another host",
                hint="name the source as the replica's host sees it: --source mysql://user@host:port",
            )
        if self.options.source_is_donor and not self.is_donor:
            raise ConfigurationMismatch(
                f"the server at {facts.address} is not the clone's donor, although the manifest has that address",
                hint="name the server to replicate from: --source mysql://user@host:port",
            )
        if self.endpoint.user == clone.donor.get("user"):
            self.notes.append(
                f"the replica gets the account {self.endpoint.user}, which the clone was made with; "
                "one that has REPLICATION SLAVE and nothing else is safer (-u NAME)"
            )

    def _check_log(self) -> None:
        """What the source replicates itself must be in its binary log."""
        facts = self.facts
        if facts.logs_updates:
            return
        channels = facts.channels
        if channels is None and self.is_donor:
            channels = self.clone.noted if self.clone.noted is not None else self.clone.channels
        if channels is None:
            self.notes.append(
                f"{facts.address} has {facts.updates_name}=OFF; if it is a replica itself, what it gets from its source"
                " never comes here"
            )
        elif channels:
            raise ConfigurationMismatch(
                f"{facts.address} is a replica itself ({', '.join(map(str, channels))}) and has "
                f"{facts.updates_name}=OFF: what it gets from its source is not in its binary log",
                hint=f"replicate from its source: --source mysql://user@{channels[0].host}:{channels[0].port}",
            )

    def _check_gtids(self) -> None:
        clone, facts = self.clone, self.facts
        if clone.gtid_mode != "ON":
            raise ConfigurationMismatch(
                f"the source has gtid_mode=ON, the clone {clone.gtid_mode}", hint="start the clone with gtid_mode=ON"
            )
        if self.missing:
            raise ConfigurationMismatch(
                f"the clone lacks transactions that {facts.address} has purged from its binary log: {self.missing}",
                hint="make a new clone",
            )
        if clone.cloned_gtids and self.lacking == clone.cloned_gtids:
            raise ConfigurationMismatch(
                f"{facts.address} has none of the clone's transactions: it is no server that the clone could follow",
                hint="name the donor, its source, or another replica of that one with --source",
            )
        if self.lacking:
            self.notes.append(f"the clone has transactions that {facts.address} does not have: {self.lacking}")

    def _find_position(self) -> Position:
        clone, facts = self.clone, self.facts
        if self.is_donor:
            if clone.position is None:
                raise TargetUnusable(
                    "the clone's binary log position is not known, and the source has no GTIDs to do without",
                    hint="name the clone's directory, after innoclone boot",
                )
            return clone.position
        channels = clone.noted or clone.channels
        channel = next((each for each in [*channels, *clone.channels] if each.source_uuid == facts.uuid), None)
        if channel is None:
            raise ConfigurationMismatch(
                f"{facts.address} is not the clone's donor, so the clone's binary log position means nothing there",
                hint="replicate from the donor, or use gtid_mode=ON",
            )
        if channel.applied is None or not clone.donor.get("applies_in_order"):
            raise ConfigurationMismatch(
                f"the clone's donor replicated from {facts.address}, but where it stood there is not known: "
                + ("it kept no position" if channel.applied is None else "its workers may have left gaps"),
                hint="replicate from the donor, or use gtid_mode=ON; for gaps, set replica_preserve_commit_order=ON "
                "on the donor and make a new clone",
            )
        self.notes.append(
            f"the position is where the donor stood as a replica of {facts.address}; what the donor filters out is "
            "not in the clone"
        )
        if others := [str(each) for each in channels if each.name != channel.name]:
            self.notes.append(f"the clone follows no other of the donor's sources: {', '.join(others)}")
        return channel.applied

    # ---- the replica ---------------------------------------------------------------------------------------

    def prove_unused(self, replica: Sql) -> None:
        """Raise unless a reset of the server's channels loses nothing, and the position still holds."""
        clone = self.clone
        if clone.channels and not self.options.reset_channels:
            reason = own_channels(replica, clone.version, clone.channels, clone.noted or [], clone.cloned_gtids)
            if reason:
                raise UsageError(
                    f"the server's replication ({', '.join(map(str, clone.channels))}) may be more than what it "
                    f"inherited from its donor: {reason}",
                    hint="if it may be lost, --reset-channels drops it; else see SHOW REPLICA STATUS there",
                )
        if self.position is None:
            return
        if running := running_channels(replica):
            raise UsageError(
                f"the server replicates (channels: {', '.join(map(repr, running))}), so that its position moves",
                hint="execute STOP REPLICA there first",
            )
        if clone.cloned_gtids is None:
            raise ConfigurationMismatch("nothing proves that the server is a clone", hint=NEW_CLONE)
        if changes := applied_since(replica, clone.version, clone.cloned_gtids):
            raise ConfigurationMismatch(f"the clone's position does not hold any more: {changes}", hint=NEW_CLONE)
        if not replica.value(f"SELECT @@GLOBAL.log_bin AND @@GLOBAL.{log_updates(clone.version)}"):
            self.notes.append("the server has no binary log that could show whether it has replicated since the clone")
