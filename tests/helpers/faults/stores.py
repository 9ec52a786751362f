"""Commands on stores of snapshots, killed at any call or moment, and with stores that fail and lie.

What must hold, whatever happens: a snapshot that is listed comes back as the clone that it is of, byte by byte; none is
lost that nobody forgot; nothing that isn't whole is listed; the same command again does its work; and in the end a
prune leaves what snapshots need, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.attempt import Broken
from faults.rounds import Round, Scenario
from faults.storefaults import FAULTS, KILLS, Fault
from faults.storework import Done, Job, Process, run
from faults.world import World
from innoclone.commands.diff import diff
from innoclone.commands.storeoptions import StoreAccess
from innoclone.errors import registry
from innoclone.files.marks import is_unfinished
from restores import contents
from small_clones import small_clone_version

__all__ = ["StorePlay", "Stores"]

VERSIONS = 3  # of the clone: two are in the store, the third is backed up
TAKES = 0.08  # seconds that a command takes, about
HARMLESS = ("not reached", "killed at a moment", "503 once", "answer lost", "reordered", "slow")
BASES = ("CloneError", "LocalFault", "RemoteFault")
DOCUMENTED = {kind.__name__ for kind in registry()} - set(BASES)


class Stores(Scenario):
    """``kinds`` are the commands; what happens to them is left to the dice."""

    name = "store"
    kinds = (
        "backup",
        "restore",
        "backup full",
        "prune",
        "forget",
        "verify",
        "list",
        "info",
        "keys",
        "init",
        "restore delta",
        "diff",
    )
    needs_donor = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._folder = world.folder / f"stores-{self.name}"  # another scenario may have the same world
        self._folder.mkdir()
        self._environment = {"XDG_STATE_HOME": str(self._folder / "state")}
        self._clones = [small_clone_version(self._folder / f"clone{version}", version) for version in range(VERSIONS)]
        self._contents = [contents(clone) for clone in self._clones]
        self._keys = [self._folder / "key", self._folder / "other-key"]
        for key in self._keys:
            key.write_bytes(os.urandom(32))
        self._templates: dict[bool, tuple[Path, dict[str, int]]] = {}
        self._calls: dict[str, int] = {}

    def play(self, round_: Round, kind: str) -> None:
        """One command is hurt, then all is looked at, the command is run again, and all is looked at once more."""
        encrypted = round_.dice.random() < 0.7
        StorePlay(self, round_, kind, self.new_store(round_.folder / "store", encrypted=encrypted)).run()

    def new_store(self, folder: Path, *, encrypted: bool) -> tuple[StoreAccess, dict[str, int]]:
        """A store with two snapshots, and which version of the clone each one is."""
        if encrypted not in self._templates:
            template = self._folder / f"template-{encrypted}"
            access = StoreAccess(f"file://{template}", key_file=self._keys[0] if encrypted else None)
            self.must(Job("init", access))
            ids = {self.must(Job("backup", access, {"clone": self._clones[one]})): one for one in range(VERSIONS - 1)}
            self._templates[encrypted] = template, ids
        template, ids = self._templates[encrypted]
        shutil.copytree(template, folder)
        return StoreAccess(f"file://{folder}", key_file=self._keys[0] if encrypted else None), dict(ids)

    def clone(self, version: int) -> Path:
        """A version of the clone."""
        return self._clones[version]

    def is_version(self, directory: Path, version: int) -> bool:
        """Whether a directory has the content of that version of the clone."""
        return contents(directory) == self._contents[version]

    @property
    def other_key(self) -> Path:
        """A key file that opens no store yet."""
        return self._keys[1]

    def start(self, job: Job) -> Process:
        """Run it in a process of its own."""
        return Process(job, self._environment)

    def must(self, job: Job) -> Any:
        """The result of what nothing is in the way of."""
        done = run(job, self._environment)
        if done.error or done.crashed or done.killed:
            raise Broken(f"{job.what}, with nothing in its way: {done.error or done.crashed or 'killed'}")
        return done.result

    def calls(self, job: Job) -> int:
        """How many calls of the store a command takes."""
        if job.what not in self._calls:
            self._calls[job.what] = run(replace(job, fault=None), self._environment).calls
        return max(1, self._calls[job.what])


class StorePlay:
    """One round."""

    harmless: tuple[str, ...] = HARMLESS

    def __init__(
        self, scenario: Stores, round_: Round, kind: str, store: tuple[StoreAccess, dict[str, int]]
    ) -> None:  # fmt: skip
        self.scenario, self.round, self.dice = scenario, round_, round_.dice
        self.kind = kind
        self.access, self.there = store
        self.may_be_gone: set[str] = set()
        self.target = round_.folder / "restored"
        self.base: int | None = None  # the version of the clone that a delta restore found
        self.restored = 0

    def run(self) -> None:
        job = self._job()
        for _ in range(self.dice.choice((1, 1, 2))):
            self._hurt(job)
            self._look()
        self._again(job)
        self._look()
        self._clean_up()
        self._look(every=True)

    def _job(self) -> Job:
        """The command of this round."""
        arguments: dict[str, Any] = {}
        what = self.kind.partition(" ")[0]
        if what == "backup":
            arguments = {"clone": self.scenario.clone(VERSIONS - 1), "full": self.kind == "backup full"}
        elif what == "restore":
            arguments = {"snapshot": self.dice.choice(sorted(self.there)), "directory": self.target}
            if self.kind == "restore delta":
                self.base = self.dice.randrange(VERSIONS)
                shutil.copytree(self.scenario.clone(self.base), self.target, symlinks=True)
                arguments["delta"] = True
        elif what == "forget":
            arguments = {"keep": 1}
            self.may_be_gone = {next(iter(self.there))}
        elif what == "prune":
            gone = self.dice.choice(sorted(self.there))
            self.scenario.must(Job("forget", self.access, {"names": [gone]}))
            del self.there[gone]
            arguments = {"grace": self.dice.choice((0.0, 0.0, 3600.0))}
        elif what == "diff":
            arguments = self._sides()
        elif what == "init":
            self.access = replace(self.access, address=f"{self.access.address}-new")
            self.there = {}
        elif what == "keys" and self.access.key_file is not None and self.dice.random() < 0.7:
            return Job("add key", self.access, {"new": self.scenario.other_key})
        elif what == "keys":
            what = "list"
        return Job(what, self.access, arguments, leaves_packs=what == "backup" and self.dice.random() < 0.3)

    def _sides(self) -> dict[str, Any]:
        """What is compared: two snapshots, or one with a clone."""
        old, new = self.dice.sample(sorted(self.there), 2)
        here = self.scenario.clone(self.dice.randrange(VERSIONS))
        return {"old": old, "new": self.dice.choice((new, here))}

    def _hurt(self, job: Job) -> None:
        self._take_done(job)
        if self.dice.random() < 0.2:
            kind = "killed at a moment"
            done = self._killed_sometime(self.hurt_job(job))
        else:
            kind, done = self.strike(job)
            kind = kind if done.reached else "not reached"
        self.round.counts[f"fault: {kind}"] += 1
        self.round.tell(f"{job.what} {job.arguments}: {kind}: {done}")
        self._judge(job, kind, done)

    def hurt_job(self, job: Job) -> Job:
        """The command as it is run when it is hurt."""
        return job

    def strike(self, job: Job) -> tuple[str, Done]:
        """A fault at one of its calls: which, and what came of it."""
        chosen = FAULTS if job.what not in ("backup", "prune", "forget") else (*FAULTS, *KILLS, *KILLS)
        kind = self.dice.choice(chosen)
        fault = Fault(kind, self.dice.randint(1, self.spare_calls(job)), self.dice.getrandbits(32))
        with self.scenario.start(replace(job, fault=fault)) as process:
            return kind, process.end()

    def spare_calls(self, job: Job) -> int:
        """How many calls it takes, as far as it can be tried without doing it."""
        if job.what in ("list", "info", "verify", "diff"):
            return self.scenario.calls(job)
        return {"backup": 26, "restore": 14, "prune": 20, "forget": 12, "init": 8, "add key": 5}[job.what]

    def _killed_sometime(self, job: Job) -> Done:
        with self.scenario.start(job) as process:
            time.sleep(self.dice.uniform(0, TAKES))
            process.kill()
            return process.end()

    def _judge(self, job: Job, kind: str, done: Done) -> None:
        if done.crashed:
            raise Broken(f"{job.what}: {done.crashed}")
        if done.killed and not kind.startswith("killed"):
            raise Broken(f"{job.what} was killed by {kind}")
        if done.error is not None:
            name, words, _ = done.error
            self.round.counts[f"run: {name}"] += 1
            if name not in DOCUMENTED:
                raise Broken(f"{job.what} with {kind}: {name} is no documented error: {words}")
            if kind in self.harmless and not self._may_fail(job, name):
                raise Broken(f"{job.what} with {kind}: {name}: {words}")
        elif not done.killed:
            self.round.counts["run: success"] += 1
            self._succeeded(job, done.result)
        if job.what == "restore" and not done.result and not done.killed:
            self._nothing_half()

    def _may_fail(self, job: Job, name: str) -> bool:
        """What was hurt before may have been done all the same."""
        return job.what == "init" and name == "TargetExists"

    def _succeeded(self, job: Job, result: Any) -> None:
        if job.what == "backup":
            self.there[result] = VERSIONS - 1
        if job.what == "forget":
            for name in result:
                self.there.pop(name, None)
        if job.what == "diff" and result != self._difference(job):
            raise Broken(f"a diff says {result}")
        if job.what == "restore":
            version = self.there[job.arguments["snapshot"]]
            if is_unfinished(self.target) or not self.scenario.is_version(self.target, version):
                raise Broken("a restore said that it was done, and isn't")
            shutil.rmtree(self.target)

    def _difference(self, job: Job) -> list[tuple[str, str, int]]:
        """What `diff` must say: what it does of the clones."""
        old, new = job.arguments["old"], job.arguments["new"]
        old, new = (self.scenario.clone(self.there[one]) if isinstance(one, str) else one for one in (old, new))
        return [(one.name, one.kind, one.differing) for one in diff(old, new)]

    def _nothing_half(self) -> None:
        if (self.target / "mysql.ibd").exists() and not is_unfinished(self.target):
            if self.base is not None and self.scenario.is_version(self.target, self.base):
                return  # nothing was changed yet
            raise Broken("what a failed restore left has no mark")

    def _again(self, job: Job) -> None:
        """The same command, with nothing in its way."""
        if job.what == "init":
            with self.scenario.start(self.hurt_job(job)) as process:
                done = process.end()
            if done.crashed or (done.error and done.error[0] != "TargetExists"):
                raise Broken(f"init again: {done.error or done.crashed}")
            if done.error is not None and not Path(self.access.address[7:], "innoclone-store.json").exists():
                self.round.counts["init again: another prefix"] += 1
                shutil.rmtree(self.access.address[7:])
                self.scenario.must(job)
            return
        self._take_done(job)
        self._succeeded(job, self.scenario.must(self.hurt_job(job)))

    def _take_done(self, job: Job) -> None:
        """A restore that was killed when it had done all: the next one needs its place."""
        if job.what != "restore" or self.base is not None:
            return
        if (self.target / "mysql.ibd").exists() and not is_unfinished(self.target):
            if not self.scenario.is_version(self.target, self.there[job.arguments["snapshot"]]):
                raise Broken("what a killed restore left has no mark, and isn't whole")
            self.round.counts["killed when it was done"] += 1
            shutil.rmtree(self.target)

    def _look(self, *, every: bool = False) -> None:
        """What is listed is whole; what was there is listed."""
        if self.kind == "init" and not Path(self.access.address[7:], "innoclone-store.json").exists():
            return
        listed, unreadable = self.scenario.must(Job("list", self.access))
        if unreadable:
            raise Broken(f"listed, and can't be read: {unreadable}")
        if lost := self.there.keys() - set(listed) - self.may_be_gone:
            raise Broken(f"lost: {lost}")
        for name in listed:
            self.there.setdefault(name, VERSIONS - 1)  # of a backup that was killed after its commit
        for name in set(self.there) - set(listed):
            del self.there[name]
        self.scenario.must(Job("verify", self.access))
        for name in listed if every else listed[-1:]:
            self._restores(name)

    def _restores(self, name: str) -> None:
        self.restored += 1
        directory = self.round.folder / f"look{self.restored}"
        self.scenario.must(Job("restore", self.access, {"snapshot": name, "directory": directory}))
        if not self.scenario.is_version(directory, self.there[name]):
            raise Broken(f"snapshot {name} isn't the clone that it is of")
        self.round.counts["restored and equal"] += 1
        shutil.rmtree(directory)

    def _clean_up(self) -> None:
        """When all dead runs are taken for dead, what no snapshot needs goes, and nothing else."""
        if self.kind == "init" and not self.there:
            return
        _, blocked = self.scenario.must(Job("prune", self.access, dead_leases=True))
        if blocked:
            raise Broken(f"a prune is blocked for good: {blocked}")
        folder = Path(self.access.address[7:])
        left = [path for path in folder.rglob("*") if path.is_file() and path.parts[len(folder.parts)] == "runs"]
        if left:
            raise Broken(f"leases of nobody: {left}")
