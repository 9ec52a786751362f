"""FILE COPY of a server on its own host into a sink that is no directory: we read the files, and give them to it block
by block, as if they had come over a connection.

All else is as in a local clone (`innoclone.sources.local`): the donor is told that every chunk is there, and sends
pages that changed meanwhile and the redo log. Of a file as much is taken as the donor would send: what it had when the
clone began.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from innoclone.errors import DonorFilesUnreadable
from innoclone.files.blocks import Blocks
from innoclone.files.copying import Method, Reader
from innoclone.records.limits import Limits
from innoclone.records.status import Counter, StageStatus
from innoclone.server.donorfiles import DonorFiles
from innoclone.sinks.streaming import StreamTarget, StreamWriter
from innoclone.sources.local import LocalFiles
from innoclone.sources.localcopy import CopiedFile, Done, FileCopier, Piece
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.suspects import Suspects
from innoclone.wire.descriptors import StageNumber

__all__ = ["LocalStream"]

PIECE = 64 << 20  # bytes of a file that one thread reads at a time: a multiple of every page size and of blocks
READ = 1 << 20  # bytes at once


class LocalStream(LocalFiles):
    """A `innoclone.stream.source.FileSource`: reads the donor's ``files`` for a ``target`` that streams them."""

    instead = "leave --local out"

    def __init__(self, files: DonorFiles, target: StreamTarget, *, threads: int, limits: Limits) -> None:
        self.reflink = False
        self._files, self._sink, self._threads, self._limits = files, target, threads, limits
        self._copier: FileCopier | None = None

    def files_to_come(self, files: Iterable[ClonedFile]) -> Iterable[ClonedFile]:
        """All of them."""
        return files

    def start(self, table: FileTable, suspects: Suspects, row: StageStatus, stopped: threading.Event) -> None:
        """Begin to read. Raises `Stopped`."""
        row.threads = self._threads
        self._copier = _Streaming(
            table, self._files, self._sink, suspects, limits=self._limits, stopped=stopped, threads=self._threads
        )
        self._copier.start(row)


class _Streaming(FileCopier):
    """Each of its threads has a writer of its own, as a connection has."""

    def __init__(
        self, table: FileTable, donor: DonorFiles, target: StreamTarget, suspects: Suspects, *, limits: Limits,
        stopped: threading.Event, threads: int,
    ) -> None:  # fmt: skip
        super().__init__(table, donor, target, suspects, limits=limits, stopped=stopped, threads=threads)
        self._sink = target
        self._own = threading.local()

    def _begin(self, work: CopiedFile) -> list[Piece]:
        """Of a tablespace, what the donor knows of it; of another file, what there is."""
        size = os.fstat(work.source).st_size
        work.size = size if work.file.flags is None else work.file.metadata.size
        if size < work.size:
            raise DonorFilesUnreadable(f"{work.file.metadata.name} is shorter than the donor says", hint="")
        starts = range(0, max(1, work.size), PIECE)
        work.left = len(starts)
        return [Piece(work, start, min(work.size, start + PIECE)) for start in starts]

    def _size(self, work: CopiedFile) -> int:
        return work.size

    def _transfer(self, piece: Piece, counter: Counter, blocks: Blocks) -> Done:
        """Read a part of a file, look at its pages, and give it to the sink."""
        file, end = piece.work.file, piece.end or 0
        done = Done(used=Method.READ_WRITE)
        look, account = self._look(file, done), self._accounting(-1, counter)
        writer = self._writer(counter)
        writer.open(file)
        with Reader(piece.work.source) as reader:
            for offset in range(piece.start, end, READ):
                data = reader.read(offset, min(READ, end - offset))
                if len(data) < min(READ, end - offset):
                    raise DonorFilesUnreadable(f"{file.metadata.name} became shorter while it was read", hint="")
                look(data, offset)
                place = writer.buffer()[: len(data)]
                place[:] = data
                writer.write(place, offset)
                account(len(data), 0)
        writer.drain()
        writer.close_file()
        return done

    def _writer(self, counter: Counter) -> StreamWriter:
        """The thread's."""
        if not hasattr(self._own, "writer"):
            self._own.writer = self._sink.writer(READ)
            self._own.writer.begin_stage(StageNumber.FILE_COPY, counter)
        writer: StreamWriter = self._own.writer
        return writer

    def _flush(self) -> None:
        """All that a thread has taken is in packs, or here, before FILE COPY counts as done."""
        if hasattr(self._own, "writer"):
            self._own.writer.close()
