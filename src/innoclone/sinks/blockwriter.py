"""Writes the blocks that one connection brings into the files of a directory: by the way that costs least for each.

* Blocks of FILE COPY of large files go around the page cache (`DirectFile`).
* Single pages, small files, and what has holes goes through the page cache.
* Where nothing has to be looked at first, the native library writes what it received in the same call (`place`).
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
from innoclone.native.pages import Place
from innoclone.records.status import Counter
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import StageNumber

__all__ = ["FileWriter"]

WRITEBACK = 8 << 20  # bytes after which the kernel is asked to start writing to disk


class FileWriter:
    """A `innoclone.stream.sink.BlockWriter`."""

    def __init__(self, opener: Callable[[Path], int], *, buffer: int, old: int, fsync: bool) -> None:
        """``opener`` gives a file's descriptor. ``old``: bytes of a block of an adopted file, 0 where there is none."""
        self.buffer_size = buffer
        self._opener, self._fsync = opener, fsync
        self._buffer = aligned_memory(buffer)  # page-aligned, as O_DIRECT wants it
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
            if file.metadata.allocated >= file.metadata.size > os.fstat(self._fd).st_size:  # whole, and a new file
                allocate(self._fd, file.metadata.size)

    def buffer(self) -> memoryview:
        """Memory for the next piece."""
        return self._buffer

    def write(self, view: memoryview, offset: int) -> None:
        """Write it. Raises a file error."""
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
        if self._fd < 0 or self._looks:
            return None
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
        """All that came before is written."""
        note()

    def drain(self) -> None:
        """It is."""

    def close_file(self) -> None:
        """Close the file."""
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
