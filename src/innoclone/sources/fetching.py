"""Bringing a snapshot's files out of a store: pack by pack, several at a time, each unit written once.

Which frame a unit comes from is known before the first byte: of a unit that was overlaid only the newest image is
written. So packs may come in any order, and nothing that was written is written over.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from innoclone.errors import Interrupted
from innoclone.files.system import file_error, punch_hole, start_writeback, write_all
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Counter, Stage
from innoclone.sinks.directory import Target
from innoclone.sources.fetched import Fetched
from innoclone.store.contents import StoredFile
from innoclone.store.maps import pack_of
from innoclone.store.pack import BLOCK, UNIT, Frame, expand_frame, units_in
from innoclone.store.reading import PackReader

__all__ = ["Fetching"]

OPEN = 32  # files that a thread keeps open
HOLE = 4096  # bytes of zeros that a sparse file doesn't get
NOTHING = bytes(HOLE)


class Fetching:
    """One copy of ``files`` to ``places``, which are made, of their size and empty. Of those in ``differing``, which
    have some content, only the units in these bitmaps are written."""

    def __init__(
        self,
        files: Sequence[StoredFile],
        places: Sequence[Path],
        target: Target,
        reader: PackReader,
        *,
        fetched: Fetched | None,
        differing: Mapping[int, array[int]] | None = None,
        threads: int,
        limits: Limits,
        status: CloneStatus,
        stopped: threading.Event,
    ) -> None:
        self._files, self._places, self._target, self._reader = files, places, target, reader
        self._threads, self._limits, self._status, self._stopped = threads, limits, status, stopped
        self._given_up = threading.Event()
        self._fetched, self._differing = fetched, differing or {}
        self._done = fetched.done if fetched is not None else set()
        self._plan = _plan(files, self._differing)

    def copy(self) -> None:
        """FILE COPY. Raises a file error, `Interrupted`, `StoreDamaged`, and what a store does."""
        row = self._status.start(Stage.FILE_COPY, estimate=self.size, threads=self._threads)
        local = threading.local()

        def fetch(place: int) -> None:
            if not hasattr(local, "counter"):
                local.counter = row.counter()
            self._pack(place, local.counter)

        self._run(fetch, sorted(self._plan.keys() - self._done))
        self._status.finish(Stage.FILE_COPY)

    @property
    def size(self) -> int:
        """Bytes that will be written, about: of a base all units of its block count."""
        return sum(
            (wanted & 0xFFFF).bit_count() * UNIT
            for place, jobs in self._plan.items()
            if place not in self._done
            for wanted in jobs[::2]
        )

    def sync(self) -> None:
        """FILE SYNC."""
        row = self._status.start(Stage.FILE_SYNC, estimate=sum(file.size for file in self._files), threads=0)
        counter = row.counter()

        def sync(number: int) -> None:
            descriptor = self._target.open(self._places[number])
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise file_error(error, f"can't sync {self._places[number]}") from error
            finally:
                os.close(descriptor)
            counter.data += self._files[number].size

        if self._target.fsync:
            self._run(sync, range(len(self._files)))
        self._status.finish(Stage.FILE_SYNC)

    def _run(self, job: Callable[[int], None], numbers: Sequence[int]) -> None:
        with concurrent.futures.ThreadPoolExecutor(self._threads, "restore") as pool:
            futures = [pool.submit(job, number) for number in numbers]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self._given_up.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _pack(self, place: int, counter: Counter) -> None:
        """All that is wanted of one pack."""
        jobs, pack = self._plan[place], self._reader.packs[place]
        wanted: dict[int, list[tuple[int, int, int]]] = {}
        for first, second in zip(jobs[::2], jobs[1::2], strict=True):
            wanted.setdefault(first >> 16, []).append((second >> 32, second & 0xFFFFFFFF, first & 0xFFFF))
        directory, sealer = self._reader.directory(place), self._reader.sealer(pack)
        with self._opener() as opened:

            def take(number: int, sealed: memoryview) -> None:
                self._refuse_stopped()
                frame = directory[number]
                data = memoryview(expand_frame(sealer, pack, number, frame, sealed))
                for file, block, units in wanted[number]:
                    written = self._write(opened(file), file, block, frame, units & frame.units, data)
                    counter.data += written
                    if self._limits.rate:
                        self._limits.pause(written, 0, self._stopped)

            counter.network += self._reader.frames(place, wanted, take)
        self._reader.forget_directory(place)
        if self._fetched is not None:
            self._fetched.add(place)

    def _write(self, descriptor: int, number: int, block: int, frame: Frame, units: int, data: memoryview) -> int:
        """Write the wanted units of a frame, neighbours together; how many bytes that were."""
        file, start, written = self._files[number], block * BLOCK, 0
        runs: list[tuple[int, int, int]] = []  # offset in the file, in the frame, length
        for index, unit in enumerate(units_in(frame.units)):
            offset = start + unit * UNIT
            length = min(UNIT, len(data) - index * UNIT, file.size - offset)
            if not units >> unit & 1 or length <= 0:
                continue
            if runs and runs[-1][0] + runs[-1][2] == offset and runs[-1][1] + runs[-1][2] == index * UNIT:
                runs[-1] = (runs[-1][0], runs[-1][1], runs[-1][2] + length)
            else:
                runs.append((offset, index * UNIT, length))
        try:
            for offset, at, length in runs:
                holes = file.sparse and (number not in self._differing or punch_hole(descriptor, offset, length))
                for first, last in _parts(data[at : at + length]) if holes else [(0, length)]:
                    write_all(descriptor, data[at + first : at + last], offset + first)
                written += length
                if self._target.fsync:
                    start_writeback(descriptor, offset, length)
        except OSError as error:
            raise file_error(error, f"can't write {self._places[number]}") from error
        return written

    @contextlib.contextmanager
    def _opener(self) -> Iterator[Callable[[int], int]]:
        """Gives descriptors of files, of which it keeps the last ones open."""
        there: OrderedDict[int, int] = OrderedDict()

        def opened(number: int) -> int:
            if number not in there:
                if len(there) >= OPEN:
                    os.close(there.popitem(last=False)[1])
                there[number] = self._target.open(self._places[number])
            there.move_to_end(number)
            return there[number]

        try:
            yield opened
        finally:
            for descriptor in there.values():
                os.close(descriptor)

    def _refuse_stopped(self) -> None:
        if self._stopped.is_set() or self._given_up.is_set():
            raise Interrupted("stopped while a snapshot was restored")


def _plan(files: Sequence[StoredFile], differing: Mapping[int, array[int]]) -> dict[int, array[int]]:
    """For each pack what is wanted of it: pairs of frame and units, and file and block. Arrays, since there are
    millions of them in a large store."""
    found: dict[int, array[int]] = {}
    for number, file in enumerate(files):
        wanted = differing.get(number)
        for block, ref, visible in file.map.visible():
            units = visible if wanted is None else visible & wanted[block]
            if not units:
                continue
            place, frame = pack_of(ref)
            jobs = found.setdefault(place, array("Q"))
            jobs.append(frame << 16 | units)
            jobs.append(number << 32 | block)
    return found


def _parts(data: memoryview) -> Iterator[tuple[int, int]]:
    """(start, end) of what isn't whole pieces of zeros."""
    start = -1
    for at in range(0, len(data), HOLE):
        empty = bytes(data[at : at + HOLE]) == NOTHING[: len(data) - at]
        if empty and start >= 0:
            yield start, at
            start = -1
        elif not empty and start < 0:
            start = at
    if start >= 0:
        yield start, len(data)
