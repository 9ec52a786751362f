"""Writes the blocks that one connection brings into the files of a directory: by the way that costs least for each.

* Blocks of FILE COPY of large files go around the page cache (`DirectFile`), on a thread of their own where the
  connections are too few to overlap by themselves (`WriteBehind`).
* Where that isn't possible, and nobody has to look at the bytes, the kernel moves them from the socket (`splice`).
* Single pages, small files, and what has holes goes through the page cache.
* An adopted file is compared with what comes, and gets the pages that differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from innoclone.errors import FileError
from innoclone.files.delta import Delta, Write, write_differing
from innoclone.files.direct import DIRECT_MIN, DirectFile
from innoclone.files.holes import hole_writer
from innoclone.files.memory import aligned_memory
from innoclone.files.system import file_error, start_writeback, write_all
from innoclone.records.status import Counter
from innoclone.sinks.writebehind import WriteBehind
from innoclone.stream.filetable import ClonedFile
from innoclone.stream.sink import Incoming
from innoclone.wire.descriptors import StageNumber

__all__ = ["FileWriter"]

WRITEBACK = 8 << 20  # bytes after which the kernel is asked to start writing to disk


class FileWriter:
    """A `innoclone.stream.sink.BlockWriter`."""

    def __init__(
        self, opener: Callable[[Path], int], name: str, *, buffer: int, old: int, overlap: bool, fsync: bool
    ) -> None:
        """``opener`` gives a file's descriptor. ``old``: bytes of a block of an adopted file, 0 where there is none."""
        self.buffer_size = buffer
        self._opener, self._fsync = opener, fsync
        self._buffer = aligned_memory(buffer)  # page-aligned, as O_DIRECT wants it
        self._taken = self._buffer  # the last one that was given away
        self._old = memoryview(bytearray(old))
        self._behind = WriteBehind(buffer, f"{name}-write") if overlap else None
        self._stage = StageNumber.INIT
        self._counter = Counter()
        self._file: ClonedFile | None = None
        self._descriptor = -1
        self._fd = -1  # the same, or -1 where the file was dropped
        self._direct: DirectFile | None = None
        self._page = 1
        self._write: Write = write_all
        self.can_splice = False

    def begin_stage(self, stage: StageNumber, counter: Counter) -> None:
        """Blocks belong to ``stage`` from now on."""
        self._stage, self._counter = stage, counter

    def open(self, file: ClonedFile) -> None:
        """What comes is of ``file``. Raises a file error."""
        if self._file is not file:
            self._open(file)
        if file.dropped:
            self._fd, self.can_splice = -1, False

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
        compared_or_punched = bool(file.hole_block or file.adopted)
        if self._stage is StageNumber.FILE_COPY and file.size >= DIRECT_MIN and not compared_or_punched:
            self._direct = DirectFile.of(self._fd)
        # Measured: around the page cache even with a copy in user space beats splice, which goes through it.
        self.can_splice = self._direct is None and not compared_or_punched

    def buffer(self) -> memoryview:
        """Memory for the next piece; waits for some where writing is behind."""
        overlaps = self._behind is not None and self._direct is not None and self._fd >= 0
        self._taken = self._behind.buffer() if overlaps and self._behind is not None else self._buffer
        return self._taken

    def write(self, view: memoryview, offset: int) -> None:
        """Write it, or have it written behind. Raises a file error."""
        if self._fd < 0:
            return
        if self._taken is self._buffer:
            self._store(view, offset)
        elif self._behind is not None:
            self._behind.put(partial(self._store, view, offset), self._taken)

    def _store(self, view: memoryview, offset: int) -> None:
        file, fd = self._file, self._descriptor
        assert file is not None, "it stays open until all of it is written"
        try:
            if file.adopted:
                old = self._old[: os.preadv(fd, [self._old[: len(view)]], offset)]
                delta = Delta()
                write_differing(fd, offset, view, old, self._page, delta, self._write)
                self._counter.written += delta.written
            elif self._direct is None or not self._direct.write(view, offset):
                self._write(fd, view, offset)
                self._counter.written += len(view)
        except OSError as error:
            raise file_error(error, f"can't write {file.path}") from error
        if self._direct is None:
            self._start_writeback(offset + len(view))

    def splice(self, incoming: Incoming, offset: int, count: int) -> None:
        """Let the kernel move the next ``count`` bytes. Raises a file error or what ``incoming`` does."""
        incoming.splice(self._fd, offset, count)
        self._start_writeback(offset + count)

    def _start_writeback(self, end: int) -> None:
        if self._fsync and end % WRITEBACK == 0:
            start_writeback(self._descriptor, end - WRITEBACK, WRITEBACK)

    def after(self, note: Callable[[], None]) -> None:
        """Call ``note`` once all that came before is written."""
        if self._behind is None:
            note()
        else:
            self._behind.put(note)

    def drain(self) -> None:
        """Wait until all is written. Raises what went wrong with that."""
        if self._behind is not None:
            self._behind.drain()

    def close_file(self) -> None:
        """Close the file."""
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = self._fd = -1
        self._file, self.can_splice = None, False

    def close(self) -> None:
        """Close everything; what was not written yet is forgotten."""
        if self._behind is not None:
            self._behind.close()
        self.close_file()
