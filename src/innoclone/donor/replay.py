"""A stage as a server sent it, kept to be sent to any number of recipients."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from innoclone.donor.heldkeys import HeldKeys
from innoclone.donor.plans import Block, StoredFile
from innoclone.donor.spool import Spool
from innoclone.wire.descriptors import DataDescriptor, FileMetadata, StateDescriptor

__all__ = ["Replay"]

_HEAD = struct.Struct(">III Q Q")  # block, index of the file, length, offset, file size


class Replay:
    """A `Plan`: PAGE_COPY or REDO_COPY. One thread adds to it; when it has ended, any may read."""

    files: Sequence[StoredFile] = ()  # all blocks have their content

    def __init__(
        self, spool: Spool, start: StateDescriptor, changes: Sequence[FileMetadata], keys: HeldKeys | None = None
    ) -> None:
        """Of the stage that ``start`` begins; ``changes`` are what DDL did before it. ``keys`` opens what it sealed."""
        self._spool, self._start, self._keys = spool, start, keys
        self._changes = list(changes)
        self._listed: dict[int, FileMetadata] = {}
        self._dropped: set[int] = set()
        self._chunks: dict[int, tuple[int, int]] = {}  # where each begins in the spool, and its blocks
        self._openers: dict[int, Callable[[bytes], bytes]] = {}  # of blocks with a key, by where they are in the spool

    # ---- filling -------------------------------------------------------------------------------------------

    def list(self, file: FileMetadata) -> None:
        """A redo file; servers repeat them."""
        self._listed.setdefault(file.index, file)

    def drop(self, file: FileMetadata) -> None:
        """A file was dropped while its pages were sent. Recipients are told at once, and get none of its pages."""
        if file.index not in self._dropped:
            self._dropped.add(file.index)
            self._changes.append(file)

    def add(
        self, data: DataDescriptor, content: bytes | bytearray, opener: Callable[[bytes], bytes] | None = None
    ) -> None:
        """A block, and what makes of it what is sent. Those of a chunk come one after another."""
        at, count = self._chunks.get(data.chunk, (self._spool.size, 0))
        self._chunks[data.chunk] = at, count + 1
        if opener is not None:
            self._openers[self._spool.size + _HEAD.size] = opener
        self._spool.append(_HEAD.pack(data.block, data.index, data.length, data.offset, data.file_size) + content)

    def follows(self, data: DataDescriptor, last: int) -> bool:
        """Whether a block may come behind one of chunk ``last``."""
        return data.chunk == last or data.chunk not in self._chunks

    # ---- sending -------------------------------------------------------------------------------------------

    @property
    def chunks(self) -> int:
        """How many there are."""
        return self._start.chunks

    @property
    def count(self) -> int:
        """Pages, or redo files."""
        return self._start.files

    @property
    def estimate(self) -> int:
        """Bytes."""
        return self._start.estimate

    @property
    def changes(self) -> Sequence[FileMetadata]:
        """What DDL did since the stage before."""
        return [self._opened(file) for file in self._changes]

    def metadata(self) -> Iterator[FileMetadata]:
        """Redo files."""
        return map(self._opened, self._listed.values())

    def _opened(self, file: FileMetadata) -> FileMetadata:
        return file if self._keys is None else self._keys.opened(file)

    def blocks(self, chunk: int, done: int) -> Iterator[Block]:
        """The blocks of a chunk behind the first ``done`` ones."""
        at, count = self._chunks.get(chunk, (0, 0))
        for _ in range(count):
            number, index, length, offset, size = _HEAD.unpack(self._spool.read(at, _HEAD.size))
            at += _HEAD.size
            if number > done and index not in self._dropped:
                content, opener = self._spool.read(at, length), self._openers.get(at)
                yield Block(number, index, offset, length, size, content if opener is None else opener(content))
            at += length
