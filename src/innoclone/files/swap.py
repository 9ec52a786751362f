"""Putting a finished directory in the place of an older one, in one step of the file system."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from innoclone.errors import TargetUnusable
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.lock import take_lock
from innoclone.files.marks import make_directory, remove_clone
from innoclone.files.names import OWN_DIR
from innoclone.files.ownership import give
from innoclone.files.system import file_error, sync_directory

__all__ = ["exchange", "exchange_names", "fresh_sibling", "hold_for_swap"]

_libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
RENAME_EXCHANGE = 2  # linux/fs.h
SUFFIX = ".innoclone-new"


def fresh_sibling(directory: Path) -> Path:
    """Where a directory's successor is built: beside it, so that both are on one file system."""
    return directory.with_name(directory.name + SUFFIX)


@contextlib.contextmanager
def hold_for_swap(directory: Path) -> Iterator[int]:
    """Meanwhile no other process of ours works on the earlier clone; the descriptor of the lock.

    Raises `TargetBusy`; `TargetUnusable` where it could not be swapped; a file error.
    """
    if directory.is_mount():
        raise TargetUnusable(f"{directory} is a mount point: it can't be swapped", hint="name a directory below it")
    refuse_in_use(directory, Purpose.REMOVE)
    own = directory / OWN_DIR
    try:
        make_directory(own)
        give(own, directory)
        lock = take_lock(own, directory)
    except OSError as error:
        raise file_error(error, f"can't use {own}") from error
    try:
        yield lock
    finally:
        os.close(lock)


def exchange(new: Path, old: Path) -> None:
    """Swap the two directories atomically (renameat2(2)), then remove the older one, which is at ``new`` by then.

    Raises a file error; until the swap the older one is untouched. A removal that is cut short leaves what no server
    starts on, and what the next run recognizes. Raises `TargetBusy` if somebody uses the older one.
    """
    refuse_in_use(old, Purpose.REMOVE)
    exchange_names(new, old)
    remove_clone(new)


def exchange_names(new: Path, old: Path) -> None:
    """Swap two directories atomically and durably. Raises a file error, `TargetBusy` if a server runs on the older."""
    refuse_in_use(old, Purpose.START)
    names = [os.fsencode(path) for path in (new, old)]
    if _libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise file_error(OSError(number, os.strerror(number)), f"can't swap {new}, which is complete, and {old}")
    for parent in {new.parent, old.parent}:
        sync_directory(parent)
