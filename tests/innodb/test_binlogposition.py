"""The position in page 5 and the redo log (innoclone.innodb.binlogposition), on logs made here.

That it is what a boot finds is in tests/innodb/test_positions.py, and what ``./scripts/positions`` counts.
"""

from __future__ import annotations

import contextlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb import binlogposition
from innoclone.innodb.binlogposition import Log, Stored, stored_position
from redo_logs import log_of, multi, single, string_write, write

SIZE = 16384
FIELDS = SIZE - 962
MAGIC = 873422344


def page(lsn: int = 0, name: bytes = b"", offset: int = 0) -> bytes:
    """Page 5 with a position, if there is a name."""
    made = bytearray(SIZE)
    struct.pack_into(">Q", made, 16, lsn)
    if name:
        struct.pack_into(">IQ", made, FIELDS, MAGIC, offset)
        made[FIELDS + 12 : FIELDS + 13 + len(name)] = name + b"\0"
    return bytes(made)


def position(offset: int, name: bytes = b"", *, upper: int | None = None, magic: bool = False) -> list[bytes]:
    """The records with which a server writes one."""
    records = [write(0, 5, FIELDS, MAGIC)] if magic else []
    if name:
        records.append(string_write(0, 5, FIELDS + 12, name + b"\0"))
    if upper is not None:
        records.append(write(0, 5, FIELDS + 4, upper))
    return [*records, write(0, 5, FIELDS + 8, offset)]


def test_page_and_log() -> None:
    """What the log doesn't write is the page's; the last write counts; a name is cut at its NUL."""
    idle = log_of([single(write(3, 4, 5, 6))])
    assert stored_position(page(), idle) == Stored("", 0)
    assert stored_position(page(9, b"./binlog.000007", 1 << 33), idle) == Stored("./binlog.000007", 1 << 33)
    log = log_of([multi(*position(7)), single(write(1, 5, FIELDS + 8, 99)), single(position(8)[0])])
    assert stored_position(page(9, b"b.1", (1 << 33) + 3), log) == Stored("b.1", (1 << 33) + 8)
    log = log_of([multi(*position(7, b"a-long-name.000001", upper=0, magic=True)), multi(*position(5, b"b.2"))])
    assert stored_position(page(), log) == Stored("b.2", 5)


