"""One connection's part in an increment: asks the donor which blocks differ, and for the pages that do.

Questions are sent ahead of their answers, so that a line with a delay stays full and both sides read and hash at the
same time; they are few and short, so that no more of them is under way than the system keeps for a peer that is busy
answering. An answer takes the memory of a block.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from innoclone.dataclass import dataclass
from innoclone.errors import CloneError, ProtocolError
from innoclone.files.copying import Reader
from innoclone.files.delta import Write
from innoclone.files.holes import hole_writer
from innoclone.files.memory import aligned_memory
from innoclone.files.system import file_error, start_writeback, write_all
from innoclone.records.limits import Limits
from innoclone.records.status import Counter
from innoclone.sources.basehashes import BaseHashes
from innoclone.stream.contenthash import ContentHash
from innoclone.stream.filetable import ClonedFile
from innoclone.stream.source import Stopped
from innoclone.stream.suspects import Suspects
from innoclone.transport.connection import Connection
from innoclone.transport.donorerrors import from_donor
from innoclone.wire.comparison import (
    BLOCK,
    HASH,
    NO_PAGES,
    Code,
    Compare,
    Different,
    Fetch,
    Gone,
    Layout,
    bits,
)
from innoclone.wire.rpc import Failure, ResponseCode, parse_response

__all__ = ["Comparing", "Outcome", "Span", "layout_of"]

AHEAD = 48  # questions that are sent before the first is answered
COMPARES = 3  # of these, about blocks
OPEN_FILES = 4  # of one connection, each with the memory of a block
MAX_ERROR = 64 << 10  # bytes of an ERROR message
WRITEBACK = 8 << 20  # bytes after which the kernel is asked to start writing to disk


@dataclass
class Outcome:
    """What it took. Bytes, pages of the files' own sizes; ``pages_new``: with nothing here to compare them with."""

    pages_compared: int = 0
    pages_written: int = 0  # of those
    pages_new: int = 0
    pages_received: int = 0
    written: int = 0


@dataclass(frozen=True)
class Span:
    """Blocks of a file; ``known``: the older clone has something of them, so that they are worth being compared."""

    file: ClonedFile
    first: int
    count: int
    known: bool


@dataclass(frozen=True)
class _Compared:
    """Blocks that are asked about; for each the hashes of its pages as they are here, empty where not kept."""

    span: Span
    pages: tuple[bytes, ...]


@dataclass(frozen=True)
class _Wanted:
    """Pages of a block that are asked for, and the donor's hashes of them where it has told them."""

    file: ClonedFile
    block: int
    bitmap: int
    hashes: bytes = b""


def layout_of(file: ClonedFile) -> Layout:
    """How both sides cut a file."""
    return Layout(file.metadata.size, NO_PAGES if file.flags is None else file.flags.physical_page_size)


@dataclass(frozen=True)
class Shared:
    """What the connections have in common. ``opener`` gives the descriptor of a file of the clone."""

    take: Callable[[], Span | None]
    opener: Callable[[ClonedFile], int]
    hashing: ContentHash
    base: BaseHashes
    suspects: Suspects
    limits: Limits
    stopped: threading.Event
    fsync: bool
    at_rest: bool
    gone: Callable[[ClonedFile], None]


