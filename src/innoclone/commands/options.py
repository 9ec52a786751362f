"""What each operation can be told, as plain values: the command line and the Python API both fill these in."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path

from innoclone.dataclass import dataclass
from innoclone.errors import UsageError
from innoclone.records.managedserver import Managed
from innoclone.records.retention import Policy
from innoclone.records.units import MIB
from innoclone.transport.endpoint import Compression, Endpoint
from innoclone.transport.timings import STALL_TIMEOUT

__all__ = [
    "LONGEST_WAIT", "MAX_BANDWIDTH", "MAX_DDL_TIMEOUT", "MAX_THREADS", "SERVE_PORT", "STOP_TIMEOUT",
    "BootOptions", "CheckOptions", "CloneOptions", "LocalOptions", "ReplaceOptions", "ReplicateOptions",
    "RestoreOptions", "ServeOptions", "VerifyOptions", "above_0", "bounded", "refuse_relative",
]  # fmt: skip

# The bounds of the server variables of the same purpose (manual, "Clone System Variables").
MAX_THREADS = 128  # clone_max_concurrency
MAX_BANDWIDTH = 1048576.0  # clone_max_network_bandwidth, clone_max_data_bandwidth: MiB/s
MAX_DDL_TIMEOUT = 2592000  # clone_ddl_timeout: seconds
STOP_TIMEOUT = 60.0  # seconds to wait for another process to end a clone
MAX_RETRY = 2592000.0  # seconds
LONGEST_WAIT = 31536000.0  # wait_timeout: seconds
SERVE_PORT = 3307  # of `innoclone serve`
LONGEST_TIMEOUT = 30  # minutes, as a stock donor's clone_donor_timeout_after_network_failure


@dataclass(frozen=True)
class CopyOptions:
    """What every clone of a running server can be told. Raises UsageError when a value is out of bounds."""

    donor: Endpoint
    directory: Path
    max_data_bandwidth: float = 0  # MiB/s of data that is written, or read of the donor's files; 0 = no limit
    block_ddl: bool = False  # hold the donor's backup lock, so that no DDL runs there during the clone
    ddl_timeout: int = 300  # seconds to wait for that lock
    map_paths: tuple[tuple[str, str], ...] = ()  # (path on the donor, path here) for files outside its data directory
    fsync: bool = True  # make files and directories durable before the clone counts as complete
    discard_changes: bool = False  # also where a server has run on an earlier clone: what it has of its own goes
    install_plugin: bool = False  # install the clone plugin on the donor if it is missing
    chown: str | None = None  # "user", "user:group" or ":group" that shall own the files
    boot: bool = False  # start a mysqld on the clone once, to recover it and read its binlog position
    mysqld: Path | None = None  # the server program for that; None = look for one
    keyring: Path | None = None  # of an encrypted clone: a keyring file to use, or to make; None = one beside the clone
    keyring_key: str | None = None  # the master key in it; None = the newest
    stall_timeout: float = STALL_TIMEOUT  # seconds without a byte after which a connection counts as broken
    retry_for: float | None = None  # seconds of tries to connect again; None: while the donor keeps the snapshot

    def __post_init__(self) -> None:
        """Refuse what no clone could run with."""
        bounded("max-data-bandwidth", self.max_data_bandwidth, 0, MAX_BANDWIDTH)
        bounded("ddl-timeout", self.ddl_timeout, 0, MAX_DDL_TIMEOUT)
        above_0("stall-timeout", self.stall_timeout)
        if self.retry_for is not None:
            bounded("retry-for", self.retry_for, 0, MAX_RETRY)
        refuse_relative(self.map_paths)
        refuse_odd_keyring(self.keyring, self.keyring_key)


@dataclass(frozen=True)
class CloneOptions(CopyOptions):
    """A clone of ``donor`` into ``directory`` over the network."""

    threads: int | None = None  # connections that carry data, 1-128; None: as many as are measured to help,
    max_concurrency: int = 16  # and that is the most of them
    compression: Compression = field(default_factory=Compression)
    max_network_bandwidth: float = 0  # MiB/s on the wire over all connections, 0 = no limit
    verify_pages: bool = True  # check the checksum of every page that was written
    write_changed_only: bool = False  # update an earlier clone in the directory: only differing pages
    incremental: str = "auto"  # take only what differs from an earlier clone, if the donor can; off; require
    keep_base: bool = False  # leave the earlier clone whole until the new one is complete, then swap
    generations: int = 0  # keep that many dated clones in ``directory`` instead of one; 0 = one
    keep: Policy = field(default_factory=Policy)  # more rules: what any rule keeps is kept
    full_copies: bool = False  # with generations: also where they can't share blocks
    series: str = ""  # the id of the series that ``directory`` is a generation of, '' if of none

    def __post_init__(self) -> None:
        """Refuse what no clone could run with."""
        super().__post_init__()
        _check_incremental(self.incremental)
        if self.threads is not None:
            bounded("threads", self.threads, 1, MAX_THREADS)
        bounded("max-concurrency", self.max_concurrency, 1, MAX_THREADS)
        bounded("max-network-bandwidth", self.max_network_bandwidth, 0, MAX_BANDWIDTH)

    @property
    def policy(self) -> Policy:
        """All rules by which dated clones are kept; without any, ``directory`` is one clone."""
        return replace(self.keep, last=max(self.keep.last, self.generations))


@dataclass(frozen=True)
class LocalOptions(CopyOptions):
    """A clone of a server on this host, by copying its files."""

    incremental: str = "auto"  # auto: bring an earlier clone in the directory up to date; off; require
    keep_base: bool = False  # leave the earlier clone whole until the new one is complete, then swap
    datadir: Path | None = None  # the donor's data directory as it is seen here; None = @@datadir
    threads: int = 4  # files, and parts of large ones, copied at the same time, 1-128
    generations: int = 0  # keep that many dated clones in ``directory`` instead of one; 0 = one
    keep: Policy = field(default_factory=Policy)  # more rules: what any rule keeps is kept
    full_copies: bool = False  # with generations: also where they can't share blocks
    series: str = ""  # the id of the series that ``directory`` is a generation of, '' if of none
    copy_methods: tuple[str, ...] = ("reflink", "O_DIRECT", "copy_file_range", "read and write")  # in this order
    verify_pages: bool | None = None  # check every page on its way; True: also read again what only the kernel saw

    def __post_init__(self) -> None:
        """Refuse what no clone could run with."""
        super().__post_init__()
        bounded("threads", self.threads, 1, MAX_THREADS)
        _check_incremental(self.incremental)

    @property
    def policy(self) -> Policy:
        """All rules by which dated clones are kept; without any, ``directory`` is one clone."""
        return replace(self.keep, last=max(self.keep.last, self.generations))


@dataclass(frozen=True)
class ReplaceOptions:
    """A clone that takes the place of a managed server's data."""

    clone: CloneOptions  # how the copy is made; directory, chown, fsync and boot of it don't count
    managed: Managed
    keep_old_data: bool = False  # beside the data directory, once the server is up on the new data

    @property
    def donor(self) -> Endpoint:
        """The server that is cloned."""
        return self.clone.donor

    @property
    def directory(self) -> Path:
        """The data directory that is replaced."""
        return self.managed.datadir


