"""Can the user whose the clone shall be start mysqld on it? Tried out as that user, before anything is copied.

Mode bits don't tell: there are ACLs, groups, mount options and security modules. So a child process becomes the user
and tries.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from innoclone.errors import BootFailed, TargetUnusable
from innoclone.server.programs import Programs

__all__ = ["owner_to_be", "refuse_unfit_user", "refuse_without_mysqld"]


def owner_to_be(directory: Path, wished: tuple[int, int] | None) -> tuple[int, int]:
    """User and group id that a clone is going to have: those of ``wished`` that aren't -1, else of the directory that
    is there, else ours."""
    here = directory.stat() if directory.is_dir() else None
    uid, gid = wished or (-1, -1)
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    return (
        uid if uid >= 0 else here.st_uid if here else 0,
        gid if gid >= 0 else here.st_gid if here else 0,
    )


def refuse_unfit_user(programs: Programs, user: tuple[int, int], places: Iterable[Path]) -> None:
    """Raise `BootFailed` if the user can't execute mysqld, `TargetUnusable` if it can't come to one of ``places``,
    which need not exist yet. Only root runs a server for another user: nobody else has anything to try."""
    if os.geteuid() != 0 or user[0] == 0:
        return
    refuse_without_mysqld(programs, user)
    temporary = Path(tempfile.gettempdir())  # the server's socket and temporary files lie in it
    for place in (*places, temporary / "any"):
        for folder in reversed(place.absolute().parents):
            if not os.path.lexists(folder):
                break
            if not _can(user, [shutil.which("test") or "/usr/bin/test", "-x", str(folder)]):
                raise TargetUnusable(
                    f"{_name(user)}, who is to start mysqld, has no search permission on {folder}",
                    hint=f"chmod o+x {folder}, choose another {'TMPDIR' if place.parent == temporary else 'directory'},"
                    " or leave --boot out",
                )


def refuse_without_mysqld(programs: Programs, user: tuple[int, int]) -> None:
    """Raise `BootFailed` if the user can't execute mysqld."""
    if not _can(user, [*programs.mysqld, "--no-defaults", "--version"]):
        raise BootFailed(
            f"{_name(user)} can't execute {programs.mysqld[-1]}",
            hint="name a mysqld that everybody can execute with --mysqld",
        )


def _can(user: tuple[int, int], command: Sequence[str]) -> bool:
    uid, gid = user
    try:
        groups = os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        groups = []  # an id without an account
    try:
        done = subprocess.run(
            command, user=uid, group=gid, extra_groups=groups, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip
    except OSError:
        return False
    return done.returncode == 0


def _name(user: tuple[int, int]) -> str:
    try:
        return f"user {pwd.getpwuid(user[0]).pw_name}"
    except KeyError:
        return f"user id {user[0]}"
