"""InnoDB's clone descriptors: one frozen dataclass per kind, parse and serialize side by side. All big-endian.

Source of the layouts: InnoDB's clone0desc.h (names and offsets), checked against a 9.7 donor.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import field, replace
from typing import ClassVar

from innoclone.dataclass import dataclass
from innoclone.errors import ProtocolError
from innoclone.wire.codec import Reader, text, u16be, u32be, u64be

__all__ = [
    "BITMAP_WORD", "MAX_INCOMPLETE_CHUNKS", "NO_FSP_FLAGS", "VERSION", "ChunkInfo", "DataDescriptor", "Descriptor",
    "DescriptorType", "FileFlag", "FileMetadata", "Locator", "StageNumber", "StateDescriptor", "StateFlag",
    "TaskMetadata", "parse_descriptor",
]  # fmt: skip

VERSION = 100  # the only descriptor version there is (CLONE_DESC_MAX_VERSION)
HEADER_LENGTH = 12
MAX_INCOMPLETE_CHUNKS = 256
BITMAP_WORD = 32
MAX_NAME = 4096  # bytes of a file name including its NUL; FN_REFLEN is 512, paths on Linux end at 4096
NO_FSP_FLAGS = 0xFFFFFFFF  # ib_buffer_pool and redo files have no tablespace flags


class DescriptorType(enum.IntEnum):
    """Clone_Desc_Type."""

    LOCATOR = 1
    TASK_METADATA = 2
    STATE = 3
    FILE_METADATA = 4
    DATA = 5


class StageNumber(enum.IntEnum):
    """Snapshot_State of InnoDB's clone."""

    NONE = 0
    INIT = 1
    FILE_COPY = 2
    PAGE_COPY = 3
    REDO_COPY = 4
    DONE = 5


class StateFlag(enum.IntFlag):
    """Flags of a STATE descriptor."""

    START = 1
    ACK = 2


NO_FLAGS = StateFlag(0)


class FileFlag(enum.IntFlag):
    """Flags of a FILE_METADATA descriptor."""

    ZLIB = 1
    LZ4 = 2
    ENCRYPTED = 4
    RENAMED = 8
    DELETED = 16
    HAS_KEY = 32


_HEADER = struct.Struct(">III")  # version, length with this header, type
_BLOCK = struct.Struct(">IIIIIIQQ")  # the fields of a `DataDescriptor`, in their order


def _header(kind: DescriptorType, length: int) -> bytes:
    return _HEADER.pack(VERSION, length, kind)


def _check_header(data: bytes | memoryview, expected: DescriptorType) -> int:
    """The length that it tells. Raises `ProtocolError`."""
    if len(data) < HEADER_LENGTH:
        raise ProtocolError(f"{expected.name} descriptor: {len(data)} of the {HEADER_LENGTH} bytes of its header")
    version, length, kind = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ProtocolError(f"{expected.name} descriptor: version {version} is not {VERSION}")
    if kind != expected:
        raise ProtocolError(f"{expected.name} descriptor expected, type {kind} found")
    if not HEADER_LENGTH <= length <= len(data):
        raise ProtocolError(f"{expected.name} descriptor: length {length} of {len(data)} received bytes")
    return int(length)


def _open(data: bytes | memoryview, expected: DescriptorType) -> Reader:
    length = _check_header(data, expected)
    # What follows the header's length is padding and ignored, as the server does.
    return Reader(data[HEADER_LENGTH:length], f"{expected.name} descriptor")


_STAGES = {int(stage): stage for stage in StageNumber}  # many times faster than asking the class


def _stage(number: int, what: str) -> StageNumber:
    found = _STAGES.get(number)
    if found is None:
        raise ProtocolError(f"{what}: stage {number} is unknown")
    return found


@dataclass(frozen=True)
class ChunkInfo:
    """What a recipient already has of one stage: finished or begun chunks, and how far the begun ones are.

    ``incomplete`` maps a 1-based chunk number to the count of its blocks that are there; ``bitmap`` has bit
    ``(chunk - 1) % 32`` of word ``(chunk - 1) // 32`` set for each chunk that is finished or listed.
    """

    incomplete: tuple[tuple[int, int], ...] = ()
    bitmap: tuple[int, ...] = ()

    @classmethod
    def read(cls, reader: Reader) -> ChunkInfo:
        """Parse what follows a restart locator."""
        count = reader.u32be("number of incomplete chunks")
        if count > MAX_INCOMPLETE_CHUNKS:
            raise ProtocolError(f"LOCATOR descriptor: {count} incomplete chunks")
        incomplete = tuple((reader.u32be("chunk"), reader.u32be("block")) for _ in range(count))
        words = reader.u32be("number of bitmap words")
        if words * 4 > reader.left:
            raise ProtocolError(f"LOCATOR descriptor: {words} bitmap words in {reader.left} bytes")
        return cls(incomplete, tuple(reader.u32be("bitmap word") for _ in range(words)))

    def serialize(self) -> bytes:
        """The bytes behind a restart locator."""
        parts = [u32be(len(self.incomplete))]
        parts += [u32be(chunk) + u32be(block) for chunk, block in self.incomplete]
        parts.append(u32be(len(self.bitmap)))
        parts += [u32be(word) for word in self.bitmap]
        return b"".join(parts)


