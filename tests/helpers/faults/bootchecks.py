"""``backup --boot-check``'s trial is hurt: a snapshot of a real server, restored and booted for a while.

A trial that failed says nothing of the snapshot, the next one does. Its folder goes, and where it was killed the next
trial removes that, and ends the server on it.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import innoclone
from faults.attempt import Broken
from faults.rounds import Round, Scenario
from faults.storefaults import FAULTS, Fault
from faults.stores import DOCUMENTED, HARMLESS
from faults.storework import Done, Job, Process, run
from faults.world import World
from innoclone.commands.storeoptions import StoreAccess
from servers import PASSWORD

__all__ = ["BootChecks"]

CALLS = 12  # of the store, about
TAKES = 6.0  # seconds that a trial takes, about


class BootChecks(Scenario):
    """At a call of the store, or at any moment."""

    name = "bootcheck"
    kinds = ("fault", "moment")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._environment = {"XDG_STATE_HOME": str(world.folder / "check-state")}
        self._store: Path | None = None
        self._key = world.folder / "check-key"
        self._key.write_bytes(os.urandom(32))

    def play(self, round_: Round, kind: str) -> None:
        """One or two trials that are hurt, then one that is not."""
        scratch = round_.folder / "scratch"
        scratch.mkdir()
        access = self._new_store(round_.folder / "store")
        job = Job("boot check", access, {"scratch": scratch})
        checked = False
        for _ in range(round_.dice.choice((1, 2))):
            checked |= self._hurt(round_, job, kind)
            self._look(access, checked)
        done = run(job, self._environment)
        if done.error or done.crashed or done.killed:
            raise Broken(f"a trial with nothing in its way: {done.error or done.crashed or 'killed'}")
        self._look(access, True)
        if left := sorted(scratch.iterdir()):
            raise Broken(f"what trials left: {left}")
        if users := _users(scratch):
            raise Broken(f"processes {users} still use {scratch}")

    def _new_store(self, folder: Path) -> StoreAccess:
        if self._store is None:
            self._store = self.world.folder / "check-store"
            access = StoreAccess(f"file://{self._store}", self._key)
            innoclone.store_init(access)
            innoclone.backup_server(self.donor.dsn(), access, password=PASSWORD, spool=self.world.folder)
        shutil.copytree(self._store, folder)
        return StoreAccess(f"file://{folder}", self._key)

    def _hurt(self, round_: Round, job: Job, kind: str) -> bool:
        """Whether the trial was done all the same; one that was killed at the end may be."""
        before = {*(round_.folder / "scratch").iterdir()}  # what one that was killed has left
        if kind == "moment":
            what = "killed at a moment"
            with Process(job, self._environment) as process:
                time.sleep(round_.dice.uniform(0, TAKES))
                process.kill()
                done = process.end()
        else:
            what = round_.dice.choice(FAULTS)
            fault = Fault(what, round_.dice.randint(1, CALLS), round_.dice.getrandbits(32))
            done = run(replace(job, fault=fault), self._environment)
            what = what if done.reached else "not reached"
        round_.counts[f"fault: {what}"] += 1
        round_.tell(f"{what}: {done}")
        self._judge(round_, what, done)
        if not done.killed and (left := {*(round_.folder / "scratch").iterdir()} - before):
            raise Broken(f"a trial that ended left {left}")
        return done.killed or done.error is None

    def _judge(self, round_: Round, what: str, done: Done) -> None:
        if done.crashed:
            raise Broken(done.crashed)
        if done.error is not None:
            name, words, _ = done.error
            round_.counts[f"run: {name}"] += 1
            if name not in DOCUMENTED or what in HARMLESS:
                raise Broken(f"{what}: {name}: {words}")
        elif not done.killed:
            round_.counts["run: success"] += 1

    def _look(self, access: StoreAccess, checked: bool) -> None:
        """The snapshot is whole, and said to have been booted only if it was."""
        listed = innoclone.store_list(access)
        if len(listed.snapshots) != 1 or listed.unreadable:
            raise Broken(f"listed: {listed}")
        innoclone.store_verify(access, read_data=True)
        if listed.snapshots[0].check is not None and not checked:
            raise Broken("it is said to have been booted, and no trial has said so")


def _users(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            names = [str(one.readlink()) for one in (*(process / "fd").iterdir(), process / "cwd")]
        except OSError:  # it has ended
            continue
        if any(name.startswith(f"{folder}/") for name in names):
            found.append(int(process.name))
    return found
