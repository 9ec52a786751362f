"""The Python API of stores of snapshots; `innoclone.api` has all else, and says what holds for both."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Unpack

from innoclone.apicalls import Progress, server_of, watched
from innoclone.commands import bootcheck, storecare, storediff
from innoclone.commands.awaitedsnapshot import Awaited
from innoclone.commands.backup import BackupResult
from innoclone.commands.backup import backup as backup_clone
from innoclone.commands.bootcheck import BootChecked
from innoclone.commands.diff import Difference
from innoclone.commands.keywords import (
    BackupKeywords,
    BootCheckKeywords,
    LiveBackupKeywords,
    ServeKeywords,
    StoreRestoreKeywords,
    with_paths,
)
from innoclone.commands.livebackup import backup_live
from innoclone.commands.options import ServeOptions
from innoclone.commands.restore import RestoreResult
from innoclone.commands.serve import Serving, serve_until
from innoclone.commands.storecare import Forgotten, StoreListing
from innoclone.commands.storediff import StoredPlace
from innoclone.commands.storeoptions import (
    BackupOptions,
    BootCheckOptions,
    LiveBackupOptions,
    StoreAccess,
    StoreRestoreOptions,
)
from innoclone.commands.storerestore import restore_from_store
from innoclone.commands.verify import VerifyReport
from innoclone.errors import UsageError
from innoclone.records.limits import Limits
from innoclone.records.retention import Policy
from innoclone.records.status import CloneStatus
from innoclone.settings.dsn import is_dsn
from innoclone.store.care import GRACE, Pruned
from innoclone.store.checking import Checked
from innoclone.store.keys import KeyEntry, secret_of
from innoclone.transport.endpoint import Compression, Endpoint

__all__ = [
    "backup", "backup_server", "diff_places", "restore_snapshot", "serve_snapshot", "store_add_key", "store_boot_check",
    "store_forget", "store_info", "store_init",
    "store_keys", "store_list", "store_prune", "store_remove_key", "store_verify", "verify_snapshot",
]  # fmt: skip


def backup(
    clone: str | os.PathLike[str],
    store: StoreAccess,
    *,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[BackupKeywords],
) -> BackupResult:
    """Put a finished clone into a store, as a snapshot that is whole by itself; the clone is only read.

    ``options`` are the other fields of `BackupOptions` (``full``, ``threads``, ...). Raises a `CloneError`.
    """
    if is_dsn(os.fspath(clone)):
        raise UsageError("a server is no clone", hint="backup_server takes a running server")
    choice = BackupOptions(clone=Path(clone).absolute(), store=store, **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return backup_clone(choice, status=status, stopped=stopped, limits=limits)


def backup_server(
    donor: str | Endpoint,
    store: StoreAccess,
    *,
    password: str | None = None,
    compress: str | Compression = "off",
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[LiveBackupKeywords],
) -> BackupResult:
    """Put a running server into a store, with no copy of it on this host.

    ``options`` are the other fields of `LiveBackupOptions` (``full``, ``spool``, ``threads``, ...). Raises a
    `CloneError`.
    """
    compression = Compression(compress) if isinstance(compress, str) else compress
    choice = LiveBackupOptions(
        donor=server_of(donor, password), store=store, compression=compression, **with_paths(options)
    )
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return backup_live(choice, status=status, stopped=stopped, limits=limits)


def restore_snapshot(
    store: StoreAccess,
    directory: str | os.PathLike[str],
    *,
    snapshot: str = "latest",
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[StoreRestoreKeywords],
) -> RestoreResult:
    """Make a new data directory of a snapshot, whole or not at all, or with ``delta`` of the data that is there.

    ``options`` are the other fields of `StoreRestoreOptions` (``chown``, ``mysqld_check``, ...). Raises a `CloneError`.
    """
    choice = StoreRestoreOptions(store, snapshot, Path(directory).absolute(), **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return restore_from_store(choice, status=status, stopped=stopped, limits=limits)


def store_init(store: StoreAccess, *, encryption: bool = True, single_writer: bool = False) -> str:
    """Make a store; its id. Raises `TargetExists` where one is, `StoreUnsafe` for a place that overwrites objects."""
    return storecare.make_store(store, encrypted=encryption, single_writer=single_writer).id.hex()


def store_list(store: StoreAccess, keep: Policy | None = None) -> StoreListing:
    """The snapshots in a store; with ``keep`` also which of them these rules would keep."""
    return storecare.list_store(store, keep)


def store_info(store: StoreAccess, snapshot: str = "latest", *, packs: bool = False) -> dict[str, Any]:
    """All that a snapshot says of itself, its clone's manifest with it; with ``packs`` also how much of them it needs,
    for which their directories are read. Raises `StoreMissing`."""
    return storecare.snapshot_info(store, snapshot, packs=packs)


def store_verify(
    store: StoreAccess,
    snapshot: str = "",
    *,
    read_data: bool = False,
    subset: float = 100.0,
    threads: int = 4,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
) -> Checked:
    """Check one snapshot or all: everything is there, and with ``read_data`` ``subset`` percent of the packs are read.

    Raises `VerifyFailed`.
    """
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return storecare.verify_store(
            store, snapshot, read_data=read_data, subset=subset, threads=threads, status=status, stopped=stopped
        )


def store_boot_check(
    store: StoreAccess,
    snapshot: str = "latest",
    *,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    **options: Unpack[BootCheckKeywords],
) -> BootChecked:
    """Restore a snapshot for a while, let a private mysqld come up on it, and note what was found beside it.

    ``options`` are the other fields of `BootCheckOptions` (``scratch``, ``mysqld``, ...). Raises a `CloneError`.
    """
    choice = BootCheckOptions(store=store, snapshot=snapshot, **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return bootcheck.boot_check(choice, status=status, stopped=stopped)


def verify_snapshot(
    store: StoreAccess,
    snapshot: str = "latest",
    *,
    against: str | Endpoint | None = None,
    password: str | None = None,
    progress: Progress | None = None,
    progress_interval: float = 0.5,
    stopped: threading.Event | None = None,
    **options: Unpack[BootCheckKeywords],
) -> VerifyReport:
    """Restore a snapshot for a while and check it as `verify` does a clone, with ``against`` also against that server.

    ``options`` are the other fields of `BootCheckOptions`. Raises what `verify` does.
    """
    server = None if against is None else server_of(against, password)
    choice = BootCheckOptions(store=store, snapshot=snapshot, **with_paths(options))
    status = CloneStatus()
    with watched(status, progress, progress_interval):
        return bootcheck.verify_snapshot(choice, server, status=status, stopped=stopped)


def diff_places(
    old: str | os.PathLike[str] | StoredPlace, new: str | os.PathLike[str] | StoredPlace
) -> list[Difference]:
    """What differs between two clones, or snapshots in stores: a row for each tablespace. Raises a `CloneError`."""
    sides = [one if isinstance(one, StoredPlace) else Path(one).absolute() for one in (old, new)]
    return list(storediff.diff_places(*sides)[0])


def serve_snapshot(
    store: StoreAccess,
    snapshot: str = "latest",
    *,
    password: str,
    user: str = "clone",
    scratch: str | os.PathLike[str] | None = None,
    ready: Callable[[Serving], None] | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    **options: Unpack[ServeKeywords],
) -> int:
    """Restore a snapshot to a folder in ``scratch`` and serve it as `innoclone.api.serve` does a clone; how many took
    it in full.

    Recipients may come as soon as it listens; until ``ready`` is called, from another thread, they are told 3634. The
    folder is removed in the end. ``options`` are those of `innoclone.api.serve`. Raises a `CloneError`.
    """
    place = None if scratch is None else Path(scratch).absolute()
    choice = BootCheckOptions(store=store, snapshot=snapshot, scratch=place, keyring=options.get("keyring"))
    settings = ServeOptions(directory=Path(store.address), user=user, password=password, **with_paths(options))
    awaited = Awaited(choice, CloneStatus())
    return serve_until(stopped, settings, ready=ready, limits=limits, snapshot=awaited)


def store_forget(
    store: StoreAccess, snapshots: Sequence[str] = (), keep: Policy | None = None, *, dry_run: bool = False
) -> Forgotten:
    """Remove the named snapshots, or those that no rule of ``keep`` keeps, of each server for itself.

    Their space is freed by `store_prune`. What a running backup builds on stays. Raises `UsageError` for both or none.
    """
    return storecare.forget_snapshots(store, snapshots, keep or Policy(), dry_run=dry_run)


def store_prune(store: StoreAccess, *, grace: float = GRACE, dry_run: bool = False) -> Pruned:
    """Remove what no snapshot needs, once it has been marked for ``grace`` seconds. Backups may run meanwhile."""
    return storecare.prune_store(store, grace=grace, dry_run=dry_run)


def store_keys(store: StoreAccess) -> list[KeyEntry]:
    """The keys that open an encrypted store, the oldest first."""
    return storecare.store_keys(store)[1]


def store_add_key(store: StoreAccess, *, key_file: Path | None = None, passphrase_file: Path | None = None) -> str:
    """Let another key open the store as well; its id. Raises `UsageError` where none is named."""
    secret = secret_of(key_file, passphrase_file, new=True) if key_file or passphrase_file else None
    if secret is None:
        raise UsageError("the new key is missing", hint="key_file or passphrase_file")
    return storecare.add_store_key(store, secret)


def store_remove_key(store: StoreAccess, key: str, *, dry_run: bool = False) -> None:
    """Take a key away; never the one that opened the store just now. Raises `StoreMissing`, `UsageError`."""
    storecare.remove_store_key(store, key, dry_run=dry_run)
