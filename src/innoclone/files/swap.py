"""Putting a finished directory in the place of an older one, in one step of the file system."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from innoclone.files.system import file_error
from innoclone.files.target import sync_directory

__all__ = ["exchange", "fresh_sibling"]

_libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_EXCHANGE = 2  # linux/fs.h
SUFFIX = ".innoclone-new"


def fresh_sibling(directory: Path) -> Path:
    """Where a directory's successor is built: beside it, so that both are on one file system."""
    return directory.with_name(directory.name + SUFFIX)


def exchange(new: Path, old: Path) -> None:
    """Swap the two directories atomically (renameat2(2)), then remove the older one, which is at ``new`` by then.

    Raises a file error; until the swap the older one is untouched.
    """
    names = [os.fsencode(path) for path in (new, old)]
    if _libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise file_error(OSError(number, os.strerror(number)), f"can't swap {new} and {old}")
    sync_directory(old.parent)
    shutil.rmtree(new)
