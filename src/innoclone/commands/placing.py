"""Where a clone may be made: not in what a server, a clone or the agent has, nor under a name that nobody can use."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from innoclone.errors import TargetExists, TargetMisplaced, TargetUnusable
from innoclone.files.base import is_earlier_clone
from innoclone.files.occupied import is_data_directory

__all__ = ["LONGEST_PATH", "check_place"]

LONGEST_PATH = 511  # bytes: a server's FN_REFLEN without its end; longer ones it can't open


def check_place(directory: Path, *, taken: Iterable[Path] = ()) -> None:
    """Raise `TargetMisplaced`, `TargetExists` or `TargetUnusable` for a place that no clone may have.

    A server searches its data directory for tablespaces when it starts, and who removes a clone, or a server's data,
    removes what is in it. ``taken``: folders with another purpose.
    """
    text = str(directory)
    if not text.isprintable():
        raise TargetUnusable(f"{text!r} has control characters in it", hint="choose another name")
    if len(os.fsencode(text)) > LONGEST_PATH or any(len(os.fsencode(part)) > 255 for part in directory.parts):
        raise TargetUnusable(f"{text[:80]}... is too long for a path", hint="choose a shorter one")
    real = Path(os.path.realpath(directory))
    if real == real.parent:
        raise TargetExists(f"{directory} is the root of all files")
    for folder in taken:
        if real.is_relative_to(os.path.realpath(folder)):
            raise TargetMisplaced(f"{directory} lies within {folder}, which is the agent's own")
    for parent in real.parents:
        if is_data_directory(parent):
            raise TargetMisplaced(f"{directory} lies within {parent}, the data directory of a server")
        if is_earlier_clone(parent):
            raise TargetMisplaced(f"{directory} lies within {parent}, which is a clone")
