"""``innoclone stop``: the end of a clone that this or another process makes, in order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from innoclone.commands.inspect import inspect
from innoclone.commands.options import LONGEST_WAIT, STOP_TIMEOUT, bounded
from innoclone.errors import TargetBusy
from innoclone.files.lock import LOCK, Holder, holder_at, request_stop
from innoclone.files.names import OWN_DIR
from innoclone.files.replacing import Places
from innoclone.files.system import file_error

__all__ = ["Stopped", "stop"]

POLL = 0.05  # seconds


@dataclass(frozen=True)
class Stopped:
    """Who has ended its work; ``replacing`` if that was to replace a server's data."""

    holder: Holder
    replacing: bool


def stop(directory: Path, *, timeout: float = STOP_TIMEOUT) -> Stopped | None:
    """End the work on a clone in order, or on a server's data that is being replaced, and wait for that. None if there
    was none.

    Only that ends: the process may do other work, as the agent's does. What is left can be continued. Raises
    `TargetUnusable` if no clone is there, `TargetBusy` if whoever works can't be reached or hasn't ended after
    ``timeout`` seconds.
    """
    bounded("timeout", timeout, 0, LONGEST_WAIT)
    own, replacing = Places(directory).folder, True
    holder = holder_at(own / LOCK)
    if holder is None:
        own, replacing = directory / OWN_DIR, False
        holder = inspect(directory).holder
    if holder is None:
        return None
    _ask(holder, own, directory)
    end = time.monotonic() + timeout
    while holder_at(own / LOCK) == holder:
        if time.monotonic() > end:
            raise TargetBusy(
                f"{holder} was told to end its work on {directory} and has not after {timeout:g} s",
                hint=f"wait, or kill -9 {holder.pid}, which ends all that this process does: the clone can be continued"
                " then too",
            )
        time.sleep(POLL)
    return Stopped(holder, replacing=replacing)


def _ask(holder: Holder, own: Path, directory: Path) -> None:
    try:
        if request_stop(own, holder) or holder_at(own / LOCK) != holder:
            return
    except FileNotFoundError:
        return  # it has ended by itself, and nothing is left
    except PermissionError as error:
        raise TargetBusy(f"{holder} belongs to another user", hint="stop it as that user, or as root") from error
    except OSError as error:
        raise file_error(error, f"can't ask {holder} to end") from error
    raise TargetBusy(f"{holder} is working on {directory}, and can't be asked to end", hint="stop it by itself")
