"""What differs between a snapshot in a store and a directory, or another snapshot: by hashes, and pages where they
differ.

The hashes are those in the directories of the snapshot's packs; of the packs themselves only what differs is read. Two
stores have different keys, so their snapshots are read as a whole.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from innoclone.commands.diff import Difference, diff, has_unapplied_redo, index_of, page_size_of
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import StoreAccess
from innoclone.errors import Interrupted, TargetUnusable
from innoclone.files.system import differing, file_error
from innoclone.innodb.names import table_name
from innoclone.innodb.space import SpaceFlags, is_temporary
from innoclone.sources.storedelta import unit_hashes
from innoclone.store.known import Known
from innoclone.store.pack import BLOCK, UNIT
from innoclone.store.reading import PackReader, read_block
from innoclone.store.sealing import fingerprint
from innoclone.store.snapshots import find

__all__ = ["Place", "StoredPlace", "diff_places"]

DEFAULT_PAGE = 16384
THREADS = 4

Key = tuple[int, int]
"""Tablespace id, and the number of the file among those of this id."""


@dataclass(frozen=True)
class StoredPlace:
    """A snapshot in a store."""

    store: StoreAccess
    snapshot: str


Place = Path | StoredPlace


@dataclass(frozen=True)
class _File:
    """A tablespace: its name in the clone, its bytes, and the bytes of a page of it."""

    name: str
    size: int
    page: int


class _Side(Protocol):
    """One of the two. ``key`` is that of its hashes, empty where it has none of its own."""

    key: bytes
    files: dict[Key, _File]
    has_redo: bool

    def hashes(self, file: _File, block: int, key: bytes) -> list[bytes] | None:
        """Of each unit of a block; None where that takes as much as reading it."""

    def read(self, file: _File, block: int) -> memoryview:
        """A block, fewer bytes at the file's end."""


class _Directory:
    """A clone's."""

    key = b""

    def __init__(self, root: Path) -> None:
        self._root, self.has_redo = root, has_unapplied_redo(root)
        names = index_of(root).items()
        self.files = {
            key: _File(name, (root / name).stat().st_size, page_size_of(root / name)) for key, name in names
        }  # fmt: skip

    def hashes(self, file: _File, block: int, key: bytes) -> list[bytes] | None:
        return unit_hashes(key, self.read(file, block), fingerprint(key, bytes(UNIT)))

    def read(self, file: _File, block: int) -> memoryview:
        path = self._root / file.name
        try:
            with path.open("rb") as opened_file:
                found = os.pread(opened_file.fileno(), min(BLOCK, file.size - block * BLOCK), block * BLOCK)
        except OSError as error:
            raise file_error(error, f"can't read {path}") from error
        return memoryview(bytearray(found))


class _Snapshot:
    """A stored one."""

    def __init__(self, place: StoredPlace, stopped: threading.Event) -> None:
        repository = opened(place.store, stopped)
        snapshot = find(repository, place.snapshot)
        contents = snapshot.contents(repository)
        self.key, self.has_redo = repository.vault.page_key, not snapshot.fields.get("booted")
        self._zero = fingerprint(self.key, bytes(UNIT))
        self._reader = PackReader(repository, contents.packs)
        self._known = Known(contents, self._reader)
        self._reader.read_directories(range(len(contents.packs)), THREADS)
        flags = {row["path"]: row["flags"] for row in contents.manifest.get("files", ())}
        self._maps = {file.path: file.map for file in contents.files}
        self.files: dict[Key, _File] = {}
        for file in sorted(contents.files, key=lambda one: one.path):
            if file.space_id is None or is_temporary(file.space_id) or Path(file.path).is_absolute():
                continue
            part = 0
            while (file.space_id, part) in self.files:
                part += 1
            self.files[file.space_id, part] = _File(file.path, file.size, _page(flags.get(file.path)))
        if not self.files:
            raise TargetUnusable(f"snapshot {snapshot.id} holds no tablespaces")

    def hashes(self, file: _File, block: int, key: bytes) -> list[bytes] | None:
        if key != self.key:
            return None
        count = -(-min(BLOCK, file.size - block * BLOCK) // UNIT)
        return self._known.hashes(self._maps[file.name].layers(block), self._zero)[:count]

    def read(self, file: _File, block: int) -> memoryview:
        found = read_block(self._reader, self._maps[file.name].layers(block))
        return memoryview(found)[: min(BLOCK, file.size - block * BLOCK)]


def diff_places(
    old: Place, new: Place, *, stopped: threading.Event | None = None
) -> tuple[list[Difference], list[Place]]:
    """Compare every tablespace of two clones by content, and which of them have redo that was never applied.

    Raises `TargetUnusable` for what is no clone, a file error, what a store does.
    """
    places = [old, new]
    if isinstance(old, Path) and isinstance(new, Path):
        return diff(old, new), [one for one in (old, new) if has_unapplied_redo(one)]
    stopped = stopped if stopped is not None else threading.Event()
    sides = [_Directory(one) if isinstance(one, Path) else _Snapshot(one, stopped) for one in places]
    one, other = sides
    found = [
        _difference(one, other, one.files.get(key), other.files.get(key), stopped)
        for key in sorted(set(one.files) | set(other.files))
    ]
    return found, [place for place, side in zip(places, sides, strict=True) if side.has_redo]


def _difference(
    one: _Side, other: _Side, first: _File | None, second: _File | None, stopped: threading.Event
) -> Difference:
    present = second or first
    assert present is not None
    pages = -(-max(file.size for file in (first, second) if file is not None) // present.page)
    count = pages
    if first is not None and second is not None:
        count = _count(one, other, first, second, stopped)
    return Difference(
        table_name(present.name), old_name=first.name if first else None, new_name=second.name if second else None,
        pages=pages, differing=count,
    )  # fmt: skip


def _count(one: _Side, other: _Side, first: _File, second: _File, stopped: threading.Event) -> int:
    """How many pages of the larger file differ."""
    least, most = sorted((first.size, second.size))
    page, key = second.page, one.key or other.key
    found = -(-(most - least) // page)
    for block in range(-(-least // BLOCK)):
        if stopped.is_set():
            raise Interrupted("stopped while clones were compared")
        hashes = [side.hashes(file, block, key) for side, file in ((one, first), (other, second))]
        if hashes[0] is not None and hashes[0] == hashes[1]:
            continue
        length = min(BLOCK, least - block * BLOCK)
        runs = differing(one.read(first, block)[:length], other.read(second, block)[:length], page)
        found += sum(-(-(end - start) // page) for start, end in runs)
    return found


def _page(flags: int | None) -> int:
    try:
        return SpaceFlags(flags).physical_page_size if flags is not None else DEFAULT_PAGE
    except ValueError:
        return DEFAULT_PAGE
