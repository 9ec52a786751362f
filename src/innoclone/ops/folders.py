"""Where innoclone keeps what outlives a command: the user's state folder."""

from __future__ import annotations

import os
from pathlib import Path

from innoclone.errors import FileError

__all__ = ["state_directory"]

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
