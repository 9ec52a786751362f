"""A snapshot as a directory for a while: restored to a folder of ours, whole and proven, and removed in the end.

The room is looked for first. A folder that a killed process has left goes with the next that is made at the same place
(`innoclone.files.scratch`).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from innoclone.commands.restore import RestoreResult
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import BootCheckOptions, StoreRestoreOptions
from innoclone.commands.storerestore import restore_from_store
from innoclone.errors import DiskSpace, TargetUnusable
from innoclone.files.inuse import server_on
from innoclone.files.scratch import scratch_folder
from innoclone.files.system import file_error
from innoclone.records.history import BOOT_CHECK, TEMPORARY
from innoclone.records.status import CloneStatus
from innoclone.records.units import amount
from innoclone.server.cloned import is_private_server
from innoclone.server.programs import find_programs
from innoclone.store.repository import Repository
from innoclone.store.snapshots import Snapshot, find

__all__ = ["ForServing", "restored_for_a_while", "restored_to_serve"]

PREFIX = "innoclone-check-"
DATA = "data"  # in the folder
END_WITHIN = 10.0  # seconds for a server to be gone
FOR_SERVER = 256 << 20  # bytes that a server writes when it comes up: undo log, temporary tables, doublewrite files


@dataclass(frozen=True)
class ForServing:
    """A directory that is there for a while; ``address``: what was restored to it, with the snapshot's id."""

    directory: Path
    address: str
    snapshot: Snapshot | None = None


@contextlib.contextmanager
def restored_for_a_while(
    options: BootCheckOptions, repository: Repository, snapshot: Snapshot, status: CloneStatus,
    stopped: threading.Event, *, boot: bool = False,
) -> Iterator[RestoreResult]:  # fmt: skip
    """Meanwhile the snapshot is a directory, in a folder that is removed in the end. Raises `DiskSpace`."""
    if boot:
        find_programs(options.mysqld)  # before much is read
    stored = sum(file.map.stored for file in snapshot.contents(repository).files)
    with scratch_folder(options.scratch, PREFIX, status.notes, end_left=_end_server) as folder:
        _refuse_small(folder, stored + FOR_SERVER)
        yield restore_from_store(
            StoreRestoreOptions(
                store=options.store, snapshot=snapshot.name, directory=folder / DATA, mysqld_check=boot,
                mysqld=options.mysqld, keyring=options.keyring, map_paths=(("/", str(folder / "outside")),),
                threads=options.threads, fsync=False,
            ),
            status=status, stopped=stopped, operation=BOOT_CHECK if boot else TEMPORARY,
        )  # fmt: skip


@contextlib.contextmanager
def restored_to_serve(
    options: BootCheckOptions, *, status: CloneStatus | None = None, stopped: threading.Event | None = None
) -> Iterator[ForServing]:
    """Meanwhile a snapshot is a directory that a donor can serve. Raises `TargetUnusable` for one with tablespaces
    outside of its directory, before anything is read, `DiskSpace`, what `restore_from_store` does."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    repository = opened(options.store, stopped)
    snapshot = find(repository, options.snapshot)
    address = f"{repository.address}@{snapshot.id}"
    if outside := snapshot.contents(repository).manifest.get("external_directories"):
        raise TargetUnusable(
            f"{address} has tablespaces outside: in {outside[0]}", hint="only what is in a directory can be served"
        )
    with restored_for_a_while(options, repository, snapshot, status, stopped) as result:
        yield ForServing(result.directory, address, snapshot)


def _end_server(folder: Path) -> None:
    """A private mysqld outlives the process that was killed while it tried the snapshot. Nobody else knows of it, and
    the folder is ours."""
    process = server_on(folder / DATA)
    if process is None:
        return
    descriptor = os.pidfd_open(process)
    try:
        if is_private_server(process) and server_on(folder / DATA) == process:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], END_WITHIN)
    finally:
        os.close(descriptor)


def _refuse_small(folder: Path, needed: int) -> None:
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise file_error(error, f"can't look at {folder}") from error
    if disk.f_bavail * disk.f_frsize < needed:
        free = amount(disk.f_bavail * disk.f_frsize)
        raise DiskSpace(
            f"{amount(needed)} are needed in {folder.parent} for the snapshot, {free} are free",
            hint="--scratch FOLDER names another place",
        )
