"""What a store knows of a clone already: for each unit of each file of the parent snapshot, its hash."""

from __future__ import annotations

from collections import Counter

from innoclone.errors import StoreDamaged
from innoclone.store.contents import Contents, StoredFile
from innoclone.store.maps import NONE, Layer, pack_of
from innoclone.store.pack import UNITS, units_in
from innoclone.store.reading import PackReader

__all__ = ["THIN", "Known"]

THIN = 0.2  # of a pack's frames: with fewer of them needed it isn't built on


class Known:
    """The parent. Files are matched by path, else by space id: a wrong match costs space, never content."""

    def __init__(self, contents: Contents, reader: PackReader) -> None:
        self._reader = reader
        self._maps = [file.map for file in contents.files]
        self._by_path = {file.path: file for file in contents.files}
        self._by_space: dict[int, StoredFile] = {}
        for file in contents.files:
            if file.space_id is not None:
                self._by_space.setdefault(file.space_id, file)

    def file(self, path: str, space_id: int | None) -> StoredFile | None:
        """The earlier one."""
        found = self._by_path.get(path)
        if found is not None and (space_id is None or found.space_id == space_id):
            return found
        return (None if space_id is None else self._by_space.get(space_id)) or found

    def needed(self) -> Counter[int]:
        """Bytes of the frames that the parent needs, by the places of their packs; all directories are read."""
        found: Counter[int] = Counter()
        for one in self._maps:
            for ref in one.references():
                place, number = pack_of(ref)
                found[place] += self._reader.directory(place)[number].length
        return found

    def thin_packs(self) -> frozenset[int]:
        """The places of packs of which the parent needs so little that what it needs is better written anew: they can
        go then, when the snapshots do that have them. So what a snapshot keeps from going is bounded."""
        needed = self.needed()
        return frozenset(
            place for place, pack in enumerate(self._reader.packs) if needed[place] < THIN * pack.frames
        )  # fmt: skip

    def hashes(self, layers: list[Layer], zero: bytes) -> list[bytes]:
        """The hash of each unit of a block; ``zero`` is that of what is in no frame."""
        found = [zero] * UNITS
        for ref, units in layers:
            if ref == NONE:
                continue
            place, number = pack_of(ref)
            directory = self._reader.directory(place)
            frame = directory[number]
            hashes = directory.hashes(frame)
            for unit in units_in(units & frame.units):
                found[unit] = hashes[unit]
            if units & ~frame.units and units != (1 << UNITS) - 1:
                raise StoreDamaged(f"frame {number} of {frame} lacks units of its block")
        return found
