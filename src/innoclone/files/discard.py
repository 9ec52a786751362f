"""Taking an unfinished clone away, with its files outside the directory."""

from __future__ import annotations

import os
from pathlib import Path

from innoclone.errors import TargetExists
from innoclone.files.foreignfiles import refuse_strangers
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.lock import take_lock
from innoclone.files.marks import is_unfinished, remove_clone
from innoclone.files.names import OWN_DIR
from innoclone.files.outside import Outside
from innoclone.files.system import file_error

__all__ = ["remove_unfinished_clone"]


def remove_unfinished_clone(directory: Path) -> bool:
    """Remove an unfinished clone of ours; whether the directory itself could go too: a mount point can't, and one that
    a symbolic link leads to stays.

    Raises `TargetExists` if it is none or holds what is not the clone's, `TargetBusy` if somebody works on it or uses
    it, a file error.
    """
    if not is_unfinished(directory):
        raise TargetExists(f"{directory} holds no unfinished clone", hint="nothing was removed")
    try:
        lock = take_lock(directory / OWN_DIR, directory)
    except OSError as error:
        raise file_error(error, f"can't lock {directory}") from error
    try:
        if not is_unfinished(directory):
            raise TargetExists(f"{directory} holds a clone that was just finished", hint="nothing was removed")
        refuse_strangers(directory)
        outside = Outside.recorded(directory)
        refuse_in_use(directory, Purpose.UPDATE, outside=outside.files)
        outside.remove()
        remove_clone(directory)
    except OSError as error:
        if any(directory.iterdir()):
            raise file_error(error, f"can't remove {directory}") from error
        return False
    finally:
        os.close(lock)
    return True
