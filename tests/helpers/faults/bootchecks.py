"""``backup --boot-check``'s trial is hurt: a snapshot of a real server, restored and booted for a while.

A trial that failed says nothing of the snapshot, the next one does. Its folder goes, and where it was killed the next
trial removes that, and ends the server on it.
"""

from __future__ import annotations

from pathlib import Path

from faults.attempt import Broken
from faults.realstores import RealStores
from faults.rounds import Round
from faults.storework import Job
from innoclone.commands.storeoptions import StoreAccess

__all__ = ["BootChecks"]


class BootChecks(RealStores):
    """At a call of the store, or at any moment."""

    name = "bootcheck"
    calls = 12
    takes = 6.0

    def job(self, round_: Round, access: StoreAccess, scratch: Path) -> Job:
        """A trial."""
        return Job("boot check", access, {"scratch": scratch})

    def look(self, round_: Round, access: StoreAccess, *, done: bool) -> None:
        """The snapshot is said to have been booted only if it was."""
        listed = self.listed(access)
        if len(listed) != 1:
            raise Broken(f"listed: {listed}")
        if listed[0].check is not None and not done:
            raise Broken("it is said to have been booted, and no trial has said so")
