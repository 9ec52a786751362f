"""A run: one backup that writes into a store. Its leases tell others that it lives, and what it builds on.

``runs/<run>/<moment>-<n>`` is written when it begins and every ten minutes. It is there before the first pack and
before the parent is read; then the parent must still be there. `innoclone.store.care` has the other side of this.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
from dataclasses import dataclass
from typing import Self

from innoclone.errors import CloneError, StoreDamaged, StoreLeaseLost
from innoclone.store.objects import SMALL, AlreadyThere
from innoclone.store.repository import Repository
from innoclone.store.sealing import Piece, Sealer
from innoclone.store.snapshots import Snapshot, commit, find_newest, is_there, moment_now, snapshot_name

__all__ = ["Lease", "Run", "begin_run", "leases_of", "read_lease"]

FOLDER = "runs"
EVERY = 600.0  # seconds
TRIES = 3  # parents that are taken away under our hands
NAME = re.compile(rf"{FOLDER}/([0-9a-f]{{32}})/(\d{{8}}T\d{{12}}Z)-(\d{{6}})\Z")


@dataclass(frozen=True)
class Lease:
    """The newest lease of a run. ``written`` is by the store's clock; ``names`` are all of its run's."""

    run: bytes
    moment: str
    number: int
    written: float
    names: tuple[str, ...]

    @property
    def snapshot(self) -> str:
        """The name of the snapshot that its run will make."""
        return snapshot_name(self.moment, self.run)


class Run:
    """One run, for as long as the ``with`` block runs. It is committed, or leaves what is collected one day."""

    def __init__(self, repository: Repository, parent: str | None) -> None:
        """``parent`` is the snapshot that it will build on."""
        self.repository, self.parent = repository, parent
        self.id = secrets.token_bytes(16)
        self.moment = moment_now()
        self.sealer: Sealer = repository.vault.sealer(self.id)
        self._leases = 0
        self._in_doubt = False  # a commit was tried, and nobody knows whether it came through or still will
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="innoclone-lease", daemon=True)

    @property
    def name(self) -> str:
        """Of the snapshot that it will be."""
        return snapshot_name(self.moment, self.id)

    def begin(self) -> None:
        """Write the first lease, and renew it from now on."""
        self._write_lease()
        self._thread.start()

    def __enter__(self) -> Self:
        """It has begun."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `end`."""
        self.end()

    def end(self) -> None:
        """Take the leases back, where the store lets us: nothing of this run is needed that no snapshot names. They
        stay where a commit is in doubt: what it needs must not be collected."""
        self._end.set()
        self._thread.join()
        if self._in_doubt:
            return
        with contextlib.suppress(CloneError):
            self.repository.objects.delete([self._lease_name(number) for number in range(self._leases)])

    def commit(self, fields: dict[str, object]) -> None:
        """Make it a snapshot. Raises `StoreLeaseLost` where somebody took it for dead."""
        now = self._store_time()
        self._in_doubt = True
        try:
            commit(self.repository, self.name, fields, now)
            self._in_doubt = False
        except AlreadyThere as error:
            self._in_doubt = False
            raise StoreLeaseLost(
                f"{self.repository.address}: this backup was taken for dead and its packs were collected"
            ) from error

    def _store_time(self) -> float:
        """By the store's clock, to be sealed: when it took a last lease. Where listings lag, an earlier one tells."""
        self._end.set()
        self._thread.join()
        self._write_lease()
        written = [entry.modified for entry in self.repository.objects.list(f"{FOLDER}/{self.id.hex()}")]
        if not written:
            raise StoreDamaged(f"{self.repository.address} doesn't list the leases of this backup")
        return max(written)

    def _renew(self) -> None:
        while not self._end.wait(EVERY):
            with contextlib.suppress(CloneError):  # the next one may be written; the commit is what decides
                self._write_lease()

    def _write_lease(self) -> None:
        body = json.dumps({"parent": self.parent}).encode()
        number, self._leases = self._leases, self._leases + 1
        self.repository.objects.create(self._lease_name(number), self.sealer.seal(Piece.LEASE, number, 0, body))

    def _lease_name(self, number: int) -> str:
        return f"{FOLDER}/{self.id.hex()}/{self.moment}-{number:06}"


def begin_run(repository: Repository, donor: str, *, full: bool = False) -> tuple[Run, Snapshot | None]:
    """A run that has its lease, and the newest snapshot of this donor, which it may build on: one that was there after
    the lease was. None with ``full``, or where there is none. Raises `StoreLeaseLost`."""
    for _ in range(TRIES):
        parent = None if full else find_newest(repository, donor)
        run = Run(repository, parent.name if parent else None)
        run.begin()
        if parent is None or is_there(repository, parent.name):
            return run, parent
        run.end()
    raise StoreLeaseLost(f"{repository.address}: snapshots go as fast as they are looked at")


def leases_of(repository: Repository) -> list[Lease]:
    """The newest lease of each run that has one."""
    found: dict[bytes, Lease] = {}
    for entry in repository.objects.list(FOLDER):
        if (name := NAME.match(entry.name)) is None:
            continue
        run = bytes.fromhex(name[1])
        older = found.get(run)
        names = (*(older.names if older else ()), entry.name)
        newest = older is None or int(name[3]) >= older.number
        number, written = (int(name[3]), entry.modified) if newest or older is None else (older.number, older.written)
        found[run] = Lease(run, name[2], number, written, names)
    return list(found.values())


def read_lease(repository: Repository, lease: Lease) -> str | None:
    """The snapshot that its run builds on. Raises `Gone` where the run has ended meanwhile, `StoreDamaged`."""
    name = f"{FOLDER}/{lease.run.hex()}/{lease.moment}-{lease.number:06}"
    sealed = repository.objects.read(name, SMALL)
    body = repository.vault.sealer(lease.run).open(Piece.LEASE, lease.number, 0, sealed)
    try:
        parent = json.loads(body)["parent"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreDamaged(f"lease {name} makes no sense: {error}") from error
    return None if parent is None else str(parent)
