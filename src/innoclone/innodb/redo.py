"""The redo log of 8.0.30 and newer (format 6): file headers, checkpoints, blocks, and how files make a chain.

A log is a run of files ``#innodb_redo/#ib_redo<N>``, each with a header of four blocks and then data blocks; the
byte of a given LSN lies in its file at 2048 + LSN - start LSN. Recovery begins at the newest checkpoint and reads
until the log ends. A log that ends too early is no error to a server: it comes up with old or inconsistent pages.
So what is damaged has to be told from what is just the end.

Layout: log0constants.h and log0types.h of 8.0.30 (LOG_HEADER_*, LOG_CHECKPOINT_*, LOG_BLOCK_*).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from enum import Enum
from typing import ClassVar, NamedTuple

from innoclone.dataclass import dataclass
from innoclone.innodb.space import KIB
from innoclone.native.crc import crc32c

BLOCK_SIZE = 512
FILE_HEADER_SIZE = 4 * BLOCK_SIZE
FORMAT = 6
MIN_FILE_SIZE = 64 * KIB
MAX_FILE_SIZE = 16 * KIB**3

_CHECKPOINTS_AT = (BLOCK_SIZE, 3 * BLOCK_SIZE)
_KEY_MAGIC = b"lCC"
_KEY_AT = 2 * BLOCK_SIZE + 48
_NO_CHECKSUM = 0xDEADBEEF  # innodb_log_checksums=OFF
_CRC_AT = BLOCK_SIZE - 4
_CRC = struct.Struct(f">{_CRC_AT}x I")


@dataclass(frozen=True, slots=True)
class RedoHeader:
    """The header of one redo file."""

    format: int
    log_uuid: int
    start_lsn: int
    creator: str
    flags: int
    checkpoints: tuple[int, ...]  # the LSNs of valid checkpoint blocks; most files of a log have none

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(">I I Q 32s I")
    CHECKPOINT: ClassVar[struct.Struct] = struct.Struct(">8x Q")
    # Bits of `flags` (enum Log_file_header_flags numbers them from 1).
    NO_LOGGING: ClassVar[int] = 1 << 0
    CRASH_UNSAFE: ClassVar[int] = 1 << 1
    NOT_INITIALIZED: ClassVar[int] = 1 << 2
    FULL: ClassVar[int] = 1 << 3

    @classmethod
    def parse(cls, head: bytes) -> RedoHeader:
        """Read it from the first 2048 bytes of a file; ValueError says why they are no header."""
        if len(head) < FILE_HEADER_SIZE:
            raise ValueError("the file ends inside its header")
        if not _block_sound(head[:BLOCK_SIZE]):
            raise ValueError("the header's checksum is wrong")
        version, uuid, start_lsn, creator, flags = cls.LAYOUT.unpack_from(head)
        if version != FORMAT:
            raise ValueError(f"format {version} instead of {FORMAT}")
        if start_lsn % BLOCK_SIZE:
            raise ValueError(f"start LSN {start_lsn} is not a multiple of {BLOCK_SIZE}")
        blocks = [head[at : at + BLOCK_SIZE] for at in _CHECKPOINTS_AT]
        checkpoints = tuple(cls.CHECKPOINT.unpack_from(block)[0] for block in blocks if _block_sound(block))
        name = creator.split(b"\0", 1)[0].decode("ascii", "replace")
        return cls(
            format=version, log_uuid=uuid, start_lsn=start_lsn, creator=name, flags=flags,
            checkpoints=tuple(lsn for lsn in checkpoints if lsn),
        )  # fmt: skip


def _block_sound(block: bytes) -> bool:
    stored: int = _CRC.unpack(block)[0]
    return stored == crc32c(block[:_CRC_AT])


def holds_key(head: bytes) -> bool:
    """Whether a file's header (2048 bytes) holds an encryption key: a server asks for its keyring then, even if no
    block of the log is encrypted any more (seen with 9.7.4)."""
    return head[_KEY_AT : _KEY_AT + len(_KEY_MAGIC)] == _KEY_MAGIC


class RedoFile(NamedTuple):
    """One file of a log: the N of its name, its size in bytes, its header."""

    number: int
    size: int
    header: RedoHeader

    @property
    def end_lsn(self) -> int:
        """The LSN after the last one the file has room for."""
        return self.header.start_lsn + self.size - FILE_HEADER_SIZE

    def offset(self, lsn: int) -> int:
        """Where the byte of ``lsn`` lies in the file."""
        return FILE_HEADER_SIZE + lsn - self.header.start_lsn


def chain_problems(files: Sequence[RedoFile], page_size: int) -> list[str]:
    """Why a server would not start on these files, sorted by number; empty if it would (log_files_find_and_analyze).

    ``page_size`` is the server's, in bytes: files are a multiple of it.
    """
    problems = []
    if not files:
        return ["there is no redo log file"]
    for file in files:
        if not MIN_FILE_SIZE <= file.size <= MAX_FILE_SIZE or file.size % page_size:
            problems.append(f"#ib_redo{file.number} has a size of {file.size} bytes, which no server accepts")
        if file.header.flags & RedoHeader.NOT_INITIALIZED:
            problems.append(f"#ib_redo{file.number} was never finished")
    for before, after in itertools.pairwise(files):
        if after.number != before.number + 1:
            problems.append(f"#ib_redo{before.number + 1} is missing")
        elif after.header.start_lsn != before.end_lsn:
            problems.append(
                f"#ib_redo{after.number} starts at LSN {after.header.start_lsn}, but the file before it ends at "
                f"{before.end_lsn}"
            )
        if after.header.log_uuid != before.header.log_uuid:
            problems.append(f"#ib_redo{after.number} belongs to another log")
    if files[-1].header.flags & RedoHeader.FULL:
        problems.append(f"#ib_redo{files[-1].number} is full and nothing follows it")
    if any(file.header.flags & RedoHeader.NO_LOGGING for file in files):
        problems.append("redo logging was switched off")
    if newest_checkpoint(files) is None:
        problems.append("no file has a checkpoint")
    return problems


def newest_checkpoint(files: Sequence[RedoFile]) -> tuple[RedoFile, int] | None:
    """The file with the newest checkpoint and its LSN; one that points outside its own file does not count."""
    found = [
        (lsn, file) for file in files for lsn in file.header.checkpoints if file.header.start_lsn <= lsn < file.end_lsn
    ]
    if not found:
        return None
    lsn, file = max(found, key=lambda item: item[0])
    return file, lsn


class LogEnd(Enum):
    """How a run of blocks ended."""

    GOES_ON = "goes on"  # every block was full and sound
    ENDS = "ends"  # a block that is not full, or what lay there before: zeros, blocks of an older file
    DAMAGED = "damaged"  # a block with a wrong checksum


class BlockScan(NamedTuple):
    """Result of `scan_blocks`."""

    end: LogEnd
    lsn: int  # up to here the log is sound
    not_verifiable: int  # blocks whose content could not be checked: encrypted, or written without checksums
    unsummed: int  # of those the latter


# hdr_no, data length with the encryption bit, first record group, epoch, data, checksum
_BLOCK = struct.Struct(f">I H 2x I {_CRC_AT - 12}x I")
_ENCRYPTED = 1 << 15
_NUMBERS = 1 << 30


def scan_blocks(
    buffer: bytes | bytearray | memoryview, lsn: int, decrypt: Callable[[memoryview], bytes] | None = None
) -> BlockScan:
    """Follow the log through ``buffer``, whole blocks of which the first belongs to ``lsn``, a multiple of 512.
    ``decrypt`` gives an encrypted block as it is in clear; without it its checksum says nothing."""
    view = memoryview(buffer)
    not_verifiable = unsummed = 0
    first = lsn // BLOCK_SIZE
    for index, (number, length, epoch, crc) in enumerate(_BLOCK.iter_unpack(view)):
        expected = divmod(first + index, _NUMBERS)
        at = (first + index) * BLOCK_SIZE
        block = view[index * BLOCK_SIZE : (index + 1) * BLOCK_SIZE]
        encrypted = bool(length & _ENCRYPTED)
        if encrypted and decrypt is not None:
            block, encrypted = memoryview(decrypt(block)), False
            crc = _CRC.unpack(block)[0]
        sound = encrypted or crc in (_NO_CHECKSUM, crc32c(block[:_CRC_AT]))
        if not sound and any(block):
            return BlockScan(LogEnd.DAMAGED, at, not_verifiable, unsummed)
        if (epoch - 1, number - 1) != expected or not sound:
            return BlockScan(LogEnd.ENDS, at, not_verifiable, unsummed)
        bare = not encrypted and crc == _NO_CHECKSUM
        not_verifiable += encrypted or bare
        unsummed += bare
        length &= ~_ENCRYPTED
        if length < BLOCK_SIZE:
            return BlockScan(LogEnd.ENDS, at + length, not_verifiable, unsummed)
    return BlockScan(LogEnd.GOES_ON, lsn + len(view), not_verifiable, unsummed)
