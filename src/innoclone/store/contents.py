"""What a snapshot holds: its table of packs, the clone's manifest, all directories and files, and each file's map.

They lie in objects ``meta/<run>/<nnnnnn>``: the first one is the table of packs alone, which is all that a removal has
to know; the others are pieces of one stream, a JSON header and behind it the maps.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import zstandard

from innoclone.errors import StoreDamaged
from innoclone.store.maps import FileMap
from innoclone.store.objects import Gone, Objects
from innoclone.store.pack import BLOCK, LEVEL, Pack, expand
from innoclone.store.sealing import Piece, Sealer
from innoclone.store.shapes import refuse_odd_manifest

__all__ = ["Contents", "StoredFile", "contents_name", "read_contents", "read_packs", "write_contents"]

PIECE = 8 << 20  # bytes of the stream in one object
LARGEST = 1 << 31  # bytes that a snapshot may make us take into memory
LARGEST_TABLE = 1 << 28  # bytes of the table of packs: some millions of them
MOST_PIECES = 1 + LARGEST // PIECE
SENSELESS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, struct.error)
HEADER = struct.Struct("<I")


@dataclass(eq=False)
class StoredFile:
    """A file of the clone. ``path`` is relative to its directory, or absolute; ``space_id`` is None for what is no
    tablespace; ``sparse``: it had holes, and gets them back."""

    path: str
    mode: int
    size: int
    space_id: int | None
    sparse: bool
    map: FileMap = field(default_factory=FileMap)

    @property
    def blocks(self) -> int:
        """How many it has."""
        return -(-self.size // BLOCK)


@dataclass
class Contents:
    """``directories`` are (relative path, mode), parents first."""

    manifest: dict[str, Any]
    directories: list[tuple[str, int]]
    files: list[StoredFile]
    packs: list[Pack]


def contents_name(run: bytes, number: int) -> str:
    """Of an object."""
    return f"meta/{run.hex()}/{number:06}"


def write_contents(objects: Objects, sealer: Sealer, run: bytes, contents: Contents) -> list[int]:
    """Write them; the sizes of the objects, in order, which the snapshot has to know."""
    maps = [file.map.encode() for file in contents.files]
    header = {
        "manifest": contents.manifest,
        "directories": contents.directories,
        "files": [
            [file.path, file.mode, file.size, file.space_id, file.sparse, len(file.map.overlays)]
            for file in contents.files
        ],
    }
    text = json.dumps(header).encode()
    stream = memoryview(b"".join([HEADER.pack(len(text)), text, *maps]))
    table = json.dumps([pack.row() for pack in contents.packs]).encode()
    pieces: list[bytes | memoryview] = [table, *(stream[at : at + PIECE] for at in range(0, len(stream), PIECE))]
    compressor, sizes = zstandard.ZstdCompressor(level=LEVEL), []
    for number, piece in enumerate(pieces):
        sealed = sealer.seal(Piece.CONTENTS, number, 0, compressor.compress(piece))
        objects.create(contents_name(run, number), sealed)
        sizes.append(len(sealed))
    return sizes


def read_packs(objects: Objects, sealer: Sealer, run: bytes, sizes: Sequence[int]) -> list[Pack]:
    """The table of packs. Raises `StoreDamaged`."""
    raw = _piece(objects, sealer, run, 0, sizes)
    try:
        return [Pack.of_row(row) for row in json.loads(raw)]
    except SENSELESS as error:
        raise StoreDamaged(f"{contents_name(run, 0)} is no table of packs: {error}") from error


def read_contents(objects: Objects, sealer: Sealer, run: bytes, sizes: Sequence[int]) -> Contents:
    """All of them. Raises `StoreDamaged`, also for names that lead out of a clone's directory."""
    packs = read_packs(objects, sealer, run, sizes)
    if sum(sizes) > LARGEST or len(sizes) > MOST_PIECES:
        raise StoreDamaged(f"the contents of snapshot {run.hex()} have {sum(sizes)} bytes in {len(sizes)} objects")
    stream = b"".join(_piece(objects, sealer, run, number, sizes) for number in range(1, len(sizes)))
    try:
        (length,) = HEADER.unpack_from(stream)
        header = json.loads(stream[HEADER.size : HEADER.size + length])
        directories = [(_inside(path), int(mode)) for path, mode in header["directories"]]
        files, at, view = [], HEADER.size + length, memoryview(stream)
        for path, mode, size, space, sparse, overlays in header["files"]:
            if size < 0 or overlays < 0 or not isinstance(space, int | None):
                raise ValueError(f"the file {path!r}")
            file = StoredFile(_named(path), int(mode), int(size), space, bool(sparse))
            end = at + 8 * (file.blocks + 2 * int(overlays))
            file.map = FileMap.decode(view[at:end], file.blocks, int(overlays), len(packs))
            files.append(file)
            at = end
        if at != len(stream) or not isinstance(header["manifest"], dict):
            raise ValueError("they have a wrong length")
        refuse_odd_manifest(header["manifest"])
        named = _refuse_twins(file.path for file in files)
        if strange := [row["path"] for row in header["manifest"].get("files", ()) if row["path"] not in named]:
            raise ValueError(f"the manifest's file {strange[0]!r}")
    except SENSELESS as error:
        raise StoreDamaged(f"the contents of snapshot {run.hex()} make no sense: {error}") from error
    return Contents(header["manifest"], directories, files, packs)


def _piece(objects: Objects, sealer: Sealer, run: bytes, number: int, sizes: Sequence[int]) -> bytes:
    name = contents_name(run, number)
    try:
        sealed = objects.read(name, sizes[number])
    except Gone as error:
        raise StoreDamaged(f"{objects.address} has no {name}") from error
    if number >= len(sizes) or len(sealed) != sizes[number]:
        raise StoreDamaged(f"{name} has {len(sealed)} bytes, not what its snapshot says")
    try:
        return expand(sealer.open(Piece.CONTENTS, number, 0, sealed), PIECE if number else LARGEST_TABLE)
    except zstandard.ZstdError as error:
        raise StoreDamaged(f"{name} can't be expanded: {error}") from error


def _named(path: str) -> str:
    """A file's path: relative and inside, or absolute and plain."""
    os.fsencode(path)
    pure = PurePosixPath(path)
    return str(pure) if pure.is_absolute() and ".." not in pure.parts and "\0" not in path else _inside(path)


def _inside(path: str) -> str:
    os.fsencode(path)  # a ValueError where it is no name of any file
    pure = PurePosixPath(path)
    if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\0" in path:
        raise ValueError(f"the name {path!r}")
    return str(pure)


def _refuse_twins(paths: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise ValueError(f"two files {path!r}")
        seen.add(path)
    return seen
