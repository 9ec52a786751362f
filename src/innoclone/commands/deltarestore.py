"""What is in a directory onto which a snapshot is restored: may it be written over, and what of it is kept.

It is an earlier clone of the same server that is as it was cloned; anything else that it could lose, as the rows that a
server has written since, or a directory that is simply a server's, takes the user's word (``--discard-changes``). And
even then nothing goes but InnoDB's data and the tables: binary and relay logs, auto.cnf, option files, certificates,
and whatever somebody put there are moved, before the first byte is written, into a folder beside. There they must be:
a server that found its old binary logs would take their transactions for its own, which aren't in its data any more.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from innoclone.errors import DiskSpace, PathRefused, TargetExists, TargetUnusable
from innoclone.files.base import base_files, is_earlier_clone, space_of
from innoclone.files.belongings import belongings
from innoclone.files.keyring import is_configuration
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.marks import is_unfinished, undo_begun_update
from innoclone.files.names import OWN_DIR, Mapping
from innoclone.files.occupied import is_data_directory, occupied
from innoclone.files.outside import earlier_outside
from innoclone.files.ownlife import refuse_losses
from innoclone.files.system import file_error, sync_directory
from innoclone.records.units import amount
from innoclone.sinks.directory import Target
from innoclone.store.contents import StoredFile
from innoclone.store.snapshots import Snapshot

__all__ = ["KEPT", "has_data", "keep_beside", "refuse_foreign", "refuse_loss", "refuse_too_large"]

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


def refuse_foreign(directory: Path, places: Sequence[Path], mapping: Mapping) -> None:
    """Before anything is changed: no file outside is in the way of the snapshot's. Raises `PathRefused`."""
    earlier = earlier_outside(directory, mapping)
    for path in places:
        foreign = not path.is_relative_to(directory) and os.path.lexists(path)
        if foreign and not any(one.is_ours(path) for one in earlier):
            raise PathRefused(f"{path} exists already", hint="it may be another clone's: map its directory elsewhere")


def refuse_too_large(directory: Path, files: Sequence[StoredFile], places: Sequence[Path]) -> None:
    """Before anything is changed: with the data that is there, its disk has room for all files that go there.

    What is kept beside needs its room on, and so does a file that has another name elsewhere. Raises `DiskSpace`,
    what `keep_beside` does.
    """
    spaces = [path for path in base_files(directory) if path.is_file() and path.lstat().st_nlink == 1]
    headers = [(space_of(path), path.lstat().st_blocks * 512) for path in spaces]
    there = {header.space_id: size for header, size in headers if header is not None}
    staying = {*base_files(directory), *_no_data(directory)}
    freed = sum(
        path.lstat().st_blocks * 512
        for path in directory.rglob("*")
        if path.is_file() and path.lstat().st_nlink == 1 and staying.isdisjoint((path, *path.parents))
    )
    device = directory.stat().st_dev
    needed = -freed
    for file, path in zip(files, places, strict=True):
        if _device_of(path.parent) == device:
            needed += max(0, file.map.stored - (0 if file.space_id is None else there.get(file.space_id, 0)))
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise DiskSpace(f"{amount(needed)} more are needed in {directory}, {amount(free)} are free")


def keep_beside(target: Target, directory: Path) -> Path | None:
    """Move what is no data into a new folder beside; that folder, None where there was nothing.

    Raises `TargetUnusable` where that can't be, or where nobody can tell data from what is not; a file error.
    """
    target.check_place()
    found = _no_data(directory)
    if not found:
        return None
    real = Path(os.path.realpath(directory))
    beside = real.with_name(f"{real.name}{KEPT}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    try:
        _make_beside(beside, real, found)
        target.begin_change()
        for path in found:
            path.rename(beside / path.name)
        for changed in (beside, real, real.parent):
            sync_directory(changed)
    except OSError as error:
        raise file_error(error, f"can't keep what is in {directory} in {beside}") from error
    return beside


def _no_data(directory: Path) -> list[Path]:
    """The entries of a directory that go beside."""
    manifest = read_manifest(directory) if (directory / OWN_DIR / MANIFEST).exists() else {}
    system = [row["path"] for row in manifest.get("files", ()) if "/" not in row["path"]]
    found = belongings(directory, [*map(re.escape, system), MADE_BY_ANY_BOOT])
    return [path for path in found if not is_configuration(path, manifest) and not _is_empty_folder(path)]


def _make_beside(beside: Path, real: Path, found: Sequence[Path]) -> None:
    """The folder, once it is proven that all of it can be moved there: else nothing may have begun."""
    fixed = [path for path in found if path.is_dir() and not path.is_symlink() and not os.access(path, os.W_OK)]
    if fixed:
        raise TargetUnusable(f"{fixed[0]} is another user's and can't be kept beside {real}", hint="move it elsewhere")
    beside.mkdir(mode=0o750)
    probe = Path(tempfile.mkdtemp(prefix=f"{OWN_DIR}-", dir=real))
    try:
        if os.geteuid() == 0:
            owner = real.stat()
            os.chown(beside, owner.st_uid, owner.st_gid)
        probe = probe.rename(beside / probe.name)
    except OSError as error:
        probe.rmdir()
        beside.rmdir()
        if error.errno != errno.EXDEV:
            raise
        raise TargetUnusable(
            f"{real} is a mount point, and {found[0].name} can't be kept beside it",
            hint=f"move {', '.join(path.name for path in found)} elsewhere",
        ) from error
    probe.rmdir()


def _device_of(folder: Path) -> int:
    """Of the file system on which a folder is, or will be made."""
    return next(one for one in (folder, *folder.parents) if one.exists()).stat().st_dev


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
