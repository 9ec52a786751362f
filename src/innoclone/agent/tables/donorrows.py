"""The rows of performance_schema.clone_served and clone_recipients: what the agent serves, and who takes it.

A server has no such tables: its donor's side shows in the processlist alone.
"""

from __future__ import annotations

from datetime import datetime

from innoclone.agent.donors.donors import Donors, ServedDonor
from innoclone.agent.sql import Value
from innoclone.agent.tables.clonerows import LARGEST_INT
from innoclone.agent.tables.columns import CLONE_RECIPIENTS, CLONE_SERVED, row
from innoclone.donor.takings import COMPLETED, Taking

__all__ = ["recipient_rows", "served_rows"]


def served_rows(donors: Donors) -> list[tuple[Value, ...]]:
    """Of clone_served, in the order of the agent's file."""
    return [_served(one) for one in donors]


def _served(one: ServedDonor) -> tuple[Value, ...]:
    outcomes = dict(one.outcomes)
    completed = outcomes.pop(COMPLETED, 0)
    return row(
        CLONE_SERVED,
        NAME=one.served.name,
        SOURCE=one.served.source,
        BIND_ADDRESS=one.donor.options.bind_address,
        PORT=one.donor.port,
        VERSION=one.shelf.version,
        RECIPIENTS=len(one.donor.takings),
        COMPLETED=completed,
        FAILED=sum(outcomes.values()),
        NETWORK=one.donor.network,
    )


def recipient_rows(donors: Donors) -> list[tuple[Value, ...]]:
    """Of clone_recipients; of each stored clone the oldest first."""
    return [_recipient(one.served.name, taking) for one in donors for taking in one.donor.takings]


def _recipient(name: str, taking: Taking) -> tuple[Value, ...]:
    recipient = taking.recipient
    return row(
        CLONE_RECIPIENTS,
        NAME=name,
        USER=recipient.user,
        HOST=recipient.host,
        STAGE=taking.stage_name or None,
        BEGIN_TIME=datetime.fromtimestamp(round(taking.began, 6)),
        THREADS=taking.connections,
        RESTARTS=taking.restarts,
        ESTIMATE=taking.estimate,
        DATA=taking.data,
        NETWORK=taking.network,
        DATA_SPEED=min(taking.speed, LARGEST_INT),
        NETWORK_SPEED=min(taking.network_speed, LARGEST_INT),
        TLS="YES" if recipient.tls else "NO",
        COMPRESSION=recipient.compression or None,
    )
