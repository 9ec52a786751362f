"""Is what a snapshot needs there, and is it what was written?"""

from __future__ import annotations

import concurrent.futures
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from innoclone.errors import Interrupted, StoreDamaged
from innoclone.store.objects import Gone
from innoclone.store.pack import FOOTER, UNIT, Directory, Pack, expand_frame
from innoclone.store.repository import Repository
from innoclone.store.sealing import fingerprint
from innoclone.store.snapshots import Snapshot

__all__ = ["Checked", "check_packs", "needed_packs", "read_pack"]


@dataclass
class Checked:
    """What was found. ``packs`` and ``read`` count packs that are there and that were read, ``bytes`` those."""

    packs: int = 0
    read: int = 0
    bytes: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)  # by snapshot's id


def needed_packs(repository: Repository, snapshots: list[Snapshot], found: Checked) -> dict[Pack, list[Snapshot]]:
    """The packs that the snapshots need, with who needs each. All that they say of themselves is read."""
    needed: dict[Pack, list[Snapshot]] = {}
    for snapshot in snapshots:
        try:
            contents = snapshot.contents(repository)
        except StoreDamaged as error:
            found.problems.setdefault(snapshot.id, []).append(error.message)
            continue
        for pack in contents.packs:
            needed.setdefault(pack, []).append(snapshot)
    return needed


def check_packs(
    repository: Repository,
    needed: dict[Pack, list[Snapshot]],
    found: Checked,
    *,
    subset: float,
    threads: int,
    progress: Callable[[int], None],
    stopped: threading.Event,
) -> None:
    """All packs are there, with their sizes; ``subset`` percent of them, by chance, are read as a whole."""
    there = {entry.name: entry.size for entry in repository.objects.list("data")}
    whole = []
    for pack, snapshots in needed.items():
        if there.get(pack.name) == pack.size:
            whole.append(pack)
            continue
        what = "missing" if pack.name not in there else f"{there[pack.name]} bytes instead of {pack.size}"
        for snapshot in snapshots:
            found.problems.setdefault(snapshot.id, []).append(f"{pack.name}: {what}")
    found.packs = len(whole)
    count = len(whole) if subset >= 100 else min(len(whole), -(-len(whole) * subset // 100))
    chosen = random.sample(whole, int(count))

    def check(pack: Pack) -> None:
        if stopped.is_set():
            raise Interrupted("stopped while a store was verified")
        try:
            read_pack(repository, pack)
        except StoreDamaged as error:
            for snapshot in needed[pack]:
                found.problems.setdefault(snapshot.id, []).append(error.message)
        progress(pack.size)

    with concurrent.futures.ThreadPoolExecutor(threads, "verify") as pool:
        for _ in pool.map(check, chosen):
            pass
    found.read, found.bytes = len(chosen), sum(pack.size for pack in chosen)


def read_pack(repository: Repository, pack: Pack) -> None:
    """Read all of a pack: its digest, its directory, every frame, every unit's hash. Raises `StoreDamaged`."""
    try:
        body = memoryview(repository.objects.read(pack.name, pack.size))
    except Gone as error:
        raise StoreDamaged(f"{pack.name}: missing") from error
    key = repository.vault.page_key
    if len(body) != pack.size or fingerprint(key, body, len(pack.digest)) != pack.digest:
        raise StoreDamaged(f"{pack.name}: not what was written")
    sealer = repository.vault.sealer(pack.run)
    start, _ = pack.directory_range
    directory = Directory.opened(sealer, pack, bytes(body[start : len(body) - FOOTER.size]))
    for number in range(directory.count):
        frame = directory[number]
        data = memoryview(expand_frame(sealer, pack, number, frame, body[frame.offset : frame.offset + frame.length]))
        for index, digest in enumerate(directory.hashes(frame).values()):
            if fingerprint(key, data[index * UNIT : (index + 1) * UNIT]) != digest:
                raise StoreDamaged(f"{pack.name}: frame {number} isn't what was hashed")
