"""The sink of a backup without a local copy: what FILE COPY brings of tablespaces goes into a store, block by block.

Everything else is a directory, which never becomes one that a server starts on: small files, the system tablespace, the
redo log, and the pages that PAGE COPY brings, each in its place of a file that is otherwise empty. Which parts of such
a file were written is noted page by page: holes can't tell, since not every file system knows its own.

A block that is whole goes to the store at once; a part of one, as of a donor that leaves holes out, is written here. In
the end, what is here lies over what is in the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from innoclone.errors import CloneError
from innoclone.files.marks import WANT_RECOVERY_STATUS
from innoclone.files.names import CLONE_DIR
from innoclone.files.system import file_error
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags
from innoclone.native.pages import Place
from innoclone.records.status import Counter
from innoclone.sinks.blockwriter import FileWriter
from innoclone.sinks.directory import FIX_AFTER_BOOT, Target
from innoclone.store.contents import StoredFile
from innoclone.store.known import Known
from innoclone.store.maps import Layer
from innoclone.store.pack import BLOCK
from innoclone.store.reading import PackReader, read_block
from innoclone.store.repository import Repository
from innoclone.store.runs import Run
from innoclone.store.uploads import PIECE, Uploads
from innoclone.store.writing import BlockWriter, PackTable
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import StageNumber

__all__ = ["Streamed", "StreamTarget"]

GRAIN = 4096  # bytes that a bit of what was written here stands for: the smallest page, but that of compressed tables
LEAST = 1 << 20  # bytes of a file from which on it is streamed


class Streamed:
    """What is known of one streamed file: blocks that are in the store, and grains that are here."""

    def __init__(self, file: ClonedFile, earlier: StoredFile | None) -> None:
        self.file, self.earlier = file, earlier  # the second in the parent
        self.blocks: dict[int, list[Layer]] = {}
        self._here: dict[int, set[int]] = {}  # grains of each block
        self._lock = threading.Lock()

    def wrote_here(self, offset: int, length: int) -> None:
        """A part was written into the file itself."""
        with self._lock:
            for grain in range(offset // GRAIN, -(-(offset + length) // GRAIN)):
                block, number = divmod(grain, BLOCK // GRAIN)
                self._here.setdefault(block, set()).add(number)

    def here(self, block: int) -> list[tuple[int, int]]:
        """(start, end) within a block of what is here."""
        runs: list[tuple[int, int]] = []
        for grain in sorted(self._here.get(block, ())):
            start = grain * GRAIN
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], start + GRAIN)
            else:
                runs.append((start, start + GRAIN))
        return runs


class StreamTarget(Target):
    """A `innoclone.stream.sink.Sink`."""

    takes_all = False

    def __init__(
        self, root: Path, outside: Path, run: Run, table: PackTable, known: Known | None, uploads: Uploads
    ) -> None:
        """``outside`` takes the files that the donor has elsewhere, under their whole names."""
        self._elsewhere = outside
        self._run, self._table, self._known, self._uploads = run, table, known, uploads
        self._streamed: dict[int, Streamed | None] = {}  # by the file's index, once it is decided
        self._writers: list[BlockWriter] = []
        self._streaming = threading.Lock()
        super().__init__(root, (("/", str(outside)),), fsync=False, keep=True)

    @property
    def changed(self) -> int:
        """Bytes that went to the store while they came."""
        return sum(writer.changed for writer in self._writers)

    def mark(self, views: dict[str, str]) -> None:
        """Write what tells a booting server that this is a clone. Raises a file error."""
        try:
            for name, content in {**dict.fromkeys((FIX_AFTER_BOOT, WANT_RECOVERY_STATUS), ""), **views}.items():
                self._write(self.root / CLONE_DIR / name, content)
        except OSError as error:
            raise file_error(error, f"can't write {self.root}") from error

    @property
    def repository(self) -> Repository:
        """Where it goes."""
        return self._run.repository

    def start(self) -> None:
        """A new clone: what the one before has brought counts for nothing."""
        self._streamed.clear()
        super().start()

    def require(self, needed: object) -> None:
        """What goes into the store takes no room here."""

    def writer(self, buffer: int) -> StreamWriter:
        """For the blocks of one connection."""
        blocks = self.blocks()
        self._writers.append(blocks)
        return StreamWriter(super().writer(buffer), self, blocks)

    def streamed(self, file: ClonedFile) -> Streamed | None:
        """What is known of a file; None where it is not streamed."""
        if file.flags is None or file.metadata.space_id == SYSTEM_SPACE or file.first_page or file.hole_block:
            return None
        index = file.metadata.index
        with self._streaming:
            if index not in self._streamed:
                self._streamed[index] = self._begin(file, file.flags) if file.size >= LEAST else None
            return self._streamed[index]

    def _begin(self, file: ClonedFile, flags: SpaceFlags) -> Streamed | None:
        if flags.physical_page_size < GRAIN:
            return None
        path = self.name_of(file.path)
        return Streamed(file, self._known.file(path, file.metadata.space_id) if self._known is not None else None)

    def name_of(self, path: Path) -> str:
        """What a snapshot calls a file: its path in the directory, or where the donor has it."""
        inside = path.is_relative_to(self.root)
        return str(path.relative_to(self.root)) if inside else f"/{path.relative_to(self._elsewhere)}"

    def blocks(self) -> BlockWriter:
        """A thread's way into the store."""
        return BlockWriter(self._run, self._table, self._known, self._uploads.send, full=PIECE)

    def lost(self, error: CloneError) -> None:
        """A pack was lost."""
        self._uploads.fail(error)

    def stored(self, layers: list[Layer]) -> bytearray:
        """A block as the store has it, without what is here. Raises `StoreDamaged`, what a store does."""
        self._uploads.drain()
        return read_block(PackReader(self.repository, self._table.packs), layers)

    def content(self, found: Streamed, block: int) -> bytearray:
        """A block of a streamed file: what is in the store, and over it what is here."""
        data = self.stored(found.blocks.get(block, []))
        for start, end in found.here(block):
            piece = super().read(found.file.path, block * BLOCK + start, end - start)
            data[start : start + len(piece)] = piece
        return data

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Bytes of a file."""
        with self._streaming:
            found = next((one for one in self._streamed.values() if one and one.file.path == path), None)
        if found is None:
            return super().read(path, offset, size)
        parts = bytearray()
        while size:
            block, at = divmod(offset, BLOCK)
            piece = self.content(found, block)[at : at + size]
            parts += piece
            offset, size = offset + len(piece), size - len(piece)
        return bytes(parts)


class StreamWriter(FileWriter):
    """A `innoclone.stream.sink.BlockWriter`: whole blocks into the store, all else to ``here``."""

    def __init__(self, here: FileWriter, target: StreamTarget, blocks: BlockWriter) -> None:
        self.buffer_size = here.buffer_size
        self._inner, self._target, self._blocks = here, target, blocks
        self._copying = False
        self._moved = Counter()
        self._cloned: ClonedFile | None = None
        self._found: Streamed | None = None
        self._part = bytearray()  # the beginning of a block
        self._at = 0

    def begin_stage(self, stage: StageNumber, counter: Counter) -> None:
        """Only blocks of FILE COPY are streamed."""
        self._copying, self._moved = stage is StageNumber.FILE_COPY, counter
        self._inner.begin_stage(stage, counter)

    def open(self, file: ClonedFile) -> None:
        """What comes is of ``file``. Raises a file error."""
        if file is not self._cloned:
            self._spill()
        self._inner.open(file)
        self._cloned, self._found = file, self._target.streamed(file)

    def buffer(self) -> memoryview:
        """Memory for the next piece."""
        return self._inner.buffer()

    def write(self, view: memoryview, offset: int) -> None:
        """Take it. Raises a file error, `StoreUnavailable`."""
        file = self._cloned
        if file is None or file.dropped:
            return
        if self._found is None or not self._copying:
            self._here(view, offset)
            return
        while view:
            at = offset % BLOCK
            piece = view[: BLOCK - at]
            self._take(file, piece, offset)
            view, offset = view[len(piece) :], offset + len(piece)

    def _take(self, file: ClonedFile, piece: memoryview, offset: int) -> None:
        """A part of one block."""
        if offset != self._at + len(self._part):
            self._spill()
        if not self._part:
            if offset % BLOCK:
                self._here(piece, offset)
                return
            self._at = offset
        self._part += piece
        end = self._at + len(self._part)
        if len(self._part) == BLOCK or end == file.size:
            found = self._found
            assert found is not None
            block, data = self._at // BLOCK, self._part
            self._part = bytearray()
            old = found.earlier.map.layers(block) if found.earlier is not None else []
            layers = self._blocks.write(file.metadata.index, block, memoryview(data), old)
            if found.here(block):  # an earlier image of a part: this one lies over it
                self._here(memoryview(data), self._at)
            found.blocks[block] = layers
            self._moved.written += len(data)

    def _spill(self) -> None:
        """The beginning of a block, of which no more comes."""
        part, self._part = self._part, bytearray()
        if part:
            self._here(memoryview(part), self._at)

    def _here(self, view: memoryview, offset: int) -> None:
        if self._found is not None:
            self._found.wrote_here(offset, len(view))
        self._inner.write(view, offset)

    def place(self, offset: int, count: int) -> Place | None:
        """None where it is streamed."""
        return None if self._found is not None and self._copying else self._inner.place(offset, count)

    def wrote(self, offset: int, count: int) -> None:
        """The native library did."""
        if self._found is not None:
            self._found.wrote_here(offset, count)
        self._inner.wrote(offset, count)

    def after(self, note: Callable[[], None]) -> None:
        """All that came before is here, or in a pack of this process."""
        self._spill()
        self._inner.after(note)

    def drain(self) -> None:
        """It is."""
        self._spill()
        self._inner.drain()

    def close_file(self) -> None:
        """Close the file."""
        self._spill()
        self._inner.close_file()
        self._cloned = self._found = None

    def close(self) -> None:
        """The end, also after an error: blocks that were noted as there must come into the store all the same."""
        self._part = bytearray()
        try:
            self._blocks.flush()
        except CloneError as error:
            self._target.lost(error)
        self._inner.close()
