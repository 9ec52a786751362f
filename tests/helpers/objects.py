"""A sink that can't overwrite, as an object store is one: what was written stays, and isn't read again.

It holds the sink's rules against whoever writes: each byte of FILE COPY and REDO COPY once, pages of PAGE COPY as an
overlay, no two stages at a time, nothing after the file was completed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.records.status import Counter
from innoclone.stream.filetable import ClonedFile
from innoclone.wire.descriptors import StageNumber


@dataclass
class Parts:
    """What was put into one object: (offset, bytes) of the base and of the overlay."""

    base: list[tuple[int, bytes]] = field(default_factory=list)
    overlay: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = -1  # once it is complete

    def content(self) -> bytes:
        """As who fetches the object puts it together."""
        data = bytearray(self.size)
        for offset, piece in (*self.base, *self.overlay):
            data[offset : offset + len(piece)] = piece
        return bytes(data)


class Objects:
    """A `innoclone.stream.sink.Sink`; ``folder`` is a folder of this host for the journal."""

    fsync = False
    can_read_back = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.parts: dict[Path, Parts] = {}
        self.started = 0
        self._lock = threading.Lock()
        self._writers: list[Writer] = []

    def start(self) -> None:
        self.started += 1
        self.parts.clear()

    def go_on(self) -> None:
        raise AssertionError("what is here can't be proven")

    def is_there(self) -> bool:
        return True

    def check_place(self) -> None:
        pass

    def require(self, needed: Iterable[tuple[Path, int]]) -> None:
        assert all(size >= 0 for _, size in needed)

    def place(self, name: str, space_id: int) -> Path:
        return Path("clone") / name

    def redo_path(self, index: int, *, old_format: bool = False) -> Path:
        return Path("redo") / str(index)

    def create(self, path: Path, content: bytes = b"", size: int = 0) -> None:
        assert path not in self.parts
        self.parts[path] = Parts([(0, content)] if content else [])

    def adopt(self, name: str, space_id: int, fsp_flags: int, path: Path, size: int) -> bool:
        return False

    def rename(self, old: Path, new: Path) -> None:
        assert new not in self.parts
        self.parts[new] = self.parts.pop(old)

    def unlink(self, path: Path) -> None:
        self.parts.pop(path, None)

    def exists(self, path: Path) -> bool:
        return path in self.parts

    def read(self, path: Path, offset: int, size: int) -> bytes:
        raise AssertionError("it said that it can't")

    def writer(self, buffer: int) -> Writer:
        writer = Writer(self, buffer)
        with self._lock:
            self._writers.append(writer)
        return writer

    def checkpoint(self, paths: Iterable[Path]) -> None:
        raise AssertionError("nothing is to be durable")

    def sync_names(self) -> None:
        pass

    def complete(self, file: ClonedFile) -> None:
        assert all(writer.closed for writer in self._writers), "somebody still writes"
        parts = self.parts[file.path]
        parts.size = max(file.size, *(offset + len(piece) for offset, piece in (*parts.base, *parts.overlay)), 0)

    def put(self, stage: StageNumber, path: Path, offset: int, piece: bytes) -> None:
        """One piece, once."""
        with self._lock:
            parts = self.parts[path]
            assert parts.size < 0, "the file is complete"
            if stage is StageNumber.PAGE_COPY:
                parts.overlay.append((offset, piece))
                return
            assert all(offset + len(piece) <= at or at + len(old) <= offset for at, old in parts.base), "overwritten"
            parts.base.append((offset, piece))


class Writer:
    """Keeps the pieces until `drain`, as one that uploads behind would."""

    def __init__(self, objects: Objects, buffer: int) -> None:
        self.buffer_size = buffer
        self.closed = False
        self._objects = objects
        self._stage = StageNumber.INIT
        self._file: ClonedFile | None = None
        self._waiting: list[Callable[[], None]] = []

    def begin_stage(self, stage: StageNumber, counter: Counter) -> None:
        assert not self._waiting, "blocks of two stages meet"
        self._stage = stage

    def open(self, file: ClonedFile) -> None:
        self._file = file

    def buffer(self) -> memoryview:
        return memoryview(bytearray(self.buffer_size))

    def write(self, view: memoryview, offset: int) -> None:
        assert self._file is not None
        stage, path, piece = self._stage, self._file.path, bytes(view)
        self._waiting.append(lambda: self._objects.put(stage, path, offset, piece))

    def place(self, offset: int, count: int) -> None:
        return None

    def wrote(self, offset: int, count: int) -> None:
        raise AssertionError("nobody else can")

    def after(self, note: Callable[[], None]) -> None:
        self._waiting.append(note)

    def drain(self) -> None:
        for job in self._waiting:
            job()
        self._waiting.clear()

    def close_file(self) -> None:
        assert not self._waiting, "the file is left with pieces of it"
        self._file = None

    def close(self) -> None:
        self.closed = True
        self._waiting.clear()