@dataclass(frozen=True)
class Locator:
    """Names a clone at the donor. All ids zero: a "version locator", which asks for a new clone."""

    clone_id: int = 0
    snapshot_id: int = 0
    index: int = 0
    stage: StageNumber = StageNumber.NONE
    metadata_done: bool = False  # the whole FILE_COPY metadata list is known
    chunks: ChunkInfo | None = None

    LENGTH: ClassVar[int] = 34

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Locator:
        """From bytes; padding behind the header's length is ignored."""
        reader = _open(data, DescriptorType.LOCATOR)
        clone_id, snapshot_id, index = reader.u64be("clone id"), reader.u64be("snapshot id"), reader.u32be("index")
        stage = _stage(reader.u8("state"), "LOCATOR descriptor")
        done = reader.u8("sub-state")
        chunks = ChunkInfo.read(reader) if reader.left else None
        return cls(
            clone_id=clone_id, snapshot_id=snapshot_id, index=index, stage=stage, metadata_done=done == 1, chunks=chunks
        )

    def serialize(self) -> bytes:
        """To bytes, chunk information included."""
        tail = self.chunks.serialize() if self.chunks is not None else b""
        return b"".join((
            _header(DescriptorType.LOCATOR, self.LENGTH + len(tail)),
            u64be(self.clone_id), u64be(self.snapshot_id), u32be(self.index),
            bytes([self.stage, 1 if self.metadata_done else 0]), tail,
        ))  # fmt: skip


@dataclass(frozen=True)
class TaskMetadata:
    """First descriptor of each COM_EXECUTE answer: the task number the donor gave to the connection (0 = master)."""

    task: int
    chunk: int = 0
    block: int = 0

    @classmethod
    def parse(cls, data: bytes | memoryview) -> TaskMetadata:
        """From bytes."""
        reader = _open(data, DescriptorType.TASK_METADATA)
        return cls(reader.u32be("task"), reader.u32be("chunk"), reader.u32be("block"))

    def serialize(self) -> bytes:
        """To bytes."""
        header = _header(DescriptorType.TASK_METADATA, 24)
        return header + u32be(self.task) + u32be(self.chunk) + u32be(self.block)


@dataclass(frozen=True)
class StateDescriptor:
    """Start or end of a stage, an acknowledgement (recipient to donor), or a keep-alive (donor, flag ACK)."""

    stage: StageNumber
    task: int = 0
    chunks: int = 0
    files: int = 0  # files; in PAGE_COPY the number of pages
    estimate: int = 0  # bytes of this stage, in the master's START only
    estimate_disk: int = 0  # bytes on disk of all data files, in the master's START only
    flags: StateFlag = NO_FLAGS

    @classmethod
    def parse(cls, data: bytes | memoryview) -> StateDescriptor:
        """From bytes."""
        reader = _open(data, DescriptorType.STATE)
        return cls(  # in the order of the bytes
            stage=_stage(reader.u32be("state"), "STATE descriptor"),
            task=reader.u32be("task"),
            chunks=reader.u32be("chunks"),
            files=reader.u32be("files"),
            estimate=reader.u64be("estimate"),
            estimate_disk=reader.u64be("estimate on disk"),
            flags=StateFlag(reader.u16be("flags") & 3),
        )

    def serialize(self) -> bytes:
        """To bytes."""
        return b"".join((
            _header(DescriptorType.STATE, 46),
            u32be(self.stage), u32be(self.task), u32be(self.chunks), u32be(self.files),
            u64be(self.estimate), u64be(self.estimate_disk), u16be(self.flags),
        ))  # fmt: skip

    @property
    def is_keepalive(self) -> bool:
        """Sent by a donor that waits."""
        return bool(self.flags & StateFlag.ACK)

    @property
    def is_start(self) -> bool:
        """The stage begins; otherwise it ends."""
        return bool(self.flags & StateFlag.START)

    def acknowledgement(self) -> StateDescriptor:
        """What COM_ACK carries for this END."""
        return replace(self, flags=self.flags | StateFlag.ACK)


