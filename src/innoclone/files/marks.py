"""The marks by which a directory is known as a clone, finished or not, and what makes and removes them."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from innoclone.errors import FileError, TargetBusy
from innoclone.files.inuse import Purpose, mounts_below, refuse_in_use
from innoclone.files.lock import LOCK, take_lock
from innoclone.files.manifest import MANIFEST
from innoclone.files.names import CLONE_DIR, OWN_DIR, STATUS
from innoclone.files.system import file_error, sync_directory

__all__ = [
    "DIR_MODE",
    "FILE_MODE",
    "IN_PROGRESS",
    "UNTOUCHED",
    "WANT_RECOVERY_STATUS",
    "begin_directory",
    "is_mark",
    "is_recovered",
    "is_unfinished",
    "make_directory",
    "make_whole",
    "remove",
    "remove_clone",
    "undo_begun_update",
]

DIR_MODE, FILE_MODE = 0o750, 0o640  # what mysqld uses (my_umask_dir, my_umask)
IN_PROGRESS = "#status_in_progress"  # of clone0api.cc; a server refuses to start while it is there
UNTOUCHED = "untouched"  # in #innoclone, beside that: nothing of the earlier clone was changed yet, it is whole
WANT_RECOVERY_STATUS = "#replace_files"  # empty: the first server writes #status_recovery, and removes it


def is_unfinished(directory: Path) -> bool:
    """Whether the directory holds a clone of ours that never came to its end, or never to its beginning."""
    if not (directory / OWN_DIR).is_dir():
        return False
    if (directory / CLONE_DIR / IN_PROGRESS).exists():
        return True
    # Killed before the mark was made: nothing is there yet but the two folders.
    return all(is_mark(entry) for entry in directory.iterdir()) and not (directory / OWN_DIR / MANIFEST).exists()


def is_recovered(directory: Path) -> bool:
    """Whether a server has recovered the clone."""
    return not (directory / CLONE_DIR / WANT_RECOVERY_STATUS).exists()


def begin_directory(directory: Path) -> None:
    """Mark a directory, made if it is not there, as an unfinished clone: no server starts on it from here on."""
    for path in (directory, directory / OWN_DIR, directory / CLONE_DIR):
        make_directory(path)
    (directory / OWN_DIR / UNTOUCHED).unlink(missing_ok=True)
    (directory / CLONE_DIR / IN_PROGRESS).touch(mode=FILE_MODE)
    sync_directory(directory / CLONE_DIR)


def make_whole(directory: Path, *, fsync: bool) -> None:
    """Take the marks away from an earlier clone of which nothing was changed yet. Raises OSError."""
    (directory / CLONE_DIR / IN_PROGRESS).unlink()
    if fsync:
        sync_directory(directory / CLONE_DIR)
    for name in (UNTOUCHED, STATUS, LOCK):
        (directory / OWN_DIR / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # of a server's data that never was a clone; else something is in them
        (directory / OWN_DIR).rmdir()
        (directory / CLONE_DIR).rmdir()


def undo_begun_update(directory: Path) -> None:
    """Where a process was killed that had marked an earlier clone and changed nothing of it, that is whole again.

    Raises `TargetBusy` where that process still works, a file error.
    """
    marks = directory / CLONE_DIR / IN_PROGRESS, directory / OWN_DIR / UNTOUCHED
    if not all(mark.is_file() and not mark.parent.is_symlink() for mark in marks):
        return
    try:
        lock = take_lock(directory / OWN_DIR, directory)
        try:
            if all(mark.exists() for mark in marks):
                make_whole(directory, fsync=True)
        finally:
            os.close(lock)
    except OSError as error:
        raise file_error(error, f"can't take the marks from {directory}, which holds a whole clone") from error


def remove_clone(directory: Path) -> None:
    """Remove a finished clone so that what is left meanwhile is never taken for one.

    Raises `TargetBusy` if somebody uses it, a file error.
    """
    refuse_in_use(directory, Purpose.UPDATE)
    begin_directory(directory)
    for entry in directory.iterdir():
        if not is_mark(entry):
            remove(entry)
    (directory / OWN_DIR / MANIFEST).unlink(missing_ok=True)  # before the mark of the unfinished
    for name in (CLONE_DIR, OWN_DIR):
        remove(directory / name)
    directory.rmdir()


def make_directory(directory: Path, *, parents: bool = False) -> None:
    """Make a directory with mysqld's mode, whatever the umask is; one that is there is left as it is."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=DIR_MODE, parents=parents)
        directory.chmod(DIR_MODE)


def is_mark(entry: Path) -> bool:
    """Whether a directory's entry says that it is a clone; those are removed last."""
    return entry.name in (CLONE_DIR, OWN_DIR)


def remove(entry: Path) -> None:
    """Remove a file or a whole directory. Raises `TargetBusy` if something is mounted there, a file error."""
    try:
        if entry.is_dir() and not entry.is_symlink():
            if mounted := mounts_below(entry):  # whose content is not the clone's
                raise TargetBusy(f"{mounted[0]} is a mount point", hint=f"umount {mounted[0]}")
            shutil.rmtree(entry)
        else:
            entry.unlink()
    except OSError as error:
        raise FileError(f"can't remove {entry}: {error.strerror}") from error
