"""What may be removed from a store, when, without a lock: snapshots by `forget`, packs that nobody needs by `prune`.

A backup writes its lease, then looks whether its parent is (still) there, then writes packs and builds on the parent's,
and its commit is the creation of its snapshot. A prune lists the packs, and then, until nothing changes any more
between two looks, leases and snapshots. What it removes is in no snapshot of the last look, and in no living run. That
is safe however the calls of any number of writers, forgets and prunes fall between each other
(`tests/store/test_model.py` plays them), because of these:

* A run whose lease is old is *abandoned* first: by the creation of an object under the very name of its commit, of
  which only one can succeed. So what was taken for dead can't come to life.
* A living run protects its own packs. Its parent's are in a snapshot of the last look, or else nothing is removed.
* A run that is in neither look began after the last one of leases, so its parent was there after that.

The grace time is for what the proof leaves out: listings that lag behind, as NFS clients', and restores that are
running. Packs are marked first, and removed by a prune that comes that much later and finds them unused still. Ages are
by the store's clock, never by ours.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from innoclone.errors import StoreDamaged, StoreUnavailable, UsageError
from innoclone.store.checks import FOLDER as CHECKS
from innoclone.store.checks import orphaned_checks
from innoclone.store.contents import contents_name
from innoclone.store.keys import FOLDER as KEYS
from innoclone.store.objects import Entry, Gone
from innoclone.store.repository import PROBES, WRITTEN, Repository
from innoclone.store.runs import FOLDER as RUNS
from innoclone.store.runs import Lease, leases_of, read_lease
from innoclone.store.sealing import Piece
from innoclone.store.snapshots import FOLDER as SNAPSHOTS
from innoclone.store.snapshots import Snapshot, abandon, is_abandoned, moment_now, names_of, read_snapshot

__all__ = ["GRACE", "LEASE", "Pruned", "forget", "prune"]

GRACE = 24 * 3600.0  # seconds between a mark and a removal
LEASE = 24 * 3600.0  # seconds without a new lease after which a run is dead; one is written every ten minutes
ROUNDS = 20  # looks at a store that never comes to rest
MARKS = "prune"
LARGEST_MARK = 1 << 28  # bytes: the names of some millions of packs
MARK = re.compile(rf"{MARKS}/(\d{{8}}T\d{{12}}Z)-([0-9a-f]{{32}})\Z")
# What lies beside is not ours, and stays. The second form is what a killed writer leaves in a folder.
PACK = re.compile(r"[a-z]+/[0-9a-f]{32}/(?:\d{6,}|\.new-[0-9a-f]{16})\Z")
PROBE = re.compile(rf"{PROBES}/[0-9a-f]{{32}}\Z")
# The same of what is small: leases, snapshots, marks, keys, probes.
SMALL = (RUNS, SNAPSHOTS, MARKS, KEYS, PROBES, CHECKS)
CUT_OFF = re.compile(
    rf"(?:(?:{RUNS}|{CHECKS})/[0-9a-f]{{32}}|{SNAPSHOTS}|{MARKS}|{KEYS}|{PROBES})/\.new-[0-9a-f]{{16}}\Z"
)


@dataclass
class Pruned:
    """What a prune did, or would do. Names of objects, and bytes."""

    removed: list[str] = field(default_factory=list)
    removed_size: int = 0
    marked: list[str] = field(default_factory=list)  # they go when they have been marked for the grace time
    marked_size: int = 0
    abandoned: list[str] = field(default_factory=list)  # snapshots that dead runs would have made
    blocked: str = ""  # why nothing was removed
    left: int = 0  # objects that snapshots and living runs need, and those that are marked
    left_size: int = 0
    keeps_versions: bool = False  # by the bucket: what was removed is only hidden, and takes its room


def forget(repository: Repository, snapshots: Sequence[Snapshot], *, dry_run: bool = False) -> list[Snapshot]:
    """Remove snapshots, but for those that a living run builds on, which are given back. Their packs stay until a
    `prune`."""
    parents = set()
    now = repository.now() if snapshots else 0.0
    for lease in leases_of(repository):
        if now - lease.written < LEASE:
            parents.add(_parent(repository, lease))
    going = [one for one in snapshots if one.name not in parents]
    if not dry_run and going:
        repository.objects.delete([f"{SNAPSHOTS}/{one.name}" for one in going])
    return [one for one in snapshots if one.name in parents]


def prune(
    repository: Repository, *, grace: float = GRACE, dry_run: bool = False, without: Sequence[Snapshot] = ()
) -> Pruned:
    """Remove what no snapshot and no living run needs, once it has been marked for ``grace`` seconds. A ``dry_run``
    tells what it would do ``without`` snapshots that a `forget` would have removed before.

    Raises `StoreDamaged` or `VersionUnsupported` where a snapshot can't be read: what it needs isn't known.
    """
    if not 0 <= grace < math.inf:
        raise UsageError(f"the grace time must be a number from 0 on, not {grace:g}")
    return _Prune(repository, dry_run, {one.name for one in without} if dry_run else set()).run(grace)


class _Prune:
    """State of one prune."""

    def __init__(self, repository: Repository, dry_run: bool, without: set[str]) -> None:
        self.repository, self.dry_run, self._without = repository, dry_run, without
        self.found = Pruned()
        self._needed: dict[str, set[str]] = {}  # by snapshot
        self._now = repository.now()
        self.found.keeps_versions = repository.objects.keeps_versions

    def run(self, grace: float) -> Pruned:
        listed = [entry for folder in WRITTEN for entry in self.repository.objects.list(folder)]
        there = {entry.name: entry.size for entry in listed if PACK.match(entry.name)}
        checks = [entry.name for entry in self.repository.objects.list(CHECKS)]  # before the snapshots that they are of
        marks = self._marks()
        leases, names = self._settled()
        living = [lease for lease in leases if self._lives(lease, names)]
        needed = set().union(*(self._needed[name] for name in names))
        lacking = self._without_parent(living, names)
        if lacking:
            self.found.blocked = lacking
            return self.found
        runs = {lease.run.hex() for lease in living}
        doomed = [name for name in there if name not in needed and name.split("/")[1] not in runs]
        self._carry_out(doomed, there, marks, grace)
        self._tidy(leases, living, names, checks)
        return self.found

    def _settled(self) -> tuple[list[Lease], list[str]]:
        """Leases and snapshots, as two looks in a row have found them."""
        before: tuple[set[bytes], list[str]] | None = None
        for _ in range(ROUNDS):
            leases = leases_of(self.repository)
            names = [name for name in names_of(self.repository) if name not in self._without]
            for lease in leases:
                dead = lease.snapshot not in names and not self._is_young(lease)
                if dead and not self.dry_run and abandon(self.repository, lease.snapshot):
                    self.found.abandoned.append(lease.snapshot)
            now = ({lease.run for lease in leases}, names)
            if now == before and all(name in self._needed for name in names):
                return leases, names
            for name in names:  # before the next look: what is forgotten meanwhile may be a parent
                self._read(name)
            before = now
        raise StoreUnavailable(f"{self.repository.address} changes all the time", hint="prune it when it is quieter")

    def _is_young(self, lease: Lease) -> bool:
        return self._now - lease.written < LEASE

    def _lives(self, lease: Lease, names: list[str]) -> bool:
        """Whether its run may still need what no snapshot names."""
        return self._is_young(lease) or (lease.snapshot not in names and not self.dry_run)

    def _read(self, name: str) -> None:
        """Find out which objects a snapshot needs: none where it is an abandoned run's."""
        if name in self._needed:
            return
        snapshot = read_snapshot(self.repository, name)
        if snapshot is not None:
            needed = {pack.name for pack in snapshot.packs(self.repository)}
            needed |= {contents_name(snapshot.run, number) for number in range(len(snapshot.sizes))}
            self._needed[name] = needed
        elif is_abandoned(self.repository, name):
            self._needed[name] = set()

    def _without_parent(self, living: Iterable[Lease], names: list[str]) -> str:
        """Why nothing may be removed: a living run builds on a snapshot that isn't there, so what it needs isn't
        known."""
        for lease in living:
            parent = _parent(self.repository, lease)
            if parent is not None and not (parent in names and self._needed[parent]):
                return f"a running backup builds on snapshot {parent}, which was forgotten: try again when it has ended"
        return ""

    def _marks(self) -> list[tuple[Entry, set[str]]]:
        """The marks of earlier prunes."""
        found = []
        for entry in self.repository.objects.list(MARKS):
            if (name := MARK.match(entry.name)) is None:
                continue
            try:
                sealed = self.repository.objects.read(entry.name, LARGEST_MARK)
            except Gone:
                continue
            body = self.repository.vault.sealer(bytes.fromhex(name[2])).open(Piece.MARKS, 0, 0, sealed)
            try:
                found.append((entry, {str(one) for one in json.loads(body)}))
            except (ValueError, TypeError, RecursionError) as error:
                raise StoreDamaged(f"{entry.name} makes no sense: {error}") from error
        return found

    def _carry_out(
        self, doomed: list[str], there: dict[str, int], marks: list[tuple[Entry, set[str]]], grace: float
    ) -> None:
        """Remove what has been marked for long enough, mark the rest."""
        old = [(entry, names) for entry, names in marks if self._now - entry.modified >= grace]
        ripe = set(doomed) if not grace else set().union(*(names for _, names in old))
        known = set().union(*(names for _, names in marks))
        self.found.removed = [name for name in doomed if name in ripe]
        self.found.removed_size = sum(there[name] for name in self.found.removed)
        self.found.marked = [name for name in doomed if name not in ripe]
        self.found.marked_size = sum(there[name] for name in self.found.marked)
        self.found.left = len(there) - len(self.found.removed)
        self.found.left_size = sum(there.values()) - self.found.removed_size
        if self.dry_run:
            return
        self.repository.objects.delete(self.found.removed)  # first: a full folder has no room for a mark before
        if fresh := [name for name in self.found.marked if name not in known]:
            mark = secrets.token_bytes(16)
            sealed = self.repository.vault.sealer(mark).seal(Piece.MARKS, 0, 0, json.dumps(fresh).encode())
            self.repository.objects.create(f"{MARKS}/{moment_now()}-{mark.hex()}", sealed)
        self.repository.objects.delete([entry.name for entry, _ in old])  # all in them is gone, or needed again

    def _tidy(self, leases: list[Lease], living: list[Lease], names: list[str], checks: list[str]) -> None:
        """Remove leases of runs that have ended, checks of snapshots that are gone, and what killed
        processes left."""
        if self.dry_run:
            return
        runs = {lease.run for lease in living}
        ended = [lease for lease in leases if lease.run not in runs and lease.snapshot in names]
        small = [one for folder in SMALL for one in self.repository.objects.list(folder)]
        cut_off = [one for one in small if PROBE.match(one.name) or CUT_OFF.match(one.name)]
        left = [one.name for one in cut_off if self._now - one.modified >= GRACE]
        gone = [name for lease in ended for name in lease.names] + left
        gone += orphaned_checks(checks, {name.partition("-")[2] for name in names})
        if gone:
            self.repository.objects.delete(gone)


def _parent(repository: Repository, lease: Lease) -> str | None:
    """What a run builds on; None where it has ended meanwhile."""
    try:
        return read_lease(repository, lease)
    except Gone:
        return None
