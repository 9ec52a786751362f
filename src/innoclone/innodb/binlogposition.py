"""The binary log position that InnoDB keeps, of data whose redo log was not applied yet.

Page 5 of the system tablespace holds the name of a binary log file and an offset. Every commit writes the offset, and
the name where it changed; a donor completes it at the end of a snapshot (Clone_Snapshot::update_binlog_position), and
the first boot of a clone tells what stands there after its recovery (clone_update_recovery_status). So what tells it
is the last write of each of these fields in the log, or else the page.

The last write is looked for backwards, in windows: the few bytes that a write must begin with are found at the speed of
memory, and only a window that has them is parsed, from the begin of a mini-transaction, which the blocks' headers tell.
What looks like a write in other data (users' rows are in the log, too) is not one where a record begins.

Fields: trx0sys.h (TRX_SYS_MYSQL_LOG_INFO), write_binlog_position in trx0sys.cc.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from innoclone.innodb.logrecords import Incomplete, PageWrite, next_mtr
from innoclone.innodb.page import PAGE_LSN
from innoclone.innodb.redo import BLOCK_SIZE
from innoclone.innodb.space import SYSTEM_SPACE

__all__ = ["MAGIC_NUMBER", "NAME_SIZE", "TRX_SYS_PAGE", "Log", "Stored", "fields_at", "stored_position"]

TRX_SYS_PAGE = 5
"""Number of the page in the system tablespace (FSP_TRX_SYS_PAGE_NO)."""

WINDOW = 1024  # blocks
LONGEST = 128 * 1024  # blocks that are read for one mini-transaction; a server's have to fit into its log buffer
_FROM_END = 1000 - 38  # of the page to the fields (TRX_SYS_MYSQL_LOG_INFO counts from the page's data)
_MAGIC, _UPPER, _LOWER, _NAME = 0, 4, 8, 12  # offsets in the fields: u32 each, and the name with a NUL at its end
MAGIC_NUMBER = 873422344  # TRX_SYS_MYSQL_LOG_MAGIC_N: the fields have been written
NAME_SIZE = 474  # of 512 bytes: what is behind them has had another use since 8.0.17 (TRX_SYS_TRX_NUM_GTID)

_LARGEST = (1 << 63) - 1  # offset in a file

_HEAD, _TAIL = 12, 4  # of a block
_BODY = BLOCK_SIZE - _HEAD - _TAIL
_LENGTHS_AT = 4  # in a block: its length, and which of its bytes is the first of a mini-transaction (0: none is)
_LENGTHS = struct.Struct(">HH")
_PATTERN = 4  # bytes of what is looked for: tablespace, page, offset
_U16 = struct.Struct(">H")
_U64 = struct.Struct(">Q")


class Stored(NamedTuple):
    """A position as a server keeps it; an empty name where it has never had one."""

    file: str
    offset: int


class Log(NamedTuple):
    """A redo log: ``read(lsn, size)`` gives whole blocks, ``begin`` is the checkpoint, ``end`` where the log ends."""

    read: Callable[[int, int], bytes]
    begin: int
    end: int


def fields_at(page_size: int) -> int:
    """Where in page 5 the fields begin: the magic number, upper and lower half of the offset, u32 each, the name."""
    return page_size - _FROM_END


def stored_position(page: bytes, log: Log) -> Stored:
    """The position in page 5 once ``log`` was applied to it. ValueError says why that can't be told.

    ``page`` is the page as it is in the file: the log may have been applied to it in part.
    """
    fields = fields_at(len(page))
    lsn, stream = _U64.unpack_from(page, PAGE_LSN)[0], _Stream(log)
    if lsn > stream.lsn(stream.size):
        raise ValueError(f"page {TRX_SYS_PAGE} is of LSN {lsn}, but the redo log ends at {log.end}")
    stored = {
        offset: page[fields + offset : fields + offset + (4 if offset < _NAME else NAME_SIZE)]
        for offset in (_MAGIC, _UPPER, _LOWER, _NAME)
    }
    for offset, (content, at) in _last_writes(stream, fields).items():
        if at <= lsn and not stored[offset].startswith(content):
            raise ValueError(f"page {TRX_SYS_PAGE}, of LSN {lsn}, lacks what the redo log wrote until {at}")
        stored[offset] = content
    if stored[_MAGIC] != struct.pack(">I", MAGIC_NUMBER):
        return Stored("", 0)
    raw, end, _ = stored[_NAME].partition(b"\0")
    name, offset = raw.decode("utf-8", "replace"), _U64.unpack(stored[_UPPER] + stored[_LOWER])[0]
    if not end or not name.isprintable() or "\ufffd" in name or offset > _LARGEST:
        raise ValueError(f"the binary log's name or offset is none: {name[:80]!r}, {offset}")
    return Stored(name, offset)


def _last_writes(stream: _Stream, fields: int) -> Mapping[int, tuple[bytes, int]]:
    """For each field that the log writes: what it wrote last, and the LSN after that."""
    missing = {
        offset: bytes((SYSTEM_SPACE, TRX_SYS_PAGE)) + _U16.pack(fields + offset)
        for offset in (_MAGIC, _UPPER, _LOWER, _NAME)
    }
    found: dict[int, tuple[bytes, int]] = {}
    for end in range(stream.blocks, 0, -WINDOW):
        begin, until = max(0, end - WINDOW), end * _BODY
        data, _ = stream.bodies(begin, end + 1)
        searched = data[: until - begin * _BODY + _PATTERN - 1]  # it may begin here and go on in the next block
        places = [place for pattern in missing.values() if (place := searched.find(pattern)) >= 0]
        if not places:
            continue
        for write, lsn in _writes(stream, begin * _BODY + min(places), until):
            if _concerns(write, fields) and write.offset - fields in missing:
                found[write.offset - fields] = write.content or b"", lsn
        missing = {offset: pattern for offset, pattern in missing.items() if offset not in found}
        if not missing:
            break
    return found


def _concerns(write: PageWrite, fields: int) -> bool:
    """Whether it changes the fields. ValueError for what no server does to them."""
    offset, content = write.offset - fields, write.content
    if content is not None and (offset >= _NAME + NAME_SIZE or offset + len(content) <= 0):
        return False
    if content is None or (
        not content.endswith(b"\0") if offset == _NAME else len(content) != 4 or offset not in (_MAGIC, _UPPER, _LOWER)
    ):
        raise ValueError(f"a log record of type {write.type} on page {TRX_SYS_PAGE}, which no server writes there")
    return True


class _Stream:
    """The log without the blocks' headers and trailers. A position counts from the block of the checkpoint on."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._base = log.begin - log.begin % BLOCK_SIZE
        whole, rest = divmod(log.end - self._base, BLOCK_SIZE)
        self.size = whole * _BODY + max(0, rest - _HEAD)
        self.blocks = whole + bool(rest)

    def lsn(self, position: int) -> int:
        """The LSN of a position."""
        block, rest = divmod(position, _BODY)
        return self._base + block * BLOCK_SIZE + _HEAD + rest

    def bodies(self, begin: int, end: int) -> tuple[bytes, list[int]]:
        """What is in the blocks from ``begin`` to before ``end``, and where the first mini-transaction of each begins.

        Blocks in which none begins are not in that list.
        """
        end = min(end, self.blocks)
        raw = self._log.read(self._base + begin * BLOCK_SIZE, (end - begin) * BLOCK_SIZE)
        data = b"".join([raw[at + _HEAD : at + BLOCK_SIZE - _TAIL] for at in range(0, len(raw), BLOCK_SIZE)])
        groups = []
        for block in range(begin, end):
            length, first = _LENGTHS.unpack_from(raw, (block - begin) * BLOCK_SIZE + _LENGTHS_AT)
            if length > BLOCK_SIZE or (first and not _HEAD <= first <= BLOCK_SIZE - _TAIL):
                raise ValueError(f"the redo block at {self._base + block * BLOCK_SIZE} is encrypted or damaged")
            if first and (position := block * _BODY + first - _HEAD) < self.size:
                groups.append(position)
        return data[: self.size - begin * _BODY], groups


