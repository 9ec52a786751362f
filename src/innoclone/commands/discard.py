"""``innoclone discard``: what is left of an unfinished clone goes."""

from __future__ import annotations

from pathlib import Path

from innoclone.commands.inspect import Condition, inspect
from innoclone.commands.runrecord import record_dead
from innoclone.errors import TargetBusy, TargetExists
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.marks import undo_begun_update
from innoclone.records.status import CloneStatus

__all__ = ["discard"]


def discard(directory: Path) -> bool:
    """Remove an unfinished clone with its files outside by mapping; whether the directory itself could go too.

    Raises `TargetExists` for a finished one, `TargetBusy` if somebody uses it, `TargetUnusable` if no clone of
    ours is there, a file error.
    """
    found = inspect(directory)
    if found.holder is not None:
        raise TargetBusy(f"{found.holder} is working on {directory}", hint=f"innoclone stop {directory}")
    undo_begun_update(directory)
    found = inspect(directory)
    if found.condition is Condition.COMPLETE:
        refuse_in_use(directory, Purpose.REMOVE)  # nobody is to be told how to remove what is in use
        raise TargetExists(
            f"{directory} holds a finished clone",
            hint="only unfinished clones are removed; if nobody needs it any more, remove it with rm -r",
        )
    record_dead(directory, CloneStatus())
    return remove_unfinished_clone(directory)
