"""Whose a data directory is: root that updates a clone leaves it to its owner, with the modes that it has.

mysqld runs as that user and fails (errno 13) on the first file that isn't its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from innoclone.files.base import ASIDE, tablespaces
from innoclone.files.marks import DIR_MODE, FILE_MODE
from innoclone.files.names import OWN_DIR

__all__ = ["Ownership", "give", "settle"]


class Ownership(NamedTuple):
    """Owner and modes of a data directory: of itself, its folders and its files."""

    uid: int
    gid: int
    mode: int
    folder_mode: int = DIR_MODE
    file_mode: int = FILE_MODE

    @classmethod
    def of(cls, directory: Path) -> Ownership:
        """As they are: folders go by ``mysql``, files by ``mysql.ibd`` or else a tablespace that was set aside; an
        empty directory has mysqld's usual modes. Raises OSError."""
        state = directory.stat()
        modes = [stat.S_IMODE(state.st_mode), DIR_MODE, FILE_MODE]
        aside = directory / OWN_DIR / ASIDE
        files = [directory / "mysql.ibd", *(sorted(aside.iterdir()) if aside.is_dir() else tablespaces(directory)[:1])]
        for at, candidates in ((1, [directory / "mysql"]), (2, files)):
            for path in candidates:
                if path.exists() and not path.is_symlink():
                    modes[at] = stat.S_IMODE(path.stat().st_mode)
                    break
        return cls(state.st_uid, state.st_gid, *modes)

    @property
    def ids(self) -> tuple[int, int] | None:
        """User and group to give files to; None where they are ours anyway, or can't be given away."""
        return (self.uid, self.gid) if os.geteuid() == 0 else None


def settle(root: Path, outside: Iterable[Path], was: Ownership | None, wished: tuple[int, int] | None) -> None:
    """Give a whole clone, with its files ``outside``, owner and modes: as ``wished`` (-1 leaves one as it was), else as
    it ``was``: of a clone that is updated, of the directory that was there, of its predecessor. Raises OSError."""
    owner = wished or (was.ids if was else None)
    if was and owner:
        owner = (was.uid if owner[0] < 0 else owner[0], was.gid if owner[1] < 0 else owner[1])
    if not was and not owner:
        return
    root = Path(os.path.realpath(root))  # not the link that may lead to it
    for path in [root, *root.rglob("*"), *outside]:
        if owner:
            os.chown(path, *owner, follow_symlinks=False)
        state = path.lstat()
        if was and not stat.S_ISLNK(state.st_mode):
            inner = was.folder_mode if stat.S_ISDIR(state.st_mode) else was.file_mode
            mode = was.mode if path == root else inner
            if stat.S_IMODE(state.st_mode) != mode:
                path.chmod(mode)


def give(path: Path, like: Path) -> None:
    """Give a file or folder that root has made to the owner of ``like``. Raises OSError."""
    if os.geteuid() == 0:
        state = like.stat()
        os.chown(path, state.st_uid, state.st_gid, follow_symlinks=False)
