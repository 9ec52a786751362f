"""What two innoclones say to each other beside the clone protocol: which pages of files differ, and those pages.

None of it is sent before both have said that they can: the recipient in what pads the locator of COM_INIT (`REQUEST`),
where a stock donor looks at nothing, and the donor by a key of CONFIG_V3 (`ANSWER_KEY`), of which a stock recipient
would take no notice. The commands go over connections of their own, in clone mode; each has one answer, in order, and
more may be sent before the first is answered. Little-endian, as the clone plugin's messages.

A *block* is 1 MiB of a file, the last one shorter; blocks and pages count from 0. Both sides know from FILE_METADATA
how long a file and its pages are, so that no answer tells its own size: one of another size is refused.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence

from innoclone.dataclass import dataclass
from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, u32le
from innoclone.wire.descriptors import Locator
from innoclone.wire.rpc import INNODB

__all__ = [
    "ANSWER_AT_REST", "ANSWER_KEY", "ANSWER_LIVE", "BLOCK", "COMMANDS", "HASH", "KEY", "MOST_BLOCKS", "NO_PAGES",
    "REQUEST", "Code", "Compare", "Comparison", "Different", "Fetch", "Gone", "Join", "Layout", "PagesHead", "bits",
    "parse_comparison",
]  # fmt: skip

REQUEST = b"innoclone\x02"  # the last byte: the version of all this
ANSWER_KEY = "innoclone_incremental"
ANSWER_LIVE, ANSWER_AT_REST = "1", "1 at rest"  # whether a server may write to the files meanwhile
BLOCK = 1 << 20
HASH, KEY = 16, 16  # bytes
MOST_BLOCKS = 32  # that one command asks about
NO_PAGES = 4096  # the pages of what has none, by which it is compared
VERSION = 2


class Code(enum.IntEnum):
    """First byte of a command and of its answer; the clone protocol has 1 to 9, 99 and 100."""

    JOIN = 0x60
    COMPARE = 0x61
    FETCH = 0x62
    GONE = 0x63


COMMANDS = frozenset({Code.JOIN, Code.COMPARE, Code.FETCH})


@dataclass(frozen=True)
class Layout:
    """How a file of ``size`` bytes with pages of ``page`` bytes is cut."""

    size: int
    page: int

    @property
    def blocks(self) -> int:
        """How many there are."""
        return -(-self.size // BLOCK)

    def length(self, block: int) -> int:
        """Bytes of a block."""
        return min(BLOCK, self.size - block * BLOCK)

    def pages(self, block: int) -> int:
        """Pages of a block; the last one may be cut, in what is no tablespace."""
        return -(-self.length(block) // self.page)

    def bitmap_size(self, block: int) -> int:
        """Bytes of a bitmap with a bit for each page, the first page lowest."""
        return -(-self.pages(block) // 8)

    def spans(self, block: int, bitmap: int) -> Iterator[tuple[int, int]]:
        """(begin, end) within the block of the runs of pages that have their bit set."""
        length, begin = self.length(block), -1
        for number in range(self.pages(block) + 1):
            if bitmap >> number & 1:
                begin = number if begin < 0 else begin
            elif begin >= 0:
                yield begin * self.page, min(number * self.page, length)
                begin = -1

    def amount(self, block: int, bitmap: int) -> int:
        """Bytes of the pages that have their bit set."""
        return sum(end - begin for begin, end in self.spans(block, bitmap))


def bits(bitmap: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while bitmap:
        low = bitmap & -bitmap
        yield low.bit_length() - 1
        bitmap ^= low


@dataclass(frozen=True)
class Join:
    """This connection asks about the clone of ``locator``; contents are hashed with ``key``. Answered by COMPLETE."""

    key: bytes
    locator: Locator

    @classmethod
    def parse(cls, reader: Reader) -> Join:
        """From what follows the first byte."""
        if (version := reader.u8("version")) != VERSION:
            raise ProtocolError(f"comparison of version {version}")
        key, engine = reader.take(KEY, "key"), reader.u8("storage engine")
        if engine != INNODB:
            raise ProtocolError(f"storage engine {engine} in a comparison")
        locator = Locator.parse(reader.take(reader.u32le("locator length"), "locator"))
        reader.end()
        return cls(key, locator)

    def serialize(self) -> bytes:
        """First byte and payload."""
        locator = self.locator.serialize()
        return bytes([Code.JOIN, VERSION]) + self.key + bytes([INNODB]) + u32le(len(locator)) + locator


@dataclass(frozen=True)
class Compare:
    """Which of the blocks from ``first`` on of file ``index`` differ from those with these ``hashes``?"""

    index: int
    first: int
    hashes: bytes

    @property
    def count(self) -> int:
        """How many blocks it asks about."""
        return len(self.hashes) // HASH

    @classmethod
    def parse(cls, reader: Reader) -> Compare:
        """From what follows the first byte."""
        index, first, count = reader.u32le("file"), reader.u32le("first block"), reader.u32le("count")
        if not 1 <= count <= MOST_BLOCKS:
            raise ProtocolError(f"a comparison of {count} blocks")
        found = cls(index, first, reader.take(count * HASH, "hashes"))
        reader.end()
        return found

    def serialize(self) -> bytes:
        """First byte and payload."""
        return bytes([Code.COMPARE]) + u32le(self.index) + u32le(self.first) + u32le(self.count) + self.hashes


@dataclass(frozen=True)
class Fetch:
    """The pages of a block that have their bit set."""

    index: int
    block: int
    bitmap: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Fetch:
        """From what follows the first byte."""
        return cls(reader.u32le("file"), reader.u32le("block"), reader.rest())

    def serialize(self) -> bytes:
        """First byte and payload."""
        return bytes([Code.FETCH]) + u32le(self.index) + u32le(self.block) + self.bitmap


Comparison = Join | Compare | Fetch
_PARSERS: dict[int, Callable[[Reader], Comparison]] = {
    Code.JOIN: Join.parse,
    Code.COMPARE: Compare.parse,
    Code.FETCH: Fetch.parse,
}


def parse_comparison(payload: bytes) -> Comparison:
    """A command whose first byte is one of `COMMANDS`. Raises `ProtocolError`."""
    reader = Reader(payload, "comparison")
    return _PARSERS[reader.u8("command byte")](reader)


@dataclass(frozen=True)
class Different:
    """The answer to `Compare`: for each block that differs its number among those asked about, and the hashes of its
    pages."""

    blocks: tuple[tuple[int, bytes], ...]

    def serialize(self) -> bytes:
        """First byte and payload: a bitmap of the blocks, then the hashes."""
        bitmap = sum(1 << number for number, _ in self.blocks)
        return b"".join((bytes([Code.COMPARE]), u32le(bitmap), *(pages for _, pages in self.blocks)))

    @classmethod
    def parse(cls, payload: bytes, pages: Sequence[int]) -> Different | Gone:
        """The whole answer about blocks with so many ``pages`` each. Raises `ProtocolError`."""
        reader = Reader(payload, "answer to a comparison")
        if (code := reader.u8("code")) == Code.GONE:
            reader.end()
            return Gone()
        if code != Code.COMPARE:
            raise ProtocolError(f"a comparison is answered with {code:#x}")
        bitmap = reader.u32le("bitmap")
        if bitmap >> len(pages):
            raise ProtocolError(f"a comparison of {len(pages)} blocks is answered for others")
        found = [(number, reader.take(HASH * pages[number], "hashes of pages")) for number in bits(bitmap)]
        reader.end()
        return cls(tuple(found))


@dataclass(frozen=True)
class PagesHead:
    """The beginning of the answer to `Fetch`: which pages follow. Those that were asked for and don't are all zeros."""

    bitmap: bytes

    def serialize(self) -> bytes:
        """First byte and bitmap; the pages come behind it."""
        return bytes([Code.FETCH]) + self.bitmap


@dataclass(frozen=True)
class Gone:
    """The answer about a file that isn't there any more: the donor's server has dropped it since it was listed."""

    def serialize(self) -> bytes:
        """First byte."""
        return bytes([Code.GONE])
