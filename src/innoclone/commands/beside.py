"""A clone's successor is made beside it, and takes its place once it is whole: ``--keep-base``."""

from __future__ import annotations

from pathlib import Path

from innoclone.commands.earlierclone import check_same_donor, check_unchanged
from innoclone.errors import CloneError, TargetExists
from innoclone.files.base import is_earlier_clone
from innoclone.files.marks import is_unfinished
from innoclone.files.ownlife import refuse_losses
from innoclone.files.swap import exchange
from innoclone.records.status import CloneStatus
from innoclone.transport.endpoint import Endpoint

__all__ = ["settle_sibling", "take_place"]


def settle_sibling(new: Path, donor: Endpoint, uuid: str, discard: bool, status: CloneStatus) -> None:
    """What an earlier run has left where a successor is made may be a whole clone by now, even a server's data. Raises
    `TargetExists` where that is not ours to use, or is of another server than ``donor`` with this ``uuid``."""
    if new.is_symlink():
        raise TargetExists(f"{new} is a symbolic link", hint="the new clone is made there: remove the link")
    if new.is_dir() and is_earlier_clone(new) and not is_unfinished(new):
        check_unchanged(new, discard, status)
        check_same_donor(new, donor, uuid, discard, status)


def take_place(new: Path, old: Path, discard: bool) -> None:
    """Let the new clone, which is whole, take the place of the old one. Raises why it can't: both stay then."""
    try:
        if not discard:
            refuse_losses(old)  # it was a whole clone all the time: a server may have run on it
        exchange(new, old)
    except CloneError as error:
        error.advice = f"the new clone is complete, in {new}; {error.advice}"
        raise