def _writes(stream: _Stream, candidate: int, until: int) -> Iterator[tuple[PageWrite, int]]:
    """The records of page 5, in order, of the mini-transaction around ``candidate`` and all that begin behind it, up to
    the position ``until``; each with the LSN at which its mini-transaction ends.

    Raises ValueError if the log does not parse, or mini-transactions don't begin where the blocks say.
    """
    part = _Part(stream, candidate)
    at = part.begin_before(candidate)
    while at is not None and at < min(until, stream.size):
        found: list[PageWrite] = []
        following = part.end_of(at, found)
        if following is None:
            return  # the log ends inside a mini-transaction: it does not count
        for write in found:
            yield write, stream.lsn(following)
        at = following


class _Part:
    """Blocks around a position, as many as it takes to parse them."""

    def __init__(self, stream: _Stream, position: int) -> None:
        self._stream = stream
        self._first = position // _BODY
        self._end = self._first + 1
        self._data, self._groups = stream.bodies(self._first, self._end)

    def begin_before(self, candidate: int) -> int | None:
        """Where the last mini-transaction before ``candidate`` begins. Where the one around it began before the
        checkpoint, the first one in the log; None where there is none at all."""
        while self._first and not (self._groups and self._groups[0] < candidate):
            earlier = max(0, self._first - WINDOW)
            data, groups = self._stream.bodies(earlier, self._first)
            self._first, self._data, self._groups = earlier, data + self._data, groups + self._groups
        while not self._groups and self._grow():
            pass
        return self._groups[max(0, bisect_left(self._groups, candidate) - 1)] if self._groups else None

    def _grow(self) -> bool:
        """As much again of the log behind what is there; False at its end. ValueError if that would be too much."""
        if self._end >= self._stream.blocks:
            return False
        if self._end - self._first > LONGEST:
            raise ValueError(f"a mini-transaction of more than {LONGEST * BLOCK_SIZE >> 20} MiB")
        end = min(self._end + max(WINDOW, self._end - self._first), self._stream.blocks)
        data, groups = self._stream.bodies(self._end, end)
        self._end, self._data, self._groups = end, self._data + data, self._groups + groups
        return True

    def end_of(self, at: int, found: list[PageWrite]) -> int | None:
        """Where the mini-transaction at ``at`` ends; None if the log does before. Its records of page 5 to ``found``.

        If the next one is the first of its block, the block must say so.
        """
        base = self._first * _BODY
        while True:
            found.clear()
            try:
                following = base + next_mtr(self._data, at - base, SYSTEM_SPACE, TRX_SYS_PAGE, found)
            except Incomplete:
                if not self._grow():
                    return None
            else:
                break
        if following // _BODY >= self._end:
            self._grow()
        behind = (at // _BODY + 1) * _BODY
        begun = self._groups[bisect_left(self._groups, behind) : bisect_right(self._groups, following)]
        if begun != ([following] if behind <= following < self._stream.size else []):
            raise ValueError(f"the redo log does not parse behind LSN {self._stream.lsn(at)}")
        return following
