"""What the agent consists of, for whoever needs a part of it: one record, made once when the agent starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from innoclone.agent.accounts.accounts import Accounts
from innoclone.agent.clones.manager import Clones
from innoclone.agent.connections import Connections
from innoclone.agent.counters import Counters
from innoclone.agent.donors.donors import Donors
from innoclone.agent.memory import Pool
from innoclone.agent.settings import AgentSettings
from innoclone.agent.variables.globals import Variables
from innoclone.transport.failedlogins import FailedLogins

__all__ = ["Services"]


@dataclass(frozen=True)
class Services:
    """Each of them is safe to use from any thread."""

    settings: AgentSettings
    accounts: Accounts
    failed_logins: FailedLogins
    variables: Variables
    clones: Clones
    connections: Connections
    donors: Donors
    counters: Counters = field(default_factory=Counters)
    pool: Pool = field(default_factory=Pool)  # memory of statements and sessions
    started: float = field(default_factory=time.time)  # seconds since the epoch
    _started: float = field(default_factory=time.monotonic)

    @property
    def uptime(self) -> int:
        """Seconds."""
        return int(time.monotonic() - self._started)
