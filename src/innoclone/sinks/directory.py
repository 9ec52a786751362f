"""The directory that a clone is written into: created, locked, marked as unfinished, and finished last of all.

Write order (rule 3 of docs/design.md): ``#clone/#status_in_progress`` exists before any data, and a stock server
refuses to boot while it does. At the end data files, directories and marker files are synced, the manifest is written
and synced, and only then the marker is removed and its directory synced. A crash at any point leaves either an
unbootable directory or a complete one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from innoclone.errors import CloneError, TargetUnusable
from innoclone.files.base import ASIDE, Base, is_earlier_clone
from innoclone.files.foreignfiles import refuse_strangers
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.lock import LOCK, take_lock
from innoclone.files.manifest import MANIFEST
from innoclone.files.marks import (
    FILE_MODE,
    IN_PROGRESS,
    UNTOUCHED,
    WANT_RECOVERY_STATUS,
    is_mark,
    is_unfinished,
    make_directory,
    make_whole,
    remove,
    undo_begun_update,
)
from innoclone.files.names import CLONE_DIR, OWN_DIR, OWN_KEYRING, REDO_DIR, SERIES, STATUS, Mapping
from innoclone.files.occupied import is_data_directory, occupied
from innoclone.files.outside import Outside, earlier_outside
from innoclone.files.ownership import Ownership, settle
from innoclone.files.ownlife import refuse_losses
from innoclone.files.system import file_error, sync_directory, write_all
from innoclone.sinks.clonefiles import CloneFiles

__all__ = ["Target"]

CONFIGURATION_MODE = 0o600
FIX_AFTER_BOOT = (
    "#status_fix"  # of clone0api.cc: the booting server re-creates schema directories and empty non-InnoDB tables
)


class Target(CloneFiles):
    """An open clone directory: the sink (`innoclone.stream.sink.Sink`) of a clone that becomes a server's data."""

    def __init__(
        self,
        root: Path,
        mapping: Mapping = (),
        *,
        fsync: bool = True,
        reuse: bool = False,
        replace: bool = False,
        keep: bool = False,
        data: bool = False,
        discard_changes: bool = False,
        like: Path | None = None,
    ) -> None:
        """Create or take over ``root``; with ``reuse`` an earlier clone there becomes the `base` of this one, with
        ``replace`` it is removed. With ``keep`` that is left to `start` or `go_on`, and nothing is touched yet.
        With ``data`` a server's data directory that never was a clone is one, too.
        What the earlier clone has of its own (`innoclone.files.ownlife`) goes only with ``discard_changes``. Owner and
        modes stay as they are there, or else become those of the directory ``like``.

        Raises `TargetExists` unless it is missing, empty or an unfinished clone of ours; `TargetBusy` if somebody uses
        it; `TargetUnusable` if it can't be created.
        """
        super().__init__(root.absolute(), mapping, fsync=fsync)
        self._reuse, self._replace, self._discard_changes = reuse, replace, discard_changes
        self._data = data
        self.restarted = False  # an unfinished clone was there and has been removed
        self._ownership: Ownership | None = None  # of what was there
        self._created = self._was_unfinished = self._was_whole = False
        self._changed = False  # what was there
        self._went_on = False
        self._cleared = False  # for the clone that starts next
        self._lock = -1
        try:
            if (source := self.root if self.root.is_dir() else like) is not None:
                self._ownership = Ownership.of(source)
            self._open()
            if not keep:
                self.clear()
        except OSError as error:
            self.release()
            raise TargetUnusable(f"can't use {self.root}: {error.strerror}") from error
        except BaseException:
            self.release()
            raise

    def _open(self) -> None:
        for own in (self.root / OWN_DIR, self.root / CLONE_DIR):
            if own.is_symlink():  # what it leads to would be emptied
                raise TargetUnusable(f"{own} is a symbolic link", hint="put the folder itself there")
        undo_begun_update(self.root)
        if not self.root.exists():
            make_directory(self.root)
            self._created = True
        elif not self.root.is_dir() or (any(self.root.iterdir()) and not self._may_take()):
            raise occupied(self.root)
        else:
            self._was_unfinished = is_unfinished(self.root)
            self._was_whole = not self._was_unfinished and (is_earlier_clone(self.root) or self._is_data())
            outside = [path for one in earlier_outside(self.root, self.mapping) for path in one.files]
            refuse_in_use(self.root, Purpose.UPDATE, outside=outside)
            if not self._discard_changes:
                refuse_losses(self.root)
        self.opened()
        for name in (OWN_DIR, CLONE_DIR):
            make_directory(self.root / name)
        self._lock = take_lock(self.root / OWN_DIR, self.root)
        if self._was_whole:
            (self.root / OWN_DIR / UNTOUCHED).touch(mode=FILE_MODE)
        (self.root / CLONE_DIR / IN_PROGRESS).touch(mode=FILE_MODE)

    @property
    def lock(self) -> int:
        """The descriptor of the lock, until `release`."""
        return self._lock

    @property
    def is_as_found(self) -> bool:
        """Whether it is an unfinished clone that nothing was done with."""
        return self._was_unfinished and not self._changed and not self._went_on

    def start(self) -> None:
        """Make room for a new clone, unless that was done since the last one."""
        if not self._cleared:
            self.clear()
        self._cleared = False

    def clear(self, *, reuse: bool = False) -> None:
        """Make room for a new clone: remove what an earlier one left, or set it aside as the `base`; with ``reuse``
        also what this process itself has written so far."""
        self.check_place()
        if self._was_unfinished and not self._discard_changes:
            refuse_strangers(self.root)
        self.begin_change()
        if reuse or (self._reuse and not self._created):
            if self.fsync:
                sync_directory(self.root / CLONE_DIR)  # before the first change to what was a good clone
            self.base = Base(self.root)
        self._remove_remains()
        self.outside = Outside(self.root)
        self._made = {self.root}
        for name in ("mysql", REDO_DIR):
            self._make_directory(self.root / name)
        if self.fsync:
            for directory in (self.root / CLONE_DIR, self.root, self.root.parent):
                sync_directory(directory)
        self._cleared = True

    def begin_change(self) -> None:
        """From now on what is there is no longer the whole clone that it was, and stays marked."""
        self._changed = True
        (self.root / OWN_DIR / UNTOUCHED).unlink(missing_ok=True)
        if self.fsync:
            sync_directory(self.root / OWN_DIR)

    def go_on(self) -> None:
        """Take an unfinished clone over as it is."""
        self._went_on = True
        if (self.root / OWN_DIR / ASIDE).is_dir():
            self.base = Base(self.root, set_aside=False)
        self.outside = Outside.recorded(self.root)
        for entry in self.root.iterdir():
            if entry.is_dir() and not entry.is_symlink() and entry.name != OWN_DIR:
                self._made |= {entry, *(path for path in entry.rglob("*") if path.is_dir() and not path.is_symlink())}

    def _may_take(self) -> bool:
        earlier = (self._reuse or self._replace) and is_earlier_clone(self.root)
        return is_unfinished(self.root) or earlier or self._is_data()

    def _is_data(self) -> bool:
        return self._data and is_data_directory(self.root)

    def _remove_remains(self) -> None:
        """Empty the directory of an earlier unfinished clone, but for the marker and the lock."""
        keep = {OWN_DIR, CLONE_DIR}
        for entry in list(self.root.iterdir()):
            if entry.name in keep:
                continue
            self.restarted = self.base is None
            remove(entry)
        for entry in (self.root / CLONE_DIR).iterdir():
            if entry.name != IN_PROGRESS:
                remove(entry)
        for outside in earlier_outside(self.root, self.mapping):
            outside.remove()
        for entry in (self.root / OWN_DIR).iterdir():
            if entry.name not in (LOCK, ASIDE, STATUS, SERIES, OWN_KEYRING):
                remove(entry)

    # ---- the end -------------------------------------------------------------------------------------------

    def finish(
        self,
        manifest: dict[str, object],
        views: dict[str, str],
        *,
        configuration: dict[str, str] | None = None,
        owner: tuple[int, int] | None,
        markers: Iterable[str] = (FIX_AFTER_BOOT, WANT_RECOVERY_STATUS),
    ) -> None:
        """Make the directory bootable: markers, manifest, ownership, syncs, and last of all the removal of the mark.

        ``views`` are files of ``#clone/`` that a booted server shows in performance_schema, ``markers`` those that tell
        it what a first boot has to do, ``configuration`` files of the data directory for its owner alone. Data files
        must have been synced before.
        """
        clone_dir, own_dir = self.root / CLONE_DIR, self.root / OWN_DIR
        self.check_place()
        try:
            for name in markers:
                self._write(clone_dir / name, "")
            for name, content in views.items():
                self._write(clone_dir / name, content)
            self._write(own_dir / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            for name, content in (configuration or {}).items():
                self._write(self.root / name, content)
            settle(self.root, self.outside.ours(), self._ownership, owner)
            for name in configuration or ():
                (self.root / name).chmod(CONFIGURATION_MODE)
            self._sync_directories()
            (clone_dir / IN_PROGRESS).unlink()
            if self.fsync:
                sync_directory(clone_dir)
            for entry in own_dir.iterdir():  # what only an unfinished clone needs
                if entry.name != MANIFEST:
                    remove(entry)
        except OSError as error:
            raise file_error(error, f"can't finish {self.root}") from error
        self.release()

    def _write(self, path: Path, content: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(fd, FILE_MODE)
            write_all(fd, content.encode(), 0)
            if self.fsync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _sync_directories(self) -> None:
        if not self.fsync:
            return
        directories = {self.root, self.root / CLONE_DIR, self.root / OWN_DIR, self.root.parent} | self._made
        for directory in directories | {path.parent for path in self.external}:
            sync_directory(directory)

    def discard(self) -> None:
        """Undo everything: the files outside, the content, and the directory if this run created it.

        An earlier clone that `start` has not touched yet stays, and so does what somebody put into an unfinished one.
        """
        with contextlib.suppress(OSError, CloneError):
            if not self.put_back() and self._may_remove():
                self.outside.remove()
                self._remove_all()
        self.release()

    def put_back(self) -> bool:
        """Where a whole clone was and nothing of it has been changed yet: let it be whole again; whether it was so."""
        if self._changed or not self._was_whole or not self.is_there():
            return False
        with contextlib.suppress(OSError):  # then it stays marked, which the next run can do with
            make_whole(self.root, fsync=self.fsync)
        self.release()
        return True

    def _may_remove(self) -> bool:
        """Whether what is there is this run's, or an unfinished clone's that serves nobody. Raises `TargetExists`."""
        if self._changed or self._created:
            return True
        if self._was_unfinished:
            refuse_strangers(self.root)
        return not (self._was_whole or (self._was_unfinished and self._reuse))

    def _remove_all(self) -> None:
        """The mark of the unfinished goes last: what is left in between can't be taken for a clone."""
        if self.is_there():
            for entry in sorted(self.root.iterdir(), key=is_mark):
                remove(entry)
            if self._created:
                self.root.rmdir()

    def release(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
