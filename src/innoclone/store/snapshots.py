"""Snapshots: a small sealed object each, ``snapshots/<time>-<run>``, whose creation is the commit of a backup.

The name is known when the run begins. Who collects what dead runs left creates an *abandoned* mark of that very name
first: creation only if absent decides which of the two there is, so a run that was taken for dead can't commit later.

The name is sealed within, so a renamed object is none. The order is that of the store's own clock, sealed as well: the
moments in the names are of the makers' clocks, and what the store says of its objects changes when a bucket is copied.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import zstandard

from innoclone.errors import CloneError, StoreDamaged, StoreMissing, UsageError, VersionUnsupported
from innoclone.store.address import LATEST, SNAPSHOT
from innoclone.store.contents import Contents, read_contents, read_packs
from innoclone.store.keys import LATEST_MOMENT
from innoclone.store.objects import AlreadyThere, Gone
from innoclone.store.pack import Pack, expand
from innoclone.store.repository import Repository
from innoclone.store.sealing import Piece
from innoclone.store.shapes import refuse_odd_origin

__all__ = [
    "Snapshot",
    "abandon",
    "before",
    "commit",
    "find",
    "find_newest",
    "is_abandoned",
    "is_there",
    "moment_now",
    "names_of",
    "newest_first",
    "read_snapshot",
    "run_of",
    "snapshot_name",
    "snapshots_of",
]

FOLDER = "snapshots"
NAME = re.compile(r"(\d{8}T\d{12}Z)-([0-9a-f]{32})\Z")
HEAD = b"innoclone snapshot 1\n"
HEADS = re.compile(rb"innoclone snapshot (\d{1,9})\n")
ABANDONED = b"innoclone abandoned run\n"
LONGEST = 16 << 20  # bytes of one, at most
SHAPES = {
    "size": int, "added": int, "changed": int, "files": int, "packs": int,
    "parent": str, "source": str, "host": str, "user": str, "innoclone": str, "booted": bool,
}  # fmt: skip
COMMITTED, OWN_NAME = "committed", "name"


@dataclass(frozen=True)
class Snapshot:
    """``fields`` are what its maker said of it, ``name`` is of its object, without the folder."""

    name: str
    fields: dict[str, Any]

    @property
    def run(self) -> bytes:
        """The run that wrote it."""
        return run_of(self.name)

    @property
    def id(self) -> str:
        """What people call it: the beginning of its run's id."""
        return self.name.partition("-")[2][:12]

    @property
    def donor(self) -> str:
        """The UUID of the server that was cloned."""
        donor = self.fields.get("donor")
        return str(donor.get("uuid", "")) if isinstance(donor, dict) else ""

    @property
    def moment(self) -> float:
        """When it was made, in seconds since the epoch, by the store's clock: just before its commit. Earlier formats
        know their maker's clock only."""
        return float(self.fields.get(COMMITTED, self.fields.get("time", 0)))

    @property
    def order(self) -> tuple[float, str]:
        """Snapshots are as old as this says. A store may know whole seconds only."""
        return self.moment, self.name

    @property
    def sizes(self) -> Sequence[int]:
        """Of the objects of its contents."""
        return [int(size) for size in self.fields["contents"]]

    def packs(self, repository: Repository) -> list[Pack]:
        """What it needs. Raises `StoreDamaged`."""
        return read_packs(repository.objects, repository.vault.sealer(self.run), self.run, self.sizes)

    def contents(self, repository: Repository) -> Contents:
        """All that it holds. Raises `StoreDamaged`."""
        return read_contents(repository.objects, repository.vault.sealer(self.run), self.run, self.sizes)


def moment_now() -> str:
    """This moment for names, to the microsecond, as in 20261128T201844123456Z."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def snapshot_name(moment: str, run: bytes) -> str:
    """Of the snapshot that a run will make; ``moment`` is of `moment_now`."""
    return f"{moment}-{run.hex()}"


def run_of(name: str) -> bytes:
    """The run of a snapshot's name."""
    return bytes.fromhex(name.partition("-")[2])


def commit(repository: Repository, name: str, fields: dict[str, Any], now: float) -> None:
    """Create the snapshot; ``now`` is by the store's clock. Raises `AlreadyThere` where its run was abandoned."""
    sealed_fields = fields | {OWN_NAME: name, COMMITTED: round(now, 3)}
    body = zstandard.ZstdCompressor().compress(json.dumps(sealed_fields).encode())
    sealed = repository.vault.sealer(run_of(name)).seal(Piece.SNAPSHOT, 0, 0, body)
    repository.objects.create(f"{FOLDER}/{name}", HEAD + sealed)


def abandon(repository: Repository, name: str) -> bool:
    """Keep a run from ever committing. False where it has done so."""
    try:
        repository.objects.create(f"{FOLDER}/{name}", ABANDONED)
    except AlreadyThere:
        return False
    return True


def names_of(repository: Repository) -> list[str]:
    """The names of all snapshots, abandoned runs' among them, in their alphabet's order; each once, however listed."""
    names = {entry.name.rpartition("/")[2] for entry in repository.objects.list(FOLDER)}
    return sorted(name for name in names if NAME.match(name))


def snapshots_of(repository: Repository, *, unreadable: list[CloneError] | None = None) -> list[Snapshot]:
    """All snapshots, oldest first. What can't be read is an error, or is put into ``unreadable``."""
    found = []
    for name in names_of(repository):
        try:
            if (one := read_snapshot(repository, name)) is not None:
                found.append(one)
        except (StoreDamaged, VersionUnsupported) as error:
            if unreadable is None:
                raise
            unreadable.append(error)
    return sorted(found, key=lambda one: one.order)


