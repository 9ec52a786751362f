"""The files of a clone as the donor describes them, and what DDL on the donor does to them meanwhile.

The rules are those of a stock recipient (InnoDB's clone0copy.cc and clone0repl.cc: handling of file metadata): the
donor lists all files at the start of FILE_COPY; between the END of a stage and the START of the next the master
connection gets one descriptor for each file that DDL changed. Renames are done in two steps, since their order is not
the order of the renames on the donor.

The table only calculates: a descriptor in, actions out. Who asks carries the actions out and keeps them in the journal
(`innoclone.receive.carryout`); who reads the journal feeds the table again, and has nothing carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

from innoclone.dataclass import dataclass
from innoclone.errors import CloneError, ProtocolError
from innoclone.files.names import clash, same_names
from innoclone.innodb.create import initial_file
from innoclone.innodb.page import PageChecker
from innoclone.innodb.space import REDO_SPACE, SYSTEM_SPACE, SpaceFlags, is_undo
from innoclone.native.pages import Pages
from innoclone.wire.descriptors import NO_FSP_FLAGS, FileFlag, FileMetadata, StageNumber

__all__ = [
    "MAX_FILES", "Action", "Adopt", "ClonedFile", "Create", "Drop", "FileTable", "Places", "Rename",
]  # fmt: skip

RENAME_SUFFIX = ".#clone_ddl"  # the server's own suffix for the first step of a rename
MAX_FILES = 1 << 21
MAX_REDO_FILES = 1000
MAX_FILE_SIZE = 1 << 48  # 2^32 pages of 64 KiB


class Places(Protocol):
    """Where a sink puts files; it only calculates."""

    def place(self, name: str, space_id: int) -> Path:
        """Where the donor's file ``name`` goes. Raises `PathRefused`."""

    def redo_path(self, index: int, *, old_format: bool = False) -> Path:
        """Where a redo file goes; ``old_format``: of servers before 8.0.30."""


@dataclass(frozen=True)
class Create:
    """Make a file with this content, and zeros behind it up to ``size`` bytes."""

    path: Path
    content: bytes = b""
    size: int = 0


@dataclass(frozen=True)
class Adopt:
    """Take an older clone's file of the tablespace as ``path``; else make an empty one."""

    path: Path
    name: str
    space_id: int
    fsp_flags: int
    size: int


@dataclass(frozen=True)
class Rename:
    """Rename a file to what is free."""

    old: Path
    new: Path


@dataclass(frozen=True)
class Drop:
    """Remove a file."""

    path: Path


Action = Create | Adopt | Rename | Drop


@dataclass
class ClonedFile:
    """One file of the clone. ``path`` is where it is now, ``final`` where it will be once renames are done."""

    metadata: FileMetadata
    path: Path
    final: Path
    size: int  # what the file must have at least when the clone is done, in bytes
    flags: SpaceFlags | None  # None: not a tablespace
    first_page: int = 0  # number of the file's first page: the second file of the system tablespace goes on counting
    dropped: bool = False
    adopted: bool = False  # an older clone's file was taken, its content is to be brought up to date
    drop_expected: bool = False  # the donor's file was gone when it was to be copied
    checker: PageChecker | None = None

    @property
    def pages(self) -> Pages | None:
        """What the native library has to know of its pages; None: it has none."""
        if self.checker is not None:
            return self.checker.pages
        return None if self.flags is None else Pages(self.flags.physical_page_size, 0, is_zip=False, checked=False)

    @property
    def hole_block(self) -> int:
        """The donor's file system block size if pages are page-compressed and holes are worth punching, else 0."""
        meta = self.metadata
        if self.flags is None or self.flags.is_compressed or not meta.flags & (FileFlag.ZLIB | FileFlag.LZ4):
            return 0
        return meta.block_size if 0 < meta.block_size * 2 <= self.flags.physical_page_size else 0