@dataclass(frozen=True)
class CheckOptions:
    """Everything that a clone checks first, without cloning; without a ``directory`` only the donor is looked at."""

    donor: Endpoint
    directory: Path | None = None
    map_paths: tuple[tuple[str, str], ...] = ()
    install_plugin: bool = False
    mysqld: Path | None = None  # compare the donor with this server program's version


@dataclass(frozen=True)
class BootOptions:
    """Start a mysqld on a cloned directory and let it recover."""

    directory: Path
    mysqld: Path | None = None
    keyring: Path | None = None  # of an encrypted clone, if it isn't where the manifest says
    copy: bool = False  # only tell where the clone stands, by a server on a copy of its system tablespaces
    keep: bool = False  # leave the server running
    port: int | None = None  # TCP port to listen on; None = a Unix socket in the directory only
    timeout: float = 3600.0  # seconds to wait for recovery

    def __post_init__(self) -> None:
        """Refuse what is no time."""
        bounded("timeout", self.timeout, 0, LONGEST_WAIT)


@dataclass(frozen=True)
class VerifyOptions:
    """Check every page of a cloned directory; with ``against``, also compare its tables with that server's."""

    directory: Path
    against: Endpoint | None = None
    mysqld: Path | None = None
    keyring: Path | None = None  # of an encrypted clone: with it encrypted pages are checked, too
    threads: int = 4  # files or tables looked at in parallel


