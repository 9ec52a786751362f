"""Copying the donor's files on its own host while its server keeps the snapshot consistent.

The bytes that are copied may be old or torn; the server's PAGE COPY and REDO COPY put that right, since it has tracked
changes from before the first byte was read. What must hold is only: every file's copy is complete before FILE_COPY is
acknowledged, and nothing is written after that. So a failure of any file is a failure of the clone.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from innoclone.engine.barrier import Stopped
from innoclone.engine.donorfiles import DonorFiles
from innoclone.engine.filetable import ClonedFile, FileTable
from innoclone.engine.holes import hole_writer
from innoclone.errors import CloneError, DonorFilesUnreadable
from innoclone.files.copying import Method, copy_file
from innoclone.files.delta import update_file
from innoclone.files.system import file_error, start_writeback, write_all
from innoclone.files.target import Target
from innoclone.ops.limits import Limits
from innoclone.ops.status import Counter, StageStatus

__all__ = ["CopySummary", "FileCopier"]

OPENING = 30.0  # seconds; a donor gives a clone without connection up after 1 to 30 minutes, 5 by default
SMALL_PIECE = 64 << 10  # bytes, where a limit makes big pieces last long
WRITEBACK = 32 << 20  # bytes after which the kernel is asked to start writing to disk


@dataclass
class CopySummary:
    """What the copy did, by files and pages. ``written`` is in bytes."""

    new: int = 0
    reused: int = 0
    renamed: int = 0
    removed: int = 0
    pages_compared: int = 0
    pages_written: int = 0
    written: int = 0
    methods: set[str] = field(default_factory=set)


class FileCopier:
    """Threads that copy the files of a table from the donor's directory into the target."""

    def __init__(
        self,
        table: FileTable,
        donor: DonorFiles,
        target: Target,
        *,
        limits: Limits,
        stopped: threading.Event,
        threads: int,
        methods: tuple[Method, ...] = tuple(Method),
    ) -> None:
        self._table, self._donor, self._target = table, donor, target
        self._limits, self._stopped, self._methods = limits, stopped, methods
        self._threads = [threading.Thread(target=self._run, name=f"copy-{n}", daemon=True) for n in range(threads)]
        self._lock = threading.Lock()
        self._queue: deque[int] = deque()  # files that were not tried yet
        self._again: deque[int] = deque()  # files that were not found the first time
        self._running = threads
        self._done = threading.Event()
        self._opened: dict[int, int] = {}
        self._stage: StageStatus | None = None
        self.failure: CloneError | None = None
        self.summary = CopySummary()

    def start(self, stage: StageStatus) -> None:
        """Open what can be opened at once, before DDL gets at it, then copy on threads of its own."""
        self._stage = stage
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 64
        deadline = time.monotonic() + OPENING
        for index, file in enumerate(self._table.data):
            tried = index < room and time.monotonic() < deadline
            fd = self._donor.open(file.metadata) if tried else None
            if fd is not None:
                self._opened[index] = fd
            (self._again if fd is None and tried else self._queue).append(index)
            if self._stopped.is_set():
                raise Stopped
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """True when every file is copied. Raises what went wrong, or `Stopped`."""
        finished = self._done.wait(seconds)
        if self.failure is not None:
            raise self.failure
        if self._stopped.is_set():
            raise Stopped
        return finished

    def close(self) -> None:
        """Wait for the threads, which end soon once the clone is stopped, and close what is open."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for fd in self._opened.values():
            os.close(fd)
        self._opened.clear()

    def _run(self) -> None:
        assert self._stage is not None
        counter = self._stage.counter()
        try:
            while not self._stopped.is_set() and self.failure is None:
                with self._lock:
                    last = not self._queue
                    if last and not self._again:
                        break
                    index = (self._again if last else self._queue).popleft()
                self._copy(index, counter, last=last)
        except Stopped:
            pass
        except CloneError as error:
            self.failure = self.failure or error
        except Exception as error:  # noqa: BLE001 - a defect of ours must fail the clone, not leave out a file
            self.failure = self.failure or CloneError(f"unexpected {type(error).__name__} while copying: {error}")
        with self._lock:
            self._running -= 1
            if not self._running or self.failure is not None:
                self._done.set()

    def _copy(self, index: int, counter: Counter, *, last: bool) -> None:
        """One file. One that isn't found is looked for again at the end: it may have moved past the first search."""
        file = self._table.data[index]
        with self._lock:
            source = self._opened.pop(index, None)
        if source is None:
            source = self._donor.open(file.metadata)
        if source is None:
            if not last:
                with self._lock:
                    self._again.append(index)
            elif file.flags is not None:
                self._table.expect_drop(file)
            return
        try:
            fd = self._target.open(file.path)
            try:
                self._transfer(file, source, fd, counter)
            finally:
                os.close(fd)
        except OSError as error:
            raise file_error(error, f"can't copy {file.metadata.name}") from error
        finally:
            os.close(source)

    def _transfer(self, file: ClonedFile, source: int, fd: int, counter: Counter) -> None:
        """One file; complete and as long as the source, or an exception."""

        def account(read: int, written: int) -> None:
            counter.data += read
            counter.written += written
            if self._target.fsync and counter.written - flushed[0] >= WRITEBACK:
                flushed[0] = counter.written
                start_writeback(fd, 0, 0)
            if self._limits.rate:
                self._limits.pause(read, 0, self._stopped)
            if self._stopped.is_set():
                raise Stopped

        flushed = [counter.written]
        adopted = file.adopted
        if adopted:
            page = file.flags.physical_page_size if file.flags is not None else 4096
            write = hole_writer(page, file.hole_block) if file.hole_block else write_all
            delta = update_file(source, fd, page, account, write)
        else:
            rate = self._limits.rate
            piece = (
                max(SMALL_PIECE, min(self._limits.buffer, int(rate / 8) // SMALL_PIECE * SMALL_PIECE))
                if rate
                else self._limits.buffer
            )
            used = copy_file(source, fd, lambda count: account(count, count), methods=self._methods, piece=piece)
        if file.flags is None:
            file.size = os.fstat(fd).st_size  # the buffer pool's dump, which the server rewrites at any time
        elif os.fstat(fd).st_size < file.metadata.size:
            raise DonorFilesUnreadable(f"{file.metadata.name} is shorter than the donor says", hint="")
        with self._lock:
            if adopted:
                self.summary.reused += 1
                self.summary.pages_compared += delta.pages_compared
                self.summary.pages_written += delta.pages_written
                self.summary.written += delta.written
            else:
                self.summary.new += 1
                self.summary.methods.add(used.value)
                if used is not Method.REFLINK:
                    self.summary.written += os.fstat(fd).st_size
