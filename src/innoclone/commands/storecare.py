"""What a store has, whether it is whole, and what goes: `innoclone store`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from innoclone.commands.storeaccess import objects_of, opened, secret_for
from innoclone.commands.storeoptions import StoreAccess
from innoclone.errors import CloneError, StoreKeyWrong, UsageError, VerifyFailed
from innoclone.records.retention import Policy, apply
from innoclone.records.status import CloneStatus, Stage
from innoclone.store.address import LATEST
from innoclone.store.care import GRACE, Pruned, forget, prune
from innoclone.store.checking import Checked, check_packs, needed_packs
from innoclone.store.checks import checks_of
from innoclone.store.contents import Contents
from innoclone.store.keys import KeyEntry, Secret, add_key, key_entries, remove_key
from innoclone.store.known import Known
from innoclone.store.reading import PackReader
from innoclone.store.repository import Repository, init_store
from innoclone.store.snapshots import Snapshot, find, snapshots_of

__all__ = [
    "Forgotten", "Listed", "StoreListing", "add_store_key", "forget_snapshots", "list_store", "make_store",
    "prune_store", "remove_store_key", "snapshot_info", "store_keys", "verify_store",
]  # fmt: skip

NAMED = 5  # problems that an error names
THREADS = 4  # that read directories
SHORTEST = 6  # characters of an id that make plain which snapshot is to go: a mere 7 was meant for --keep-last


@dataclass(frozen=True)
class Listed:
    """One snapshot; ``reasons`` are the rules that would keep it, None where no rules were asked about; ``check`` is
    what the last boot of it has shown, None where it was never tried."""

    snapshot: Snapshot
    reasons: tuple[str, ...] | None = None
    check: Mapping[str, Any] | None = None

    @property
    def position(self) -> Mapping[str, Any]:
        """Where it stands in its donor's binary log: what a boot has shown, or else what its maker said."""
        said = self.snapshot.fields.get("position") or {}
        return (self.check or {}).get("position") or said

    @property
    def fields(self) -> dict[str, Any]:
        """For ``--json``."""
        kept = {} if self.reasons is None else {"kept_by": list(self.reasons)}
        return {
            "snapshot": self.snapshot.id,
            "name": self.snapshot.name,
            **self.snapshot.fields,
            **kept,
            "check": self.check,
        }


@dataclass(frozen=True)
class StoreListing:
    """Snapshots, oldest first; ``unreadable`` says why others, or checks, are not among them."""

    address: str
    snapshots: tuple[Listed, ...]
    unreadable: tuple[CloneError, ...] = ()


@dataclass(frozen=True)
class Forgotten:
    """``gone`` were removed, or would be; ``kept`` stay by a rule, ``used`` because a running backup builds on them."""

    gone: tuple[Snapshot, ...]
    kept: tuple[Listed, ...]
    used: tuple[Snapshot, ...] = ()
    pruned: Pruned | None = field(default=None)


def make_store(access: StoreAccess, *, encrypted: bool, single_writer: bool) -> Repository:
    """Raises what `init_store` does."""
    return init_store(
        objects_of(access), secret_for(access, new=True), encrypted=encrypted, single_writer=single_writer
    )


def list_store(access: StoreAccess, policy: Policy | None = None) -> StoreListing:
    """All snapshots, and with a ``policy`` which of them it would keep."""
    unreadable: list[CloneError] = []
    repository = opened(access)
    found = snapshots_of(repository, unreadable=unreadable)
    reasons = _reasons(found, policy, repository.now()) if policy else {}
    checks = checks_of(repository, unreadable=unreadable)
    listed = tuple(Listed(one, reasons.get(one.name) if policy else None, checks.get(one.name)) for one in found)
    return StoreListing(access.address, listed, tuple(unreadable))


def snapshot_info(access: StoreAccess, snapshot: str, *, packs: bool = False) -> dict[str, Any]:
    """All that a snapshot says of itself, its clone's manifest with it, and the sizes of its packs; with ``packs`` also
    how much of them it needs: their directories are read for that."""
    repository = opened(access)
    one = find(repository, snapshot)
    contents = one.contents(repository)
    return {
        **Listed(one, check=checks_of(repository, one).get(one.name)).fields,
        "stored": sum(pack.size for pack in contents.packs) + sum(one.sizes),
        **(_needed(repository, contents) if packs else {}),
        "paths": [{"path": file.path, "bytes": file.size, "space_id": file.space_id} for file in contents.files],
        "manifest": contents.manifest,
    }


def _needed(repository: Repository, contents: Contents) -> dict[str, int]:
    """Bytes that a snapshot needs of its packs, and how many packs the next backup leaves, since little of them is."""
    reader = PackReader(repository, contents.packs)
    reader.read_directories(range(len(contents.packs)), THREADS)
    known = Known(contents, reader)
    beside = sum(pack.size - pack.frames for pack in contents.packs)
    return {"needed": sum(known.needed().values()) + beside, "thin_packs": len(known.thin_packs())}


