"""What is checked before a byte is copied: everything at once, so that the user repairs everything at once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import Any

from innoclone.dataclass import dataclass
from innoclone.errors import (
    CloneError,
    DiskSpace,
    EncryptionNeedsTls,
    PacketTooSmall,
    PathRefused,
    PluginMissing,
    PreflightFailed,
    PrivilegeMissing,
    RedoDisabled,
    SqlError,
    TargetUnusable,
    VersionUnsupported,
)
from innoclone.files.marks import is_unfinished
from innoclone.files.names import Mapping, clash, place, same_names
from innoclone.files.occupied import occupied
from innoclone.innodb.space import SYSTEM_SPACE, UNDO_SPACE_MAX
from innoclone.records.units import amount
from innoclone.server.channels import Channel, inheritance
from innoclone.server.donorfiles import undo_files
from innoclone.server.programs import Programs
from innoclone.transport.connection import COM_QUERY, Connection
from innoclone.transport.endpoint import Compression, Endpoint, SslMode
from innoclone.transport.sql import Sql, understood
from innoclone.transport.timings import STALL_TIMEOUT
from innoclone.wire.comparison import ANSWER_KEY
from innoclone.wire.rpc import COM_CLONE, Exit
from innoclone.wire.serverversion import check_version, version_number

__all__ = ["UNCHECKED_REDO", "DonorFacts", "check", "donor_start"]

ER_TABLEACCESS_DENIED = 1142
MIN_PACKET = 2 << 20  # bytes of max_allowed_packet that the clone protocol needs
# Tables of these can be used on a clone: a server makes the files of the first two at its first start on it, the others
# need none. Of any other engine only the definition is there, as after a stock CLONE.
EMPTIED = frozenset({"MyISAM", "CSV", "MEMORY", "BLACKHOLE", "FEDERATED"})
UNCHECKED_REDO = (
    "the donor's redo log has no checksums: a server that has not innodb_log_checksums=OFF when it first starts on the"
    " clone takes the log for damaged and comes up, if at all, with inconsistent data (innoclone boot has it OFF)"
)
VARIABLES = (
    "version", "server_uuid", "innodb_page_size", "innodb_data_file_path", "lower_case_table_names", "gtid_mode",
    "max_allowed_packet", "innodb_redo_log_encrypt", "innodb_undo_log_encrypt", "character_set_server",
    "collation_server", "version_compile_os", "version_compile_machine", "datadir", "innodb_directories", "log_bin",
    "server_id", "port", "enforce_gtid_consistency", "innodb_undo_directory", "innodb_log_checksums",
    "replica_parallel_workers", "replica_preserve_commit_order", "slave_parallel_workers",
    "slave_preserve_commit_order", ANSWER_KEY,
)  # fmt: skip


@dataclass
class DonorFacts:
    """What the donor's SQL told. Sizes in bytes; None where the account may not see it (PROCESS)."""

    variables: dict[str, str] = field(default_factory=dict)
    data_bytes: int | None = None
    allocated_bytes: int | None = None  # without those outside the data directory
    outside: dict[str, int] = field(default_factory=dict)  # tablespaces outside the data directory, allocated bytes
    notes: list[str] = field(default_factory=list)
    problems: list[CloneError] = field(default_factory=list)
    good: list[str] = field(default_factory=list)  # checks that were passed, as text
    channels: list[Channel] | None = None  # of the donor's own replication; None where the account may not see them
    started: int = 0  # when the donor was, see `donor_start`
    connections: int = 0  # that the account may have at a time, 0 = any number
    encrypted: str = ""  # what is encrypted at rest there, as far as the account may see it

    @property
    def version(self) -> str:
        """The donor's version as it names it."""
        return self.variables.get("version", "")

    def reached(self, donor: Endpoint) -> Endpoint:
        """``donor`` as it is to be connected with: an encrypted one wants TLS over a Unix socket, too."""
        return donor.with_tls if self.encrypted and donor.is_private else donor

    def verdict(self) -> None:
        """Raise the problem, or a `PreflightFailed` with all of them."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            raise PreflightFailed(self.problems)


def check(
    donor: Endpoint,
    directory: Path | None,
    *,
    mapping: Mapping = (),
    install_plugin: bool = False,
    dry_run: bool = False,
    local: Programs | None = None,
    stall_timeout: float = STALL_TIMEOUT,
) -> DonorFacts:
    """Look at donor and target. A missing clone plugin is installed if ``install_plugin``, unless ``dry_run``, which
    only lets it pass. ``local`` has the mysqld that shall boot the clone, if one shall. ``stall_timeout`` is for each
    answer, in seconds.

    Problems are collected in the result; only a login that fails is raised at once, since nothing else can be seen.
    """
    facts = DonorFacts()
    # Our own login comes first: it tells best what is wrong with the peer, with TLS or with the account.
    with Connection(donor, Compression(), timeout=stall_timeout) as connection:
        connection.command(bytes([COM_QUERY]) + b"SET SESSION wait_timeout=28800")  # until it is used, at the end
        with Sql(donor, read_timeout=stall_timeout) as sql:
            facts.variables = _variables(sql)
            facts.started = donor_start(sql)
            with understood("the account's limits"):
                facts.connections = int(sql.value("SELECT @@SESSION.max_user_connections"))
            facts.good.append(f"login to {donor}, MySQL {facts.version}")
            for step in CHECKS:
                _collect(facts, step, sql)
            _collect(facts, _check_encryption, donor)
            _collect(facts, _check_plugin, sql, install_plugin, dry_run)
            plugins = sql.rows(
                "SELECT PLUGIN_NAME, PLUGIN_LIBRARY FROM information_schema.PLUGINS WHERE PLUGIN_LIBRARY <> ''"
            )
        _collect(facts, _check_clone_mode, connection)
    if local is not None:
        _collect(facts, _check_series, local.version)
        facts.notes += _missing_libraries(plugins, local)
    if directory is not None:
        _collect(facts, _check_directory, directory)
        _collect(facts, _check_mapping, directory, mapping)
    return facts


def _collect(facts: DonorFacts, step: Callable[..., None], *arguments: object) -> None:
    try:
        with understood("itself"):
            step(facts, *arguments)
    except CloneError as error:
        facts.problems.append(error)


@understood("its start")
def donor_start(sql: Sql) -> int:
    """When the server was started: seconds since the epoch by its own clock, to a second or so."""
    uptime = sql.rows("SHOW GLOBAL STATUS LIKE 'Uptime'")
    return int(sql.value("SELECT UNIX_TIMESTAMP()")) - int(uptime[0][1] if uptime else 0)


@understood("its variables")
def _variables(sql: Sql) -> dict[str, str]:
    marks = ", ".join(["%s"] * len(VARIABLES))
    rows = sql.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({marks})", VARIABLES)
    return {str(name): str(value) for name, value in rows}


def _check_version(facts: DonorFacts, _: Sql) -> None:
    check_version(facts.version)
    facts.good.append("version can be cloned")


def _check_settings(facts: DonorFacts, _: Sql) -> None:
    size = int(facts.variables.get("max_allowed_packet", MIN_PACKET))
    if size < MIN_PACKET:
        raise PacketTooSmall(  # in MySQL's own words
            f"Clone needs max_allowed_packet value to be {MIN_PACKET} or more. Current value is {size}"
        )
    if facts.variables.get("log_bin") != "ON":
        facts.notes.append("the donor has no binary log: the clone will have no binary log position")
    if facts.variables.get("innodb_log_checksums") == "OFF":
        facts.notes.append(UNCHECKED_REDO)
    facts.good.append("settings can be cloned")


def _check_redo(_: DonorFacts, sql: Sql) -> None:
    redo = sql.rows("SHOW GLOBAL STATUS LIKE 'Innodb_redo_log_enabled'")
    if redo and redo[0][1] == "OFF":
        raise RedoDisabled("redo logging is switched off on the donor")


def _check_encryption(facts: DonorFacts, donor: Endpoint) -> None:
    """A donor gives encrypted tablespaces, or anything while its logs are encrypted, over TLS alone (3872)."""
    for name in ("innodb_redo_log_encrypt", "innodb_undo_log_encrypt"):
        if facts.variables.get(name) == "ON" and not facts.encrypted:
            facts.encrypted = f"{name}=ON"
    tls = {SslMode.DISABLED: "without TLS", SslMode.PREFERRED: "perhaps without TLS"}.get(donor.ssl_mode)
    if facts.encrypted and tls and not donor.is_private:
        raise EncryptionNeedsTls(f"the donor has {facts.encrypted}, whose keys it does not give away {tls}")


def _check_tablespaces(facts: DonorFacts, sql: Sql) -> None:
    """Sizes, encryption and places of tablespaces, as far as the account may see them."""
    try:
        rows = sql.rows(
            "SELECT SPACE, SPACE_TYPE, FILE_SIZE, ALLOCATED_SIZE, ENCRYPTION = 'Y'"
            " FROM information_schema.INNODB_TABLESPACES WHERE NAME <> 'innodb_temporary'"
        )
        # Not a join: there may be a hundred thousand of both, and nothing there has an index.
        paths = {int(space): path for space, path in sql.rows("SELECT * FROM information_schema.INNODB_DATAFILES")}
        system = sql.value(
            "SELECT SUM(TOTAL_EXTENTS * EXTENT_SIZE) FROM information_schema.FILES"
            " WHERE TABLESPACE_NAME = 'innodb_system'"
        )
    except (PrivilegeMissing, SqlError):
        facts.notes.append("the account lacks PROCESS: size, encryption and tablespaces outside are seen only later")
        return
    facts.data_bytes = facts.allocated_bytes = int(system or 0)
    root = PurePosixPath(facts.variables.get("datadir", "/"))
    for space, kind, size, allocated, _ in rows:
        pure = PurePosixPath(paths.get(int(space), ""))
        facts.data_bytes += int(size)
        # Undo tablespaces come without their directory, wherever they lie.
        if kind != "Undo" and pure.is_absolute() and not pure.is_relative_to(root):
            facts.outside[str(pure)] = int(allocated)
        else:
            facts.allocated_bytes += int(allocated)
    encrypted = sum(int(row[4]) for row in rows)
    if encrypted:
        facts.encrypted = f"{encrypted} encrypted tablespace{'s' if encrypted > 1 else ''}"
    facts.good.append(f"{amount(facts.data_bytes)} of tablespaces, {encrypted or 'none'} encrypted")


def _check_names(facts: DonorFacts, sql: Sql) -> None:
    """Undo and system tablespace files come without their directory, so each name can be there once."""
    system = [part.partition(":")[0] for part in facts.variables.get("innodb_data_file_path", "").split(";")]
    for space_id, paths in ((UNDO_SPACE_MAX, undo_files(sql)), (SYSTEM_SPACE, system)):
        names = Counter(PurePosixPath(path).name for path in paths)
        for name, count in names.items():
            if count > 1:
                raise same_names(space_id, name)


def _check_engines(facts: DonorFacts, sql: Sql) -> None:
    rows = sql.rows(
        "SELECT ENGINE, COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB'"
        " AND TABLE_SCHEMA NOT IN ('mysql', 'performance_schema', 'information_schema', 'sys')"
        " GROUP BY ENGINE ORDER BY ENGINE"
    )
    for engine, count in rows:
        fate = "be empty" if engine in EMPTIED else "not open (error 1017) until DROP TABLE IF EXISTS and made anew"
        facts.notes.append(f"{count} {engine} table{'s' if count > 1 else ''} will {fate}: a clone copies InnoDB only")


def _check_channels(facts: DonorFacts, sql: Sql) -> None:
    """The settings of the donor's own replication come with the clone; a server on it would go by them."""
    with suppress(PrivilegeMissing, SqlError):  # only a word in advance: the clone is the same without it
        rows = sql.rows("SELECT CHANNEL_NAME, HOST, PORT FROM performance_schema.replication_connection_configuration")
        facts.channels = [Channel(name, host or "", int(port)) for name, host, port in rows]
        if facts.channels:
            facts.notes.append(inheritance(facts.channels))


