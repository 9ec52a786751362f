"""What a store knows of a clone already: for each unit of each file of the parent snapshot, its hash."""

from __future__ import annotations

from innoclone.errors import StoreDamaged
from innoclone.store.contents import Contents, StoredFile
from innoclone.store.maps import NONE, Layer, pack_of
from innoclone.store.pack import UNITS, units_in
from innoclone.store.reading import PackReader

__all__ = ["Known"]


class Known:
    """The parent. Files are matched by path, else by space id: a wrong match costs space, never content."""

    def __init__(self, contents: Contents, reader: PackReader) -> None:
        self._reader = reader
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
