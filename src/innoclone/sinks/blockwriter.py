"""Writes the blocks that one connection brings into the files of a directory: by the way that costs least for each.

* Blocks of FILE COPY of large files go around the page cache (`DirectFile`).
* Single pages, small files, and what has holes goes through the page cache.
* Where nothing has to be looked at first, the native library writes: in the call that receives (`place`), or, around
  the page cache, in a thread of its own while the next piece is received (`Behind`).
* An adopted file is compared with what comes, and gets the pages that differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from innoclone.errors import FileError
from innoclone.files.delta import Delta, Write, write_differing
from innoclone.files.direct import DIRECT_MIN, DirectFile
from innoclone.files.holes import hole_writer
from innoclone.files.memory import aligned_memory
from innoclone.files.system import allocate, file_error, start_writeback, write_all
from innoclone.native.behind import Behind
from innoclone.native.library import library
from innoclone.native.pages import Place
from innoclone.records.status import Counter
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import StageNumber

__all__ = ["FileWriter"]

LEAST_BEHIND = 256 << 10  # bytes of a piece from which on it costs less to hand it over than to wait
WRITEBACK = 8 << 20  # bytes after which the kernel is asked to start writing to disk


class FileWriter:
    """A `innoclone.stream.sink.BlockWriter`."""

    def __init__(
        self,
        opener: Callable[[Path], int],
        *,
        buffer: int,
        old: int,
        fsync: bool,
        behind: bool = False,
        allocates: bool = False,
    ) -> None:
        """``opener`` gives a file's descriptor. ``old``: bytes of a block of an adopted file, 0 where there is none.
        ``behind``: large pieces are written while the next is received, where the native library is there;
        ``allocates``: large files come whole, and get their room at once."""
        self.buffer_size = buffer
        self._allocates = allocates
        self._opener, self._fsync = opener, fsync
        self._buffer = aligned_memory(buffer)  # page-aligned, as O_DIRECT wants it
        self._wants_behind = behind and buffer >= LEAST_BEHIND
        self._behind: Behind | None = None  # from the first file on that it is worth it for
        self._other = self._buffer
        self._given: tuple[memoryview, int] | None = None  # to the thread: bytes, and their offset in the file
        self._notes: list[Callable[[], None]] = []  # for when they are written
        self._old = memoryview(bytearray(old))
        self._stage = StageNumber.INIT
        self._counter = Counter()
        self._file: ClonedFile | None = None
        self._descriptor = -1
        self._fd = -1  # the same, or -1 where the file was dropped
        self._direct: DirectFile | None = None
        self._page = 1
        self._write: Write = write_all
        self._looks = False  # who writes has to look at the pages: at what was there, or for zeros at their ends

    def begin_stage(self, stage: StageNumber, counter: Counter) -> None:
        """Blocks belong to ``stage`` from now on."""
        self._stage, self._counter = stage, counter

    def open(self, file: ClonedFile) -> None:
        """What comes is of ``file``. Raises a file error."""
        if self._file is not file:
            self._open(file)
        if file.dropped:
            self._fd = -1

    def _open(self, file: ClonedFile) -> None:
        self.drain()
        self.close_file()
        if file.dropped:
            return
        try:
            self._descriptor = self._opener(file.path)
        except FileError:
            if file.dropped:  # on another connection, just now
                return
            raise
        self._file, self._fd = file, self._descriptor
        self._page = file.flags.physical_page_size if file.flags is not None else 1
        self._write = hole_writer(self._page, file.hole_block) if file.hole_block else write_all
        self._looks = bool(file.hole_block or file.adopted)
        if self._stage is StageNumber.FILE_COPY and file.size >= DIRECT_MIN and not self._looks:
            self._direct = DirectFile.of(self._fd)
            if self._wants_behind and self._direct is not None:
                self._write_behind()
            is_new = os.fstat(self._fd).st_size < file.metadata.size
            if self._allocates and is_new and file.metadata.allocated >= file.metadata.size:  # it has no holes
                try:
                    allocate(self._fd, file.metadata.size)
                except OSError as error:
                    raise file_error(error, f"can't write {file.path}") from error

    def _write_behind(self) -> None:
        """From now on, if there is a thread for it; it isn't asked for twice."""
        self._wants_behind = False
        self._behind = _behind()
        if self._behind is not None:
            self._other = aligned_memory(self.buffer_size)

    def buffer(self) -> memoryview:
        """Memory for the next piece: not that of the one that is still being written."""
        return self._buffer

    def write(self, view: memoryview, offset: int) -> None:
        """Write it. Raises a file error."""
        self.drain()
        if self._behind is None or not self._goes_behind(len(view)):
            self._write_now(view, offset)
            return
        self._behind.give(view, self._place(offset, len(view)))
        self._given = view, offset
        self._buffer, self._other = self._other, self._buffer

    def _write_now(self, view: memoryview, offset: int) -> None:
        file, fd = self._file, self._fd
        if fd < 0 or file is None:
            return
        try:
            if file.adopted:
                old = self._old[: os.preadv(fd, [self._old[: len(view)]], offset)]
                delta = Delta()
                write_differing(fd, offset, view, old, self._page, delta, self._write)
                self._counter.written += delta.written
            else:
                if self._direct is None or not self._direct.write(view, offset):
                    self._write(fd, view, offset)
                self._counter.written += len(view)
        except OSError as error:
            raise file_error(error, f"can't write {file.path}") from error
        if self._direct is None:
            self._start_writeback(offset + len(view))

    def place(self, offset: int, count: int) -> Place | None:
        """Where the native library may write; see `innoclone.stream.sink.BlockWriter.place`."""
        if self._fd < 0 or self._looks or self._goes_behind(count):
            return None
        return self._place(offset, count)

    def _goes_behind(self, count: int) -> bool:
        """Whether the thread is worth it: where a device is waited for. Into memory it would but take turns with us."""
        waits = self._behind is not None and self._direct is not None and self._direct.descriptor >= 0
        return waits and self._fd >= 0 and count >= LEAST_BEHIND

    def _place(self, offset: int, count: int) -> Place:
        direct = self._direct is not None and self._direct.fits(offset, count)
        return Place(self._direct.descriptor if direct and self._direct is not None else self._fd, offset, direct)

    def wrote(self, offset: int, count: int) -> None:
        """It did."""
        self._counter.written += count
        if self._direct is None:
            self._start_writeback(offset + count)

    def _start_writeback(self, end: int) -> None:
        if self._fsync and end % WRITEBACK == 0:
            start_writeback(self._descriptor, end - WRITEBACK, WRITEBACK)

    def after(self, note: Callable[[], None]) -> None:
        """All that came before is written, or it will be."""
        if self._given is None:
            note()
        else:
            self._notes.append(note)

    def drain(self) -> None:
        """Wait for the thread. Raises a file error."""
        if self._given is None or self._behind is None:
            return
        (view, offset), self._given = self._given, None
        notes, self._notes = self._notes, []
        if self._behind.wait():
            self.wrote(offset, len(view))
        else:
            self._write_now(view, offset)
        for note in notes:
            note()

    def close_file(self) -> None:
        """Close the file; what is being written to it is awaited, and forgotten."""
        if self._given is not None and self._behind is not None:
            self._behind.wait()
            self._given, self._notes = None, []
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = self._fd = -1
        self._file = None

    def close(self) -> None:
        """The same."""
        self.close_file()
        if self._behind is not None:
            self._behind.close()


def _behind() -> Behind | None:
    """A thread that writes; None where there is no native library, or can't be one more thread."""
    try:
        return Behind(library) if library is not None else None
    except OSError:
        return None