def _check_plugin(facts: DonorFacts, sql: Sql, install: bool, dry_run: bool) -> None:
    query = "SELECT PLUGIN_STATUS FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'"
    if sql.value(query) is None and install:
        if dry_run:
            facts.notes.append("the clone plugin is not installed; --install-plugin will install it")
            return
        try:
            sql.rows("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
        except SqlError as error:
            if error.server_number != ER_TABLEACCESS_DENIED:
                raise
            raise PrivilegeMissing(
                "the account may not install the clone plugin",
                hint="on the donor: GRANT INSERT ON mysql.plugin TO the account",
            ) from error
        facts.notes.append("installed the clone plugin on the donor")
    state = sql.value(query)
    if state != "ACTIVE":
        raise PluginMissing("the clone plugin is not " + ("active" if state else "installed") + " on the donor")
    facts.good.append("clone plugin is active")


def _check_clone_mode(facts: DonorFacts, connection: Connection) -> None:
    """COM_CLONE itself is the exact test of the privilege, roles included; it has no effect yet."""
    try:
        connection.command(bytes([COM_CLONE]))
    except PluginMissing:
        return  # reported by the look at the plugin itself
    except PrivilegeMissing as error:
        raise PrivilegeMissing(f"{connection.endpoint.user} lacks BACKUP_ADMIN on the donor") from error
    connection.write_packet(Exit().serialize())
    connection.read_packet()
    facts.good.append("account has BACKUP_ADMIN" + (f", connection uses {connection.cipher}" * bool(connection.cipher)))
    connection.quit()


CHECKS = (
    _check_version,
    _check_settings,
    _check_redo,
    _check_tablespaces,
    _check_names,
    _check_engines,
    _check_channels,
)


def _check_series(facts: DonorFacts, local: str) -> None:
    """A clone can't be upgraded while it recovers: the server must be of the donor's series."""
    theirs, ours = version_number(facts.version), version_number(local)
    if theirs // 100 != ours // 100 or (theirs // 100 == 800 and ours < theirs):
        raise VersionUnsupported(f"the donor is {facts.version}, the mysqld here {local}: not of one series")
    facts.good.append(f"mysqld {local} here is of the donor's series")


def _missing_libraries(plugins: list[tuple[Any, ...]], local: Programs) -> list[str]:
    """Plugins of the donor that the mysqld here can't load; a stock recipient would refuse them (3870)."""
    folders = [Path(option.partition("=")[2]) for option in local.server_options if option.startswith("--plugin-dir=")]
    if not folders:
        return []
    return [
        f"the donor has plugin {name} ({library}), which is not in {folders[0]}: a server here runs without it"
        for name, library in plugins
        if not (folders[0] / Path(str(library)).name).exists()
    ]


def _check_directory(facts: DonorFacts, directory: Path) -> None:
    parent = directory.parent
    if directory.exists() or directory.is_symlink():
        if not directory.is_dir() or (any(directory.iterdir()) and not is_unfinished(directory)):
            raise occupied(directory)
        parent = directory
    elif not parent.is_dir():
        raise TargetUnusable(f"{parent} is not a directory")
    usage = os.statvfs(parent)
    if usage.f_flag & os.ST_RDONLY:
        raise TargetUnusable(f"the file system of {parent} is read-only")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise TargetUnusable(f"no permission to write in {parent}")
    free = usage.f_bavail * usage.f_frsize
    if parent == directory:  # the remains of an unfinished clone make room
        free += sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))
    if facts.allocated_bytes is not None and facts.allocated_bytes > free:
        raise DiskSpace(f"{amount(facts.allocated_bytes)} are needed in {directory}, {amount(free)} are free")
    facts.good.append(f"{amount(free)} free for {directory}")


def _check_mapping(facts: DonorFacts, directory: Path, mapping: Mapping) -> None:
    taken: dict[Path, str] = {}
    for name in facts.outside:
        placed = place(name, 1, directory, mapping)
        if placed in taken:
            raise clash(placed, taken[placed], name)
        taken[placed] = name
        if placed.exists():
            raise PathRefused(f"{placed} exists already", hint="map its directory elsewhere with --map-path")
