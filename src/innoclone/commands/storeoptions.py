"""What backups and restores of a store can be told, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from innoclone.commands.options import (
    MAX_BANDWIDTH,
    MAX_THREADS,
    above_0,
    bounded,
    refuse_odd_keyring,
    refuse_relative,
)
from innoclone.errors import UsageError
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.transport.timings import STALL_TIMEOUT

__all__ = ["BackupOptions", "BootCheckOptions", "LiveBackupOptions", "StoreAccess", "StoreRestoreOptions"]

MOST_STREAMS = 8  # connections of a backup without a local copy: each has a pack in memory


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
class LiveBackupOptions:
    """A running server becomes a snapshot in a store, with no copy of it here. Raises UsageError when a value is out of
    bounds."""

    donor: Endpoint
    store: StoreAccess
    full: bool = False  # build on no earlier snapshot
    spool: Path | None = None  # a folder with room for changed pages and redo; None: that of temporary files
    local: bool = False  # the donor's files are read here, on its host, instead of being sent
    datadir: Path | None = None  # with local: its data directory as seen from here; None: as it says itself
    threads: int = 4  # connections that carry data; each fills a pack of its own
    compression: Compression = field(default_factory=Compression)
    block_ddl: bool = False  # hold the donor's backup lock, so that no DDL runs there
    max_data_bandwidth: float = 0  # MiB/s of data, 0 = no limit
    max_network_bandwidth: float = 0  # MiB/s on the wire from the donor
    stall_timeout: float = STALL_TIMEOUT
    keyring: Path | None = None  # of an encrypted donor: a keyring file to use, or to make; it isn't in the store
    keyring_key: str | None = None  # the master key in it; None = the newest

    def __post_init__(self) -> None:
        """Refuse what no backup could run with."""
        bounded("threads", self.threads, 1, MOST_STREAMS)
        bounded("max-data-bandwidth", self.max_data_bandwidth, 0, MAX_BANDWIDTH)
        bounded("max-network-bandwidth", self.max_network_bandwidth, 0, MAX_BANDWIDTH)
        above_0("stall-timeout", self.stall_timeout)
        if self.datadir is not None and not self.local:
            raise UsageError("--datadir goes with --local", hint="else the server sends its files")
        if self.local and self.keyring is not None:
            raise UsageError(
                "--local and --keyring don't go together", hint="leave --local out: the server sends its files"
            )
        refuse_odd_keyring(self.keyring, self.keyring_key)


@dataclass(frozen=True)
class BootCheckOptions:
    """A snapshot is restored to a folder for a while, and a private mysqld comes up on it. Raises UsageError when a
    value is out of bounds."""

    store: StoreAccess
    snapshot: str
    scratch: Path | None = None  # a folder with room for all of it; None: that of temporary files
    mysqld: Path | None = None
    keyring: Path | None = None  # of an encrypted clone; None: where its manifest says
    threads: int = 4

    def __post_init__(self) -> None:
        """Refuse what no check could run with."""
        bounded("threads", self.threads, 1, MAX_THREADS)


@dataclass(frozen=True)
class StoreRestoreOptions:
    """A snapshot in a store becomes a new data directory, or with ``delta`` the data in a directory becomes the
    snapshot's. Raises UsageError when a value is out of bounds."""

    store: StoreAccess
    snapshot: str
    directory: Path
    delta: bool = False  # an earlier clone, or a server's data, is there: only what differs is written
    discard_changes: bool = False  # with delta: also if it has rows of its own, or is of another server
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
        if self.discard_changes and not self.delta:
            raise UsageError("--discard-changes goes with --delta", hint="else nothing is ever written over")
        refuse_relative(self.map_paths)
