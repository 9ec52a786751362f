"""``backup`` of a running server, with no copy of it on this host, is hurt; in part of the rounds it is written to.

A snapshot that is listed comes back and boots, exact; the spool goes; and a run that was killed costs nothing but time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from faults.attempt import Broken
from faults.realstores import RealStores
from faults.rounds import Round
from faults.storework import Done, Job
from innoclone.commands.storeoptions import StoreAccess

__all__ = ["LiveBackups"]


class LiveBackups(RealStores):
    """At a call of the store, or at any moment."""

    name = "livebackup"
    calls = 40
    takes = 3.0

    def play(self, round_: Round, kind: str) -> None:
        """With a load on the donor, or without."""
        with round_.perhaps_loaded():
            super().play(round_, kind)
        for one in self.listed(StoreAccess(f"file://{round_.folder / 'store'}", self._key))[1:]:
            directory = round_.folder / "restored"
            arguments = {"snapshot": one.snapshot.id, "directory": directory}
            self.must(Job("restore", StoreAccess(f"file://{round_.folder / 'store'}", self._key), arguments))
            round_.assert_exact(directory)
            shutil.rmtree(directory)

    def job(self, round_: Round, access: StoreAccess, scratch: Path) -> Job:
        """A backup, in part of the rounds one that builds on nothing."""
        return Job(
            "backup server", access,
            {
                "donor": self.donor.dsn(), "spool": scratch, "full": round_.dice.random() < 0.3,
                "local": round_.dice.random() < 0.5,
            },
        )  # fmt: skip

    def look(self, round_: Round, access: StoreAccess, *, done: bool) -> None:
        """The first snapshot is there, and others only where a backup may have come to its end."""
        listed = self.listed(access)
        if len(listed) > 1 and not done:
            raise Broken(f"listed, and no backup has come to its end: {listed}")

    def judge_last(self, round_: Round, job: Job, done: Done) -> None:
        """It is the latest."""
        super().judge_last(round_, job, done)
        if self.listed(job.access)[-1].snapshot.id != done.result:
            raise Broken(f"{done.result} isn't the latest")