@dataclass(frozen=True)
class FileMetadata:
    """A file of the snapshot, or a change that DDL made to it. ``name`` is what the donor says: not to be trusted."""

    stage: StageNumber
    size: int
    allocated: int
    fsp_flags: int
    block_size: int
    flags: FileFlag
    space_id: int
    index: int
    first_chunk: int
    last_chunk: int
    name: str
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, data: bytes | memoryview) -> FileMetadata:
        """From bytes."""
        reader = _open(data, DescriptorType.FILE_METADATA)
        stage = _stage(reader.u32be("state"), "FILE_METADATA descriptor")
        size, allocated = reader.u64be("size"), reader.u64be("allocated size")
        fsp_flags, block_size = reader.u32be("FSP flags"), reader.u32be("block size")
        flags = FileFlag(reader.u16be("flags") & 0x3F)
        space_id, index = reader.u32be("space id"), reader.u32be("file index")
        first, last = reader.u32be("first chunk"), reader.u32be("last chunk")
        length = reader.u32be("name length")
        if length > MAX_NAME:
            raise ProtocolError(f"FILE_METADATA descriptor: a name of {length} bytes")
        raw = reader.take(length, "name")
        if raw[-1:] not in (b"", b"\0") or b"\0" in raw[:-1]:
            raise ProtocolError("FILE_METADATA descriptor: the name is not one NUL-terminated string")
        name = text(raw[:-1], "file name")
        key = reader.take(64, "key") if flags & FileFlag.HAS_KEY else b""
        return cls(
            stage=stage, size=size, allocated=allocated, fsp_flags=fsp_flags, block_size=block_size, flags=flags,
            space_id=space_id, index=index, first_chunk=first, last_chunk=last, name=name, key=key,
        )  # fmt: skip

    def serialize(self) -> bytes:
        """To bytes."""
        raw = self.name.encode() + b"\0" if self.name else b""
        return b"".join((
            _header(DescriptorType.FILE_METADATA, 62 + len(raw) + len(self.key)),
            u32be(self.stage), u64be(self.size), u64be(self.allocated), u32be(self.fsp_flags), u32be(self.block_size),
            u16be(self.flags), u32be(self.space_id), u32be(self.index), u32be(self.first_chunk),
            u32be(self.last_chunk), u32be(len(raw)), raw, self.key,
        ))  # fmt: skip


@dataclass(frozen=True)
class DataDescriptor:
    """Where the bytes of the DATA response that follows belong."""

    stage: StageNumber
    task: int
    chunk: int
    block: int  # blocks of the chunk that are done after this one
    index: int  # of the data file, or of the redo file in REDO_COPY
    length: int
    offset: int
    file_size: int

    @classmethod
    def parse(cls, data: bytes | memoryview) -> DataDescriptor:
        """From bytes."""
        length = _check_header(data, DescriptorType.DATA) - HEADER_LENGTH
        if length < _BLOCK.size:
            raise ProtocolError(f"DATA descriptor: {_BLOCK.size} bytes are needed, {length} are there")
        # Each block has one, so all of it is read at once.
        stage, *fields = _BLOCK.unpack_from(data, HEADER_LENGTH)
        return cls(_stage(stage, "DATA descriptor"), *fields)

    def serialize(self) -> bytes:
        """To bytes."""
        return _header(DescriptorType.DATA, HEADER_LENGTH + _BLOCK.size) + _BLOCK.pack(
            self.stage, self.task, self.chunk, self.block, self.index, self.length, self.offset, self.file_size
        )


Descriptor = Locator | TaskMetadata | StateDescriptor | FileMetadata | DataDescriptor

_PARSERS: dict[int, type[Descriptor]] = {
    DescriptorType.LOCATOR: Locator,
    DescriptorType.TASK_METADATA: TaskMetadata,
    DescriptorType.STATE: StateDescriptor,
    DescriptorType.FILE_METADATA: FileMetadata,
    DescriptorType.DATA: DataDescriptor,
}


def parse_descriptor(data: bytes | memoryview) -> Descriptor:
    """Any descriptor, by its own type field. Raises `ProtocolError` for one that is unknown or broken."""
    kind = _HEADER.unpack_from(data)[2] if len(data) >= HEADER_LENGTH else -1
    parser = _PARSERS.get(kind)
    if parser is None:
        raise ProtocolError(f"descriptor of unknown type {kind} ({len(data)} bytes)")
    return parser.parse(data)