class FileTable:
    """The files by the donor's numbers. The master connection changes it, and any marks dropped files: callers see to
    it that one does so at a time."""

    def __init__(
        self, places: Places, server_version: int, *, verify: bool, info: Callable[[bytes], bytes] = bytes
    ) -> None:
        """``server_version`` is the donor's as a number (90704); ``info`` makes of a wrapped key what page 0 has."""
        self._places = places
        self._version = server_version
        self._verify = verify
        self._info = info
        self.data: list[ClonedFile] = []
        self.redo: dict[int, ClonedFile] = {}
        self._paths: set[Path] = set()
        self._renames: list[ClonedFile] = []
        self.changes: list[str] = []  # DDL that was followed, as text

    def add(self, meta: FileMetadata, stage: StageNumber, *, in_stage: bool) -> tuple[Action, ...] | None:
        """Take one descriptor; ``stage`` is the one the connection is in, ``in_stage`` False behind its END.

        What is to be done for it; None where it only repeats what is known. Raises `ProtocolError`, `PathRefused`,
        `FileNameClash`.
        """
        _check_sizes(meta)
        if meta.space_id == REDO_SPACE:
            return self._add_redo(meta, stage)
        return self._add_listed(meta, stage) if in_stage else self._change(meta)

    def _add_redo(self, meta: FileMetadata, stage: StageNumber) -> tuple[Action, ...] | None:
        if stage is not StageNumber.REDO_COPY or meta.index >= MAX_REDO_FILES:
            raise ProtocolError(f"redo file {meta.index} in {stage.name}")
        if meta.index in self.redo:
            return None  # every connection repeats them
        path = self._places.redo_path(meta.index, old_format=self.old_redo)
        self.redo[meta.index] = ClonedFile(meta, path, path, meta.size, None)
        return (Create(path),)

    def _add_listed(self, meta: FileMetadata, stage: StageNumber) -> tuple[Action, ...] | None:
        """Within a stage: a file of the initial list, or the notice that a file was dropped while it was copied."""
        if meta.index < len(self.data):
            file = self.data[meta.index]
            if meta.flags & FileFlag.DELETED:
                return None if file.dropped else self._drop(file)
            if file.metadata == meta:
                return None  # the list again
            raise ProtocolError(f"file {meta.index} is described twice")
        if stage is not StageNumber.FILE_COPY:
            raise ProtocolError(f"file {meta.index} is unknown in {stage.name}")
        file = self._new(meta)
        return (Adopt(file.path, meta.name, meta.space_id, meta.fsp_flags, meta.size),)

    def expect_drop(self, file: ClonedFile) -> None:
        """The donor's file is gone: its next notices must say that it was dropped."""
        file.drop_expected = True

    def missing(self) -> list[str]:
        """Names of files that could not be copied although the donor did not say that they were dropped."""
        return [file.metadata.name for file in self.data if file.drop_expected and not file.dropped]

    def _change(self, meta: FileMetadata) -> tuple[Action, ...]:
        """Between two stages: what DDL did."""
        if meta.index >= len(self.data):
            return self._created(meta)
        file = self.data[meta.index]
        if meta.flags & FileFlag.DELETED:
            return self._drop(file)
        if meta.flags & FileFlag.RENAMED:
            return self._rename(file, meta)
        file.metadata, file.size = meta, max(file.size, meta.size)
        return ()

    def _created(self, meta: FileMetadata) -> tuple[Action, ...]:
        """DDL made a file; its pages come in the next stage, but for those that are in every new tablespace."""
        file = self._new(meta)
        if meta.flags & FileFlag.DELETED:
            file.dropped = True
            return ()
        if file.flags is None:
            raise ProtocolError(f"file {meta.name!r} was created by DDL and is no tablespace")
        self.changes.append(f"created {meta.name}")
        info = self._info(meta.key) if meta.key else b""
        return (Create(file.path, *initial_file(meta.space_id, file.flags, self._version, info)),)

    def _drop(self, file: ClonedFile) -> tuple[Action, ...]:
        """Remove a file once; a second notice may come when its name belongs to another file already."""
        if file.dropped:
            return ()
        file.dropped = True
        self._paths.discard(file.final)
        if file in self._renames:
            self._renames.remove(file)
        self.changes.append(f"dropped {file.metadata.name}")
        return (Drop(file.path),)

    def _rename(self, file: ClonedFile, meta: FileMetadata) -> tuple[Action, ...]:
        """The first of two steps: the new name may still be another file's, which is renamed or dropped next."""
        if file.dropped:
            raise ProtocolError(f"file {meta.index} is renamed after it was dropped")
        new = self._places.place(meta.name, meta.space_id)
        old, waiting = file.path, new.with_name(new.name + RENAME_SUFFIX)
        self._paths.discard(file.final)
        self.changes.append(f"renamed {file.metadata.name} to {meta.name}")
        file.metadata, file.path, file.final, file.size = meta, waiting, new, max(file.size, meta.size)
        if file not in self._renames:
            self._renames.append(file)
        # A donor that is asked to go on repeats the changes since the last stage.
        return (Rename(old, waiting),) if old != waiting else ()

    @property
    def old_redo(self) -> bool:
        """Whether redo files have the names that they had before 8.0.30."""
        return self._version < 80030

    def begin_stage(self) -> tuple[Action, ...]:
        """The master has received START: the second step of all renames."""
        actions = []
        for file in self._renames:
            if file.final in self._paths:
                raise self._same_name(file.metadata, file.final)
            actions.append(Rename(file.path, file.final))
            self._paths.add(file.final)
            file.path = file.final
        self._renames.clear()
        return tuple(actions)

    def _new(self, meta: FileMetadata) -> ClonedFile:
        if meta.index != len(self.data) or meta.index >= MAX_FILES:
            raise ProtocolError(f"file {meta.index} is described after file {len(self.data) - 1}")
        deleted = bool(meta.flags & FileFlag.DELETED)
        path = self._places.place(meta.name, meta.space_id)
        if path in self._paths and not deleted:
            raise self._same_name(meta, path)
        flags = None
        if meta.fsp_flags != NO_FSP_FLAGS:
            try:
                flags = SpaceFlags(meta.fsp_flags)
            except ValueError as error:
                raise ProtocolError(f"file {meta.name!r}: {error}") from error
        checker = PageChecker(flags, meta.space_id) if self._verify and flags is not None else None
        file = ClonedFile(meta, path, path, meta.size, flags, self._first_page(meta, flags), checker=checker)
        self.data.append(file)
        if not deleted:
            self._paths.add(path)
        return file

    def _same_name(self, meta: FileMetadata, path: Path) -> CloneError:
        """Two files at one place: the donor's undo or system files of several directories, a mapping's doing, or a lie.

        The first are what preflight refuses where it can see them; they may also have come with DDL since."""
        name = PurePosixPath(meta.name)
        if is_undo(meta.space_id) or (meta.space_id == SYSTEM_SPACE and len(name.parts) == 1):
            return same_names(meta.space_id, name.name)
        there = [PurePosixPath(file.metadata.name) for file in self.data if file.final == path and not file.dropped]
        for other in there:
            if other != name and (other.is_absolute() or name.is_absolute()):
                return clash(path, str(other), str(name))
        return ProtocolError(f"two files are named {meta.name!r}")

    def _first_page(self, meta: FileMetadata, flags: SpaceFlags | None) -> int:
        if flags is None or meta.space_id != SYSTEM_SPACE:
            return 0
        before = [file.size for file in self.data if file.flags is not None and file.metadata.space_id == SYSTEM_SPACE]
        return sum(before) // flags.physical_page_size

    def find(self, index: int, stage: StageNumber) -> ClonedFile:
        """The file that a DATA descriptor names. Raises `ProtocolError` for an unknown one."""
        if stage is StageNumber.REDO_COPY:
            file = self.redo.get(index)
            if file is not None:
                return file
        elif index < len(self.data):
            return self.data[index]
        raise ProtocolError(f"data for file {index} in {stage.name}, which was not described")

    def grow(self, file: ClonedFile, size: int) -> ClonedFile | None:
        """Page 0 came again: the tablespace has ``size`` bytes by now. The file that has grown by that, if one has.

        Where it has several files that is the sum, and only the last one grows (seen with a second ibdata file).
        """
        last = file
        if file.metadata.space_id == SYSTEM_SPACE:
            last = next(other for other in reversed(self.data) if other.metadata.space_id == SYSTEM_SPACE)
        page = last.flags.physical_page_size if last.flags is not None else 0
        wanted = min(size, MAX_FILE_SIZE) - last.first_page * page
        if wanted <= last.size:
            return None
        last.size = wanted
        return last

    def all_files(self) -> list[ClonedFile]:
        """Every file that belongs to the clone, redo last."""
        return [file for file in self.data if not file.dropped] + [self.redo[index] for index in sorted(self.redo)]


def _check_sizes(meta: FileMetadata) -> None:
    if max(meta.size, meta.allocated) > MAX_FILE_SIZE:
        raise ProtocolError(f"file {meta.name!r} is said to have {max(meta.size, meta.allocated)} bytes")
