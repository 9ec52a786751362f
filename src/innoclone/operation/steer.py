"""Stopping a clone that another process makes, and taking away what is left of one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from innoclone.errors import TargetBusy, TargetExists
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Deed, refuse_in_use
from innoclone.files.lock import Holder, holder_of
from innoclone.operation.inspect import Condition, inspect
from innoclone.operation.options import STOP_TIMEOUT
from innoclone.operation.run import record_dead
from innoclone.ops.status import CloneStatus

__all__ = ["discard", "stop"]

POLL = 0.05  # seconds


def stop(directory: Path, *, timeout: float = STOP_TIMEOUT) -> Holder | None:
    """End the process that works on a clone in order (SIGTERM), and wait for that; which one it was, None if there was
    none.

    What is left can be continued. Raises `TargetUnusable` if no clone is there, `TargetBusy` if the process can't be
    reached or hasn't ended after ``timeout`` seconds.
    """
    holder = inspect(directory).holder
    if holder is None:
        return None
    _terminate(holder, directory)
    end = time.monotonic() + timeout
    while holder_of(directory) == holder:
        if time.monotonic() > end:
            raise TargetBusy(
                f"{holder} was told to end and has not after {timeout:g} s",
                hint=f"wait, or kill -9 {holder.pid}: the clone can be continued then too",
            )
        time.sleep(POLL)
    return holder


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
        raise TargetExists(f"{directory} holds a finished clone", hint="remove it with rm -r if you mean it")
    record_dead(directory, CloneStatus())
    return remove_unfinished_clone(directory)


def _terminate(holder: Holder, directory: Path) -> None:
    """SIGTERM to exactly that process: the pidfd is of the one that was found to have its start time."""
    try:
        descriptor = os.pidfd_open(holder.pid) if holder.pid else -1
    except ProcessLookupError:
        descriptor = -1
    try:
        if descriptor < 0 or not holder.is_here:
            if holder_of(directory) != holder:
                return  # it has ended by itself
            raise TargetBusy(
                f"{holder} is working on {directory}, and no such process can be seen from here",
                hint="stop it on its own host, or in its container",
            )
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise TargetBusy(f"{holder} belongs to another user", hint="stop it as that user, or as root") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
