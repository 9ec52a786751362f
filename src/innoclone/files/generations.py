"""A folder of dated clones that share unchanged blocks: names, the newest, the removal of old ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from pathlib import Path

from innoclone.errors import TargetBusy, TargetExists
from innoclone.files.base import tablespaces
from innoclone.files.copying import FICLONE
from innoclone.files.lock import take_lock
from innoclone.files.marks import begin_directory, is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error, sync_directory

__all__ = [
    "LATEST",
    "generations",
    "name_for",
    "point_latest",
    "reflink_base",
    "remove_old",
    "remove_unfinished",
    "shares_blocks",
]

LATEST = "latest"
NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z\Z")


def name_for(moment: float) -> str:
    """The directory name of a generation: its time in UTC, fit for every file system."""
    return time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(moment))


def generations(folder: Path) -> list[Path]:
    """Finished generations, oldest first."""
    found = [path for path in folder.iterdir() if NAME.match(path.name) and path.is_dir() and not path.is_symlink()]
    return sorted(path for path in found if not is_unfinished(path))


def shares_blocks(folder: Path) -> bool:
    """Whether files in ``folder`` can share blocks with one another (FICLONE)."""
    one, other = folder / ".innoclone-probe-1", folder / ".innoclone-probe-2"
    try:
        one.write_bytes(b"probe")
        with one.open("rb") as source, other.open("wb") as copy:
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    finally:
        one.unlink(missing_ok=True)
        other.unlink(missing_ok=True)
    return True


def reflink_base(older: Path, new: Path) -> None:
    """Make ``new`` an unfinished clone with the tablespaces of ``older``, sharing their blocks. Raises a file error."""
    begin_directory(new)
    try:
        for path in tablespaces(older):
            place = new / path.relative_to(older)
            place.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, place.open("xb") as copy:
                fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError as error:
        raise file_error(error, f"can't share blocks between {older} and {new}") from error


def point_latest(folder: Path, newest: Path) -> None:
    """Let ``latest`` name the newest generation, in one step. Raises `TargetExists` if it is not a symbolic link."""
    link, beside = folder / LATEST, folder / f".{LATEST}.new"
    if link.exists() and not link.is_symlink():
        raise TargetExists(f"{link} is not a symbolic link", hint="rename it: innoclone keeps that name up to date")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    beside.symlink_to(newest.name)
    beside.replace(link)
    sync_directory(folder)


def remove_unfinished(folder: Path) -> list[Path]:
    """Remove what interrupted runs left, unless one is at work there. What was removed."""
    gone = []
    for path in folder.iterdir():
        if not NAME.match(path.name) or path.is_symlink() or not is_unfinished(path):
            continue
        with contextlib.suppress(TargetBusy):
            lock = take_lock(path / OWN_DIR, path)
            shutil.rmtree(path)
            os.close(lock)
            gone.append(path)
    return gone


def remove_old(folder: Path, keep: int) -> list[Path]:
    """Remove the oldest finished generations beyond ``keep``; they are made unbootable first. What was removed."""
    old = generations(folder)[:-keep]
    for path in old:
        begin_directory(path)
        shutil.rmtree(path)
    return old
