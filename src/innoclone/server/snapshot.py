"""Consistent snapshots of a running server on several connections, all of one known state, without a lock.

A snapshot is *labelled* with the GTID set that it holds exactly. Each connection asks, in one round trip, for
gtid_executed, a snapshot, gtid_owned, and gtid_executed again. A server commits a transaction in InnoDB first, then
adds its GTID to gtid_executed and gives up its ownership (MYSQL_BIN_LOG::process_commit_stage_queue in binlog.cc). So
if nobody owns a GTID after the snapshot and the set is the one from before it, whatever is in the set is in the
snapshot and the other way round. Busy servers are asked until that happens; FLUSH TABLES WITH READ LOCK, which stops
all writing and waits for the longest query, isn't needed.

Without GTIDs the label is the binary log's position. It is written before InnoDB's commit, so a snapshot may lack the
last transaction of its label: it is good only to find that a server still stands where a clone of it was made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from innoclone.dataclass import dataclass
from innoclone.errors import ConnectionLimit, SqlError
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import LARGE, Sql, understood
from innoclone.transport.timings import SNAPSHOT_LABEL_TIMEOUT
from innoclone.wire.serverversion import version_number

__all__ = ["Snapshot", "binlog_status", "open_snapshots"]

POLL = 0.2  # seconds between two rounds of asking
_START = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
_LABELLED = (
    f"ROLLBACK; SELECT @@GLOBAL.gtid_executed; {_START}; SELECT @@GLOBAL.gtid_owned; SELECT @@GLOBAL.gtid_executed"
)


@dataclass(frozen=True)
class Snapshot:
    """Connections with an open snapshot each. ``label`` None: they may be of different states; ``refusal``: why they
    are fewer than were wanted."""

    connections: Sequence[Sql]
    label: str | None
    refusal: str = ""


def plain(gtids: str) -> str:
    """A GTID set without the line breaks that servers put in."""
    return "".join(gtids.split())


@understood("its binary log")
def binlog_status(sql: Sql) -> str:
    """``file:position`` of the binary log, empty without one. Raises `SqlError` (REPLICATION CLIENT is needed)."""
    version = version_number(sql.value("SELECT VERSION()"))
    rows = sql.rows("SHOW BINARY LOG STATUS" if version >= 80200 else "SHOW MASTER STATUS")
    return f"{rows[0][0]}:{rows[0][1]}" if rows else ""


@contextmanager
def open_snapshots(server: Endpoint, threads: int, *, gtids: bool) -> Iterator[Snapshot]:
    """``threads`` snapshots of one state, fewer where the server allows no more connections, or a single one if it
    changes too fast for so many; without a label, snapshots of different states, if even that fails."""
    with ExitStack() as opened:
        connections: list[Sql] = []
        refusal = ""
        deadline = time.monotonic() + SNAPSHOT_LABEL_TIMEOUT
        while len(connections) < threads:
            try:
                connections.append(opened.enter_context(Sql(server, several=True, most=LARGE)))
            except ConnectionLimit as error:
                refusal = error.message
                if connections:
                    break
                if time.monotonic() > deadline:  # servers count for a moment those that have just gone
                    raise
                time.sleep(POLL)
        for several in (connections, connections[:1]):
            label = _by_gtids(several) if gtids else _by_position(several)
            if label is not None:
                yield Snapshot(several, label, refusal)
                return
        for connection in connections:
            connection.results(f"ROLLBACK; {_START}")
        yield Snapshot(connections, None, refusal)


def _by_gtids(connections: Sequence[Sql]) -> str | None:
    deadline = time.monotonic() + SNAPSHOT_LABEL_TIMEOUT
    with ThreadPoolExecutor(len(connections), "snapshot") as pool:
        while time.monotonic() < deadline:
            labels = set(pool.map(_labelled, connections))
            if len(labels) == 1 and None not in labels:
                return labels.pop()
    return None


@understood("its GTIDs")
def _labelled(connection: Sql) -> str | None:
    _, before, _, owned, after = connection.results(_LABELLED)
    return plain(after[0][0]) if before == after and not owned[0][0] else None


def _by_position(connections: Sequence[Sql]) -> str | None:
    try:
        before = binlog_status(connections[0])
        for connection in connections:
            connection.results(f"ROLLBACK; {_START}")
        return before if before and before == binlog_status(connections[0]) else None
    except SqlError:
        return None
