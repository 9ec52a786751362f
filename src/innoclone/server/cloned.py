"""A finished clone as a directory that a server can be started on: which settings it needs, where it stands.

A *private* server is for a look: nobody is asked for a password, it can be reached over a socket only that this user
can open, and it leaves the directory as it would be after a crash recovery and nothing else: no binary log, no server
UUID, no certificates, no scheduled events, no replication. Plugins and components that the donor had installed are not
loaded (manual, "--skip-grant-tables"), so a mysqld without them will do, and the clone plugin does not get to consume
the recovery's record in ``#clone/``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from innoclone.errors import CloneError, FileError, KeyringFailed, TargetBusy, TargetUnusable, VersionUnsupported
from innoclone.files.base import hard_linked, is_served
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.keyring import ENCRYPTION, read_keyring
from innoclone.files.manifest import MANIFEST, read_manifest, update_manifest
from innoclone.files.marks import FILE_MODE, WANT_RECOVERY_STATUS, is_recovered, is_unfinished, undo_begun_update
from innoclone.files.names import CLONE_DIR, OWN_DIR
from innoclone.files.outside import borrowed
from innoclone.files.ownership import give
from innoclone.files.ownlife import AUTO_CNF, LEFT, PRIVATE_MARK, has_private_uuid, is_as_left, left_behind
from innoclone.files.system import file_error
from innoclone.records.history import RESTORE
from innoclone.records.position import FROM_BOOT, ClonePosition
from innoclone.records.statusfile import read_status
from innoclone.server.asuser import refuse_without_mysqld
from innoclone.server.keyproof import encrypted_logs, prove_keyring
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.wire.serverversion import version_number

__all__ = [
    "BOOT_LOG", "PRIVATE", "Recovery", "Visit", "check_bootable", "check_series", "is_private_server",
    "is_recovered", "keyring_of", "log_variables", "logs_of", "needed_variables", "no_replication", "private_server",
    "read_recovery", "recovery_has_begun", "recovery_to_be_told", "run_as", "settings", "was_changed", "was_kept",
]  # fmt: skip

BOOT_LOG = "boot.log"  # in #innoclone/
STATUS_RECOVERY = "#status_recovery"  # written by the booting server, lines as in clone0api.cc
VIEW_STATUS = "#view_status"  # the clone plugin's copy of it, once clone_status was read
COMPLETED = 2  # the state of a clone in #view_status

# What keeps a server from leaving anything of its own behind. loose-: not every series knows all of them.
PRIVATE = (
    "--disable-log-bin",
    "--event-scheduler=OFF",
    "--innodb-buffer-pool-dump-at-shutdown=OFF",  # else ib_buffer_pool would tell of our look at the tables
    "--innodb-buffer-pool-load-at-startup=OFF",
    "--loose-auto-generate-certs=OFF",
    "--loose-sha256-password-auto-generate-rsa-keys=OFF",
    "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
)


@dataclass(frozen=True)
class Recovery:
    """What the first boot of a clone found. Times are seconds since the epoch."""

    begin: float
    end: float
    position: ClonePosition

    @property
    def seconds(self) -> float:
        """How long it took."""
        return max(0.0, self.end - self.begin)


@dataclass(frozen=True)
class Visit:
    """What else a private server is to be, and to be asked at the end.

    With ``accounts`` the clone's own accounts count, and its plugins are loaded; then there may be a ``port``, as in
    `Server.start`.
    """

    accounts: bool = False
    port: int | None = None
    options: tuple[str, ...] = ()
    then: Callable[[Server], None] = lambda _: None


def check_bootable(directory: Path, purpose: Purpose = Purpose.START) -> None:
    """Raise `TargetUnusable` for what is no data directory, an unfinished clone, or a copy that shares files with its
    original; `TargetBusy` where somebody uses it so that ``purpose`` would harm: a restore reads it, for instance."""
    if not directory.is_dir():
        raise TargetUnusable(f"{directory} is not a directory", hint="name a directory that innoclone clone made")
    undo_begun_update(directory)
    if is_unfinished(directory) or (directory / CLONE_DIR / "#status_in_progress").exists():
        begun = (read_status(directory) or {}).get("operation") or "clone"
        raise TargetUnusable(
            f"{directory} holds an unfinished {'restore' if begun == RESTORE else 'clone'}",
            hint=f"run the same innoclone {begun} command again to complete it",
        )
    if not (directory / "mysql.ibd").is_file():
        raise TargetUnusable(
            f"{directory} is not a data directory: there is no mysql.ibd in it",
            hint="name a directory that innoclone clone made; innoclone list FOLDER shows those in a folder",
        )
    if (path := borrowed(directory)) is not None:
        raise TargetUnusable(
            f"{directory} is a copy of a clone with tablespaces outside: {path} is the original's",
            hint="clone once more, with --map-path to a place of its own",
        )
    if purpose is Purpose.START:
        if is_served(directory):
            raise TargetBusy(
                f"an innoclone serves {directory}", hint=f"stop it first; innoclone status {directory} says which it is"
            )
        _refuse_hard_links(directory)
    refuse_in_use(directory, purpose)


def _refuse_hard_links(directory: Path) -> None:
    """A server writes into its files, and would change the directory that they are linked from."""
    try:
        path = hard_linked(directory)
    except OSError as error:
        raise file_error(error, f"can't look at {directory}") from error
    if path is not None:
        raise TargetUnusable(
            f"{path} has a second name (hard link): a server on {directory} would change the files at the other, too",
            hint=f"innoclone restore {directory} DIRECTORY makes a copy that shares none",
        )


def check_series(donor_version: str, programs: Programs) -> None:
    """Raise `VersionUnsupported` unless mysqld is of the donor's series (8.0, 8.4, 9.7...)."""
    if donor_version and version_number(donor_version) // 100 != version_number(programs.version) // 100:
        raise VersionUnsupported(
            f"the clone is of MySQL {donor_version}, {programs.mysqld[-1]} is {programs.version}: a newer series would "
            "upgrade the data dictionary for good, an older one can't read it",
            hint="name a mysqld of the donor's series with --mysqld",
        )


