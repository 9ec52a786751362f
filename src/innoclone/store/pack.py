"""A pack: frames, and behind them the directory that says what each one is.

A file is cut into blocks of 256 KiB, a block into 16 units of 16 KiB, whatever the page size. A frame has units of one
block: those in its bitmap, one behind another, compressed and sealed. The directory has the hash of each unit too, so
the directories of a snapshot's packs are its table of page hashes. Packs are written once and never changed.

    frame 0 | frame 1 | ... | directory, sealed | length of that (4 bytes) | MAGIC
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import zstandard

from innoclone.errors import StoreDamaged
from innoclone.store.sealing import DIGEST, OVERHEAD, Piece, Sealer, fingerprint

__all__ = [
    "BLOCK", "PACK", "UNIT", "UNITS", "Directory", "Frame", "Pack", "PackBuilder", "expand", "expand_frame",
    "pack_name", "units_in",
]  # fmt: skip

UNIT = 16 << 10
UNITS = 16
BLOCK = UNIT * UNITS
PACK = 16 << 20  # bytes from which on a pack is full
MOST_FRAMES = 1 << 15  # of a pack
LARGEST = 4 * PACK  # bytes of an object: the last frame and the directory come on top
LEVEL = 1  # of zstd: 3 takes twice the time, for hardly less
MAGIC = b"innopack"
FOOTER = struct.Struct(f"<I{len(MAGIC)}s")
ENTRY = struct.Struct("<IIIIHHI")  # file, block, offset, length, bitmap, bytes of the last unit, hashes before
BODY_HASH = 32  # bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """``units`` is a bitmap, the lowest bit the first unit; ``tail`` the bytes of its last unit, fewer than `UNIT` only
    where the file ended there; ``file`` is the number that the file had in the run that wrote it."""

    file: int
    block: int
    offset: int
    length: int
    units: int
    tail: int
    first_hash: int

    @property
    def size(self) -> int:
        """Bytes when it is expanded."""
        return (self.units.bit_count() - 1) * UNIT + self.tail


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack as snapshots name it; ``directory`` are the bytes of its sealed directory, ``digest`` is of all of it."""

    run: bytes
    number: int
    size: int
    directory: int
    digest: bytes

    @property
    def name(self) -> str:
        """Of the object."""
        return pack_name(self.run, self.number)

    def row(self) -> list[Any]:
        """For a table of packs."""
        return [self.run.hex(), self.number, self.size, self.directory, self.digest.hex()]

    @classmethod
    def of_row(cls, row: list[Any]) -> Pack:
        """Raises ValueError, TypeError for what is none."""
        run, number, size, directory, digest = row
        found = cls(bytes.fromhex(run), int(number), int(size), int(directory), bytes.fromhex(digest))
        fits = 0 < found.directory <= found.size - FOOTER.size and found.size <= LARGEST
        if len(found.run) != 16 or len(found.digest) != BODY_HASH or not fits or found.number < 0:
            raise ValueError(f"pack {row}")
        return found

    @property
    def frames(self) -> int:
        """Bytes of all its frames."""
        return self.size - FOOTER.size - self.directory

    @property
    def directory_range(self) -> tuple[int, int]:
        """Where its directory is: start and length."""
        return self.frames, self.directory


def pack_name(run: bytes, number: int) -> str:
    """The object's name."""
    return f"data/{run.hex()}/{number:06}"


def units_in(bitmap: int) -> Iterator[int]:
    """The numbers of the units in a bitmap, in order."""
    return (unit for unit in range(UNITS) if bitmap >> unit & 1)