class Comparing:
    """For one thread. It outlives its connection: what was asked and not answered is asked again on the next one."""

    def __init__(self, shared: Shared, counter: Counter) -> None:
        self._shared, self._counter = shared, counter
        self._spans: deque[Span] = deque()  # to be asked about again
        self._pages: deque[_Wanted] = deque()  # that differ, and are to be asked for
        self._asked: deque[_Compared | _Wanted] = deque()
        self._files: OrderedDict[int, _File] = OrderedDict()
        self._buffer = aligned_memory(BLOCK)
        self.outcome = Outcome()

    def run(self, connection: Connection) -> None:
        """Until nothing is left to be asked. Raises `Stopped`, a network error, a file error, what the donor says."""
        self._spans.extend(one.span for one in self._asked if isinstance(one, _Compared))
        self._pages.extend(one for one in self._asked if isinstance(one, _Wanted))
        self._asked.clear()
        network = connection.network
        while True:
            self._ask(connection)
            if not self._asked:
                return
            if self._shared.stopped.is_set():
                raise Stopped
            asked = self._asked[0]
            if isinstance(asked, _Compared):
                self._compared(asked, connection.read_packet())
            else:
                self._received(asked, connection)
            self._asked.popleft()
            self._counter.network += connection.network - network
            self._shared.limits.pause(0, connection.network - network, self._shared.stopped)
            network = connection.network

    @property
    def has_begun(self) -> bool:
        """Whether anything was taken that another connection would not do."""
        return bool(self._spans or self._pages or self._asked)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    # ---- questions -----------------------------------------------------------------------------------------

    def _ask(self, connection: Connection) -> None:
        """As many questions as may be under way."""
        while len(self._asked) < AHEAD:
            if self._pages:
                wanted = self._pages.popleft()
                self._asked.append(wanted)
                bitmap = wanted.bitmap.to_bytes(layout_of(wanted.file).bitmap_size(wanted.block), "little")
                connection.write_packet(Fetch(wanted.file.metadata.index, wanted.block, bitmap).serialize())
                continue
            if sum(isinstance(one, _Compared) for one in self._asked) >= COMPARES:
                return
            span = self._spans.popleft() if self._spans else self._shared.take()
            if span is None:
                return
            if span.file.dropped or span.file.drop_expected:
                continue
            if span.known:
                found = [self._hashes(span.file, span.first + number) for number in range(span.count)]
                self._asked.append(_Compared(span, tuple(pages for _, pages in found)))
                hashes = b"".join(block for block, _ in found)
                connection.write_packet(Compare(span.file.metadata.index, span.first, hashes).serialize())
            else:
                self._want_all(span)

    def _want_all(self, span: Span) -> None:
        layout = layout_of(span.file)
        for block in range(span.first, span.first + span.count):
            self._pages.append(_Wanted(span.file, block, (1 << layout.pages(block)) - 1))

    def _hashes(self, file: ClonedFile, block: int) -> tuple[bytes, bytes]:
        """Of a block, and of its pages, which may not have been kept."""
        opened, layout = self._open(file), layout_of(file)
        if layout.length(block) == BLOCK and (found := self._shared.base.of(opened.state, block, layout.page)):
            return found
        pages = self._pages_of(file, block)
        return self._shared.hashing.of_block(pages), pages

    def _pages_of(self, file: ClonedFile, block: int) -> bytes:
        return self._shared.hashing.of_pages(self._open(file).block(block), layout_of(file).page)

    # ---- answers -------------------------------------------------------------------------------------------

    def _compared(self, asked: _Compared, payload: bytes) -> None:
        span = asked.span
        if payload[:1] == bytes([ResponseCode.ERROR]):
            raise _failure(payload)
        layout = layout_of(span.file)
        answer = Different.parse(payload, [layout.pages(span.first + number) for number in range(span.count)])
        if isinstance(answer, Gone):
            self._shared.gone(span.file)
            return
        different = dict(answer.blocks)
        for number in range(span.count):
            block = span.first + number
            self.outcome.pages_compared += layout.pages(block)
            if number in different:
                self._differs(span.file, block, asked.pages[number], different[number])
            else:
                self._counter.data += layout.length(block)

    def _differs(self, file: ClonedFile, block: int, ours: bytes, theirs: bytes) -> None:
        """Find out which pages of a block do."""
        ours = ours or self._pages_of(file, block)
        bitmap = sum(
            1 << at // HASH for at in range(0, len(theirs), HASH) if ours[at : at + HASH] != theirs[at : at + HASH]
        )
        # None: the block was not what had been hashed of it, and is by now what the donor's is.
        if bitmap:
            self._pages.append(_Wanted(file, block, bitmap, theirs))
        else:
            self._counter.data += layout_of(file).length(block)

    def _received(self, wanted: _Wanted, connection: Connection) -> None:
        """The answer to `Fetch`: pages, to be checked and written."""
        file, layout, block = wanted.file, layout_of(wanted.file), wanted.block
        size = connection.read_header().length
        code = connection.read_exact(1)[0] if size else -1
        if code == ResponseCode.ERROR and size <= MAX_ERROR:
            raise _failure(bytes([code]) + connection.read_exact(size - 1))
        if code == Code.GONE and size == 1:
            self._shared.gone(file)
            return
        count = layout.bitmap_size(block)
        if code != Code.FETCH or size < 1 + count:
            raise ProtocolError(f"pages are answered with {size} bytes of kind {code:#x}")
        sent = int.from_bytes(connection.read_exact(count), "little")
        if sent & ~wanted.bitmap or size != 1 + count + layout.amount(block, sent):
            raise ProtocolError("pages are answered that were not asked for")
        view = self._buffer[: size - 1 - count]
        connection.read_into(view)
        if not file.dropped:
            self._check(wanted, sent, view)
            self._store(wanted, sent, view)
        self._counter.data += layout.length(block)

    def _check(self, wanted: _Wanted, sent: int, view: memoryview) -> None:
        """What came is what the donor had hashed, unless its server has written since: then it comes again."""
        page = layout_of(wanted.file).page
        if not wanted.hashes or not self._shared.at_rest:
            return
        for at, number in enumerate(bits(sent)):
            content = view[at * page : (at + 1) * page]
            if self._shared.hashing.of(content) != wanted.hashes[number * HASH : (number + 1) * HASH]:
                raise ProtocolError(f"page {number} of block {wanted.block} of {wanted.file.metadata.name} changed")

    def _store(self, wanted: _Wanted, sent: int, view: memoryview) -> None:
        """Write the pages that came, and zeros for those that were left out."""
        file, layout, begin = wanted.file, layout_of(wanted.file), wanted.block * BLOCK
        opened, at = self._open(file), 0
        try:
            for first, last in layout.spans(wanted.block, sent):
                run = view[at : at + last - first]
                self._look(file, run, begin + first)
                opened.write(run, begin + first)
                at += len(run)
            zeros = wanted.bitmap & ~sent
            for first, last in layout.spans(wanted.block, zeros):
                if begin + first < opened.state.st_size:  # behind that there is a hole already
                    self._look(file, zeros_of(last - first), begin + first)
                    opened.write(zeros_of(last - first), begin + first)
        except OSError as error:
            raise file_error(error, f"can't write {file.path}") from error
        self.outcome.pages_received += sent.bit_count()
        if wanted.hashes:
            self.outcome.pages_written += wanted.bitmap.bit_count()
        else:
            self.outcome.pages_new += wanted.bitmap.bit_count()
        self.outcome.written += at
        self._counter.written += at
        opened.written += at
        if self._shared.fsync and opened.written >= WRITEBACK:
            opened.written = 0
            start_writeback(opened.descriptor, 0, 0)

    def _look(self, file: ClonedFile, run: memoryview, offset: int) -> None:
        if file.checker is None:
            return
        page = layout_of(file).page
        first = file.first_page + offset // page
        bad = [item.number for item in file.checker.bad_pages(run, first)]
        self._shared.suspects.update(file.metadata.index, first, len(run) // page, bad)

    def _open(self, file: ClonedFile) -> _File:
        opened = self._files.get(file.metadata.index)
        if opened is None:
            if len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            opened = self._files[file.metadata.index] = _File(file, self._shared.opener(file))
        self._files.move_to_end(file.metadata.index)
        return opened


_zeros = memoryview(bytes(BLOCK))


def zeros_of(length: int) -> memoryview:
    """So many zeros, at most a block of them."""
    return _zeros[:length]


def _failure(payload: bytes) -> CloneError:
    found = parse_response(payload)
    assert isinstance(found, Failure), "that is what its first byte says"
    return from_donor(found.number, found.message)


class _File:
    """One of the clone's files that is open."""

    def __init__(self, file: ClonedFile, descriptor: int) -> None:
        self.descriptor, self._layout, self._path = descriptor, layout_of(file), file.path
        self.state = os.fstat(descriptor)
        self.written = 0  # bytes since the kernel was asked to write them to disk
        self._reader = Reader(descriptor)
        page = self._layout.page
        self._write: Write = hole_writer(page, file.hole_block) if file.hole_block else write_all

    def block(self, number: int) -> memoryview:
        """A block as it is here, with zeros where the file has ended; good until the next one."""
        length = self._layout.length(number)
        try:
            content = self._reader.read(number * BLOCK, length)
        except OSError as error:
            raise file_error(error, f"can't read {self._path}") from error
        if len(content) < length:
            return memoryview(bytes(content) + bytes(length - len(content)))
        return content

    def write(self, run: memoryview, offset: int) -> None:
        """Whole pages. Raises OSError."""
        self._write(self.descriptor, run, offset)

    def close(self) -> None:
        """Let go of it."""
        self._reader.close()
        os.close(self.descriptor)
