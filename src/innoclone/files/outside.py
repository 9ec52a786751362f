"""Files and folders of a clone outside its directory, where mappings sent them: what of them is ours to remove.

A path proves nothing: what was there may have been moved, and something else put in its place, another clone's file for
instance. So each one is written down with device, inode and the inode's generation (ioctl_getversion of ext4, xfs and
btrfs, 0 elsewhere; an inode number alone is soon used again), and only that very file is ever removed. A copied
directory (cp -a) has the list, too: the directory's own identity is in it, so that a copy removes nothing of the
original's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from innoclone.files.manifest import MANIFEST
from innoclone.files.names import OWN_DIR, Mapping

__all__ = ["EXTERNAL", "Outside", "borrowed", "earlier_outside", "identity_of"]

EXTERNAL = "external-files.json"  # a line for each, while the clone is unfinished
GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION of linux/fs.h

Identity = list[int]


def identity_of(path: Path) -> Identity | None:
    """Device, inode, generation of a file or folder; None if there is none, or only a symbolic link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        state = os.fstat(fd)
        generation = 0
        with contextlib.suppress(OSError):
            generation = struct.unpack("I4x", fcntl.ioctl(fd, GET_GENERATION, bytes(8)))[0]
        return [state.st_dev, state.st_ino, generation]
    finally:
        os.close(fd)


class Outside:
    """The list of one clone."""

    def __init__(self, directory: Path) -> None:
        """An empty one, for what a clone in ``directory`` is going to make."""
        self._directory = Path(os.path.realpath(directory))
        self._known: dict[Path, Identity | None] = {}  # None: announced, and maybe made

    @classmethod
    def recorded(cls, directory: Path) -> Outside:
        """What an unfinished clone wrote down; nothing if the directory is a copy of it. A line that a crash tore is of
        a file that was not made yet."""
        found = cls(directory)
        with contextlib.suppress(OSError):
            for line in (directory / OWN_DIR / EXTERNAL).read_text().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    row: dict[str, Any] = json.loads(line)
                    if row["of"] == identity_of(found._directory):
                        found._known[Path(row["path"])] = row["identity"]
        return found

    @classmethod
    def of_finished(cls, directory: Path, mapping: Mapping) -> Outside:
        """What of a finished clone is in the way of a new one with this mapping; nothing if the directory is a copy."""
        found = cls(directory)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            listed = json.loads((directory / OWN_DIR / MANIFEST).read_text())["outside"]
            if listed["of"] == identity_of(found._directory):
                rows = [(Path(row["path"]), row["identity"]) for row in listed["files"]]
                found._known = {
                    path: known for path, known in rows if any(path.is_relative_to(new) for _, new in mapping)
                }
        return found

    @property
    def for_manifest(self) -> dict[str, object]:
        """What `of_finished` reads."""
        files = [{"path": str(path), "identity": known} for path, known in self._known.items() if known]
        return {"of": identity_of(self._directory), "files": files}

    def announce(self, path: Path, like: Path | None = None) -> None:
        """Write a file or folder down before it is made, or before ``like`` is renamed to it. Raises OSError."""
        self._write(path, None if like is None else identity_of(like))

    def note(self, path: Path) -> None:
        """Write down what was made. Raises OSError."""
        self._write(path, identity_of(path))

    def give_up(self, path: Path) -> None:
        """What is there was not made by us. Raises OSError."""
        self._write(path, [])

    def _write(self, path: Path, known: Identity | None) -> None:
        self._known[path] = known
        with (self._directory / OWN_DIR / EXTERNAL).open("a") as record:
            row = {"path": str(path), "identity": known, "of": identity_of(self._directory)}
            record.write(json.dumps(row) + "\n")

    def is_ours(self, path: Path) -> bool:
        """Whether what is at a path is proven to be the very thing that the clone made."""
        known, here = self._known.get(path, []), identity_of(path)
        return here is not None and (here == known or (known is None and _is_empty(path)))

    def ours(self) -> Iterator[Path]:
        """What is there and ours; files before their folders, the deepest first."""
        return (path for path in sorted(self._known, key=lambda one: -len(one.parts)) if self.is_ours(path))

    @property
    def files(self) -> list[Path]:
        """Files that are ours, as far as they are there."""
        return [path for path in self.ours() if not path.is_dir()]

    def remove(self) -> None:
        """Remove what is ours; a folder only where nothing is left in it. Raises OSError."""
        for path in self.ours():
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
            else:
                path.unlink(missing_ok=True)
        self._known.clear()


def earlier_outside(directory: Path, mapping: Mapping) -> list[Outside]:
    """What an earlier clone in the directory made outside, whether it came to its end or not."""
    return [Outside.recorded(directory), Outside.of_finished(directory, mapping)]


def borrowed(directory: Path) -> Path | None:
    """A file outside that a copied clone (cp -a) shares with the clone that it was copied from, if there is one: a
    server on the copy would write into the original's data."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        listed = json.loads((directory / OWN_DIR / MANIFEST).read_text())["outside"]
        if listed["of"] != identity_of(Path(os.path.realpath(directory))):
            for row in listed["files"]:
                path = Path(row["path"])
                if path.is_file() and identity_of(path) == row["identity"]:
                    return path
    return None


def _is_empty(path: Path) -> bool:
    """As it is between being made and being written down; nobody misses that."""
    try:
        state = path.lstat()
        return not any(path.iterdir()) if stat.S_ISDIR(state.st_mode) else state.st_size == 0
    except OSError:
        return False
