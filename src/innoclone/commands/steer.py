"""Stopping a clone that another process makes, and taking away what is left of one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from innoclone.commands.inspect import Condition, inspect
from innoclone.commands.options import STOP_TIMEOUT
from innoclone.commands.recorded import record_dead
from innoclone.errors import TargetBusy, TargetExists
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Deed, refuse_in_use
from innoclone.files.lock import LOCK, Holder, holder_at, request_stop
from innoclone.files.names import OWN_DIR
from innoclone.files.replacing import Places
from innoclone.files.system import file_error
from innoclone.records.status import CloneStatus

__all__ = ["Stopped", "discard", "stop"]

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


def discard(directory: Path) -> bool:
    """Remove an unfinished clone with its files outside by mapping; whether the directory itself could go too.

    Raises `TargetExists` for a finished one, `TargetBusy` if somebody uses it, `TargetUnusable` if no clone of
    ours is there, a file error.
    """
    found = inspect(directory)
    if found.holder is not None:
        raise TargetBusy(f"{found.holder} is working on {directory}", hint=f"innoclone stop {directory}")
    if found.condition is Condition.COMPLETE:
        refuse_in_use(directory, Deed.REMOVE)  # nobody is to be told how to remove what is in use
        raise TargetExists(
            f"{directory} holds a finished clone",
            hint="only unfinished clones are removed; if nobody needs it any more, remove it with rm -r",
        )
    record_dead(directory, CloneStatus())
    return remove_unfinished_clone(directory)


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
