"""Copying a finished clone to another directory, so that what is there afterwards is proven to be what was here.

Files are copied by several threads, large ones in parts. What passes through memory is summed block by block (CRC-32C)
and its pages are checked. When all is synced it is read back, from the disk where the system lets go of its cache, and
compared with the sums. Blocks that the file system shares are the same blocks: there is nothing to compare, but their
pages are read and checked.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crc32c import crc32c

from innoclone.errors import FileError, Interrupted, VerifyFailed
from innoclone.files.copying import BLOCK, Method, Reader, copy_file, data_segments, share_blocks
from innoclone.files.system import file_error, start_writeback
from innoclone.innodb.page import BadPage
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, Counter, Stage
from innoclone.sinks.directory import Target
from innoclone.stream.pagecheck import Plan

__all__ = ["DAMAGED", "Copying", "Item", "named", "refuse_changed"]

PART = 64 << 20  # bytes of a large file that one thread takes; a multiple of every page size
SMALL_PIECE = 64 << 10  # bytes of a block at least, where a bandwidth limit asks for short pauses
SHOWN = 5  # pages that an error names
DISK = "the disk or the memory of this machine is at fault: don't use this directory"
DAMAGED = "restore another one; innoclone verify says all that is damaged, --no-verify-pages restores it as it is"


@dataclass(eq=False)
class Item:
    """One regular file: ``state`` as it was found, ``plan`` how to check a tablespace's pages.

    ``sums`` has (length, CRC-32C) of each block that was copied, by offset; ``seen`` counts the bytes whose pages were
    checked by then.
    """

    source: Path
    target: Path
    state: os.stat_result
    plan: Plan | None = None
    shared: bool = False
    sums: dict[int, tuple[int, int]] = field(default_factory=dict)
    seen: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.state.st_size

    @property
    def parts(self) -> list[tuple[int, int]]:
        """(start, end) of what one thread takes; one of an empty file too."""
        return [(start, min(self.size, start + PART)) for start in range(0, self.size, PART)] or [(0, 0)]


class Copying:
    """One copy of ``items`` into ``target``, in three stages. Each raises a file error or `Interrupted`."""

    def __init__(
        self,
        items: Sequence[Item],
        target: Target,
        *,
        threads: int,
        methods: tuple[Method, ...],
        limits: Limits,
        verify_pages: bool,
        status: CloneStatus,
        stopped: threading.Event,
    ) -> None:
        self._items, self._target, self._threads = items, target, threads
        self._methods, self._limits, self._verify = methods, limits, verify_pages
        self._status, self._stopped = status, stopped
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._local = threading.local()
        self.methods: set[Method] = set()

    @property
    def pages(self) -> int:
        """How many pages there are to check."""
        plans = [(item.size, item.plan.checker) for item in self._items if item.plan is not None]
        return sum(size // checker.page_size for size, checker in plans if checker is not None)

    def copy(self) -> None:
        """FILE COPY. Raises also `VerifyFailed` where a page of the clone is damaged."""
        for item in self._items:
            self._begin(item)
        with self._stage(Stage.FILE_COPY) as run:
            run(self._copier(item, *part) for item in self._items if not item.shared for part in item.parts)

    def sync(self) -> None:
        """FILE SYNC."""
        with self._stage(Stage.FILE_SYNC) as run:
            run(self._syncer(item) for item in self._items)

    def compare(self) -> None:
        """PAGE CHECK: read everything back. Raises also `VerifyFailed` where it is not what was read of the clone."""
        with self._stage(Stage.PAGE_CHECK) as run:
            run(self._comparer(item, *part) for item in self._items for part in item.parts)

    # ---- jobs ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _stage(self, stage: Stage) -> Iterator[Callable[[Iterable[Callable[[], None]]], None]]:
        moved = [item.size for item in self._items if not (item.shared and stage is Stage.FILE_COPY)]
        threads = 0 if stage is Stage.FILE_COPY else self._threads  # of FILE COPY they would be connections
        row = self._status.start(stage, estimate=sum(moved), threads=threads)
        self._local = threading.local()

        def count(read: int) -> None:
            counter: Counter | None = getattr(self._local, "counter", None)
            if counter is None:
                with self._lock:
                    counter = self._local.counter = row.counter()
            counter.data += read

        self._count = count
        yield self._run
        self._status.finish(stage)

    def _run(self, jobs: Iterable[Callable[[], None]]) -> None:
        with concurrent.futures.ThreadPoolExecutor(self._threads, "restore") as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                self._given_up.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _account(self, read: int) -> None:
        self._count(read)
        if self._limits.rate:
            self._limits.pause(read, 0, self._stopped)
        if self._stopped.is_set() or self._given_up.is_set():
            raise Interrupted("stopped while a clone was restored")

    def _begin(self, item: Item) -> None:
        """Make the file, with its blocks where they can be shared, else with its size."""
        self._target.create(item.target)
        with self._opened(item) as (source, target):
            if Method.REFLINK in self._methods and share_blocks(source, target):
                item.shared = True
                self.methods.add(Method.REFLINK)
            else:
                os.ftruncate(target, item.size)

    def _copier(self, item: Item, start: int, end: int) -> Callable[[], None]:
        methods = tuple(method for method in self._methods if method in (Method.DIRECT, Method.READ_WRITE))
        rate = self._limits.rate
        piece = max(SMALL_PIECE, min(BLOCK, int(rate / 8) // SMALL_PIECE * SMALL_PIECE)) if rate else BLOCK

        def look(block: memoryview, offset: int) -> None:
            item.sums[offset] = len(block), crc32c(block)
            if item.plan is None or item.plan.checker is None or not self._verify:
                return
            page = item.plan.checker.page_size
            if offset % page or len(block) % page:  # a hole in a page: it is checked when it is read back
                return
            self._check(item, block, offset)
            with self._lock:
                item.seen += len(block)

        def job() -> None:
            with self._opened(item) as (source, target):
                used = copy_file(
                    source, target, self._account, methods=methods, piece=piece, look=look, start=start, end=end
                )
                if self._target.fsync:
                    start_writeback(target, start, end - start)
            if end > start:
                self.methods.add(used)

        return job

    def _syncer(self, item: Item) -> Callable[[], None]:
        def job() -> None:
            with self._opened(item) as (_, target):
                if self._target.fsync:
                    os.fsync(target)
                    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
            self._count(item.size)

        return job

    def _comparer(self, item: Item, start: int, end: int) -> Callable[[], None]:
        plan = item.plan if self._verify and item.seen < item.size else None

        def job() -> None:
            with self._opened(item) as (_, target), Reader(target) as reader:
                if os.fstat(target).st_size != item.size:
                    raise VerifyFailed(f"{item.target} doesn't have the size that was written", hint=DISK)
                if not item.shared:
                    self._compare(item, reader, target, start, end)
                if plan is not None and plan.checker is not None:
                    for at in range(start, end, BLOCK):
                        self._check(item, _whole(item, reader, at, min(BLOCK, end - at)), at)
                self._account(end - start)

        return job

    def _compare(self, item: Item, reader: Reader, target: int, start: int, end: int) -> None:
        """What was copied block by block; in between there is nothing but zeros."""
        at = start
        for offset in sorted(offset for offset in item.sums if start <= offset < end):
            self._nothing(item, reader, target, at, offset)
            length, expected = item.sums[offset]
            if crc32c(_whole(item, reader, offset, length)) != expected:
                raise VerifyFailed(
                    f"bytes {offset}-{offset + length} of {item.target} aren't what was written", hint=DISK
                )
            at = offset + length
            if self._stopped.is_set() or self._given_up.is_set():
                raise Interrupted("stopped while a clone was restored")
        self._nothing(item, reader, target, at, end)

    def _nothing(self, item: Item, reader: Reader, target: int, start: int, end: int) -> None:
        for first, last in data_segments(target, end, start):
            for at in range(first, last, BLOCK):
                if any(_whole(item, reader, at, min(BLOCK, last - at))):
                    raise VerifyFailed(f"{item.target} has data where the clone has none, at byte {at}", hint=DISK)

    def _check(self, item: Item, block: memoryview, offset: int) -> None:
        """The pages of a block. Raises `VerifyFailed`."""
        plan = item.plan
        assert plan is not None
        assert plan.checker is not None
        page = plan.checker.page_size
        bad = plan.checker.bad_pages(block, plan.first_page + offset // page)
        if bad:
            raise VerifyFailed(f"damaged in the clone: {item.source}, {named(bad)}", hint=DAMAGED)

    @contextlib.contextmanager
    def _opened(self, item: Item) -> Iterator[tuple[int, int]]:
        """Descriptors of both files."""
        if self._stopped.is_set() or self._given_up.is_set():
            raise Interrupted("stopped while a clone was restored")
        try:
            source = os.open(item.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(error, f"can't open {item.source}") from error
        try:
            target = self._target.open(item.target)
            try:
                yield source, target
            finally:
                os.close(target)
        except OSError as error:
            raise file_error(error, f"can't copy {item.source} to {item.target}") from error
        finally:
            os.close(source)


def refuse_changed(items: Iterable[Item]) -> None:
    """Raise `FileError` where a file of the clone isn't any more what was begun with."""
    for item in items:
        try:
            now = item.source.lstat()
        except OSError as error:
            raise file_error(error, f"{item.source} was changed while it was copied") from error
        before = item.state
        same = (before.st_ino, before.st_size, before.st_mtime_ns) == (now.st_ino, now.st_size, now.st_mtime_ns)
        if not (same and stat.S_ISREG(now.st_mode)):
            raise FileError(f"{item.source} was changed while it was copied", hint="stop who uses the clone, try again")


def _whole(item: Item, reader: Reader, offset: int, length: int) -> memoryview:
    block = reader.read(offset, length)
    if len(block) < length:
        raise FileError(f"{item.target} became shorter while it was read back")
    return block


def named(bad: Sequence[BadPage]) -> str:
    """The first of some bad pages, for an error."""
    pages = ", ".join(f"page {page.number} is {page.verdict.value}" for page in bad[:SHOWN])
    return pages + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
