"""The end of a backup without a local copy: what is here joins what is in the store already, file by file."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from innoclone.errors import FileError, Interrupted
from innoclone.files.system import file_error
from innoclone.sinks.streaming import Streamed, StreamTarget
from innoclone.store.contents import StoredFile
from innoclone.store.maps import FileMap, Layer
from innoclone.store.pack import BLOCK, UNIT
from innoclone.store.writing import BlockWriter

__all__ = ["Gathering"]


class Gathering:
    """``files`` with their ``paths`` get their maps; ``streamed`` are those that the store has parts of, by path."""

    def __init__(
        self,
        target: StreamTarget,
        files: Sequence[StoredFile],
        paths: Sequence[Path],
        streamed: Mapping[Path, Streamed],
        *,
        earlier: Sequence[StoredFile | None],
        threads: int,
        stopped: threading.Event,
    ) -> None:
        self.changed = 0
        self._target, self._files, self._paths, self._streamed = target, files, paths, streamed
        self._earlier, self._threads, self._stopped = earlier, threads, stopped
        self._numbers = iter(range(len(files)))
        self._lock = threading.Lock()

    def run(self) -> None:
        """Raises a file error, `Interrupted`, and what a store does."""
        with concurrent.futures.ThreadPoolExecutor(self._threads, "backup") as pool:
            for job in [pool.submit(self._work) for _ in range(self._threads)]:
                job.result()

    def _work(self) -> None:
        writer = self._target.blocks()
        while (number := self._next()) is not None:
            self._file(writer, number)
        writer.flush()
        with self._lock:
            self.changed += writer.changed

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _file(self, writer: BlockWriter, number: int) -> None:
        file, path = self._files[number], self._paths[number]
        streamed, earlier = self._streamed.get(path), self._earlier[number]
        file.map = FileMap()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(error, f"can't open {path}") from error
        try:
            for block in range(file.blocks):
                if self._stopped.is_set():
                    raise Interrupted("stopped while a server was backed up")
                old = earlier.map.layers(block) if earlier is not None else []
                if streamed is None or block not in streamed.blocks:
                    file.map.append(writer.write(number, block, self._here(descriptor, file, block), old))
                else:
                    file.map.append(self._joined(writer, number, block, descriptor, streamed))
        finally:
            os.close(descriptor)

    def _here(self, descriptor: int, file: StoredFile, block: int) -> memoryview:
        """A block of the file on this host."""
        size = min(BLOCK, file.size - block * BLOCK)
        try:
            data = os.pread(descriptor, size, block * BLOCK)
        except OSError as error:
            raise file_error(error, f"can't read {file.path}") from error
        if len(data) != size:
            raise FileError(f"{file.path} became shorter while it was read")
        return memoryview(data)

    def _joined(self, writer: BlockWriter, number: int, block: int, descriptor: int, streamed: Streamed) -> list[Layer]:
        """The layers of a block of which the store has one image, and this host perhaps newer parts."""
        runs, layers, file = streamed.here(block), streamed.blocks[block], self._files[number]
        size = min(BLOCK, file.size - block * BLOCK)
        runs = [(start, min(end, size)) for start, end in runs if start < size]
        if not runs:
            return layers
        here = self._here(descriptor, file, block)
        if all(start % UNIT == 0 and (end % UNIT == 0 or end == size) for start, end in runs):
            units = [unit for start, end in runs for unit in range(start // UNIT, -(-end // UNIT))]
            return writer.overlay(number, block, here, units, layers)
        data = self._target.stored(layers)
        for start, end in runs:
            data[start:end] = here[start:end]
        return writer.write(number, block, memoryview(data)[:size], [])