def verify_store(
    access: StoreAccess,
    snapshot: str = "",
    *,
    read_data: bool = False,
    subset: float = 100.0,
    threads: int = 4,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
) -> Checked:
    """Check one snapshot or all: everything is there, and with ``read_data`` that percentage of packs is read as a
    whole. Raises `VerifyFailed` with what is wrong."""
    if not 0 < subset <= 100:
        raise UsageError(f"--subset must be above 0 and at most 100, not {subset:g}")
    status, stopped = status or CloneStatus(), stopped or threading.Event()
    repository = opened(access, stopped)
    found, unreadable = Checked(), list[CloneError]()
    snapshots = [find(repository, snapshot)] if snapshot else snapshots_of(repository, unreadable=unreadable)
    found.problems["?"] = [error.message for error in unreadable]
    needed = needed_packs(repository, snapshots, found)
    estimate = sum(pack.size for pack in needed) if read_data else 0
    counter, lock = status.start(Stage.PAGE_CHECK, estimate=estimate, threads=threads).counter(), threading.Lock()

    def progress(count: int) -> None:
        with lock:
            counter.data += count

    check_packs(
        repository,
        needed,
        found,
        subset=subset if read_data else 0,
        threads=threads,
        progress=progress,
        stopped=stopped,
    )
    status.finish(Stage.PAGE_CHECK)
    problems = [f"snapshot {name}: {text}" for name, texts in found.problems.items() for text in texts]
    if problems:
        status.notes += problems
        more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise VerifyFailed(
            f"{repository.address}: {'; '.join(problems[:NAMED])}{more}",
            hint="the other snapshots can be restored; make a new backup with --full where the newest is damaged",
        )
    return found


def forget_snapshots(
    access: StoreAccess, names: Sequence[str], policy: Policy, *, dry_run: bool = False, and_prune: bool = False,
    grace: float | None = None,
) -> Forgotten:  # fmt: skip
    """Remove the named snapshots, or those that no rule keeps, of each server for itself."""
    if bool(names) == bool(policy):
        raise UsageError("name snapshots to forget, or rules of which to keep", hint="one of the two, as --keep-last 7")
    if LATEST in names:
        raise UsageError("latest is not forgotten by that name: it is another one a moment later", hint="name its id")
    if short := [name for name in names if len(name) < SHORTEST]:
        raise UsageError(f"{short[0]!r} is too short to forget a snapshot", hint=f"name {SHORTEST} letters of its id")
    repository = opened(access)
    kept: tuple[Listed, ...] = ()
    if names:
        found = [find(repository, name, damaged=True) for name in names]
        chosen = list({one.name: one for one in found}.values())
    else:
        found = snapshots_of(repository)
        reasons = _reasons(found, policy, repository.now())
        chosen = [one for one in found if not reasons[one.name]]
        kept = tuple(Listed(one, reasons[one.name]) for one in found if reasons[one.name])
    used = forget(repository, chosen, dry_run=dry_run)
    gone = tuple(one for one in chosen if one not in used)
    pruned = None
    if and_prune:
        pruned = prune(repository, grace=GRACE if grace is None else grace, dry_run=dry_run, without=gone)
    return Forgotten(gone, kept, tuple(used), pruned)


def prune_store(access: StoreAccess, *, grace: float, dry_run: bool = False) -> Pruned:
    """See `innoclone.store.care`."""
    return prune(opened(access), grace=grace, dry_run=dry_run)


def store_keys(access: StoreAccess) -> tuple[str, list[KeyEntry]]:
    """The id of the key that opened it, and all keys."""
    repository = _encrypted(access)
    return repository.key, key_entries(repository.objects)


def add_store_key(access: StoreAccess, new: Secret) -> str:
    """Another key that opens the store; its id."""
    repository = _encrypted(access)
    return add_key(repository.objects, repository.bound, repository.vault.master, new)


def remove_store_key(access: StoreAccess, key: str, *, dry_run: bool = False) -> None:
    """Take a key away; never the one that opened the store just now, so that one is left that is known to work. A
    ``dry_run`` only raises why that can't be."""
    repository = _encrypted(access)
    if key == repository.key:
        raise UsageError(f"key {key} is the one that was used now", hint="use another one to remove it")
    remove_key(repository.objects, key, dry_run=dry_run)


def _encrypted(access: StoreAccess) -> Repository:
    repository = opened(access)
    if not repository.vault.encrypted:
        raise StoreKeyWrong(f"{repository.address} is not encrypted: it has no keys", hint="back up to another store")
    return repository


def _reasons(snapshots: Sequence[Snapshot], policy: Policy, now: float) -> dict[str, tuple[str, ...]]:
    """For each snapshot, by name, the rules that keep it; each server has its own series. ``now`` is by
    the store's clock, as the snapshots' moments are."""
    series: dict[str, list[Snapshot]] = {}
    for one in snapshots:
        series.setdefault(one.donor, []).append(one)
    found = {}
    for own in series.values():
        verdicts = apply([one.moment for one in own], policy, now)
        found.update({one.name: verdict.reasons for one, verdict in zip(own, verdicts, strict=True)})
    return found
