"""The files of a clone in a directory, and outside of it by mappings: made, adopted, renamed, dropped, synced.

Nothing is written into a directory that took the place of the one that was begun, none of a donor's names leads out of
it, and what was there before is left alone.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from innoclone.errors import DiskSpace, FileError, PathRefused
from innoclone.files.base import Base
from innoclone.files.marks import FILE_MODE, make_directory
from innoclone.files.names import OWN_DIR, REDO_DIR, Mapping, place
from innoclone.files.outside import Outside
from innoclone.files.system import file_error, sync_directory, write_all
from innoclone.records.units import amount
from innoclone.sinks.blockwriter import FileWriter
from innoclone.stream.filetable import ClonedFile

__all__ = ["CloneFiles"]


class CloneFiles:
    """The part of a directory's sink that has to do with its files."""

    can_read_back = True
    takes_all = True  # of what a clone brings; False: most of it goes on to another place

    def __init__(self, root: Path, mapping: Mapping, *, fsync: bool) -> None:
        """``mapping`` says where tablespaces outside the donor's data directory go."""
        self.root, self.mapping, self.fsync = root, mapping, fsync
        self.folder = root / OWN_DIR
        self.base: Base | None = None
        self.outside = Outside(root)  # what is made by mappings
        self._made: set[Path] = set()
        self._identity = (0, 0)  # device and inode of the directory
        self._disks: dict[int, Path] = {}  # device -> a directory on it

    def opened(self) -> None:
        """The directory is there, and remains the one that is meant."""
        self._identity = _identity(self.root)
        self._disks[self._identity[0]] = self.root
        self._made.add(self.root)  # it may well be reached by a symbolic link, unlike what is in it

    def check_place(self) -> None:
        """The path must still lead to the directory that was begun: nothing is written into another in its place."""
        if not self.is_there():
            raise FileError(
                f"{self.root} was moved or removed while it was worked on",
                hint="what is there now was left alone; remove the moved directory, and run the same command again",
            )

    def is_there(self) -> bool:
        """Whether the path leads to the directory that was begun."""
        try:
            return _identity(self.root) == self._identity
        except OSError:
            return False

    def place(self, name: str, space_id: int) -> Path:
        """Where the donor's file ``name`` goes. Raises `PathRefused`."""
        return place(name, space_id, self.root, self.mapping)

    def redo_path(self, index: int, *, old_format: bool = False) -> Path:
        """Path of a redo file; servers before 8.0.30 have them as ``ib_logfileN`` in the data directory itself."""
        return self.root / f"ib_logfile{index}" if old_format else self.root / REDO_DIR / f"#ib_redo{index}"

    def create(self, path: Path, content: bytes = b"", size: int = 0) -> None:
        """Make a file and its directories, with ``content`` and zeros up to ``size``. Raises `PathRefused` where
        something is in the way."""
        self.check_place()
        self._make_directory(path.parent)
        self._refuse_existing(path)
        is_outside = not path.is_relative_to(self.root)
        try:
            if is_outside:
                self.outside.announce(path)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                os.fchmod(fd, FILE_MODE)  # whatever the umask is, as mysqld does it
            finally:
                os.close(fd)
            if is_outside:
                self.outside.note(path)
        except FileExistsError as error:
            if is_outside:
                self.outside.give_up(path)
                self._refuse_existing(path)
            hint = "this file system takes two names of the donor for one: use one that tells A from a"
            raise PathRefused(f"{path} exists already", hint=hint) from error  # the directory was empty
        except OSError as error:
            raise file_error(error, f"can't create {path}") from error
        if content:
            self._fill(path, content, size)

    def _fill(self, path: Path, content: bytes, size: int) -> None:
        fd = self.open(path)
        try:
            write_all(fd, content, 0)
            os.ftruncate(fd, size)
        except OSError as error:
            raise file_error(error, f"can't write {path}") from error
        finally:
            os.close(fd)

    def make_directory(self, directory: Path) -> None:
        """Make a directory in this one, for what a server will put there. Raises `PathRefused`, a file error."""
        self.check_place()
        self._make_directory(directory)

    def adopt(self, name: str, space_id: int, fsp_flags: int | None, path: Path, size: int) -> bool:
        """Take a file of the base, if there is one of this tablespace, as ``path``, cut to ``size`` bytes; of any page
        size where ``fsp_flags`` is None."""
        if self.base is None:
            return False
        self._make_directory(path.parent)
        self._refuse_existing(path)
        try:
            if os.path.lexists(path) or not self.base.take(space_id, fsp_flags, path, name):
                return False
            if not path.is_relative_to(self.root):
                self.outside.note(path)
            if path.stat().st_size > size:
                os.truncate(path, size)
            return True
        except OSError as error:
            if error.errno == errno.EXDEV:
                return False  # mapped to another file system: copied afresh
            raise file_error(error, f"can't rename to {path}") from error

    def open(self, path: Path) -> int:
        """A descriptor for reading and writing."""
        self.check_place()
        try:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(error, f"can't open {path}") from error

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Bytes of a file, fewer at its end."""
        fd = self.open(path)
        try:
            return os.pread(fd, size, offset)
        except OSError as error:
            raise file_error(error, f"can't read {path}") from error
        finally:
            os.close(fd)

    def exists(self, path: Path) -> bool:
        """Whether something is there."""
        return os.path.lexists(path)

    def writer(self, buffer: int) -> FileWriter:
        """For the blocks of one connection."""
        old = buffer if self.base is not None else 0
        return FileWriter(self.open, buffer=buffer, old=old, fsync=self.fsync, behind=True, allocates=self.takes_all)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file; ``new`` must not exist."""
        self.check_place()
        self._make_directory(new.parent)
        if os.path.lexists(new):
            raise PathRefused(f"{new} exists already")
        try:
            if not new.is_relative_to(self.root):
                self.outside.announce(new, like=old)
            old.rename(new)
        except OSError as error:
            raise file_error(error, f"can't rename {old} to {new}") from error

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is gone is fine, and one outside that isn't ours is left alone."""
        self.check_place()
        if not path.is_relative_to(self.root) and not self.outside.is_ours(path):
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise file_error(error, f"can't remove {path}") from error

    def _make_directory(self, directory: Path) -> None:
        if directory in self._made:
            return
        inside = directory.is_relative_to(self.root)
        if not inside:
            self._refuse_detour(directory)
        try:
            missing = [] if inside else [one for one in (directory, *directory.parents) if not os.path.lexists(one)]
            for folder in missing:
                self.outside.announce(folder)
            make_directory(directory, parents=not inside)
            for folder in missing:
                self.outside.note(folder)
            if inside and not stat.S_ISDIR(directory.lstat().st_mode):
                raise PathRefused(f"{directory} is a symbolic link")
        except OSError as error:
            raise file_error(error, f"can't create {directory}") from error
        self._made.add(directory)

    def _refuse_detour(self, directory: Path) -> None:
        """A mapping allows what lies below its directory, and no symbolic link that leads out of there."""
        bases = [Path(new) for _, new in self.mapping if directory.is_relative_to(new)]
        base = max(bases, key=lambda new: len(new.parts))
        if directory.resolve() != base.resolve() / directory.relative_to(base):
            raise PathRefused(f"a symbolic link in {directory} leads out of {base}")

    def _refuse_existing(self, path: Path) -> None:
        """What is there already, outside the directory, is not ours."""
        if not path.is_relative_to(self.root) and os.path.lexists(path):
            raise PathRefused(f"{path} exists already", hint="it may be another clone's: map its directory elsewhere")

    @property
    def external(self) -> list[Path]:
        """Files that were created outside the directory, by mappings."""
        return self.outside.files

    # ---- room ----------------------------------------------------------------------------------------------

    def require(self, needed: Iterable[tuple[Path, int]]) -> None:
        """Raise `DiskSpace` where a file system has no room for all of these files, of so many bytes each."""
        disks: Counter[Path] = Counter()
        for path, size in needed:
            disks[self._disk_of(path)] += size
        for directory, size in disks.items():
            free = self._free_bytes(directory)
            if size > free:
                raise DiskSpace(f"{amount(size)} are needed in {directory}, {amount(free)} are free")

    def _disk_of(self, path: Path) -> Path:
        """A directory that stands for the file system of ``path``: the same one for all files on it."""
        self.check_place()
        try:
            return self._disks.setdefault(path.parent.stat().st_dev, path.parent)
        except OSError as error:
            raise file_error(error, f"can't look at {path.parent}") from error

    def _free_bytes(self, directory: Path) -> int:
        """Bytes that this user may still write to the directory's file system (statvfs f_bavail)."""
        self.check_place()
        try:
            usage = os.statvfs(directory)
        except OSError as error:
            raise file_error(error, f"can't look at {directory}") from error
        return usage.f_bavail * usage.f_frsize

    # ---- durability ----------------------------------------------------------------------------------------

    def checkpoint(self, paths: Iterable[Path]) -> None:
        """Make what was written to these files durable."""
        for path in paths:
            _sync_file(path)

    def sync_names(self) -> None:
        """Make the names of all files durable."""
        if not self.fsync:
            return
        for directory in sorted(self._made | {path.parent for path in self.external} | {self.folder}):
            try:
                sync_directory(directory)
            except OSError as error:
                raise file_error(error, f"can't sync {directory}") from error

    def complete(self, file: ClonedFile) -> None:
        """Final size and fsync of one file; see `innoclone.stream.sink.Sink.complete`."""
        fd = self.open(file.path)
        try:
            size = os.fstat(fd).st_size
            if size < file.size:
                os.ftruncate(fd, file.size)
            elif file.flags is not None:
                extent = file.flags.extent_size
                if size > extent and size % extent:
                    os.ftruncate(fd, size + extent - size % extent)
            if self.fsync:
                os.fsync(fd)
        except OSError as error:
            raise file_error(error, f"can't sync {file.path}") from error
        finally:
            os.close(fd)


def _identity(directory: Path) -> tuple[int, int]:
    state = directory.stat()
    return state.st_dev, state.st_ino


def _sync_file(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # dropped by DDL meanwhile, or renamed, which is synced with its directory
    except OSError as error:
        raise file_error(error, f"can't open {path}") from error
    try:
        os.fdatasync(fd)
    except OSError as error:
        raise file_error(error, f"can't sync {path}") from error
    finally:
        os.close(fd)
