"""What is in a directory onto which a snapshot is restored: may it be written over, and what of it is kept.

It is an earlier clone of the same server that is as it was cloned; anything else that it could lose, as the rows that a
server has written since, or a directory that is simply a server's, takes the user's word (``--discard-changes``). And
even then nothing goes but InnoDB's data and the tables: binary and relay logs, auto.cnf, option files, certificates,
and whatever somebody put there are moved, before the first byte is written, into a folder beside. There they must be:
a server that found its old binary logs would take their transactions for its own, which aren't in its data any more.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from innoclone.errors import DiskSpace, TargetExists, TargetUnusable
from innoclone.files.base import is_earlier_clone
from innoclone.files.belongings import belongings
from innoclone.files.keyring import is_configuration
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.marks import is_unfinished, undo_begun_update
from innoclone.files.names import OWN_DIR
from innoclone.files.occupied import is_data_directory, occupied
from innoclone.files.ownlife import refuse_losses
from innoclone.files.system import file_error, sync_directory
from innoclone.records.units import amount
from innoclone.sinks.directory import Target
from innoclone.store.contents import StoredFile
from innoclone.store.snapshots import Snapshot

__all__ = ["KEPT", "has_data", "keep_beside", "refuse_loss", "refuse_too_large"]

KEPT = ".innoclone-kept-"  # behind the directory's name, and then the moment
MADE_BY_ANY_BOOT = r"mysql_upgrade_(history|info)"
DISCARD = "--discard-changes if all of its tables may become the snapshot's; its other files are kept beside"


def has_data(directory: Path) -> bool:
    """Whether there is something that a restore can use. Raises `TargetBusy`, a file error."""
    undo_begun_update(directory)
    return directory.is_dir() and any(directory.iterdir())


def refuse_loss(directory: Path, snapshot: Snapshot, *, discard_changes: bool) -> None:
    """Raise `TargetExists` where something would be lost that nobody gave up; `TargetUnusable`, a file error."""
    if is_unfinished(directory):
        return  # what was there was given up by then
    if not is_earlier_clone(directory) and not is_data_directory(directory):
        raise occupied(directory)
    manifest = read_manifest(directory) if (directory / OWN_DIR / MANIFEST).exists() else {}
    if manifest.get("series"):
        raise TargetExists(
            f"{directory} is one of a series of clones, and would be what its name doesn't say",
            hint="restore to a directory of its own",
        )
    if discard_changes:
        return
    if not is_earlier_clone(directory):
        raise TargetExists(f"{directory} is a server's data, and no clone", hint=DISCARD)
    whose = manifest.get("donor", {}).get("uuid")
    if manifest and whose != snapshot.donor:
        raise TargetExists(f"{directory} is a clone of another server, {whose}", hint=DISCARD)
    refuse_losses(directory)


def refuse_too_large(directory: Path, files: Sequence[StoredFile]) -> None:
    """Before anything is changed: with what is there, the disk has room for all files. Raises `DiskSpace`."""
    there = [path.lstat().st_blocks * 512 for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    needed = sum(file.map.stored for file in files) - sum(there)
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise DiskSpace(f"{amount(needed)} more are needed in {directory}, {amount(free)} are free")


def keep_beside(target: Target, directory: Path) -> Path | None:
    """Move what is no data into a new folder beside; that folder, None where there was nothing.

    Raises `TargetUnusable` where that can't be, or where nobody can tell data from what is not; a file error.
    """
    manifest = read_manifest(directory) if (directory / OWN_DIR / MANIFEST).exists() else {}
    system = [row["path"] for row in manifest.get("files", ()) if "/" not in row["path"]]
    found = belongings(directory, [*map(re.escape, system), MADE_BY_ANY_BOOT])
    found = [path for path in found if not is_configuration(path, manifest) and not _is_empty_folder(path)]
    if not found:
        return None
    real = Path(os.path.realpath(directory))
    if real.is_mount():
        raise TargetUnusable(
            f"{directory} is a mount point, and {found[0].name} can't be kept beside it",
            hint=f"move {', '.join(path.name for path in found)} elsewhere",
        )
    beside = real.with_name(f"{real.name}{KEPT}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    target.begin_change()
    try:
        beside.mkdir(mode=0o750)
        owner = real.stat()
        if os.geteuid() == 0:
            os.chown(beside, owner.st_uid, owner.st_gid)
        for path in found:
            path.rename(beside / path.name)
        for changed in (beside, real, real.parent):
            sync_directory(changed)
    except OSError as error:
        raise file_error(error, f"can't keep what is in {directory} in {beside}") from error
    return beside


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
