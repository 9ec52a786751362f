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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from innoclone.errors import CloneError, DonorFilesUnreadable
from innoclone.files.blocks import Blocks
from innoclone.files.copying import Look, Method, copy_file
from innoclone.files.delta import Delta, Seen, update_file
from innoclone.files.holes import hole_writer
from innoclone.files.system import allocate, file_error, start_writeback
from innoclone.records.limits import Limits
from innoclone.records.status import Counter, StageStatus
from innoclone.server.donorfiles import DonorFiles
from innoclone.sinks.clonefiles import CloneFiles
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.source import Stopped
from innoclone.stream.suspects import Suspects

__all__ = ["CopiedFile", "CopySummary", "Done", "FileCopier", "Piece"]

OPENING = 30.0  # seconds; a donor gives a clone without connection up after 1 to 30 minutes, 5 by default
SMALL_PIECE = 64 << 10  # bytes, where a limit makes big pieces last long
PIECE = 64 << 20  # bytes of a large file that one thread copies at a time
WAKE = 0.1  # seconds between looks whether the clone is to stop
WRITEBACK = 32 << 20  # bytes after which the kernel is asked to start writing to disk


@dataclass
class CopySummary:
    """What the copy did, by tablespaces and pages. ``written`` is in bytes."""

    new: int = 0
    reused: int = 0
    renamed: int = 0
    removed: int = 0
    pages_compared: int = 0
    pages_written: int = 0
    pages_checked: int = 0
    written: int = 0
    methods: set[str] = field(default_factory=set)


class Looking(Protocol):
    """Is shown a block that was read of a file, at its offset; ``unusual`` are pages that were found to be so."""

    def __call__(self, block: memoryview, offset: int, unusual: list[int] | None = None) -> None: ...