def needed_variables(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The server variables without which a server would not find or not take the clone's files. The manifest may be
    empty."""
    donor: Mapping[str, Any] = manifest.get("donor", {})
    # With ON a server takes a redo log without checksums for damaged, and does not recover what is in it.
    log_checksums = "OFF" if donor.get("log_checksums") == "OFF" else None
    found = {
        "innodb_page_size": donor.get("page_size"),
        "lower_case_table_names": donor.get("lower_case_table_names"),
        "innodb_data_file_path": donor.get("data_file_path"),
        "innodb_log_checksums": log_checksums,
        "innodb_directories": ";".join(manifest.get("external_directories") or ()),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def keyring_of(manifest: Mapping[str, Any], named: Path | None = None, *, read_only: bool = True) -> Keyring | None:
    """The keyring of a clone, ``named`` or as its manifest tells; None where nothing is encrypted.

    Raises `KeyringFailed` where it has not the clone's key: without it a server refuses the clone, or crashes.
    """
    entry = manifest.get(ENCRYPTION)
    if not entry:
        return None if named is None else Keyring(named, read_only)
    path, key = named or Path(entry["keyring"]), entry["key"]
    try:
        keys = read_keyring(path)
    except KeyringFailed as error:
        error.advice = f"it has the key of the clone: copy it along with the clone, and name it with --keyring ({key})"
        raise
    if key not in keys:
        raise KeyringFailed(f"the keyring {path} has not the clone's key {key}")
    return Keyring(path, read_only)


def log_variables(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The variables by which logs are encrypted where the donor's are: without them a server writes in clear from then
    on what was encrypted."""
    encryption = manifest.get(ENCRYPTION) or {}
    return {f"innodb_{log}_log_encrypt": "ON" for log in ("redo", "undo") if encryption.get(log) == "ON"}


def settings(manifest: Mapping[str, Any]) -> list[str]:
    """Both as options of mysqld."""
    variables = needed_variables(manifest) | log_variables(manifest)
    return [f"--{name.replace('_', '-')}={value}" for name, value in variables.items()]


def logs_of(directory: Path, keyring: Keyring | None) -> dict[str, Any]:
    """What a manifest would tell of the logs of a directory that has none."""
    return {} if keyring is None else {ENCRYPTION: encrypted_logs(directory)}


def no_replication(programs: Programs) -> list[str]:
    """The options that keep a clone of a replica, or of a member of a group, from replicating as its donor does."""
    skip = "--skip-replica-start" if version_number(programs.version) >= 80026 else "--skip-slave-start"
    return [skip, "--loose-group-replication-start-on-boot=OFF"]


def run_as(directory: Path, programs: Programs) -> tuple[int, int] | None:
    """User and group id that shall run a server on ``directory``: its owner where we are root, else ourselves (None).

    Raises `BootFailed` if that user can't execute mysqld.
    """
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return None
    user = (owner.st_uid, owner.st_gid)
    refuse_without_mysqld(programs, user)
    return user


@contextmanager
def private_server(
    programs: Programs,
    directory: Path,
    manifest: dict[str, Any],
    *,
    options: Sequence[str] = (),
    visit: Visit | None = None,
    keyring: Path | None = None,
    timeout: float = 3600.0,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[Server]:
    """A private server on a clone, stopped cleanly at the end; on an error too. Raises `BootFailed`, `KeyringFailed`.

    ``keyring`` is one other than the manifest's.

    ``timeout`` (seconds) is for the start with its recovery; ``waiting`` is called meanwhile.
    """
    check_bootable(directory)
    keys = keyring_of(manifest, keyring)
    prove_keyring(directory, keys, tables=not manifest)
    visit = visit or Visit()
    own = directory / OWN_DIR
    mark, uuid = own / PRIVATE_MARK, directory / AUTO_CNF
    had_uuid = uuid.exists() and not has_private_uuid(directory)
    as_left = (own / MANIFEST).exists() and is_as_left(directory, read_manifest(directory))
    user = run_as(directory, programs)
    try:
        own.mkdir(exist_ok=True)
        mark.touch(FILE_MODE)
        if not had_uuid:
            identity = str(uuid4())
            mark.write_text(f"{identity}\n")
            uuid.write_text(f"[auto]\nserver-uuid={identity}\n")
        if user is not None:
            for path in (own, mark, *([] if had_uuid else [uuid])):
                os.chown(path, *user)
    except OSError as error:
        if not had_uuid:
            uuid.unlink(missing_ok=True)  # half-written it would be nobody's
        raise file_error(error, f"can't create {own}") from error
    try:
        with recovery_to_be_told(directory), Server.start(
            programs, directory, port=visit.port, error_log=own / BOOT_LOG, skip_grants=not visit.accounts, user=user,
            options=[
                *settings(manifest or logs_of(directory, keys)), *no_replication(programs), *PRIVATE, *options,
                *visit.options,
            ],
            timeout=timeout, waiting=waiting, keyring=keys,
        ) as server:  # fmt: skip
            if not had_uuid:
                # It has read it. Who is killed from here on leaves none: one that is there later is a real server's.
                uuid.unlink(missing_ok=True)
            yield server
            visit.then(server)
    finally:
        if not had_uuid:
            uuid.unlink(missing_ok=True)  # every copy of the directory would share it
        with suppress(CloneError):  # a full disk: then the mark stays, which says the same
            if as_left:
                update_manifest(directory, **{LEFT: left_behind(directory)})
            mark.unlink(missing_ok=True)


def is_private_server(process: int) -> bool:
    """Whether a process is such a server, by its arguments."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return {*PRIVATE} <= {*words}


def recovery_has_begun(directory: Path) -> bool:
    """Whether a booting server has come to the recovery: it makes the record then, and completes it at the end."""
    return (directory / CLONE_DIR / STATUS_RECOVERY).exists()


@contextmanager
def recovery_to_be_told(directory: Path) -> Iterator[None]:
    """A server that gives up in its start (no key, a full disk) ends its part in the clone, and leaves a record without
    a position (tested with 9.7.4): then it is the next one that shall recover the clone and tell where it stands."""
    first = not is_recovered(directory)
    try:
        yield
    except BaseException:
        with suppress(OSError, CloneError, ValueError):
            record = directory / CLONE_DIR / STATUS_RECOVERY
            if first and is_recovered(directory) and (told := _lines(record)) and not int(told[1]):
                mark = directory / CLONE_DIR / WANT_RECOVERY_STATUS
                mark.touch(FILE_MODE)
                give(mark, directory)
                record.unlink()
        raise


def was_kept(directory: Path) -> bool:
    """Whether a server other than a private one has run on the clone: it gave itself a UUID."""
    return (directory / AUTO_CNF).exists()


def was_changed(directory: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a server other than a private one has run on the recovered clone, and it isn't what was cloned any more.

    Raises a file error.
    """
    return is_recovered(directory) and not is_as_left(directory, manifest)


def read_recovery(directory: Path) -> Recovery | None:
    """What the first boot found, None where nothing tells any more.

    The server writes it to ``#clone/#status_recovery``; the clone plugin consumes that file when somebody first reads
    performance_schema.clone_status, and keeps the position in ``#clone/#view_status``. Raises `FileError`.
    """
    try:
        if (record := _lines(directory / CLONE_DIR / STATUS_RECOVERY)) is not None:
            begin, end, *told = record
            if int(end):
                name, position, *gtids = told
                return _recovery(begin, end, name, position, gtids)
        if (view := _lines(directory / CLONE_DIR / VIEW_STATUS)) is not None:
            state, times, _source, _error, _text, name, position, *gtids = view
            if int(state.split()[0]) == COMPLETED and name:
                end = times.split()[1]
                return _recovery(end, end, name, position, gtids)
    except ValueError as error:
        raise FileError(f"can't read the record of the recovery in {directory / CLONE_DIR}: {error}") from error
    return None


def _lines(path: Path) -> list[str] | None:
    try:
        return path.read_text().split("\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error


def _recovery(begin: str, end: str, name: str, position: str, gtids: list[str]) -> Recovery:
    found = ClonePosition(
        binlog_file=name.rpartition("/")[2],
        binlog_position=int(position),
        gtid_executed="".join(line.strip() for line in gtids),
        position_from=FROM_BOOT,
    )
    return Recovery(begin=int(begin) / 1e6, end=int(end) / 1e6, position=found)
