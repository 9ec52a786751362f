"""Reading a finished clone into a store: files in parts, by several threads, each part's pages checked on the way."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Sequence

from innoclone.errors import FileError, Interrupted, VerifyFailed
from innoclone.files.copying import BLOCK as READ
from innoclone.files.copying import Reader
from innoclone.files.system import file_error
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Counter, Stage
from innoclone.sources.restoring import DAMAGED, Item, named
from innoclone.store.contents import StoredFile
from innoclone.store.known import Known
from innoclone.store.maps import FileMap, Layer
from innoclone.store.pack import BLOCK, Pack
from innoclone.store.runs import Run
from innoclone.store.writing import BlockWriter, PackTable

__all__ = ["Storing"]

PART = 16 << 20  # bytes of a file that a thread takes at a time; a multiple of every page size and of blocks


class Storing:
    """One copy of ``items`` into a store; ``files`` get their maps. ``sent`` bytes were put into packs, ``changed`` are
    those of blocks that the store didn't have as they are."""

    def __init__(
        self,
        items: Sequence[Item],
        files: list[StoredFile],
        *,
        run: Run,
        table: PackTable,
        known: Known | None,
        threads: int,
        limits: Limits,
        verify_pages: bool,
        status: CloneStatus,
        stopped: threading.Event,
    ) -> None:
        self.files = files
        self.sent = self.changed = 0
        self._items, self._run, self._table, self._known = items, run, table, known
        self._threads, self._limits, self._verify = threads, limits, verify_pages
        self._status, self._stopped = status, stopped
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._earlier = [known.file(file.path, file.space_id) if known else None for file in files]
        self._done: dict[tuple[int, int], list[list[Layer]]] = {}  # by file and start of its part
        parts = [(number, start) for number, item in enumerate(items) for start in range(0, item.size, PART)]
        self._parts = iter(parts)
        self._starts = parts

    def copy(self) -> None:
        """FILE COPY. Raises `VerifyFailed` where a page is damaged, a file error, `Interrupted`, what a store does."""
        row = self._status.start(
            Stage.FILE_COPY, estimate=sum(item.size for item in self._items), threads=self._threads
        )
        with concurrent.futures.ThreadPoolExecutor(self._threads, "backup") as pool:
            futures = [pool.submit(self._work, row.counter()) for _ in range(self._threads)]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self._given_up.set()
                raise
        for file in self.files:
            file.map = FileMap()
        for number, start in self._starts:
            for layers in self._done.pop((number, start)):
                self.files[number].map.append(layers)
        self._status.finish(Stage.FILE_COPY)

    def _work(self, counter: Counter) -> None:
        """One thread: parts, until there are none left, into packs of its own."""

        def send(place: int, pack: Pack, body: bytearray) -> None:
            self._run.repository.objects.create(pack.name, body)
            self._table.put(place, pack)
            counter.network += len(body)
            with self._lock:
                self.sent += len(body)

        writer = BlockWriter(self._run, self._table, self._known, send)
        while (part := self._next()) is not None:
            number, start = part
            self._done[part] = self._part(writer, counter, number, start)
        writer.flush()
        with self._lock:
            self.changed += writer.changed

    def _next(self) -> tuple[int, int] | None:
        with self._lock:
            return next(self._parts, None)

    def _part(self, writer: BlockWriter, counter: Counter, number: int, start: int) -> list[list[Layer]]:
        item, earlier = self._items[number], self._earlier[number]
        found = []
        end = min(item.size, start + PART)
        try:
            source = os.open(item.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(error, f"can't open {item.source}") from error
        try:
            with Reader(source) as reader:
                for offset in range(start, end, READ):
                    data = reader.read(offset, min(READ, end - offset))
                    self._check(item, data, offset, min(READ, end - offset))
                    for at in range(0, len(data), BLOCK):
                        block = (offset + at) // BLOCK
                        old = earlier.map.layers(block) if earlier is not None else []
                        found.append(writer.write(number, block, data[at : at + BLOCK], old))
                    self._account(counter, len(data))
        except OSError as error:
            raise file_error(error, f"can't read {item.source}") from error
        finally:
            os.close(source)
        return found

    def _check(self, item: Item, data: memoryview, offset: int, wanted: int) -> None:
        """Length and pages of what was read. Raises `FileError`, `VerifyFailed`."""
        if len(data) < wanted:
            raise FileError(f"{item.source} became shorter while it was read")
        plan = item.plan
        if plan is None or plan.checker is None or not self._verify:
            return
        bad = plan.checker.bad_pages(data, plan.first_page + offset // plan.checker.page_size)
        if bad:
            raise VerifyFailed(f"damaged in the clone: {item.source}, {named(bad)}", hint=DAMAGED)

    def _account(self, counter: Counter, read: int) -> None:
        counter.data += read
        if self._limits.rate:
            self._limits.pause(read, 0, self._stopped)
        if self._stopped.is_set() or self._given_up.is_set():
            raise Interrupted("stopped while a clone was put into a store")
