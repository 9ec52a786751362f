"""Reads packs: their directories, which are kept, and frames, which are checked."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Sequence

from innoclone.errors import StoreDamaged
from innoclone.store.maps import NONE, Layer, pack_of
from innoclone.store.objects import Gone
from innoclone.store.pack import BLOCK, FOOTER, MAGIC, UNIT, Directory, Pack, expand_frame, units_in
from innoclone.store.repository import Repository
from innoclone.store.sealing import Sealer

__all__ = ["GAP", "REQUEST", "PackReader", "read_block"]

GAP = 256 << 10  # bytes that are read though nobody wants them, to save a request
REQUEST = 8 << 20  # bytes of one request, at most


class PackReader:
    """Packs of one snapshot, for any number of threads."""

    def __init__(self, repository: Repository, packs: Sequence[Pack]) -> None:
        self._repository, self.packs = repository, packs
        self._directories: dict[int, Directory] = {}
        self._sealers: dict[bytes, Sealer] = {}
        self._lock = threading.Lock()

    def sealer(self, pack: Pack) -> Sealer:
        """What opens its pieces."""
        with self._lock:
            if pack.run not in self._sealers:
                self._sealers[pack.run] = self._repository.vault.sealer(pack.run)
            return self._sealers[pack.run]

    def directory(self, place: int) -> Directory:
        """Of the pack at this place of the table. Raises `StoreDamaged`."""
        found = self._directories.get(place)
        if found is None:
            pack = self.packs[place]
            start, length = pack.directory_range
            raw = self.read(pack, start, length + FOOTER.size)
            if raw[length:] != FOOTER.pack(length, MAGIC):
                raise StoreDamaged(f"{pack.name} doesn't end as a pack does")
            found = self._directories[place] = Directory.opened(self.sealer(pack), pack, raw[:length])
        return found

    def read_directories(self, places: Iterable[int], threads: int) -> None:
        """All of them, several at a time."""
        with concurrent.futures.ThreadPoolExecutor(threads, "store") as pool:
            for _ in pool.map(self.directory, places):
                pass

    def forget_directory(self, place: int) -> None:
        """Free its memory; it is read again if it is wanted again."""
        self._directories.pop(place, None)

    def read(self, pack: Pack, start: int, length: int) -> bytes:
        """Bytes of a pack. Raises `StoreDamaged` where they aren't there."""
        try:
            found = self._repository.objects.read_range(pack.name, start, length)
        except Gone as error:
            raise StoreDamaged(f"{self._repository.address} has no {pack.name}") from error
        if len(found) != length:
            raise StoreDamaged(f"{pack.name} ends at byte {start + len(found)}, and has had {pack.size}")
        return found

    def frames(self, place: int, wanted: Iterable[int], take: Callable[[int, memoryview], None]) -> int:
        """Give ``take`` the sealed bytes of the wanted frames, in order, by requests as large as it pays; how many
        bytes were read."""
        directory, pack = self.directory(place), self.packs[place]
        todo = [(number, directory[number]) for number in sorted(wanted)]
        read = at = 0
        while at < len(todo):
            start = todo[at][1].offset
            end = start + todo[at][1].length
            last = at + 1
            while last < len(todo):
                frame = todo[last][1]
                if frame.offset - end > GAP or frame.offset + frame.length - start > REQUEST:
                    break
                end = frame.offset + frame.length
                last += 1
            raw = memoryview(self.read(pack, start, end - start))
            read += end - start
            for number, frame in todo[at:last]:
                take(number, raw[frame.offset - start : frame.offset - start + frame.length])
            at = last
        return read


def read_block(reader: PackReader, layers: list[Layer]) -> bytearray:
    """A block, put together out of its layers; zeros where none has anything. Raises `StoreDamaged`."""
    found = bytearray(BLOCK)
    for ref, units in layers:
        if ref == NONE:
            continue
        place, number = pack_of(ref)
        pack, frame = reader.packs[place], reader.directory(place)[number]
        data = expand_frame(reader.sealer(pack), pack, number, frame, reader.read(pack, frame.offset, frame.length))
        for index, unit in enumerate(units_in(frame.units)):
            if units >> unit & 1:
                piece = data[index * UNIT : (index + 1) * UNIT]
                found[unit * UNIT : (unit + 1) * UNIT] = piece + bytes(UNIT - len(piece))
    return found
