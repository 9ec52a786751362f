"""What is sent in which stage of a clone: files, cut into chunks, cut into blocks.

A chunk is what one task takes at a time, and what a recipient notes for the case that the connection breaks; chunks of
a stage are numbered from 1 through all of its files. A stock donor's are of 4096 pages, its blocks of 64; nothing of
that is told to the recipient, and sizes that don't depend on the page size stay below any max_allowed_packet.

A restarted donor must cut as before: the sizes are part of what a clone's ids stand for (`innoclone.donor.stored`).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from innoclone.innodb.redo import FILE_HEADER_SIZE
from innoclone.innodb.space import MIB, REDO_SPACE, SpaceFlags
from innoclone.wire.descriptors import NO_FSP_FLAGS, FileFlag, FileMetadata, StageNumber

__all__ = [
    "BLOCK",
    "CHUNK",
    "Block",
    "DataFile",
    "FilePlan",
    "Page",
    "PagePlan",
    "Plan",
    "RedoFilePart",
    "RedoPlan",
    "StoredFile",
]

BLOCK = MIB
CHUNK = 64 * MIB
NO_FILE_FLAGS = FileFlag(0)


@dataclass(frozen=True)
class StoredFile:
    """A file as it was found, and as it must still be whenever it is opened. Sizes in bytes, times in nanoseconds."""

    path: Path
    size: int
    allocated: int
    block_size: int  # of the file system
    device: int
    inode: int
    modified: int

    @classmethod
    def of(cls, path: Path, state: os.stat_result) -> StoredFile:
        """By what the system says of it."""
        return cls(
            path, state.st_size, state.st_blocks * 512, state.st_blksize, state.st_dev, state.st_ino, state.st_mtime_ns
        )


@dataclass(frozen=True)
class Block:
    """A piece to send. ``number`` is how many blocks of the chunk are done after it; ``index`` is the file's number in
    its stage. Without ``content`` it is read from the file."""

    number: int
    index: int
    offset: int
    length: int
    file_size: int
    content: bytes | None = None


@dataclass(frozen=True)
class DataFile:
    """A file of FILE_COPY: what it is, and how a recipient is to call it. ``told`` is what a server says of it."""

    stored: StoredFile
    name: str
    space_id: int
    flags: int
    told: FileMetadata | None = None


class _Chunks:
    """The chunks of files of these sizes, each at least one unless it is empty."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._before = [0]  # chunks before each file, and of all
        for size in sizes:
            self._before.append(self._before[-1] + -(-size // CHUNK))

    @property
    def count(self) -> int:
        return self._before[-1]

    def of(self, index: int) -> tuple[int, int]:
        """First and last chunk of a file, from 1 on."""
        return self._before[index] + 1, self._before[index + 1]

    def locate(self, chunk: int) -> tuple[int, int, int]:
        """The file that a chunk belongs to, the chunk's offset there, and its length."""
        index = bisect_right(self._before, chunk - 1) - 1
        offset = (chunk - 1 - self._before[index]) * CHUNK
        return index, offset, min(CHUNK, self._sizes[index] - offset)


class _OfFiles:
    """A stage whose chunks are those of files; of some of them nothing may be sent."""

    changes: Sequence[FileMetadata] = ()

    def __init__(self, files: Sequence[StoredFile]) -> None:
        self.files = files
        self._chunks = _Chunks([file.size for file in files])

    @property
    def chunks(self) -> int:
        """How many there are."""
        return self._chunks.count

    @property
    def count(self) -> int:
        """What a recipient is told as the number of files."""
        return len(self.files)


class FilePlan(_OfFiles):
    """FILE_COPY."""

    def __init__(self, files: Sequence[DataFile]) -> None:
        super().__init__([file.stored for file in files])
        self.data = files

    @property
    def estimate(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    @property
    def on_disk(self) -> int:
        """Bytes that the files take here."""
        return sum(file.allocated for file in self.files)

    def metadata(self) -> Iterator[FileMetadata]:
        """What a recipient is told of each file, in order."""
        for index, file in enumerate(self.data):
            stored = file.stored
            # What takes less than its size has holes: then a recipient makes holes, too, wherever a page is compressed.
            flags = FileFlag.ZLIB if file.flags != NO_FSP_FLAGS and stored.allocated < stored.size else NO_FILE_FLAGS
            if file.flags != NO_FSP_FLAGS and SpaceFlags(file.flags).is_encrypted:
                flags |= FileFlag.ENCRYPTED
            first, last = self._chunks.of(index)
            if file.told is not None:
                yield replace(file.told, size=stored.size, first_chunk=first, last_chunk=last)
                continue
            yield FileMetadata(
                StageNumber.FILE_COPY, stored.size, stored.allocated, file.flags, stored.block_size, flags,
                file.space_id, index, first, last, file.name,
            )  # fmt: skip

    def blocks(self, chunk: int, done: int) -> Iterator[Block]:
        """The blocks of a chunk behind the first ``done`` ones."""
        index, begin, length = self._chunks.locate(chunk)
        for number, at in enumerate(range(done * BLOCK, length, BLOCK), done + 1):
            yield Block(number, index, begin + at, min(BLOCK, length - at), self.files[index].size)


@dataclass(frozen=True)
class Page:
    """A page that is not sent as it is in its file, the one of ``index``. ``sealed``: what is sent is made of
    ``content`` only then, since there is a key in it."""

    index: int
    offset: int
    file_size: int
    content: bytes
    sealed: Callable[[bytes], bytes] | None = None

    def sent(self) -> bytes:
        """What a recipient gets."""
        return self.content if self.sealed is None else self.sealed(self.content)


class PagePlan:
    """PAGE_COPY: pages that differ from those of the files; mostly none."""

    files: Sequence[StoredFile] = ()
    changes: Sequence[FileMetadata] = ()

    def __init__(self, pages: Sequence[Page] = ()) -> None:
        self.pages = pages

    @property
    def chunks(self) -> int:
        """One for all."""
        return 1 if self.pages else 0

    @property
    def count(self) -> int:
        """Pages."""
        return len(self.pages)

    @property
    def estimate(self) -> int:
        """Bytes."""
        return sum(len(page.content) for page in self.pages)

    def metadata(self) -> Iterator[FileMetadata]:
        """No file changes."""
        return iter(())

    def blocks(self, _chunk: int, done: int) -> Iterator[Block]:
        """A block for each page."""
        for number, page in enumerate(self.pages[done:], done + 1):
            yield Block(number, page.index, page.offset, len(page.content), page.file_size, page.sent())


@dataclass(frozen=True)
class RedoFilePart:
    """What of a redo file is sent: its header, and the bytes from ``begin`` to ``end``. The rest is not needed."""

    stored: StoredFile
    header: bytes
    begin: int
    end: int
    sealed: Callable[[bytes], bytes] | None = None

    def head(self) -> bytes:
        """The header as it is sent: made of ``header`` only then where there is a key in it."""
        return self.header if self.sealed is None else self.sealed(self.header)


class RedoPlan(_OfFiles):
    """REDO_COPY; most chunks are empty."""

    def __init__(self, parts: Sequence[RedoFilePart], clean_at: int | None = None) -> None:
        """``clean_at``: the LSN of the clean shutdown behind which nothing is logged; None if there is something."""
        super().__init__([part.stored for part in parts])
        self.parts, self.clean_at = parts, clean_at

    @property
    def estimate(self) -> int:
        """Bytes."""
        return sum(FILE_HEADER_SIZE + part.end - part.begin for part in self.parts)

    def metadata(self) -> Iterator[FileMetadata]:
        """What a recipient is told of each file; it calls them by their numbers."""
        for index, file in enumerate(self.files):
            first, last = self._chunks.of(index)
            flags = FileFlag.ENCRYPTED if self.parts[index].sealed is not None else NO_FILE_FLAGS
            yield FileMetadata(
                StageNumber.REDO_COPY, file.size, file.allocated, NO_FSP_FLAGS, file.block_size,
                flags, REDO_SPACE, index, first, last, "",
            )  # fmt: skip

    def blocks(self, chunk: int, done: int) -> Iterator[Block]:
        """The blocks of a chunk behind the first ``done`` ones, as far as there is log in them."""
        index, begin, length = self._chunks.locate(chunk)
        part = self.parts[index]
        size = part.stored.size
        for number, at in enumerate(range(done * BLOCK, length, BLOCK), done + 1):
            start = begin + at
            if not start:
                yield Block(number, index, 0, FILE_HEADER_SIZE, size, part.head())
            first, last = max(start, part.begin), min(start + min(BLOCK, length - at), part.end)
            if first < last:
                yield Block(number, index, first, last - first, size)


class Plan(Protocol):
    """What of a plan its senders use; `FilePlan` has the bytes on disk, too."""

    @property
    def files(self) -> Sequence[StoredFile]:
        """Those that blocks without content are read from."""

    @property
    def changes(self) -> Sequence[FileMetadata]:
        """What DDL did since the stage before: the master's recipient is told it before the stage begins."""

    @property
    def chunks(self) -> int:
        """How many there are."""

    @property
    def count(self) -> int:
        """What a recipient is told as the number of files, in PAGE_COPY of pages."""

    @property
    def estimate(self) -> int:
        """Bytes."""

    def metadata(self) -> Iterator[FileMetadata]:
        """What a recipient is told of each file, in order."""

    def blocks(self, chunk: int, done: int) -> Iterator[Block]:
        """The blocks of a chunk behind the first ``done`` ones."""
