"""The donor's part of an increment: which blocks of its files differ from the recipient's, and the pages of those.

A recipient asks; each question is about one file of the list that it was given, and answered from that file as it is
now. What it says of its own blocks is their hashes (`innoclone.stream.contenthash`), so nothing that it sends is kept,
and an answer takes the memory of one block.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from innoclone.donor.plans import FilePlan, StoredFile
from innoclone.donor.stored import open_stored
from innoclone.errors import FileError, ProtocolError
from innoclone.files.copying import Reader
from innoclone.files.system import differing, file_error
from innoclone.innodb.space import FLAGS_UNKNOWN, SpaceFlags
from innoclone.stream.contenthash import ContentHash
from innoclone.wire.comparison import BLOCK, HASH, NO_PAGES, Compare, Different, Fetch, Layout, PagesHead

__all__ = ["Comparer"]

OPEN_FILES = 8  # of one connection
WHOLE = 8  # pages from which on a block is read as a whole
_zeros = memoryview(bytearray(BLOCK))


class Comparer:
    """Of one connection, for one thread."""

    def __init__(self, key: bytes, plan: FilePlan) -> None:
        self._hash, self._plan = ContentHash(key), plan
        self._files: OrderedDict[int, _File] = OrderedDict()
        self.read = 0
        """Bytes of files that were read."""

    def compare(self, command: Compare) -> bytes:
        """The answer to `Compare`. Raises `ProtocolError`, a file error."""
        file = self._open(command.index)
        if command.first + command.count > file.layout.blocks:
            raise ProtocolError(f"blocks up to {command.first + command.count} of a file of {file.layout.blocks}")
        found: list[tuple[int, bytes]] = []
        for number in range(command.count):
            content = file.block(command.first + number)
            self.read += len(content)
            if self._hash.of(content) != command.hashes[number * HASH : (number + 1) * HASH]:
                found.append((number, self._hash.of_pages(content, file.layout.page)))
        return Different(tuple(found)).serialize()

    def fetch(self, command: Fetch) -> tuple[bytes, bytes]:
        """The answer to `Fetch`: its head, and the pages. Raises `ProtocolError`, a file error."""
        file = self._open(command.index)
        layout, block = file.layout, command.block
        bitmap = int.from_bytes(command.bitmap, "little")
        if block >= layout.blocks or len(command.bitmap) != layout.bitmap_size(block) or bitmap >> layout.pages(block):
            raise ProtocolError(f"pages of block {block} of a file of {layout.blocks}")
        whole = file.block(block) if bitmap.bit_count() >= WHOLE else None
        sent, parts = 0, []
        for begin, end in layout.spans(block, bitmap):
            content = file.read(block * BLOCK + begin, end - begin) if whole is None else whole[begin:end]
            self.read += len(content)
            for first, last in differing(content, _zeros[: len(content)], layout.page):
                parts.append(bytes(content[first:last]))
                pages = -(-(last - first) // layout.page)
                sent |= ((1 << pages) - 1) << (begin + first) // layout.page
        return PagesHead(sent.to_bytes(layout.bitmap_size(block), "little")).serialize(), b"".join(parts)

    def close(self) -> None:
        """No more questions."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, index: int) -> _File:
        file = self._files.get(index)
        if file is None:
            if not index < len(self._plan.data):
                raise ProtocolError(f"file {index} of {len(self._plan.data)}")
            if len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            one = self._plan.data[index]
            page = NO_PAGES if one.flags == FLAGS_UNKNOWN else SpaceFlags(one.flags).physical_page_size
            file = self._files[index] = _File(one.stored, Layout(one.stored.size, page))
        self._files.move_to_end(index)
        return file


class _File:
    """One that is open."""

    def __init__(self, stored: StoredFile, layout: Layout) -> None:
        self.layout, self._path = layout, stored.path
        self._fd = open_stored(stored)
        self._reader = Reader(self._fd)

    def block(self, number: int) -> memoryview:
        """A whole block, good until something else is read."""
        return self.read(number * BLOCK, self.layout.length(number))

    def read(self, offset: int, length: int) -> memoryview:
        """So many bytes, good until something else is read."""
        try:
            content = self._reader.read(offset, length)
        except OSError as error:
            raise file_error(error, f"can't read {self._path}") from error
        if len(content) < length:
            raise FileError(f"{self._path} became shorter while it was served")
        return content

    def close(self) -> None:
        """Let go of it."""
        self._reader.close()
        os.close(self._fd)
