"""Why a directory can't be taken for a new clone, and what fits what is in it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from innoclone.errors import CloneError, TargetExists
from innoclone.files.base import is_earlier_clone, server_process
from innoclone.files.generations import generations_of
from innoclone.files.manifest import MANIFEST
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR

__all__ = ["is_data_directory", "occupied"]

ELSE = "or name another directory"


def occupied(directory: Path) -> TargetExists:
    """The error for a directory that exists and is not empty, with a hint by what it is."""
    if not directory.is_dir():
        return TargetExists(f"{directory} exists and is not a directory")
    hint = None
    with contextlib.suppress(CloneError, OSError):  # what can't be seen gets the plain hint
        hint = _hint(directory)
    return TargetExists(f"{directory} exists and is not empty", hint=hint)


def is_data_directory(directory: Path) -> bool:
    """Whether the directory is one that a server runs on, or could: the dictionary's tablespace is in it, under a name
    that no option changes."""
    return (directory / "mysql.ibd").exists()


def _hint(directory: Path) -> str | None:
    if is_data_directory(directory) and server_process(directory) is not None:
        return "a server runs on it: name another directory; 'innoclone replace' puts a clone in the place of its data"
    if is_unfinished(directory):
        return f"it holds an unfinished clone: 'innoclone discard {directory}' removes it, {ELSE}"
    if is_earlier_clone(directory):
        whose = "a clone" if (directory / OWN_DIR / MANIFEST).exists() else "a clone of the stock plugin"
        return (
            f"it holds {whose}: 'innoclone clone --write-changed-only', or 'innoclone local' again on the donor's host,"
            f" brings it up to date; {ELSE}"
        )
    if is_data_directory(directory):
        return "it is a server's data: name another directory; 'innoclone replace' puts a clone in its place"
    if generations_of(directory):
        return f"it holds dated clones: 'innoclone local --generations N --to {directory}' adds one; {ELSE}"
    return None
