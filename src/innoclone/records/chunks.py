"""Which chunks of the current stage are there, in memory and in ``#innoclone/progress``.

The file is written with single small writes, each after the data it speaks of, so it outlives the process at any
moment. It does not outlive a crash of the system in step with the data: for that `Chunks.save` puts a copy aside after
the data was synced (``#innoclone/checkpoint``).

Layout, little-endian: magic, stage, number of chunks; bytes of data and on the network; `SLOTS` pairs (chunk,
blocks of it that are there) for chunks that were begun; then 4 bytes for each chunk, 0 or its digest.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from dataclasses import field
from pathlib import Path

from innoclone.dataclass import dataclass
from innoclone.errors import ProtocolError
from innoclone.files.system import file_error, sync_directory, write_all
from innoclone.wire.descriptors import BITMAP_WORD, MAX_INCOMPLETE_CHUNKS, ChunkInfo, StageNumber

__all__ = ["CHECKPOINT", "NO_DIGEST", "PROGRESS", "Chunks", "Found", "distrust", "read_chunks", "stamp"]

PROGRESS, CHECKPOINT = "progress", "checkpoint"
MAGIC = b"innocln1"
HEADER = struct.Struct("<8sII")
BYTES = struct.Struct("<QQ")
CRC = struct.Struct("<I")
SLOT = struct.Struct("<IIQ")
DONE = struct.Struct("<I")
SLOTS = MAX_INCOMPLETE_CHUNKS
SLOT_TABLE = HEADER.size + BYTES.size
TABLE = SLOT_TABLE + SLOTS * SLOT.size
NO_DIGEST = 1  # of a chunk whose bytes were not seen
MAX_CHUNKS = 1 << 26  # 64 MiB each: 4 PiB
SPARSE = 16  # single pages are counted so many at a time


@dataclass
class Found:
    """What a file says: the digests of finished chunks, and the blocks of begun ones."""

    stage: StageNumber
    chunks: int
    done: dict[int, int] = field(default_factory=dict)  # chunk -> digest
    begun: dict[int, int] = field(default_factory=dict)  # chunk -> blocks
    data: int = 0  # bytes moved, for the display
    network: int = 0

    def info(self) -> ChunkInfo:
        """The same for COM_REINIT."""
        words = [0] * -(-self.chunks // BITMAP_WORD)
        for chunk in (*self.done, *self.begun):
            words[(chunk - 1) // BITMAP_WORD] |= 1 << (chunk - 1) % BITMAP_WORD
        return ChunkInfo(tuple(sorted(self.begun.items())), tuple(words))


class Slot:
    """A chunk that one connection is receiving."""

    def __init__(self, number: int, chunk: int, step: int) -> None:
        self.number, self.chunk, self.step = number, chunk, step
        self.blocks = 0
        self.digest = 0


class Chunks:
    """The chunks of one stage. `begin` and `finish` from any thread, `wrote` only from the slot's own."""

    def __init__(self, folder: Path, stage: StageNumber, chunks: int, found: Found | None = None) -> None:
        """In ``folder``, begin a stage or go on with what was ``found`` of it. Raises `ProtocolError`, a file error."""
        if not 0 <= chunks <= MAX_CHUNKS:
            raise ProtocolError(f"the donor announces {chunks} chunks")
        self._folder = folder
        self._path = self._folder / PROGRESS
        self.stage, self.count = stage, chunks
        self._lock = threading.Lock()
        self._slots: dict[int, Slot] = {}  # chunk -> slot
        self._free = list(range(SLOTS))
        self._done: dict[int, int] = {}
        self._step = SPARSE if stage is StageNumber.PAGE_COPY else 1
        image = bytearray(TABLE + chunks * DONE.size)
        HEADER.pack_into(image, 0, MAGIC, stage, chunks)
        if found is not None:
            BYTES.pack_into(image, HEADER.size, found.data, found.network)
        for chunk, digest in (found.done if found else {}).items():
            self._done[chunk] = digest
            DONE.pack_into(image, TABLE + (chunk - 1) * DONE.size, digest)
        for chunk, blocks in (found.begun if found else {}).items():
            slot = self._slots[chunk] = Slot(self._free.pop(), chunk, self._step)
            slot.blocks, slot.digest = blocks, NO_DIGEST
            SLOT.pack_into(image, SLOT_TABLE + slot.number * SLOT.size, chunk, blocks, 0)
        try:
            waiting = self._path.with_suffix(".new")
            self._fd = os.open(waiting, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            write_all(self._fd, memoryview(image), 0)  # in full, so that there is room for it from now on
            waiting.rename(self._path)
        except OSError as error:
            raise file_error(error, f"can't write {self._path}") from error

    def begin(self, chunk: int) -> Slot:
        """A connection gets data of ``chunk`` now. Raises `ProtocolError` when too many were begun."""
        with self._lock:
            slot = self._slots.get(chunk)
            if slot is not None:
                return slot
            if not self._free:
                raise ProtocolError(f"the donor has begun more than {SLOTS} chunks")
            slot = self._slots[chunk] = Slot(self._free.pop(), chunk, self._step)
            return slot

    def wrote(self, slot: Slot, blocks: int, stamp: bytes | bytearray | None) -> None:
        """``blocks`` of the chunk are there now; ``stamp``: the last one's `stamp`, if its bytes were seen."""
        slot.blocks = blocks
        if stamp is None:
            slot.digest = NO_DIGEST
        elif slot.digest != NO_DIGEST:
            slot.digest = zlib.crc32(stamp, slot.digest)
        if blocks % slot.step == 0:
            self._write(SLOT.pack(slot.chunk, blocks, 0), SLOT_TABLE + slot.number * SLOT.size)

    def finish(self, slot: Slot) -> None:
        """All of the chunk is there."""
        digest = slot.digest if slot.digest > NO_DIGEST else NO_DIGEST
        with self._lock:
            self._done[slot.chunk] = digest
            self._slots.pop(slot.chunk, None)
            self._write(DONE.pack(digest), TABLE + (slot.chunk - 1) * DONE.size)
            self._write(SLOT.pack(0, 0, 0), SLOT_TABLE + slot.number * SLOT.size)
            self._free.append(slot.number)

    def found(self) -> Found:
        """What is there now."""
        with self._lock:
            begun = {chunk: slot.blocks for chunk, slot in self._slots.items() if slot.blocks}
            return Found(self.stage, self.count, dict(self._done), begun)

    def count_bytes(self, data: int, network: int) -> None:
        """Keep how many bytes were moved; for who comes too late, it is the next stage's to keep."""
        with self._lock:
            if self._fd >= 0:
                self._write(BYTES.pack(data, network), HEADER.size)

    def snapshot(self) -> bytes:
        """The file as it is now."""
        with self._lock:
            return os.pread(self._fd, TABLE + self.count * DONE.size, 0)

    def save(self, snapshot: bytes) -> None:
        """Keep a snapshot whose data is durable by now. Raises a file error."""
        path, waiting = self._folder / CHECKPOINT, self._folder / f"{CHECKPOINT}.new"
        try:
            fd = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                write_all(fd, CRC.pack(zlib.crc32(snapshot)) + snapshot, 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            waiting.rename(path)
            sync_directory(self._folder)
        except OSError as error:
            raise file_error(error, f"can't write {path}") from error

    def _write(self, data: bytes, offset: int) -> None:
        try:
            os.pwrite(self._fd, data, offset)
        except OSError as error:
            raise file_error(error, f"can't write {self._path}") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def distrust(folder: Path) -> None:
    """A file could not be written or synced: only what the checkpoint says may be believed from now on."""
    with contextlib.suppress(OSError):
        (folder / PROGRESS).unlink()


def stamp(data: memoryview, page: int) -> bytes:
    """What stands for whole pages in a digest: their checksum fields (the first 4 bytes of a page)."""
    return data.cast("I")[:: page // 4].tobytes()


def read_chunks(folder: Path, *, durable: bool) -> Found | None:
    """What the clone with this folder has of its stage; with ``durable`` only what outlived a crash of the system."""
    data = b""
    with contextlib.suppress(OSError):
        data = (folder / (CHECKPOINT if durable else PROGRESS)).read_bytes()
    if durable:
        if len(data) < CRC.size or CRC.unpack_from(data)[0] != zlib.crc32(data[CRC.size :]):
            return None
        data = data[CRC.size :]
    return _parse(data)


def _parse(data: bytes) -> Found | None:
    if len(data) < TABLE:
        return None
    magic, stage, chunks = HEADER.unpack_from(data)
    if magic != MAGIC or len(data) != TABLE + chunks * DONE.size or not 1 <= stage <= StageNumber.DONE:
        return None
    moved, network = BYTES.unpack_from(data, HEADER.size)
    found = Found(StageNumber(stage), chunks, data=moved, network=network)
    for chunk in range(chunks):
        (digest,) = DONE.unpack_from(data, TABLE + chunk * DONE.size)
        if digest:
            found.done[chunk + 1] = digest
    for number in range(SLOTS):
        chunk, blocks, _ = SLOT.unpack_from(data, SLOT_TABLE + number * SLOT.size)
        if 1 <= chunk <= chunks and chunk not in found.done and blocks:
            found.begun[chunk] = blocks
    return found
