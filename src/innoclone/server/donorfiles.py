"""The donor's own files, on this host: where they are, and opening the right one while DDL goes on.

A name alone proves nothing: TRUNCATE, undo truncation and DROP + CREATE reuse names with a new tablespace id. So page 0
of every opened file is looked at, and a file that moved is searched by its id.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import tempfile
import threading
from pathlib import Path

from innoclone.errors import DonorFilesUnreadable, PrivilegeMissing, SqlError, TooManyOpenFiles
from innoclone.files.base import space_of
from innoclone.files.copying import FICLONE
from innoclone.files.names import BUFFER_POOL
from innoclone.innodb.space import SYSTEM_SPACE, SpaceHeader, is_undo
from innoclone.transport.sql import Sql, understood
from innoclone.wire.descriptors import NO_FSP_FLAGS, FileMetadata

__all__ = ["DonorFiles", "undo_files"]


def undo_files(sql: Sql) -> list[str]:
    """The undo tablespaces' files, as information_schema.FILES names them; none without PROCESS.

    By their names: to look at any other tablespace waits for DDL on it, which may wait for a broken off clone.
    """
    try:
        undo = sql.rows("SELECT NAME FROM information_schema.INNODB_TABLESPACES WHERE SPACE_TYPE = 'Undo'")
        marks = ", ".join(["%s"] * len(undo)) or "''"
        rows = sql.rows(
            f"SELECT FILE_NAME FROM information_schema.FILES WHERE TABLESPACE_NAME IN ({marks})",  # noqa: S608
            tuple(name for (name,) in undo),
        )
    except (PrivilegeMissing, SqlError):
        return []
    return [str(name) for (name,) in rows]


class DonorFiles:
    """Finds and opens files of a server whose data directory is ``root``."""

    def __init__(self, root: Path, home: Path, undo: Path, known: dict[str, Path], others: list[Path]) -> None:
        """``home``: of the system tablespace; ``undo``: of undo tablespaces, unless ``known`` (by base name) knows
        better; ``others``: more directories to search (innodb_directories)."""
        self.root, self._home, self._undo, self._known = root, home, undo, known
        self._others = others
        self._lock = threading.Lock()

    @classmethod
    @understood("its files")
    def find(cls, sql: Sql, root: Path | None = None) -> DonorFiles:
        """Ask the server, and prove that its files are here. ``root`` replaces @@datadir (a container's, for instance).

        Raises `DonorFilesUnreadable`.
        """
        variables = {
            str(name): str(value)
            for name, value in sql.rows(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('datadir', 'innodb_data_home_dir', 'server_uuid',"
                " 'innodb_undo_directory', 'innodb_directories', 'innodb_data_file_path')"
            )
        }
        datadir = Path(variables["datadir"])
        here = root or datadir
        _prove(here, variables["server_uuid"])

        def local(text: str) -> Path:
            path = datadir / text if text else datadir
            return here / path.relative_to(datadir) if path.is_relative_to(datadir) else path

        known: dict[str, Path] = {}
        for name in undo_files(sql):  # without PROCESS there are none: where the variable says
            known[Path(name).name] = local(name)
        home = local(variables.get("innodb_data_home_dir", ""))
        for part in variables.get("innodb_data_file_path", "").split(";"):
            name = part.partition(":")[0]  # NAME:SIZE[:autoextend]; an absolute one where there is no home
            known[Path(name).name] = home / name
        others = [local(part) for part in variables.get("innodb_directories", "").split(";") if part]
        return cls(here, home, local(variables.get("innodb_undo_directory", "")), known, others)

    @property
    def folders(self) -> set[Path]:
        """Every directory that the server keeps files in, or searches for files when it starts."""
        return {self.root, self._home, self._undo, *self._others, *(path.parent for path in self._known.values())}

    def path(self, meta: FileMetadata) -> Path:
        """Where the server has the file, going by its name."""
        if meta.space_id == SYSTEM_SPACE or is_undo(meta.space_id):
            name = Path(meta.name).name
            usual = self._home if meta.space_id == SYSTEM_SPACE else self._undo
            return self._known.get(name, usual / name)
        return self.root / meta.name  # an absolute name stays what it is

    def open(self, meta: FileMetadata) -> int | None:
        """A descriptor of the donor's file, for reading; None if the file is gone. Raises `DonorFilesUnreadable`."""
        for path in (self.path(meta), None):
            found = path if path is not None else self._search(meta)
            if found is None:
                return None
            try:
                fd = os.open(found, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise TooManyOpenFiles(f"can't open {found}: {error.strerror}") from error
                raise DonorFilesUnreadable(f"can't read {found}: {error.strerror}") from error
            if _is(fd, meta):
                return fd
            os.close(fd)
        return None

    def can_reflink(self, folder: Path) -> bool:
        """Whether a file in ``folder`` can share blocks with the donor's: tried with a small one (FICLONE)."""
        try:
            with (
                (self.root / "auto.cnf").open("rb") as source,
                tempfile.NamedTemporaryFile(dir=folder, prefix=".innoclone-") as copy,
            ):
                fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
        except OSError:
            return False
        return True

    def _search(self, meta: FileMetadata) -> Path | None:
        """A file with the tablespace's id, wherever it is by now."""
        if meta.fsp_flags == NO_FSP_FLAGS or meta.space_id == SYSTEM_SPACE:
            return None
        with self._lock:  # one search at a time is enough for a disk
            for folder in {self.root, self._undo, self.path(meta).parent, *self._others}:
                for pattern in ("undo_*", "*.ibu") if is_undo(meta.space_id) else ("*.ibd", "*/*.ibd"):
                    # Not Path.glob: that raises an error where a schema is dropped while it looks.
                    for name in glob.iglob(pattern, root_dir=folder):  # noqa: PTH207
                        header = space_of(folder / name)
                        if header is not None and header.space_id == meta.space_id:
                            return folder / name
        return None


def _is(fd: int, meta: FileMetadata) -> bool:
    """Whether an open file is the one that the donor described."""
    if meta.fsp_flags == NO_FSP_FLAGS:
        return meta.name == BUFFER_POOL
    head = os.pread(fd, SpaceHeader.LAYOUT.size, 0)
    if len(head) < SpaceHeader.LAYOUT.size:
        return False
    # Only the first file of the system tablespace starts with the tablespace's page 0.
    return meta.space_id == SYSTEM_SPACE or SpaceHeader.parse(head).space_id == meta.space_id


def _prove(root: Path, uuid: str) -> None:
    """The directory is readable and belongs to the server with this UUID."""
    try:
        os.listdir(root)  # noqa: PTH208 - only the permission is of interest
        text = (root / "auto.cnf").read_text()
    except OSError as error:
        raise DonorFilesUnreadable(f"can't read the donor's data directory {root}: {error.strerror}") from error
    if uuid not in text:
        raise DonorFilesUnreadable(
            f"{root} belongs to another server than the donor ({uuid})", hint="name the right one with --datadir"
        )
