"""Which units of files that are here differ from those of a snapshot: by the hashes in its packs' directories.

What the snapshot has as zeros is made so at once, since no frame brings it.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from innoclone.errors import Interrupted
from innoclone.files.system import file_error, punch_hole, write_all
from innoclone.records.status import CloneStatus, Counter, Stage
from innoclone.sinks.directory import Target
from innoclone.store.contents import Contents
from innoclone.store.known import Known
from innoclone.store.pack import BLOCK, UNIT, units_in
from innoclone.store.reading import PackReader
from innoclone.store.sealing import fingerprint

__all__ = ["Differing", "unit_hashes", "units_of"]

PART = 256  # blocks that a thread takes at a time
NOTHING = bytes(UNIT)


def unit_hashes(key: bytes, data: memoryview, zero: bytes) -> list[bytes]:
    """The hash of each unit of a block; ``zero`` is that of zeros, also of fewer bytes at the end of a file."""
    found = []
    for at in range(0, len(data), UNIT):
        unit = data[at : at + UNIT]
        found.append(zero if unit == NOTHING[: len(unit)] else fingerprint(key, unit))
    return found


class Differing:
    """One comparison of the files ``numbers`` of a snapshot with what is at their ``places``."""

    def __init__(
        self, contents: Contents, places: Sequence[Path], numbers: Sequence[int], target: Target, reader: PackReader,
        key: bytes, *, threads: int, status: CloneStatus, stopped: threading.Event,
    ) -> None:  # fmt: skip
        self._files, self._places, self._numbers = contents.files, places, numbers
        self._target, self._reader, self._key = target, reader, key
        self._known = Known(contents, reader)
        self._zero = fingerprint(key, NOTHING)
        self._threads, self._status, self._stopped = threads, status, stopped
        self._given_up = False

    def find(self) -> Mapping[int, array[int]]:
        """For each of the files, by its number, the bitmap of differing units of each block. Raises a file error,
        `Interrupted`, `StoreDamaged`, what a store does."""
        files = [self._files[number] for number in self._numbers]
        self._reader.read_directories({place for file in files for place in file.map.packs()}, self._threads)
        found = {number: array("H", bytes(2 * self._files[number].blocks)) for number in self._numbers}
        parts = [
            (number, start) for number in self._numbers for start in range(0, self._files[number].blocks, PART)
        ]  # fmt: skip
        row = self._status.start(Stage.COMPARE, estimate=sum(file.size for file in files), threads=self._threads)
        counters = threading.local()

        def compare(part: tuple[int, int]) -> None:
            if not hasattr(counters, "counter"):
                counters.counter = row.counter()
            self._compare(*part, found[part[0]], counters.counter)

        with concurrent.futures.ThreadPoolExecutor(self._threads, "compare") as pool:
            try:
                for _ in pool.map(compare, parts):
                    pass
            except BaseException:
                self._given_up = True
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._status.finish(Stage.COMPARE)
        return found

    def _compare(self, number: int, start: int, found: array[int], counter: Counter) -> None:
        file, path = self._files[number], self._places[number]
        descriptor = self._target.open(path)
        try:
            for block in range(start, min(start + PART, file.blocks)):
                if self._stopped.is_set() or self._given_up:
                    raise Interrupted("stopped while files were compared with a snapshot")
                at = block * BLOCK
                data = memoryview(os.pread(descriptor, min(BLOCK, file.size - at), at))
                expected = self._known.hashes(file.map.layers(block), self._zero)
                for unit, digest in enumerate(unit_hashes(self._key, data, self._zero)):
                    if digest == expected[unit]:
                        continue
                    if expected[unit] == self._zero:
                        self._clear(descriptor, at + unit * UNIT, min(UNIT, file.size - at - unit * UNIT))
                    else:
                        found[block] |= 1 << unit
                counter.data += len(data)
        except OSError as error:
            raise file_error(error, f"can't compare {path}") from error
        finally:
            os.close(descriptor)

    def _clear(self, descriptor: int, offset: int, length: int) -> None:
        if not punch_hole(descriptor, offset, length):
            write_all(descriptor, NOTHING[:length], offset)


def units_of(differing: Mapping[int, array[int]]) -> int:
    """How many differ."""
    return sum(len(list(units_in(bits))) for found in differing.values() for bits in found if bits)