def newest_first(repository: Repository) -> Iterator[Snapshot | CloneError]:
    """All snapshots from the newest on, each read when it may be next; what can't be read is as new as its object.

    No object is older than the moment that is sealed in it, so most need not be read to find the newest.
    """
    entries = [entry for entry in repository.objects.list(FOLDER) if NAME.match(entry.name.rpartition("/")[2])]
    entries.sort(key=lambda entry: (entry.modified, entry.name), reverse=True)
    found: list[tuple[float, int, int, Snapshot | CloneError]] = []
    by_name = {name: number for number, name in enumerate(sorted(entry.name for entry in entries))}
    for entry in entries:
        while found and -found[0][0] > entry.modified:
            yield heapq.heappop(found)[-1]
        try:
            one: Snapshot | CloneError | None = read_snapshot(repository, entry.name.rpartition("/")[2])
        except (StoreDamaged, VersionUnsupported) as error:
            one = error
        if one is not None:
            moment = one.moment if isinstance(one, Snapshot) else entry.modified
            heapq.heappush(found, (-moment, -by_name[entry.name], len(found), one))
    while found:
        yield heapq.heappop(found)[-1]


def find(repository: Repository, wanted: str, *, damaged: bool = False) -> Snapshot:
    """`LATEST`, a name, an id or the beginning of one. Raises `StoreMissing`, `UsageError` where several are meant.

    With ``damaged`` one whose object isn't what was written is found too, as one without fields.
    """
    if not SNAPSHOT.match(wanted):
        raise UsageError(f"{wanted!r} names no snapshot", hint="innoclone store list URL shows their ids")
    if wanted == LATEST:
        found = newest_first(repository)
        for one in found:
            if isinstance(one, CloneError):
                one.advice = _advice(repository, found)
                raise one
            return one
        raise StoreMissing(f"{repository.address} has no snapshot", hint="innoclone backup makes one")
    fitting = []
    for name in names_of(repository):
        if _fits(name, wanted) and (fits := _read(repository, name, damaged=damaged)) is not None:
            fitting.append(fits)
    if len(fitting) > 1:
        raise UsageError(f"{wanted} is the beginning of {len(fitting)} snapshots", hint="name more of it")
    if not fitting:
        raise StoreMissing(f"{repository.address} has no snapshot {wanted}")
    return fitting[0]


def before(repository: Repository, snapshot: Snapshot) -> str:
    """What to do where this one is the newest, and turns out to be damaged: a hint."""
    older = (one for one in newest_first(repository) if isinstance(one, CloneError) or one.order < snapshot.order)
    return _advice(repository, older)


def _advice(repository: Repository, older: Iterator[Snapshot | CloneError]) -> str:
    """Which snapshot may take the place of a damaged one. Never silently: it is older, or of another server."""
    for one in older:
        if isinstance(one, Snapshot):
            donor = one.fields.get("donor") or {}
            made = datetime.fromtimestamp(one.moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            return (
                f"the one before it that can be read is of {donor.get('host')}:{donor.get('port')}, made {made}: "
                f"name it as {repository.address}@{one.id}"
            )
    return "no earlier snapshot can be read; innoclone store verify URL says what is wrong"


def find_newest(repository: Repository, donor: str) -> Snapshot | None:
    """The newest snapshot that is of this donor, by its server's UUID. What can't be read is passed over."""
    found = (one for one in newest_first(repository) if isinstance(one, Snapshot) and one.donor == donor)
    return next(found, None)


def is_abandoned(repository: Repository, name: str) -> bool:
    """Whether its run can never commit."""
    with contextlib.suppress(Gone):
        return repository.objects.read(f"{FOLDER}/{name}", LONGEST) == ABANDONED
    return False


def is_there(repository: Repository, name: str) -> bool:
    """Whether there is such a snapshot."""
    return read_snapshot(repository, name) is not None


def _fits(name: str, wanted: str) -> bool:
    return name == wanted or name.partition("-")[2].startswith(wanted) or (len(wanted) > 8 and name.startswith(wanted))


def _read(repository: Repository, name: str, *, damaged: bool) -> Snapshot | None:
    try:
        return read_snapshot(repository, name)
    except StoreDamaged:
        if damaged:
            return Snapshot(name, {})
        raise


def read_snapshot(repository: Repository, name: str) -> Snapshot | None:
    """The snapshot; None for an abandoned run's, or one that has just been forgotten."""
    try:
        raw = repository.objects.read(f"{FOLDER}/{name}", LONGEST)
    except Gone:
        return None
    if raw == ABANDONED:
        return None
    if not raw.startswith(HEAD):
        if newer := HEADS.match(raw):
            raise VersionUnsupported(
                f"snapshot {name} has format {int(newer[1])}", hint="use the innoclone that wrote it, or a newer one"
            )
        raise StoreDamaged(f"snapshot {name} is none")
    sealed = memoryview(raw)[len(HEAD) :]
    try:
        body = repository.vault.sealer(run_of(name)).open(Piece.SNAPSHOT, 0, 0, sealed)
    except StoreDamaged as error:
        raise StoreDamaged(f"snapshot {name} isn't what was written") from error
    try:
        fields = json.loads(expand(body, LONGEST))
        found = Snapshot(name, dict(fields))
        if not found.sizes or not 0 <= found.moment < LATEST_MOMENT:
            raise ValueError("no contents, or no time")
        if fields.get(OWN_NAME, name) != name:
            raise ValueError(f"it was written as {fields[OWN_NAME]!r}")
        if odd := [one for one, kind in SHAPES.items() if not isinstance(fields.get(one), kind | None)]:
            raise ValueError(f"its {odd[0]}")
        refuse_odd_origin(fields)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, zstandard.ZstdError) as error:
        raise StoreDamaged(f"snapshot {name} makes no sense: {error}") from error
    return found