@dataclass(frozen=True)
class RestoreOptions:
    """A finished clone, ``clone``, becomes a new data directory. Raises UsageError when a value is out of bounds."""

    clone: Path  # a symbolic link to it will do
    directory: Path
    chown: str | None = None  # who shall own the files; None: for root whom the clone belongs to, else this user
    keyring: Path | None = None  # of an encrypted clone, if it isn't where the manifest says
    mysqld_check: bool = False  # let a private mysqld come up on the new directory once
    mysqld: Path | None = None
    accept_changes: bool = False  # also if a server of its own has run on the clone
    map_paths: tuple[tuple[str, str], ...] = ()  # (path of the clone, new path) for its files outside its directory
    threads: int = 4
    copy_methods: tuple[str, ...] = LocalOptions.copy_methods
    max_data_bandwidth: float = 0  # MiB/s read, 0 = no limit
    fsync: bool = True
    verify_pages: bool = True

    def __post_init__(self) -> None:
        """Refuse what no restore could run with."""
        bounded("threads", self.threads, 1, MAX_THREADS)
        bounded("max-data-bandwidth", self.max_data_bandwidth, 0, MAX_BANDWIDTH)
        refuse_relative(self.map_paths)


@dataclass(frozen=True)
class ReplicateOptions:
    """Make a clone replicate: ``replica`` is its directory or a running server, ``source`` whom it shall follow."""

    replica: Path | Endpoint
    source: Endpoint
    run: bool = False  # execute the statements instead of only handing them back
    reset_channels: bool = False  # drop the server's channels also if they may be more than the donor's
    wait: float = 60.0  # seconds for a started replica to catch up
    source_is_donor: bool = False  # the address is the manifest's: refuse another server there

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        bounded("wait", self.wait, 0, MAX_RETRY)


