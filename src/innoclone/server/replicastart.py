"""A replica is pointed at its source and started, and is looked at until it runs and has caught up.

That START REPLICA succeeds says little: the threads fail later, or wait for hours because of a delay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from innoclone.errors import CloneError, SqlError
from innoclone.server.channels import read_channels
from innoclone.server.replication import Position, Threads, read_threads, reset_channels, words
from innoclone.server.snapshot import plain
from innoclone.transport.sql import Sql
from innoclone.transport.timings import REPLICA_CONNECT_TIMEOUT, REPLICA_STEADY_TIME

__all__ = ["CatchUp", "ReplicaStart", "start_and_await"]

POLL = 0.2  # seconds between looks at the replica
SHOWN = 200  # characters of a GTID set in a message


@dataclass(frozen=True)
class ReplicaStart:
    """Statements with passwords, for a replica of ``version``. ``position`` None is GTID auto-positioning.

    ``gtids`` and ``binlog`` (``file:position``, empty where it isn't known) are what the source had just before.
    """

    statements: Sequence[str]
    version: int
    position: Position | None
    gtids: str
    binlog: str


@dataclass(frozen=True)
class CatchUp:
    """How far the replica came: ``target`` is what it had to reach, ``caught_up`` None if that couldn't be seen."""

    target: str
    caught_up: bool | None
    notes: list[str] = field(default_factory=list)


def start_and_await(replica: Sql, plan: ReplicaStart, wait: float) -> CatchUp:
    """Execute the statements, wait until both threads run, and ``wait`` seconds for the replica to catch up.

    Raises `SqlError` with what the threads report; a replica that has applied nothing yet is then as it was before,
    without channels, so that the same can be tried again.
    """
    before = plain(replica.value("SELECT @@GLOBAL.gtid_executed"))
    for statement in plan.statements:
        replica.rows(statement)
    try:
        _await_threads(replica)
        _check_channel(replica)
        return _catch_up(replica, plan, wait)
    except CloneError:
        with suppress(CloneError):  # the first error is the one to tell
            _take_back(replica, plan, before)
        raise


def _await_threads(replica: Sql) -> None:
    """Until both run steadily."""
    begin = well_since = time.monotonic()
    while time.monotonic() < well_since + REPLICA_STEADY_TIME:
        time.sleep(POLL)
        threads = read_threads(replica)
        if not (threads.receiving and threads.applying):
            well_since = time.monotonic()
            late = well_since > begin + REPLICA_CONNECT_TIMEOUT
            _refuse(threads, f"no connection within {REPLICA_CONNECT_TIMEOUT:g} s" if late else "")


def _refuse(threads: Threads, otherwise: str) -> None:
    """Raise what the threads report; ``otherwise`` is what to say if they report nothing, empty for no error then."""
    if threads.applier_error:
        raise SqlError(
            f"the replica does not run: {threads.applier_error}",
            hint="the replica's data differ from the source's; SHOW REPLICA STATUS there tells more",
        )
    if problem := threads.receiver_error or otherwise:
        raise SqlError(
            f"the replica does not run: {problem}",
            hint="the replica's server must reach the source by the same name and log in there with the same account",
        )


def _check_channel(replica: Sql) -> None:
    """One channel, without a delay, is what was asked for."""
    rows = replica.rows("SELECT CHANNEL_NAME, DESIRED_DELAY FROM performance_schema.replication_applier_configuration")
    if [(str(name), int(delay)) for name, delay in rows] != [("", 0)]:
        raise SqlError(f"the replica has other channels or a delay: {rows}", hint="look at SHOW REPLICA STATUS there")


def _catch_up(replica: Sql, plan: ReplicaStart, wait: float) -> CatchUp:
    notes = _filters(replica)
    target = plan.gtids if plan.position is None else plan.binlog
    if plan.position is not None and not target:
        notes.append(
            "whether the replica has caught up can't be seen: the account needs REPLICATION CLIENT on the source"
        )
        return CatchUp("", None, notes)
    deadline = time.monotonic() + wait
    while True:
        behind = _missing_gtids(replica, target) if plan.position is None else _missing_log(replica, target, plan)
        if not behind:
            return CatchUp(target, True, notes)
        late = time.monotonic() > deadline
        threads = read_threads(replica)
        if not (threads.receiving and threads.applying):
            _refuse(threads, "its threads have stopped" if late else "")
        if late:
            notes.append(f"the replica runs, but has not caught up within {wait:g} s: {behind}")
            return CatchUp(target, False, notes)
        time.sleep(POLL)


def _missing_gtids(replica: Sql, target: str) -> str:
    missing = plain(replica.value("SELECT GTID_SUBTRACT(%s, @@GLOBAL.gtid_executed)", (target,)))
    return f"it lacks {missing[:SHOWN]}{'...' * (len(missing) > SHOWN)}" if missing else ""


def _missing_log(replica: Sql, target: str, plan: ReplicaStart) -> str:
    """The server's own function compares best; it also sees what workers have done since the last checkpoint."""
    file, _, offset = target.rpartition(":")
    name = "SOURCE_POS_WAIT" if plan.version >= 80026 else "MASTER_POS_WAIT"
    waited = replica.value(f"SELECT {name}(%s, %s, 1)", (file, int(offset)))
    return "" if waited is not None and int(waited) >= 0 else f"it has not reached {target}"


def _filters(replica: Sql) -> list[str]:
    """Filters are the server's own configuration: a clone has none of its donor's."""
    rows = replica.rows(
        "SELECT FILTER_NAME, FILTER_RULE FROM performance_schema.replication_applier_filters WHERE FILTER_RULE <> ''"
    )
    rules = ", ".join(f"{name}={rule}" for name, rule in rows)
    return [f"the replica filters what it gets, by its own configuration: {rules}"] if rules else []


def _take_back(replica: Sql, plan: ReplicaStart, before: str) -> None:
    """Stop; and where nothing was applied, leave no channel."""
    replica.rows(words("STOP REPLICA", plan.version))
    applied = plain(replica.value("SELECT @@GLOBAL.gtid_executed")) != before
    if plan.position is not None:
        applied = applied or any(channel.applied not in (None, plan.position) for channel in read_channels(replica))
    if not applied:
        for statement in reset_channels(plan.version):
            replica.rows(statement)
