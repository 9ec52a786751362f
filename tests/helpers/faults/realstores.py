"""What is done to stores with snapshots of a real server, whose data a mysqld takes.

A command is hurt at a call of the store, or killed at any moment, once or twice; then it is run with nothing in its
way. Its folders go, and where it was killed the next run removes them.
"""

from __future__ import annotations

import os
import shutil
import time
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import innoclone
from faults.attempt import Broken
from faults.rounds import Round, Scenario
from faults.storefaults import FAULTS, Fault
from faults.stores import DOCUMENTED, HARMLESS
from faults.storework import Done, Job, Process, run
from faults.world import World
from innoclone.commands.storecare import Listed
from innoclone.commands.storeoptions import StoreAccess
from servers import PASSWORD

__all__ = ["RealStores"]


class RealStores(Scenario):
    """``calls`` of the store and seconds are about what a command takes."""

    kinds = ("fault", "moment")
    calls: ClassVar[int]
    takes: ClassVar[float]

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._folder = world.folder / f"real-{self.name}"  # another scenario may have the same world
        self._folder.mkdir()
        self._environment = {"XDG_STATE_HOME": str(self._folder / "state")}
        self._store: Path | None = None
        self._key = self._folder / "key"
        self._key.write_bytes(os.urandom(32))

    @abstractmethod
    def job(self, round_: Round, access: StoreAccess, scratch: Path) -> Job:
        """The command that is hurt; ``scratch`` is a folder for what it needs for a while."""

    @abstractmethod
    def look(self, round_: Round, access: StoreAccess, *, done: bool) -> None:
        """What must hold after each run; ``done``: one of them may have come to its end."""

    def play(self, round_: Round, kind: str) -> None:
        """One or two runs that are hurt, then one that is not."""
        scratch = round_.folder / "scratch"
        scratch.mkdir()
        access = self._new_store(round_.folder / "store")
        job = self.job(round_, access, scratch)
        done = False
        for _ in range(round_.dice.choice((1, 2))):
            done |= self._hurt(round_, job, kind, scratch)
            self.look(round_, access, done=done)
        self.judge_last(round_, job, self.run(round_, job))
        self.look(round_, access, done=True)
        # Killed before it has its note, or when that has gone: an empty folder, of which nobody knows whose it is.
        if left := [one for one in sorted(scratch.iterdir()) if any(one.iterdir())]:
            raise Broken(f"what was left: {left}")
        if users := _users(scratch):
            raise Broken(f"processes {users} still use {scratch}")

    def run(self, round_: Round, job: Job) -> Done:
        """From its beginning to its end."""
        return run(job, self._environment)

    def killed(self, round_: Round, job: Job, after: float) -> Done:
        """The same, killed after so many seconds."""
        with Process(job, self._environment) as process:
            time.sleep(after)
            process.kill()
            return process.end()

    def judge_last(self, round_: Round, job: Job, done: Done) -> None:
        """The run that nothing is in the way of."""
        if done.error or done.crashed or done.killed:
            raise Broken(f"{job.what} with nothing in its way: {done.error or done.crashed or 'killed'}")

    def must(self, job: Job) -> Any:
        """The result of another command, which nothing is in the way of."""
        done = run(job, self._environment)
        if done.error or done.crashed or done.killed:
            raise Broken(f"{job.what}: {done.error or done.crashed or 'killed'}")
        return done.result

    def listed(self, access: StoreAccess) -> list[Listed]:
        """The snapshots, all of which can be read, and are whole."""
        found = innoclone.store_list(access)
        if found.unreadable or not found.snapshots:
            raise Broken(f"listed: {found}")
        innoclone.store_verify(access, read_data=True)
        return list(found.snapshots)

    def _new_store(self, folder: Path) -> StoreAccess:
        """A store with one snapshot, of the donor."""
        if self._store is None:
            self._store = self._folder / "store"
            access = StoreAccess(f"file://{self._store}", self._key)
            innoclone.store_init(access)
            innoclone.backup_server(self.donor.dsn(), access, password=PASSWORD, spool=self._folder)
        shutil.copytree(self._store, folder)
        return StoreAccess(f"file://{folder}", self._key)

    def _hurt(self, round_: Round, job: Job, kind: str, scratch: Path) -> bool:
        """Whether it was done all the same; what was killed at the end may be."""
        before = {*scratch.iterdir()}  # what one that was killed has left
        if kind == "moment":
            what = "killed at a moment"
            done = self.killed(round_, job, round_.dice.uniform(0, self.takes))
        else:
            what = round_.dice.choice(FAULTS)
            fault = Fault(what, round_.dice.randint(1, self.calls), round_.dice.getrandbits(32))
            done = self.run(round_, replace(job, fault=fault))
            what = what if done.reached else "not reached"
        round_.counts[f"fault: {what}"] += 1
        round_.tell(f"{what}: {done}")
        self._judge(round_, what, done)
        if not done.killed and (left := {*scratch.iterdir()} - before):
            raise Broken(f"{job.what}, which ended, left {left}")
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
