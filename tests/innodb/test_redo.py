"""Redo log blocks, headers and chains of files (innoclone.innodb.redo): any bytes give an answer.

Whole logs are in tests/stream/test_pagecheck.py.
"""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.innodb.redo import (
    FILE_HEADER_SIZE,
    LogEnd,
    RedoFile,
    RedoHeader,
    chain_problems,
    holds_key,
    newest_checkpoint,
    scan_blocks,
)
from innoclone.innodb.space import KIB
from redo_logs import log_block, redo_file, with_crc

START = 512 * 1000
ROOM = 64 * KIB - FILE_HEADER_SIZE


@given(st.binary(max_size=100), st.integers(0, 8), st.integers(0, 1 << 54))
def test_blocks_of_garbage(garbage: bytes, blocks: int, block_number: int) -> None:
    buffer = garbage.ljust(blocks * 512, b"\x07")[: blocks * 512]
    scan = scan_blocks(buffer, block_number * 512)
    if blocks:
        assert scan.end is not LogEnd.GOES_ON
        assert scan.lsn == block_number * 512
    else:
        assert scan.end is LogEnd.GOES_ON


@given(st.binary(max_size=FILE_HEADER_SIZE + 9))
def test_header_of_garbage(garbage: bytes) -> None:
    with contextlib.suppress(ValueError):
        RedoHeader.parse(garbage)


def test_a_header() -> None:
    head = redo_file(START, 1, checkpoint=START + 20, flags=8, uuid=5)
    assert RedoHeader.parse(head) == RedoHeader(6, 5, START, "MySQL 9.7.4", 8, (START + 20,))
    assert RedoHeader.parse(redo_file(START, 1)).checkpoints == ()
    assert not holds_key(head)
    assert holds_key(head[: 2 * 512 + 48] + b"lCC" + head[2 * 512 + 51 :])


def header(start: int, *, version: int = 6) -> bytes:
    return with_crc(struct.pack(">IIQ", version, 1, start).ljust(512, b"\0")) + bytes(3 * 512)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (header(START)[:-1], "ends inside its header"), (b"x" + header(START)[1:], "checksum is wrong"),
        (header(START, version=5), "format 5 instead of 6"), (header(START + 1), "not a multiple of 512"),
    ],
)  # fmt: skip
def test_what_is_no_header(head: bytes, why: str) -> None:
    assert RedoHeader.parse(header(START)).start_lsn == START
    with pytest.raises(ValueError, match=why):
        RedoHeader.parse(head)


def file(number: int, start: int, *checkpoints: int, flags: int = 0, uuid: int = 1, size: int = 64 * KIB) -> RedoFile:
    return RedoFile(number, size, RedoHeader(6, uuid, start, "", flags, checkpoints))


def test_a_chain_of_files() -> None:
    first, second = file(9, START, START + 20, flags=RedoHeader.FULL), file(10, START + ROOM, START + ROOM + 1)
    assert chain_problems([first, second], 16 * KIB) == []
    assert newest_checkpoint([first, second]) == (second, START + ROOM + 1)
    assert first.offset(START + 20) == FILE_HEADER_SIZE + 20
    assert first.end_lsn == second.header.start_lsn


def test_a_checkpoint_outside_of_its_file_does_not_count() -> None:
    assert newest_checkpoint([file(1, START, START - 1, START + ROOM)]) is None


@pytest.mark.parametrize(
    ("files", "problems"),
    [
        ([], ["there is no redo log file"]),
        ([file(1, START, START, size=48 * KIB)], ["#ib_redo1 has a size of 49152 bytes, which no server accepts"]),
        ([file(1, START, START, size=65 * KIB)], ["#ib_redo1 has a size of 66560 bytes, which no server accepts"]),
        ([file(1, START, START, flags=RedoHeader.NOT_INITIALIZED)], ["#ib_redo1 was never finished"]),
        ([file(1, START, START, flags=RedoHeader.NO_LOGGING)], ["redo logging was switched off"]),
        ([file(1, START, START, flags=RedoHeader.FULL)], ["#ib_redo1 is full and nothing follows it"]),
        ([file(1, START)], ["no file has a checkpoint"]),
        ([file(1, START, START), file(3, START + ROOM)], ["#ib_redo2 is missing"]),
        ([file(1, START, START), file(2, START + ROOM, uuid=2)], ["#ib_redo2 belongs to another log"]),
        (
            [file(1, START, START), file(2, START)],
            [f"#ib_redo2 starts at LSN {START}, but the file before it ends at {START + ROOM}"],
        ),
    ],
)
def test_what_no_server_starts_on(files: list[RedoFile], problems: list[str]) -> None:
    assert chain_problems(files, 16 * KIB) == problems


def test_a_log_is_followed_to_its_end() -> None:
    blocks = [log_block(START + 512 * number) for number in range(4)]
    assert scan_blocks(b"".join(blocks), START) == (LogEnd.GOES_ON, START + 4 * 512, 0, 0)
    short = log_block(START + 512, 100)
    assert scan_blocks(blocks[0] + short + blocks[2], START) == (LogEnd.ENDS, START + 512 + 100, 0, 0)
    for stale in (bytes(512), log_block(START - 512 * 77)):
        assert scan_blocks(blocks[0] + stale, START) == (LogEnd.ENDS, START + 512, 0, 0)
    damaged = bytearray(blocks[1])
    damaged[60] ^= 1
    assert scan_blocks(blocks[0] + damaged, START) == (LogEnd.DAMAGED, START + 512, 0, 0)


def test_blocks_that_can_not_be_checked_are_counted() -> None:
    encrypted, unchecked = bytearray(log_block(START)), bytearray(log_block(START + 512))
    encrypted[4] |= 0x80
    encrypted[60] ^= 1
    unchecked[508:] = b"\xde\xad\xbe\xef"
    assert scan_blocks(encrypted + unchecked + log_block(START + 1024), START) == (LogEnd.GOES_ON, START + 1536, 2, 1)


def test_blocks_that_can_be_decrypted_are_checked() -> None:
    plain = log_block(START)
    hidden = bytearray(plain)
    hidden[4] |= 0x80
    hidden[60] ^= 1
    after = log_block(START + 512)
    assert scan_blocks(hidden + after, START, lambda _: plain) == (LogEnd.GOES_ON, START + 1024, 0, 0)
    assert scan_blocks(hidden + after, START, lambda block: bytes(block)).end is LogEnd.DAMAGED


def test_numbers_of_blocks_begin_again_in_the_next_epoch() -> None:
    lsn = 512 * ((1 << 30) - 1)
    assert scan_blocks(log_block(lsn) + log_block(lsn + 512), lsn).end is LogEnd.GOES_ON
