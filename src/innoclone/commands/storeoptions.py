"""What backups and restores of a store can be told, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from innoclone.commands.options import MAX_BANDWIDTH, MAX_THREADS, bounded, refuse_relative

__all__ = ["BackupOptions", "StoreAccess", "StoreRestoreOptions"]


@dataclass(frozen=True)
class StoreAccess:
    """Where a store is and what opens it. ``options`` are obstore's, beside the providers' own environment."""

    address: str
    key_file: Path | None = None
    passphrase_file: Path | None = None  # neither: INNOCLONE_STORE_PASSPHRASE
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class BackupOptions:
    """A finished clone becomes a snapshot in a store. Raises UsageError when a value is out of bounds."""

    clone: Path  # a symbolic link to it will do
    store: StoreAccess
    full: bool = False  # build on no earlier snapshot
    accept_changes: bool = False  # also if a server of its own has run on the clone
    threads: int = 4  # parts of files at the same time; each fills a pack of its own
    max_data_bandwidth: float = 0  # MiB/s read, 0 = no limit
    verify_pages: bool = True

    def __post_init__(self) -> None:
        """Refuse what no backup could run with."""
        bounded("threads", self.threads, 1, MAX_THREADS)
        bounded("max-data-bandwidth", self.max_data_bandwidth, 0, MAX_BANDWIDTH)


@dataclass(frozen=True)
class StoreRestoreOptions:
    """A snapshot in a store becomes a new data directory. Raises UsageError when a value is out of bounds."""

    store: StoreAccess
    snapshot: str
    directory: Path
    chown: str | None = None
    mysqld_check: bool = False  # let a private mysqld come up on the new directory once
    mysqld: Path | None = None
    keyring: Path | None = None  # of an encrypted clone; None: where its manifest says
    map_paths: tuple[tuple[str, str], ...] = ()  # (path of the clone, new path) for its files outside its directory
    threads: int = 4  # packs read at the same time
    max_data_bandwidth: float = 0  # MiB/s written, 0 = no limit
    fsync: bool = True
    verify_pages: bool = True  # read all back and check every page

    def __post_init__(self) -> None:
        """Refuse what no restore could run with."""
        bounded("threads", self.threads, 1, MAX_THREADS)
        bounded("max-data-bandwidth", self.max_data_bandwidth, 0, MAX_BANDWIDTH)
        refuse_relative(self.map_paths)
