"""An older clone in the target directory, as material for a new one.

Its tablespaces are set aside by name and offered by (space id, page size) to the files of the new snapshot; everything
else goes. A match is an optimisation only: contents are compared in full afterwards, so a wrong one costs writes, not
truth.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

from innoclone.files.lock import FLOCK
from innoclone.files.names import CLONE_DIR, OWN_DIR, REDO_DIR
from innoclone.files.system import file_error
from innoclone.innodb.space import SpaceFlags, SpaceHeader, is_temporary

__all__ = [
    "ASIDE",
    "Base",
    "base_files",
    "hard_linked",
    "is_served",
    "is_earlier_clone",
    "server_process",
    "space_of",
    "tablespaces",
]

ASIDE = "base"
PATTERNS = ("*.ibd", "*.ibu", "ibdata*", "undo_*")
# Page 0 on disk may be older than what the donor says of the space: a new one has no SDI yet (tested).
SIZES = SpaceFlags.ZIP_SSIZE.mask | SpaceFlags.PAGE_SSIZE.mask


def is_earlier_clone(directory: Path) -> bool:
    """Whether the directory was made by a clone, ours or the stock plugin's; any other data is not to be touched."""
    return (directory / OWN_DIR).is_dir() or (directory / CLONE_DIR).is_dir()


def tablespaces(root: Path) -> list[Path]:
    """The files below ``root`` that are tablespaces by their names."""
    found = {path for pattern in PATTERNS for path in root.rglob(pattern) if path.is_file() and not path.is_symlink()}
    return sorted(found)


def base_files(root: Path) -> list[Path]:
    """What `Base` would take from ``root``: tablespaces, and those that an interrupted run has set aside."""
    aside = root / OWN_DIR / ASIDE
    return [*tablespaces(root), *(sorted(aside.iterdir()) if aside.is_dir() else ())]


def hard_linked(root: Path) -> Path | None:
    """A tablespace or redo file below ``root`` that has a name elsewhere, too (``cp -al``, a backup of hard links), so
    that what is written is written to both. None if there is none. Raises OSError."""
    files = [*tablespaces(root), *root.glob("ib_logfile*"), *(root / REDO_DIR).glob("#ib_redo*")]
    return next((path for path in files if path.lstat().st_nlink > 1), None)


def space_of(path: Path) -> SpaceHeader | None:
    """What page 0 of a file says, None if it has none."""
    try:
        with path.open("rb") as file:
            head = file.read(SpaceHeader.LAYOUT.size)
    except OSError:
        return None
    return SpaceHeader.parse(head) if len(head) == SpaceHeader.LAYOUT.size else None


def server_process(directory: Path, more: Iterable[Path] = ()) -> int | None:
    """The process id of the mysqld that runs on the directory, None if none does: it locks the files that it has open
    (os_file_lock()). 0 for one in another container, whose id can't be seen from here.

    It may have locked ``more`` files elsewhere. A server that has served a clone has lost the locks on its
    tablespaces, but not on the others (tested): so both are probed. It locks for writing; a lock for reading is that of
    an innoclone that serves the directory. Raises a file error where a file can't be opened.
    """
    patterns = ("mysql.ibd", "ibdata1", "ibtmp1", "#ib_*.dblwr")
    for path in (*(path for pattern in patterns for path in directory.glob(pattern)), *more):
        kind, holder = _in_the_way(path, fcntl.F_RDLCK)
        if kind != fcntl.F_UNLCK:
            return max(0, holder)
    return None


def is_served(directory: Path) -> bool:
    """Whether an innoclone serves the directory: its locks for reading keep a server waiting. Raises a file error."""
    return any(_in_the_way(directory / name, fcntl.F_WRLCK)[0] == fcntl.F_RDLCK for name in ("mysql.ibd", "ibdata1"))


def _in_the_way(path: Path, wanted: int) -> tuple[int, int]:
    """The kind of a lock that somebody has on a file and that stands in the way of this one, and whose it is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough to ask: the clone may be read-only
    except FileNotFoundError:
        return fcntl.F_UNLCK, 0  # a server that ends or starts just now
    except OSError as error:
        raise file_error(error, f"can't open {path}") from error
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(FLOCK, wanted, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(descriptor)
    kind, *_, holder = struct.unpack(FLOCK, found)
    return int(kind), int(holder)


class Base:
    """The older clone's files, set aside below ``#innoclone/base``."""

    def __init__(self, root: Path, *, set_aside: bool = True) -> None:
        """Move every tablespace of ``root`` aside, unless that was done. What an interrupted run left there is found
        again."""
        self._aside = root / OWN_DIR / ASIDE
        self._aside.mkdir(exist_ok=True)
        self._free: dict[tuple[int, int], list[Path]] = {}
        self._names: dict[Path, str] = {}
        self.renamed = 0
        for path in sorted({*(tablespaces(root) if set_aside else ()), *self._aside.iterdir()}):
            self._offer(path, "" if path.parent == self._aside else str(path.relative_to(root)))

    def _offer(self, path: Path, name: str) -> None:
        header = space_of(path)
        if header is None or is_temporary(header.space_id) or path.is_symlink():
            return
        if path.stat().st_nlink > 1:
            return  # a hard link: what is written here would change somebody's copy of the clone
        if path.parent != self._aside:
            number = len(self._names)
            while (place := self._aside / str(number)).exists():
                number += 1
            path = path.rename(place)
        self._names[path] = name
        self._free.setdefault((header.space_id, header.flags & SIZES), []).append(path)

    def take(self, space_id: int, flags: int | None, path: Path, name: str) -> bool:
        """Rename a file of this id and the page size of these flags, None for any, to ``path``; False if there is
        none."""
        alike = [files for (space, size), files in self._free.items() if space == space_id and _fits(size, flags)]
        found = next((files for files in alike if files), None)
        if found is None:
            return False
        wanted = name.removeprefix("./")
        best = next((one for one in found if self._names[one] == wanted), found[0])
        found.remove(best)
        if self._names[best] not in ("", wanted):  # an interrupted run has left no name
            self.renamed += 1
        best.rename(path)
        path.chmod(path.stat().st_mode & 0o777 | 0o600)
        return True

    def remove_rest(self) -> int:
        """Remove what the new snapshot has no use for; how many tablespaces that were."""
        left = sum(len(paths) for paths in self._free.values())
        shutil.rmtree(self._aside, ignore_errors=True)
        return left


def _fits(size: int, flags: int | None) -> bool:
    return flags is None or size == flags & SIZES
