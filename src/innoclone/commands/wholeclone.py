"""A finished clone that is read as a whole, by a restore or a backup: found, held, and proven to be what it was."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.commands.stoprequest import stop_on_request
from innoclone.errors import BootFailed, TargetExists, TargetUnusable
from innoclone.files.base import is_earlier_clone
from innoclone.files.generations import LATEST
from innoclone.files.inuse import Purpose
from innoclone.files.lock import LOCK, take_lock
from innoclone.files.marks import begin_directory, is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.files.occupied import occupied
from innoclone.files.system import file_error
from innoclone.records.history import RESTORE
from innoclone.records.status import CloneStatus
from innoclone.records.statusfile import read_status
from innoclone.server import cloned

__all__ = ["boot_restored", "held", "look_at", "refuse_changed_clone", "refuse_target"]


def look_at(clone: Path) -> None:
    """It is a finished clone, on which no server runs. Raises `TargetUnusable`, `TargetBusy`."""
    try:
        inside = clone.is_dir() and not is_earlier_clone(clone) and not (clone / "mysql.ibd").exists()
        if inside and (clone / LATEST).is_dir():
            raise TargetUnusable(
                f"{clone} holds clones, and is none itself",
                hint=f"innoclone list {clone} shows them; the newest is {clone / LATEST}",
            )
        cloned.check_bootable(clone, Purpose.LOOK)
    except OSError as error:
        raise file_error(error, f"can't look at {clone}") from error


def refuse_changed_clone(clone: Path, manifest: dict[str, Any], status: CloneStatus, *, accept: bool) -> bool:
    """Whether a server of its own has run on it since, which only ``accept`` allows. Raises `TargetUnusable`."""
    if not cloned.was_changed(clone, manifest):
        return False
    if not accept:
        raise TargetUnusable(
            f"a server of its own has run on {clone} since it was cloned: it is no longer the backup it was",
            hint="--accept-changes restores it as that server left it",
        )
    if manifest.get("external_directories"):
        raise TargetUnusable(
            f"{clone} has tablespaces outside its directory and was changed by a server: nothing says what "
            "belongs to it now",
            hint="start that server and clone it",
        )
    status.notes.append(
        f"a server of its own has run on {clone}: it is restored as that left it, but with a new server UUID; "
        "a binary log position is that of the clone, before its changes"
    )
    return True


@contextlib.contextmanager
def held(clone: Path, status: CloneStatus, stopped: threading.Event) -> Iterator[None]:
    """Keep other processes of ours from changing or removing the clone. Raises `TargetBusy`.

    Who may not write there can't do that; that nothing was changed is proven at the end anyway.
    """
    own = clone / OWN_DIR
    try:
        lock = take_lock(own, clone)
    except OSError:
        status.notes.append(f"{clone} can't be locked: nothing else may change it meanwhile")
        yield
        return
    try:
        if os.geteuid() == 0:
            owner = own.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)
        with stop_on_request(lock, stopped):
            yield
    finally:
        with contextlib.suppress(OSError):
            (own / LOCK).unlink()
        os.close(lock)


def refuse_target(directory: Path) -> None:
    """Only what doesn't exist, is empty, or is what an earlier restore left unfinished. Raises `TargetExists`, a file
    error."""
    try:
        if not directory.is_dir():
            if os.path.lexists(directory):
                raise occupied(directory)
            return
        if is_unfinished(directory):
            last = read_status(directory)
            if last is not None and last.get("operation") != RESTORE:
                raise TargetExists(
                    f"{directory} holds an unfinished clone of {last.get('source', 'a server')}",
                    hint=f"the same {last.get('operation', 'clone')} command continues it, "
                    f"innoclone discard {directory} removes it",
                )
        elif any(directory.iterdir()):
            raise occupied(directory)
    except OSError as error:
        raise file_error(error, f"can't look at {directory}") from error


def boot_restored(directory: Path, mysqld: Path | None, status: CloneStatus, stopped: threading.Event) -> str:
    """Let a private mysqld come up on what was restored; its version. Where it can't, no other shall."""
    try:
        return boot(BootOptions(directory, mysqld=mysqld), status=status, stopped=stopped).version
    except BootFailed as error:
        begin_directory(directory)
        error.advice = (
            f"{directory} was left for a look, and no server starts on it: read its #innoclone/boot.log, "
            f"restore another clone, and remove it with innoclone discard {directory}"
        )
        raise
