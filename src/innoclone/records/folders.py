"""Where innoclone keeps what outlives a command: the user's state folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from innoclone.errors import FileError, TargetBusy
from innoclone.files.system import file_error

__all__ = ["claim", "state_directory"]

OF_THE_SYSTEM = Path("/var/lib/innoclone")


def state_directory() -> Path:
    """``innoclone`` in $XDG_STATE_HOME or ~/.local/state; for root without $HOME, as in a service, /var/lib/innoclone.

    It need not exist. Raises `FileError` for a user without a home.
    """
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if base.is_absolute():  # the specification of base directories: ignore others
        return base / "innoclone"
    if not os.environ.get("HOME") and os.geteuid() == 0:
        return OF_THE_SYSTEM
    try:
        return Path.home() / ".local" / "state" / "innoclone"
    except RuntimeError as error:
        raise FileError("this user has no home", hint="set HOME or XDG_STATE_HOME") from error


def claim(folder: Path) -> int:
    """Make ``folder``, for this user only, and be the only process that uses it until the descriptor is closed.

    Raises `TargetBusy` where another one does, a file error.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error(error, f"can't use {folder}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TargetBusy(f"another process uses {folder}", hint="stop it, or name another folder") from error
    return descriptor