@pytest.mark.parametrize("window", [1, 2, 5, 1024])
def test_any_log_gives_what_its_last_writes_say(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of mini-transactions of every size, with rows that look like writes of a position: the same as by walking
    through them from the beginning; cut anywhere, what is not whole does not count."""
    monkeypatch.setattr(binlogposition, "WINDOW", window)
    for seed in range(60):
        dice = random.Random(seed)
        mtrs: list[bytes] = []
        states = [Stored("", 0)]
        for number in range(dice.randint(1, 60)):
            bait = b"".join(single(record) for record in position(number, b"bait", upper=9, magic=True))
            row = string_write(7, 5, 0, (bait * dice.randint(0, 9) + dice.randbytes(dice.randint(0, 700)))[:4000])
            if dice.random() < 0.2:
                name = b"binlog.%06d" % dice.randint(1, 3)
                first = states[-1].file == ""
                records = position(number, name, upper=0 if first else None, magic=first)
                mtrs.append(multi(row, *records, write(9, 9, 9, 9)))
                states.append(Stored(name.decode(), number))
            else:
                mtrs.append(multi(row) if dice.random() < 0.7 else multi(row, row, row))
                states.append(states[-1])
        assert stored_position(page(), log_of(mtrs)) == states[-1]
        cut = dice.randint(1, len(mtrs[-1]) - 1)
        assert stored_position(page(), log_of(mtrs, cut=cut)) == states[-2]


def test_what_cannot_be_told_is_refused() -> None:
    """Never a guess: a page newer than the log, or lacking what it should have; records that no server writes."""
    log = log_of([multi(*position(7, b"b.1", magic=True))])
    with pytest.raises(ValueError, match="redo log ends"):
        stored_position(page(log.end + 1), log)
    with pytest.raises(ValueError, match="lacks"):
        stored_position(page(log.end), log)
    assert stored_position(page(log.end, b"b.1", 7), log) == Stored("b.1", 7)
    for record in (
        write(0, 5, FIELDS + 8, 7, 2), write(0, 5, FIELDS + 6, 7), string_write(0, 5, FIELDS + 12, b"no end"),
        string_write(0, 5, 38, bytes(SIZE - 100)), b"\x3b\x00\x05",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="no server writes"):
            stored_position(page(), log_of([multi(*position(7, b"b.1", magic=True), record)]))
    idle = log_of([single(write(3, 4, 5, 6))])
    for name, offset in ((b"n" * 480, 4), (b"b\x1b[31m.1", 4), (b"b\xff.1", 4), (b"b.1", 1 << 63)):
        with pytest.raises(ValueError, match="is none"):
            stored_position(page(9, name, offset), idle)


def test_a_mini_transaction_may_be_long_but_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a window is no trouble; a donor that lies can't have all of a log in memory."""
    monkeypatch.setattr(binlogposition, "WINDOW", 2)
    row = string_write(7, 7, 0, bytes(5000))
    log = log_of([multi(*[row] * 40, *position(7, b"b.1", upper=0, magic=True), *[row] * 40)])
    assert stored_position(page(), log) == Stored("b.1", 7)
    monkeypatch.setattr(binlogposition, "LONGEST", 100)
    with pytest.raises(ValueError, match="a mini-transaction of more than"):
        stored_position(page(), log)


def test_a_log_that_does_not_parse_is_refused() -> None:
    """A type that is not known, and a block that says that a mini-transaction begins where none does."""
    mtrs = [multi(string_write(7, 7, 0, bytes(300))), multi(*position(7, b"b.1", magic=True))] * 9
    unknown = [*mtrs, b"\xcf\x00\x05", *mtrs[1:2]]
    with pytest.raises(ValueError, match="type 79"):
        stored_position(page(), log_of(unknown))
    log = log_of(mtrs)
    for wrong in (0, 40, 600):
        for block in range(1, (log.end - log.begin) // 512):

            def read(lsn: int, size: int, at: int = block * 512 + 6, wrong: int = wrong) -> bytes:
                found = bytearray(log.read(lsn, size))
                where = 8192 + at - lsn
                if 0 <= where < size:
                    found[where : where + 2] = wrong.to_bytes(2, "big")
                return bytes(found)

            try:
                found = stored_position(page(), Log(read, log.begin, log.end))
            except ValueError as error:
                assert "parse" in str(error) or "damaged" in str(error) or "type" in str(error)  # noqa: PT017
            else:
                assert found == Stored("b.1", 7)


@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=12), st.integers(0, 8192))
def test_any_bytes_give_an_answer_or_a_reason(changes: list[tuple[int, int]], lsn: int) -> None:
    """Whatever a donor sends as its log: a position or a ValueError."""
    row = string_write(7, 7, 0, bytes(90))
    log = log_of([multi(row, *position(7, b"b.1", upper=0, magic=True)), single(row)] * 12)

    def read(at: int, size: int) -> bytes:
        found = bytearray(log.read(at, size))
        for where, value in changes:
            if 0 <= (index := 8192 + where % 2048 - at) < size:
                found[index] = value
        return bytes(found)

    with contextlib.suppress(ValueError):
        assert stored_position(page(lsn), Log(read, log.begin, log.end)).offset >= 0


def test_a_mini_transaction_that_began_before_the_checkpoint_does_not_count() -> None:
    """Its records are in the log's first block, in which then none begins."""
    began = multi(*position(3, b"old", magic=True), string_write(7, 7, 0, bytes(600)))

    def without_its_begin(log: Log) -> Log:
        def read(lsn: int, size: int) -> bytes:
            found = bytearray(log.read(lsn, size))
            if lsn == 8192:
                found[6:8] = bytes(2)
            return bytes(found)

        return Log(read, log.begin, log.end)

    behind = log_of([began, multi(*position(7, b"b.1", upper=0, magic=True))])
    assert stored_position(page(), without_its_begin(behind)) == Stored("b.1", 7)
    assert stored_position(page(9, b"b.0", 5), without_its_begin(log_of([began]))) == Stored("b.0", 5)