class FileCopier:
    """Threads that copy the files of a table from the donor's directory into the target."""

    def __init__(
        self,
        table: FileTable,
        donor: DonorFiles,
        target: CloneFiles,
        suspects: Suspects,
        *,
        limits: Limits,
        stopped: threading.Event,
        threads: int,
        methods: tuple[Method, ...] = tuple(Method),
    ) -> None:
        """``suspects`` takes the pages that are torn when they are read, where ``table`` has pages checked."""
        self._table, self._donor, self._target, self._suspects = table, donor, target, suspects
        self._limits, self._stopped, self._methods = limits, stopped, methods
        self._threads = [threading.Thread(target=self._run, name=f"copy-{n}", daemon=True) for n in range(threads)]
        self._changed = threading.Condition()
        self._queue: deque[int] = deque()  # files that were not tried yet
        self._again: deque[int] = deque()  # files that were not found the first time
        self._pieces: deque[Piece] = deque()  # of files that are open
        self._working: set[CopiedFile] = set()
        self._opening = 0  # files that threads are about to open
        self._running = threads
        self._done = threading.Event()
        self._opened: dict[int, int] = {}
        self._stage: StageStatus | None = None
        self.failure: CloneError | None = None
        self.summary = CopySummary()
        self.unseen = 0  # bytes of tablespaces that were copied without passing through memory: those are not checked

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
        for work in self._working:
            work.close()
        self._working.clear()

    def _run(self) -> None:
        assert self._stage is not None
        counter, blocks = self._stage.counter(), Blocks()
        try:
            while (work := self._next()) is not None:
                if isinstance(work, Piece):
                    self._copy_piece(work, counter, blocks)
                else:
                    self._copy(*work, counter, blocks)
            self._flush()
        except Stopped:
            pass
        except CloneError as error:
            self.failure = self.failure or error
        except Exception as error:  # noqa: BLE001 - a defect of ours must fail the clone, not leave out a file
            self.failure = self.failure or CloneError(f"unexpected {type(error).__name__} while copying: {error}")
        with self._changed:
            self._running -= 1
            self._changed.notify_all()
            if not self._running or self.failure is not None:
                self._done.set()

    def _next(self) -> Piece | tuple[int, bool] | None:
        """A piece of an open file, else a file (whether it is looked for the last time), or None at the end.

        A file that another thread is about to open may be a large one, with pieces for this thread.
        """
        with self._changed:
            while not self._stopped.is_set() and self.failure is None:
                if self._pieces:
                    return self._pieces.popleft()
                if self._queue or self._again:
                    self._opening += 1
                    last = not self._queue
                    return (self._again if last else self._queue).popleft(), last
                if not self._opening:
                    return None
                self._changed.wait(WAKE)
        return None

    def _copy(self, index: int, last: bool, counter: Counter, blocks: Blocks) -> None:
        """One file. One that isn't found is looked for again at the end: it may have moved past the first search."""
        pieces: list[Piece] = []
        again = False
        try:
            file = self._table.data[index]
            with self._changed:
                source = self._opened.pop(index, None)
            if source is None:
                source = self._donor.open(file.metadata)
            if source is None:
                again = not last
                if last and file.flags is not None:
                    self._table.expect_drop(file)
                return
            work = CopiedFile(file, source)
            with self._changed:
                self._working.add(work)
            try:
                pieces = self._begin(work)
            except OSError as error:
                raise file_error(error, f"can't copy {file.metadata.name}") from error
        finally:
            with self._changed:
                self._opening -= 1
                self._again.extend([index] if again else [])
                self._pieces.extend(pieces[1:])
                self._changed.notify_all()
        self._copy_piece(pieces[0], counter, blocks)

    def _begin(self, work: CopiedFile) -> list[Piece]:
        """Make room for a file; the pieces that it is copied in. Raises OSError, a file error."""
        work.target = self._target.open(work.file.path)
        return work.split(self._methods, len(self._threads))

    def _size(self, work: CopiedFile) -> int:
        """Bytes that were copied of a whole file."""
        return os.fstat(work.target).st_size

    def _flush(self) -> None:
        """A thread has no more to do: what it has taken is written."""

    def _copy_piece(self, piece: Piece, counter: Counter, blocks: Blocks) -> None:
        work = piece.work
        try:
            done = self._transfer(piece, counter, blocks)
            with self._changed:
                work.left -= 1
                work.seen += done.seen
                last = not work.left
                self._add(done)
            if last:
                self._finish(work, done.used)
        except OSError as error:
            raise file_error(error, f"can't copy {work.file.metadata.name}") from error

    def _finish(self, work: CopiedFile, used: Method | None) -> None:
        """All pieces are there: the file is complete and as long as the source, or an exception."""
        file, size = work.file, self._size(work)
        if file.flags is None:
            file.size = size  # the buffer pool's dump, which the server rewrites at any time
        elif min(size, os.fstat(work.source).st_size) < max(work.size, file.metadata.size):
            raise DonorFilesUnreadable(f"{file.metadata.name} is shorter than the donor says, or than it was", hint="")
        with self._changed:
            self._working.discard(work)
            work.close()
            if file.checker is not None:
                self.unseen += max(0, size - work.seen)
            if file.flags is None:
                pass  # the buffer pool's dump is no tablespace, and is always copied
            elif used is None:
                self.summary.reused += 1
            else:
                self.summary.new += 1
                self.summary.methods.add(used.value)

    def _add(self, done: Done) -> None:
        summary = self.summary
        summary.pages_compared += done.delta.pages_compared
        summary.pages_written += done.delta.pages_written
        summary.pages_checked += done.checked
        summary.written += done.delta.written

    def _transfer(self, piece: Piece, counter: Counter, blocks: Blocks) -> Done:
        """Copy a file or a part of one, or bring it up to date."""
        file, done = piece.work.file, Done()
        look = self._look(file, done)
        account = self._accounting(piece.work.target, counter)
        if file.adopted:
            done.delta = self._update(piece, account, look, blocks)
        else:
            self._copy_new(piece, done, account, look, blocks)
        return done

    def _look(self, file: ClonedFile, done: Done) -> Looking:
        """What is shown every block that was read."""

        def look(block: memoryview, offset: int, unusual: list[int] | None = None) -> None:
            """Check the pages of a block, unless a limit or the file's end cut one of them."""
            if file.checker is None or offset % file.checker.page_size or len(block) % file.checker.page_size:
                return
            first, count = file.first_page + offset // file.checker.page_size, len(block) // file.checker.page_size
            bad = [item.number for item in file.checker.check(block, first, unusual).bad]
            self._suspects.update(file.metadata.index, first, count, bad)
            done.seen += len(block)
            done.checked += count

        return look

    def _accounting(self, fd: int, counter: Counter) -> Callable[[int, int], None]:
        """What is told the bytes that were read and written of each block; waits for the limit. Raises `Stopped`."""
        flushed = counter.written

        def account(read: int, written: int) -> None:
            nonlocal flushed
            counter.data += read
            counter.written += written
            if self._target.fsync and counter.written - flushed >= WRITEBACK:
                flushed = counter.written
                start_writeback(fd, 0, 0)
            if self._limits.rate:
                self._limits.pause(read, 0, self._stopped)
            if self._stopped.is_set():
                raise Stopped

        return account

    def _update(self, piece: Piece, account: Callable[[int, int], None], look: Seen, blocks: Blocks) -> Delta:
        """Write the pages that differ from the older file's."""
        file, fd = piece.work.file, piece.work.target
        page = file.flags.physical_page_size if file.flags is not None else 4096
        write = hole_writer(page, file.hole_block) if file.hole_block else None
        delta = update_file(
            piece.work.source, fd, page, account, write, look, piece.start, piece.end, blocks=blocks,
            pages=None if file.checker is None else file.checker.pages, first_page=file.first_page,
        )  # fmt: skip
        if self._target.fsync and delta.written:
            length = 0 if piece.end is None else piece.end - piece.start  # 0: to the file's end
            start_writeback(fd, piece.start, length)
        return delta

    def _copy_new(
        self, piece: Piece, done: Done, account: Callable[[int, int], None], look: Look, blocks: Blocks
    ) -> None:
        """Copy what the target has nothing of yet."""
        fd, rate, most = piece.work.target, self._limits.rate, self._limits.buffer
        most = max(SMALL_PIECE, min(most, int(rate / 8) // SMALL_PIECE * SMALL_PIECE)) if rate else most
        done.used = copy_file(
            piece.work.source, fd, lambda count: account(count, count), methods=self._methods, piece=most, look=look,
            start=piece.start, end=piece.end, memory=blocks.memory,
        )  # fmt: skip
        if done.used is not Method.REFLINK:
            done.delta.written = (piece.end or os.fstat(fd).st_size) - piece.start


@dataclass(eq=False)
class CopiedFile:
    """A file that is being copied: descriptors of both sides, and how many pieces of it are not done yet."""

    file: ClonedFile
    source: int
    target: int = -1
    size: int = 0
    left: int = 1
    seen: int = 0  # bytes of pages that were checked

    def split(self, methods: tuple[Method, ...], threads: int) -> list[Piece]:
        """The pieces that several threads can copy; one where it is small or where blocks can be shared. Raises
        OSError."""
        size = self.size = os.fstat(self.source).st_size
        if threads == 1 or size < 2 * PIECE or (Method.REFLINK in methods and not self.file.adopted):
            return [Piece(self, 0, None)]
        os.ftruncate(self.target, size)
        if not self.file.adopted and os.fstat(self.source).st_blocks * 512 >= size:  # without holes
            allocate(self.target, size)
        pieces = [Piece(self, start, min(size, start + PIECE)) for start in range(0, size, PIECE)]
        self.left = len(pieces)
        return pieces

    def close(self) -> None:
        """Both descriptors."""
        os.close(self.source)
        if self.target >= 0:
            os.close(self.target)


@dataclass(frozen=True)
class Piece:
    """A part of a file in bytes; without an end, all of it."""

    work: CopiedFile
    start: int
    end: int | None


@dataclass
class Done:
    """What a piece took."""

    delta: Delta = field(default_factory=Delta)
    used: Method | None = None  # None: an older file was brought up to date
    seen: int = 0
    checked: int = 0
