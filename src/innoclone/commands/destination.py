"""Where a clone may be made, and whose it becomes: not in what a server, a clone or the agent has, nor under a name
that nobody can use."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from innoclone.errors import FileError, TargetExists, TargetMisplaced, TargetUnusable, UsageError
from innoclone.files.base import is_earlier_clone
from innoclone.files.occupied import is_data_directory

__all__ = ["LONGEST_PATH", "check_place", "owner_of", "places_of"]

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


def places_of(directory: Path, mapping: tuple[tuple[str, str], ...]) -> list[Path]:
    """The directory of a clone, and those to which files outside are mapped."""
    return [directory, *(Path(new) for _, new in mapping)]


def owner_of(text: str | None) -> tuple[int, int] | None:
    """User and group ids of ``user``, ``user:group`` or ``:group``; -1 leaves one as it is. Raises `UsageError`."""
    if text is None:
        return None
    user, _, group = text.partition(":")
    try:
        account = pwd.getpwnam(user) if user and not user.isdigit() else None
        uid = account.pw_uid if account else int(user or -1)
        if group:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        else:
            gid = account.pw_gid if account else -1
    except KeyError as error:
        raise UsageError(f"--chown {text}: no such user or group") from error
    if os.geteuid() != 0 and (uid not in (-1, os.geteuid()) or gid not in (-1, *os.getgroups())):
        raise FileError(f"--chown {text} needs root")
    return uid, gid