class PackBuilder:
    """A pack that is being filled, by one thread."""

    def __init__(self, sealer: Sealer, number: int) -> None:
        self._sealer, self.number = sealer, number
        self._body = bytearray()
        self._entries: list[bytes] = []
        self._hashes = bytearray()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)

    def add(
        self, file: int, block: int, units: int, tail: int, data: bytes | bytearray | memoryview, hashes: bytes
    ) -> int:
        """Add a frame; its number in the pack. ``hashes`` are those of its units, in order."""
        frame = len(self._entries)
        sealed = self._sealer.seal(Piece.FRAME, self.number, frame, self._compressor.compress(data))
        first = len(self._hashes) // DIGEST
        self._entries.append(ENTRY.pack(file, block, len(self._body), len(sealed), units, tail, first))
        self._hashes += hashes
        self._body += sealed
        return frame

    @property
    def is_empty(self) -> bool:
        """Whether there is no frame in it."""
        return not self._entries

    @property
    def size(self) -> int:
        """Bytes of its frames."""
        return len(self._body)

    @property
    def is_full(self) -> bool:
        """Whether it is to be written."""
        return len(self._body) >= PACK or len(self._entries) >= MOST_FRAMES

    def finish(self, run: bytes, key: bytes) -> tuple[Pack, bytearray]:
        """The pack, and the bytes of its object; nothing may be added any more."""
        directory = struct.pack("<I", len(self._entries)) + b"".join(self._entries) + self._hashes
        sealed = self._sealer.seal(Piece.DIRECTORY, self.number, 0, directory)
        body = self._body
        body += sealed
        body += FOOTER.pack(len(sealed), MAGIC)
        return Pack(run, self.number, len(body), len(sealed), fingerprint(key, body, BODY_HASH)), body


class Directory:
    """What a pack holds. Raises `StoreDamaged` for one that makes no sense."""

    def __init__(self, raw: bytes, pack: Pack) -> None:
        try:
            (count,) = struct.unpack_from("<I", raw)
        except struct.error as error:
            raise _senseless(pack) from error
        start = 4 + count * ENTRY.size
        if not 0 < count <= MOST_FRAMES or start > len(raw) or (len(raw) - start) % DIGEST:
            raise _senseless(pack)
        self._raw, self._hashes, self.count, self.pack = raw, start, count, pack
        most, end = pack.directory_range[0], 0
        for number in range(count):
            frame = self[number]
            hashes = frame.first_hash + frame.units.bit_count()
            if not (frame.offset == end and frame.length > OVERHEAD and frame.units and 0 < frame.tail <= UNIT):
                raise _senseless(pack)
            end += frame.length
            if end > most or hashes * DIGEST > len(raw) - start:
                raise _senseless(pack)

    @classmethod
    def opened(cls, sealer: Sealer, pack: Pack, sealed: bytes) -> Directory:
        """Out of the bytes in its pack."""
        return cls(sealer.open(Piece.DIRECTORY, pack.number, 0, sealed), pack)

    def __getitem__(self, frame: int) -> Frame:
        """The frame of this number. Raises `StoreDamaged` where there is none."""
        if not 0 <= frame < self.count:
            raise StoreDamaged(f"{self.pack.name} has no frame {frame}")
        return Frame(*_in_order(ENTRY.unpack_from(self._raw, 4 + frame * ENTRY.size)))

    def hashes(self, frame: Frame) -> dict[int, bytes]:
        """By unit."""
        at = self._hashes + frame.first_hash * DIGEST
        return {
            unit: self._raw[at + index * DIGEST : at + (index + 1) * DIGEST]
            for index, unit in enumerate(units_in(frame.units))
        }


def _in_order(fields: tuple[int, ...]) -> tuple[int, int, int, int, int, int, int]:
    file, block, offset, length, units, tail, first = fields
    return file, block, offset, length, units, tail, first


def expand(compressed: bytes, most: int) -> bytes:
    """What was compressed, at most so many bytes. Raises ZstdError."""
    if zstandard.frame_content_size(compressed) > most:  # which the library would believe
        raise zstandard.ZstdError(f"more than {most} bytes")
    return zstandard.ZstdDecompressor().decompress(compressed, max_output_size=most)


def expand_frame(sealer: Sealer, pack: Pack, number: int, frame: Frame, sealed: bytes | memoryview) -> bytes:
    """The units of a frame. Raises `StoreDamaged`."""
    compressed = sealer.open(Piece.FRAME, pack.number, number, sealed)
    try:
        data = expand(compressed, BLOCK)
    except zstandard.ZstdError as error:
        raise StoreDamaged(f"frame {number} of {pack.name} can't be expanded: {error}") from error
    if len(data) != frame.size:
        raise StoreDamaged(f"frame {number} of {pack.name} has {len(data)} bytes instead of {frame.size}")
    return data


def _senseless(pack: Pack) -> StoreDamaged:
    return StoreDamaged(f"the directory of {pack.name} makes no sense")