@dataclass(frozen=True)
class ServeOptions:
    """What to serve, where, to whom. Raises UsageError for what makes no sense. Limits in MiB/s, 0 is none;
    ``reconnect_timeout`` in minutes."""

    directory: Path | None  # None: a running server is served
    user: str
    password: str = field(repr=False)
    live: Endpoint | None = None  # that server
    datadir: Path | None = None  # its data directory as it is seen here; None = @@datadir
    relay: bool = False  # pass its own stream on, and read no file
    recover: Path | None = None  # where a copy of data of a crashed server may be made, to be recovered and served
    mysqld: Path | None = None  # that recovers it; None = look for one
    bind_address: str = "127.0.0.1"
    port: int = SERVE_PORT  # 0: any that is free
    once: bool = False  # end when one clone was taken in full
    ssl_cert: Path | None = None  # None: one of our own making
    ssl_key: Path | None = None
    require_secure_transport: bool = False
    max_connections: int = 512
    reconnect_timeout: int = 5
    max_data_bandwidth: float = 0.0
    max_network_bandwidth: float = 0.0
    max_donor_read: int = 0  # bytes a second that are read of the files, 0 is no limit
    socket: Path | None = None  # a Unix socket to listen on in place of an address
    keyring: Path | None = None  # of what is encrypted in the directory, if it isn't where a clone's manifest says
    innodb_directories: str = ""  # where the server had tablespaces outside of its data directory, as it has it itself
    called: str = ""  # what the directory is called, if it is there for a while only

    def __post_init__(self) -> None:
        """Refuse what could not be served."""
        if (self.directory is None) == (self.live is None):
            raise UsageError("name a directory or, with --live, a running server", hint="innoclone serve DIRECTORY")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be from 0 to 65535, not {self.port}")
        if not self.bind_address:
            raise UsageError("the bind address must not be empty", hint="* is everywhere")
        if not self.user or not self.password:
            raise UsageError("a recipient needs a user and a password", hint="--user and --password")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise UsageError("--ssl-cert and --ssl-key go together", hint="name both or none")
        if self.innodb_directories and self.live is not None:
            raise UsageError(
                "--innodb-directories goes together with a directory", hint="a running server tells its own"
            )
        if self.innodb_directories and self.recover is not None:
            raise UsageError("--innodb-directories does not go together with --recover")
        if not 3 <= self.max_connections <= 100_000:
            raise UsageError(f"max-connections must be from 3 to 100000, not {self.max_connections}")
        if not 0 <= self.reconnect_timeout <= LONGEST_TIMEOUT:
            raise UsageError(f"reconnect-timeout must be from 0 to {LONGEST_TIMEOUT} minutes")
        bounded("max-data-bandwidth", self.max_data_bandwidth, 0, MAX_BANDWIDTH)
        bounded("max-network-bandwidth", self.max_network_bandwidth, 0, MAX_BANDWIDTH)
        bounded("max-donor-read", self.max_donor_read, 0, MAX_BANDWIDTH * MIB)

    @property
    def places(self) -> tuple[Path, ...]:
        """``innodb_directories``, one by one. Raises UsageError."""
        return split_directories(self.innodb_directories)


def split_directories(text: str) -> tuple[Path, ...]:
    """As innodb_directories of a server lists them, with semicolons. Raises UsageError for one that is not absolute."""
    found = tuple(Path(part.strip()) for part in text.split(";") if part.strip())
    if (odd := next((path for path in found if not path.is_absolute()), None)) is not None:
        raise UsageError(f"innodb-directories must be absolute paths, separated by semicolons, not {odd}")
    return found


def _check_incremental(value: str) -> None:
    if value not in ("auto", "off", "require"):
        raise UsageError(f"incremental must be auto, off or require, not {value}")


def bounded(name: str, value: float, least: float, most: float) -> None:
    """Raises UsageError for a value of the option ``name`` that is out of bounds, or no number at all (nan)."""
    if not least <= value <= most:
        raise UsageError(f"{name} must be from {least:.10g} to {most:.10g}, not {value:.10g}")


def above_0(name: str, seconds: float) -> None:
    """Raises UsageError for a time of the option ``name`` that is none, endless, or no number at all (nan)."""
    if not 0 < seconds <= LONGEST_WAIT:
        raise UsageError(f"{name} must be above 0 and at most {LONGEST_WAIT:.10g}, not {seconds:.10g}")


def refuse_odd_keyring(keyring: Path | None, key: str | None) -> None:
    """Raise UsageError for a key without a file, and for a path that depends on where we are."""
    if key is not None and keyring is None:
        raise UsageError("keyring-key is a key of a keyring file", hint="name that with --keyring")
    if keyring is not None and not keyring.is_absolute():
        raise UsageError(f"keyring {keyring} must be an absolute path")


def refuse_relative(map_paths: tuple[tuple[str, str], ...]) -> None:
    """A manifest names these places, for any process in any working directory."""
    for old, new in map_paths:
        if not old.startswith("/") or not new.startswith("/"):
            raise UsageError(f"map-path {old}={new} must have two absolute paths")
