"""What is asked before a clone takes the place of what is there: an earlier clone, or one that was never finished."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from innoclone.errors import PathRefused, TargetExists
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.manifest import MANIFEST, donor_text, read_manifest
from innoclone.files.marks import is_unfinished
from innoclone.files.names import ANY_TABLE, OWN_DIR, place
from innoclone.files.outside import earlier_outside
from innoclone.files.ownlife import losses, refuse_losses
from innoclone.receive.resume import Resumable
from innoclone.records.status import CloneStatus
from innoclone.server.preflight import DonorFacts
from innoclone.transport.endpoint import Endpoint

__all__ = [
    "check_same_donor", "check_still_same_donor", "check_unchanged", "refuse_occupied", "refuse_unfinished_of_other",
]  # fmt: skip


def refuse_occupied(
    names: Iterable[str], directory: Path, mapping: tuple[tuple[str, str], ...], *, beside: bool = False
) -> None:
    """Raise `PathRefused`, before an earlier clone is touched, if something is where one of the donor's files outside
    (``names``) shall go: anything but a file of the earlier clone, and that too if it stays whole ``beside``."""
    earlier = earlier_outside(directory, mapping)
    for name in names:
        placed = place(name, ANY_TABLE, directory, mapping)
        if beside and placed.exists():
            raise PathRefused(
                f"{placed} may be the earlier clone's, which --keep-base leaves whole",
                hint="map its directory elsewhere with --map-path",
            )
        if os.path.lexists(placed) and not any(outside.is_ours(placed) for outside in earlier):
            raise PathRefused(
                f"{placed} exists already, and not from the clone in {directory}",
                hint="it may be another clone's: map its directory elsewhere with --map-path",
            )


def check_unchanged(directory: Path, discard: bool, status: CloneStatus) -> None:
    """Before an earlier clone is updated: what has become its own goes only where that is wished, and is named first.

    Raises `TargetExists` otherwise, `TargetBusy` if somebody uses it, a file error.
    """
    refuse_in_use(directory, Purpose.UPDATE)
    if not discard:
        refuse_losses(directory)
    elif found := losses(directory):
        status.notes.append(f"what {directory} has of its own goes: {'; '.join(found)}")


def refuse_unfinished_of_other(directory: Path, left: Resumable, uuid: str | None) -> None:
    """Raise `TargetExists` where what is ``left`` in the directory is of another server than the one with this UUID."""
    donor = left.begin["donor"]
    if donor["uuid"] != uuid:
        raise TargetExists(
            f"{directory} holds an unfinished clone of another server, {donor['address']}",
            hint=f"name another directory, or remove what is there: innoclone discard {directory}",
        )


def check_same_donor(directory: Path, donor: Endpoint, uuid: str, discard: bool, status: CloneStatus) -> None:
    """Before a whole clone is updated or replaced: one of another server than ``donor``, whose UUID is ``uuid``, goes
    only where that is wished, and is named first. Raises `TargetExists` otherwise, `FileError` for a damaged manifest.
    """
    if is_unfinished(directory) or not (directory / OWN_DIR / MANIFEST).exists():
        return
    manifest = read_manifest(directory)
    was = manifest.get("donor") or {}
    if not uuid or not was.get("uuid") or was["uuid"] == uuid:
        return
    text = f"{donor_text(was)} ({was['uuid']}), finished {manifest.get('finished')}"
    if not discard:
        raise TargetExists(
            f"{directory} is a clone of another server than {donor} ({uuid}), and would be lost: of {text}",
            hint="name another directory, or say --discard-changes if that clone may go",
        )
    status.notes.append(f"the clone of another server in {directory} goes: of {text}")


def check_still_same_donor(
    directory: Path, donor: Endpoint, was: DonorFacts, now: DonorFacts, discard: bool, status: CloneStatus
) -> None:
    """Before a clone is begun anew in place of one that was lost: ``donor`` may be another server by ``now``, after a
    failover, and what is in the directory is the first one's. Raises `TargetExists`, unless that may go."""
    before, uuid = was.variables.get("server_uuid", ""), now.variables.get("server_uuid", "")
    if not before or before == uuid:
        return
    if not discard:
        raise TargetExists(
            f"another server answers at {donor} by now ({uuid}): what {directory} holds is of the first one ({before}),"
            " and would be lost",
            hint=f"clone that one from its address, or name another directory; innoclone discard {directory} removes"
            " what is unfinished",
        )
    status.notes.append(f"another server answers at {donor} by now ({uuid}): what was there of {before} goes")
