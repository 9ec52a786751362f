"""``./scripts/snapshots``: generations of a server under load and DDL in one store, with forget and prune in between.

Some by chance are restored, booted, and compared with the server table by table: a copy follows it from the snapshot's
position on until both are at the same transaction.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import innoclone
from faults.world import World
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.load import Load
from innoclone.server.programs import provide_programs
from servers import PASSWORD

PAUSE, DDL_PAUSE = 0.02, 0.3  # seconds between two of them
KILLED = 0.15  # part of the backups that are killed first, and run again
LOOKED_AT = 0.3  # part of the generations after which one is restored


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server is stopped on the way out
    folder = Path(tempfile.mkdtemp(prefix="snapshots-", dir=options.work)).resolve()
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    (folder / "templates").mkdir()
    world = World(provide_programs(print), folder, folder / "templates")
    series = _Series(world, folder, random.Random(options.seed), options.keep_last)
    try:
        series.run(options.generations)
        series.tell_packs()
    finally:
        world.close()
        print(f"\nseed {options.seed}: " + ", ".join(f"{count} {name}" for name, count in series.counts.items()))
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/snapshots", description=__doc__)
    parser.add_argument("--generations", type=int, default=30, help="backups (default 30)")
    parser.add_argument("--keep-last", type=int, default=6, help="that stay (default 6)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder to work in (default: the system's temporary one)")
    return parser.parse_args()


class _Series:
    """The server, the store, and what was done; an error ends it."""

    def __init__(self, world: World, folder: Path, dice: random.Random, keep: int) -> None:
        self.world, self.folder, self.dice, self.keep = world, folder, dice, keep
        self.counts: Counter[str] = Counter()
        (folder / "key").write_bytes(os.urandom(32))
        self.store = innoclone.StoreAccess(f"file://{folder}/store", folder / "key")
        innoclone.store_init(self.store)
        self.donor = world.donor()

    @property
    def dsn(self) -> str:
        """The server, without a password."""
        return f"mysql://clone@127.0.0.1:{self.donor.port}"

    def run(self, generations: int) -> None:
        """All of them; the last ones that are left are all restored and compared."""
        connect = self.donor.server.connect
        for number in range(1, generations + 1):
            with Load(connect, pause=PAUSE), DdlLoop(connect, pause=DDL_PAUSE):
                time.sleep(1)
                self._back_up()
                if number % 3 == 0:
                    self._clean_up()
            ids = [one.snapshot.id for one in innoclone.store_list(self.store).snapshots]
            if self.dice.random() < LOOKED_AT or number == generations:
                for name in ids if number == generations else [self.dice.choice(ids)]:
                    self._compare(name)
            print(f"generation {number}: {len(ids)} snapshots; {dict(self.counts)}", flush=True)

    def _back_up(self) -> None:
        if self.dice.random() < KILLED:
            command = [sys.executable, "-m", "innoclone", "backup", "--key-file", str(self.folder / "key"), self.dsn]
            with (self.folder / "killed.log").open("wb") as log:
                killed = subprocess.Popen(
                    [*command, self.store.address], env={**os.environ, "MYSQL_PWD": PASSWORD}, stderr=log, stdout=log
                )
                with contextlib.suppress(subprocess.TimeoutExpired):
                    killed.wait(self.dice.uniform(0.5, 3))
                killed.kill()
                killed.wait()
            self.counts["killed"] += 1
        local = self.dice.random() < 0.5
        result = innoclone.backup_server(self.dsn, self.store, password=PASSWORD, spool=self.folder, local=local)
        self.counts["read of the server's files"] += local
        self.counts["backed up"] += 1
        self.counts["increments"] += bool(result.parent)

    def _clean_up(self) -> None:
        self.counts["forgotten"] += len(innoclone.store_forget(self.store, keep=innoclone.Policy(last=self.keep)).gone)
        self.counts["objects pruned"] += len(innoclone.store_prune(self.store, grace=0).removed)

    def tell_packs(self) -> None:
        """How much of what is in the packs the newest snapshot needs."""
        newest = innoclone.store_info(self.store, packs=True)
        print(
            f"the newest snapshot needs {newest['needed']} bytes of {newest['stored']} in its {newest['packs']} packs"
        )

    def _compare(self, name: str) -> None:
        directory = self.folder / "restored"
        innoclone.restore_snapshot(self.store, directory, snapshot=name, mysqld_check=True)
        innoclone.verify(directory, against=self.dsn, password=PASSWORD)
        self.counts["restored, booted and equal"] += 1
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
