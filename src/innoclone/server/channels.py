"""The replication channels of a server: which ones a clone inherited from its donor, and which are its own.

What a replica knows of its sources is in tables (``mysql.slave_master_info``, ``slave_relay_log_info``,
``slave_worker_info``), and comes with a clone; the relay logs don't. A server that is started on the clone has the
donor's channels, and begins to replicate by them unless it is started with skip_replica_start: with error 1872 where
the donor's relay logs are missed, and in earnest with relay_log_recovery=ON, or where a relay log happens to have the
right name.

Resetting them is harmless only while nobody has made use of them. `own_channels` is the proof of that.

The tables are changed in the transaction that they tell of, so in a clone they agree with its data: the newest position
of a channel's rows is where the donor stood in the binary log of its source, if its workers commit in the order of the
source (replica_preserve_commit_order). Without that order there can be gaps before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from innoclone.errors import CloneError, SqlError
from innoclone.server.replication import Position
from innoclone.server.snapshot import plain
from innoclone.transport.sql import Sql, understood

__all__ = [
    "Channel", "applied_since", "inheritance", "log_updates", "own_channels", "read_channels", "running_channels",
]  # fmt: skip

GROUP = "group_replication_"  # begins the names of the channels of a replication group, which have no source
MOST_LOG = 16 << 20  # bytes of binary log that are searched; a server that did nothing has a few hundred
MOST_LOGS = 100  # relay logs of a channel; each start of the server makes one
HEAD = 20  # events at the beginning of a relay log; a receiver's first ones are the third and fourth
ER_ERROR_WHEN_EXECUTING_COMMAND = 1220  # could not find target log


class Channel(NamedTuple):
    """A channel as the tables have it. ``applied`` is a position in its source's log, None where none is kept."""

    name: str
    host: str
    port: int
    source_uuid: str = ""
    applied: Position | None = None
    relay_log: str = ""

    def __str__(self) -> str:
        """For messages."""
        source = f" from {self.host}:{self.port}" if not self.name.startswith(GROUP) else ""
        return (f"channel {self.name}" if self.name else "the default channel") + source

    def record(self) -> dict[str, Any]:
        """For the manifest, without what belongs to the donor's own files."""
        at = self.applied or Position("", 0)
        return {
            "name": self.name, "host": self.host, "port": self.port, "source_uuid": self.source_uuid,
            "binlog_file": at.file, "binlog_position": at.offset,
        }  # fmt: skip

    @staticmethod
    def recorded(row: Mapping[str, Any]) -> Channel:
        """A channel from the manifest."""
        at = Position(row["binlog_file"], row["binlog_position"]) if row["binlog_file"] else None
        return Channel(row["name"], row["host"], row["port"], source_uuid=row["source_uuid"], applied=at)


def inheritance(channels: Sequence[Channel]) -> str:
    """What to say of a clone with these."""
    return (
        f"the donor is a replica itself ({', '.join(map(str, channels))}): start servers on the clone with "
        "skip_replica_start=ON, else they replicate as the donor does; innoclone replicate resets that"
    )


@understood("its replication")
def read_channels(sql: Sql) -> list[Channel]:
    """The channels that the server's tables hold; needs SELECT on them. Raises `SqlError`."""
    relay = {
        name: (log, Position(file or "", int(offset or 0)))
        for name, log, file, offset in sql.rows(
            "SELECT Channel_name, Relay_log_name, Master_log_name, Master_log_pos FROM mysql.slave_relay_log_info"
        )
    }
    workers = sql.rows("SELECT Channel_name, Master_log_name, Master_log_pos FROM mysql.slave_worker_info")
    found = []
    for name, host, port, uuid in sql.rows("SELECT Channel_name, Host, Port, Uuid FROM mysql.slave_master_info"):
        log, at = relay.get(name, ("", Position("", 0)))
        positions = [at, *(Position(file, int(offset)) for channel, file, offset in workers if channel == name)]
        found.append(
            Channel(
                name, host or "", int(port), source_uuid=uuid or "", applied=_newest(positions), relay_log=log or ""
            )
        )
    return sorted(found, key=lambda channel: channel.name)


def _newest(positions: Sequence[Position]) -> Position | None:
    """The last of them, None if there is none or if they aren't all of one binary log."""
    known = [each for each in positions if each.file]
    bases = {each.file.rpartition(".")[0] for each in known}
    if len(bases) != 1 or not all(each.file.rpartition(".")[2].isdigit() for each in known):
        return None
    return max(known, key=lambda each: (int(each.file.rpartition(".")[2]), each.offset))


