"""The donor's part of an increment: which blocks of its files differ from the recipient's, and the pages of those.

A recipient asks; each question is about one file of the list that it was given, and answered from that file as it is
now. What it says of its own blocks is their hashes (`innoclone.stream.contenthash`), so nothing that it sends is kept,
and an answer takes the memory of one block.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from innoclone.donor.channel import Channel
from innoclone.donor.clones import Services
from innoclone.donor.course import Course
from innoclone.donor.offer import Given
from innoclone.donor.plans import FilePlan
from innoclone.errors import FileError, ProtocolError
from innoclone.files.copying import Reader
from innoclone.files.system import differing, file_error
from innoclone.innodb.space import FLAGS_UNKNOWN, SpaceFlags
from innoclone.stream.contenthash import ContentHash
from innoclone.wire.comparison import (
    ANSWER_AT_REST,
    ANSWER_KEY,
    ANSWER_LIVE,
    BLOCK,
    COMMANDS,
    HASH,
    NO_PAGES,
    REQUEST,
    Compare,
    Different,
    Fetch,
    Gone,
    Join,
    Layout,
    PagesHead,
    parse_comparison,
)
from innoclone.wire.descriptors import StageNumber
from innoclone.wire.rpc import Complete, Config, ResponseCode

__all__ = ["Comparer", "Comparing", "agreed", "is_wished"]

OPEN_FILES = 2  # of one connection, each with the memory of a block
WHOLE = 8  # pages from which on a block is read as a whole
_zeros = memoryview(bytearray(BLOCK))


def is_wished(padding: bytes) -> bool:
    """Whether what pads the locator of COM_INIT asks for an increment."""
    return padding.startswith(REQUEST)


def agreed(given: Given) -> bytes:
    """The message that says so to a recipient that asked, and to no other."""
    answer = ANSWER_AT_REST if given.is_at_rest else ANSWER_LIVE
    return Config(ANSWER_KEY, answer, ResponseCode.CONFIG_V3).serialize()


class Comparing:
    """What a connection has to do with increments."""

    def __init__(self, services: Services, channel: Channel) -> None:
        self._services, self._channel = services, channel
        self._comparer: Comparer | None = None
        self._stopped = threading.Event()

    @staticmethod
    def means(payload: bytes) -> bool:
        """Whether a command is one of these."""
        return bool(payload) and payload[0] in COMMANDS

    def answer(self, payload: bytes, course: Course | None) -> Course:
        """Take such a command on a connection that takes part in ``course``; in which it takes part from then on.
        Raises `ProtocolError`, a network or file error, what the clone failed with."""
        command = parse_comparison(payload)
        if isinstance(command, Join):
            return self._join(command, course)
        if course is None or self._comparer is None:
            raise ProtocolError("a comparison without a clone")
        course.refuse_failed()
        if course.is_past_files:  # a live server's are newer by now
            raise ProtocolError("a comparison after the files were acknowledged")
        before = self._channel.sent
        self._channel.write_data(*self._comparer.answer(command))
        sent = self._channel.sent - before
        course.count(sent, sent)
        read, self._comparer.read = self._comparer.read, 0
        self._services.reading.pause(read, 0, self._stopped)
        self._services.limits.pause(sent, sent, self._stopped)
        return course

    def _join(self, command: Join, course: Course | None) -> Course:
        if course is not None:
            raise ProtocolError("a second clone on one connection")
        course = self._services.clones.find(command.locator)
        self._comparer = Comparer(command.key, course.given)
        self._channel.say(Complete().serialize())
        return course

    def stop(self) -> None:
        """Wait for no limit any more; from any thread."""
        self._stopped.set()

    def close(self) -> None:
        """The connection has nothing to do with a clone any more."""
        if self._comparer is not None:
            self._comparer.close()
            self._comparer = None


class Comparer:
    """Of one connection, for one thread."""

    def __init__(self, key: bytes, given: Given) -> None:
        plan = given.plans[StageNumber.FILE_COPY]
        assert isinstance(plan, FilePlan), "that is what it is of"
        self._hash, self._given, self._plan = ContentHash(key), given, plan
        self._files: OrderedDict[int, _File] = OrderedDict()
        self.read = 0
        """Bytes of files that were read since this was set to 0."""

    def answer(self, command: Compare | Fetch) -> tuple[bytes, bytes]:
        """Its head, and the pages. Raises `ProtocolError`, a file error."""
        if not command.index < len(self._plan.data):
            raise ProtocolError(f"file {command.index} of {len(self._plan.data)}")
        file = self._open(command.index)
        if file is None:
            return Gone().serialize(), b""
        return self._fetch(command, file) if isinstance(command, Fetch) else (self._compare(command, file), b"")

    def _compare(self, command: Compare, file: _File) -> bytes:
        if command.first + command.count > file.layout.blocks:
            raise ProtocolError(f"blocks up to {command.first + command.count} of a file of {file.layout.blocks}")
        found: list[tuple[int, bytes]] = []
        for number in range(command.count):
            content = file.block(command.first + number)
            self.read += len(content)
            pages = self._hash.of_pages(content, file.layout.page)
            if self._hash.of_block(pages) != command.hashes[number * HASH : (number + 1) * HASH]:
                found.append((number, pages))
        return Different(tuple(found)).serialize()

    def _fetch(self, command: Fetch, file: _File) -> tuple[bytes, bytes]:
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

    def _open(self, index: int) -> _File | None:
        """None if it is gone."""
        file = self._files.get(index)
        if file is None:
            if len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            one = self._plan.data[index]
            if (descriptor := self._given.open(one.stored)) is None:
                return None
            page = NO_PAGES if one.flags == FLAGS_UNKNOWN else SpaceFlags(one.flags).physical_page_size
            file = self._files[index] = _File(descriptor, one.name, Layout(one.stored.size, page))
        self._files.move_to_end(index)
        return file


class _File:
    """One that is open."""

    def __init__(self, descriptor: int, name: str, layout: Layout) -> None:
        self.layout, self._name, self._fd = layout, name, descriptor
        self._reader = Reader(descriptor)

    def block(self, number: int) -> memoryview:
        """A whole block, good until something else is read."""
        return self.read(number * BLOCK, self.layout.length(number))

    def read(self, offset: int, length: int) -> memoryview:
        """So many bytes, good until something else is read."""
        try:
            content = self._reader.read(offset, length)
        except OSError as error:
            raise file_error(error, f"can't read {self._name}") from error
        if len(content) < length:
            raise FileError(f"{self._name} became shorter while it was served")
        return content

    def close(self) -> None:
        """Let go of it."""
        self._reader.close()
        os.close(self._fd)
