"""Folders that a command needs for a while, and that go with its end; one that was killed leaves its to the next one.

What is left is removed only where it is ours and nobody uses it: made by this user on this host, with the note that it
was given, which knows it by its inode; its lock is free, and no process has anything in it open.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from innoclone.errors import CloneError
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.lock import take_lock
from innoclone.files.marks import remove
from innoclone.files.outside import identity_of
from innoclone.files.system import file_error

__all__ = ["scratch_folder"]

NOTE = "innoclone-scratch.json"


@contextlib.contextmanager
def scratch_folder(
    parent: Path | None, prefix: str, notes: list[str], *, end_left: Callable[[Path], None] = lambda _: None
) -> Iterator[Path]:
    """A new folder in ``parent`` (None: that of temporary files), removed in the end. What killed commands have left of
    the same ``prefix`` is removed first, which ``notes`` tell; ``end_left`` is called with it before, to end what such
    a command has started in it. Raises a file error."""
    place = (parent or Path(tempfile.gettempdir())).absolute()  # mappings are made of it
    _clean(place, prefix, notes, end_left)
    lock = -1
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        try:
            lock = take_lock(folder, folder)  # before the note: without one nobody takes it for what was left
            (folder / NOTE).write_text(json.dumps(_note(folder)))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise file_error(error, f"can't make a folder in {place}") from error
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError, CloneError):
            _remove(folder)  # made by `mkdtemp`, for this
        os.close(lock)


def _remove(folder: Path) -> None:
    """The note goes last: who is killed meanwhile leaves what the next one can remove. Raises `TargetBusy`, a file
    error, OSError."""
    for entry in folder.iterdir():
        if entry.name != NOTE:
            remove(entry)
    (folder / NOTE).unlink()
    folder.rmdir()


def _note(folder: Path) -> list[object]:
    """Whose it is: the host, and the folder itself; a device's number may be another one after a reboot."""
    return [socket.gethostname(), os.geteuid(), *(identity_of(folder) or ())[1:]]


def _clean(place: Path, prefix: str, notes: list[str], end_left: Callable[[Path], None]) -> None:
    """Remove what was left there; what can't be proven or removed stays."""
    with contextlib.suppress(OSError):
        for folder in sorted(place.glob(f"{prefix}*")):
            with contextlib.suppress(OSError, CloneError, ValueError):
                if _is_left(folder, end_left):
                    notes.append(f"{folder}, which a command that was killed had left, was removed")


def _is_left(folder: Path, end_left: Callable[[Path], None]) -> bool:
    """Whether it was ours, and is gone now. Raises `TargetBusy`, OSError, ValueError."""
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) != stat.S_IRWXU:
        return False
    note = folder / NOTE
    if note.is_symlink() or json.loads(note.read_bytes()) != _note(folder):
        return False
    lock = take_lock(folder, folder)
    try:
        end_left(folder)
        refuse_in_use(folder, Purpose.REMOVE)
        _remove(folder)
    finally:
        os.close(lock)
    return True