def log_updates(version: int) -> str:
    """The variable that says whether a replica writes what it applied to its own binary log."""
    return "log_replica_updates" if version >= 80026 else "log_slave_updates"


def running_channels(replica: Sql) -> list[str]:
    """The names of channels of which a thread runs, or tries to connect."""
    rows = replica.rows(
        "SELECT CHANNEL_NAME FROM performance_schema.replication_connection_status WHERE SERVICE_STATE <> 'OFF'"
        " UNION SELECT CHANNEL_NAME FROM performance_schema.replication_applier_status WHERE SERVICE_STATE <> 'OFF'"
    )
    return sorted(str(row[0]) for row in rows)


def own_channels(
    replica: Sql, version: int, channels: Sequence[Channel], noted: Sequence[Channel], gtids: str | None
) -> str:
    """Why ``channels`` of a running server may be more than its donor's inheritance; empty where they are just that.

    ``noted`` are those that the donor had, as far as that is known; ``gtids`` the clone's GTID set, None for a server
    that nothing proves to be a clone. Each of these is a reason: a thread runs; the server has applied something since
    it was cloned; a channel has received something here; or it is not the donor's, and never was connected anywhere.
    One that knows its source's UUID was: where there is no trace of that here, it was on the donor.
    """
    if running := running_channels(replica):
        return f"a thread of {' and of '.join(_named(name) for name in running)} runs"
    if gtids is None:
        return "nothing proves that the server is a clone"
    if changes := applied_since(replica, version, gtids):
        return changes
    before = {(each.name, each.host, each.port): each.applied for each in noted}
    server_id = int(replica.value("SELECT @@GLOBAL.server_id"))
    for channel in channels:
        key = (channel.name, channel.host, channel.port)
        if channel.applied is not None and before.get(key) == channel.applied:
            continue
        received = _has_received(replica, channel, server_id)
        if received:
            return f"{channel} has received events here"
        if received is not None and not channel.source_uuid and key not in before:
            return f"{channel} has never been started, so it may have been set up here"
    return ""


def _named(name: str) -> str:
    return f"channel {name}" if name else "the default channel"


def _has_received(replica: Sql, channel: Channel, server_id: int) -> bool | None:
    """Whether the channel has relay logs here with anything of a source; None: it could not be initialized here.

    The first thing that a receiver writes to a log is what the source says of itself, under the source's id.
    """
    first = replica.rows("SHOW RELAYLOG EVENTS LIMIT 1 FOR CHANNEL %s", (channel.name,))
    if not first:
        return None
    base, _, number = str(first[0][0]).rpartition(".")
    for each in range(int(number), int(number) + MOST_LOGS):
        log = f"{base}.{each:06}"
        try:
            events = replica.rows(f"SHOW RELAYLOG EVENTS IN %s LIMIT {HEAD} FOR CHANNEL %s", (log, channel.name))
        except SqlError as error:
            if error.server_number != ER_ERROR_WHEN_EXECUTING_COMMAND:
                raise
            return False  # that was the last one
        if any(int(event[3]) != server_id for event in events):
            return True
    return True


def applied_since(replica: Sql, version: int, gtids: str) -> str:
    """What shows that a server applied changes of another one since it was a clone with ``gtids``; else empty."""
    mode, uuid, server_id, log_bin, updates = replica.rows(
        "SELECT @@GLOBAL.gtid_mode, @@GLOBAL.server_uuid, @@GLOBAL.server_id, @@GLOBAL.log_bin,"
        f" @@GLOBAL.{log_updates(version)}"
    )[0]
    more = plain(replica.value("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, %s)", (gtids,)))
    if foreign := [part for part in more.split(",") if part and not part.startswith(uuid)]:
        return f"the server has applied transactions since it was cloned: {','.join(foreign)}"
    if mode == "ON" or not (log_bin and updates):
        return ""
    try:
        logs = replica.rows("SHOW BINARY LOGS")
        if sum(int(row[1]) for row in logs) > MOST_LOG or not str(logs[0][0]).endswith(".000001"):
            return "the server has a long binary log, so it has not only just been cloned"
        for row in logs:
            # Each transaction begins with one; it keeps the id of the server that it comes from.
            for _, offset, kind, origin, *_ in replica.rows("SHOW BINLOG EVENTS IN %s", (row[0],)):
                if "Gtid" in kind and int(origin) != int(server_id):
                    return f"the server has applied changes of server {origin}: {row[0]}, position {offset}"
    except CloneError as error:
        return f"its binary log can't be looked into: {error.message}"
    return ""
