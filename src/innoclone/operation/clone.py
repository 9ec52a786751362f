"""The one door to a remote clone: check, copy, finish, boot if asked. CLI and Python API both come in here."""

from __future__ import annotations

import grp
import os
import pwd
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.engine.filetable import ClonedFile
from innoclone.engine.preflight import DonorFacts, check
from innoclone.engine.programs import find_programs
from innoclone.engine.recipient import Received, receive
from innoclone.errors import CloneError, FileError, Interrupted, UsageError
from innoclone.files.target import Target
from innoclone.operation.options import BootOptions, CloneOptions
from innoclone.ops.limits import Limits
from innoclone.ops.manifest import FORMAT, timestamp
from innoclone.ops.status import CloneStatus, Stage, State
from innoclone.ops.views import view_files
from innoclone.transport.endpoint import Endpoint
from innoclone.version import __version__

__all__ = ["CloneResult", "clone"]

COPY_STAGES = (Stage.FILE_COPY, Stage.PAGE_COPY, Stage.REDO_COPY, Stage.FILE_SYNC)


@dataclass(frozen=True)
class CloneResult:
    """A finished clone. Bytes and seconds; the position is known after a boot (``boot=True``, or `innoclone.boot`)."""

    directory: Path
    donor_uuid: str
    donor_version: str
    seconds: float
    data: int
    network: int
    connections: int
    compression: str
    cipher: str
    binlog_file: str = ""
    binlog_position: int = 0
    gtid_executed: str = ""
    notes: list[str] = field(default_factory=list)


def clone(
    options: CloneOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> CloneResult:
    """Clone a running server into a directory. Raises a `CloneError`.

    ``status`` may be read by others meanwhile, ``stopped`` set to end the clone, ``limits`` changed. After a failure
    nothing of a directory that this call made is left; after `Interrupted` it is left as it is, unbootable, and the
    same call begins anew in it.
    """
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth)
    status.source, status.destination = str(options.donor), str(options.directory)
    status.state, status.begin = State.IN_PROGRESS, time.time()
    try:
        received = _copy(options, status, stopped, limits)
        if options.boot:
            _boot(options, status, stopped)
    except CloneError as error:
        status.fail(error.code, error.message)
        raise
    status.state, status.end = State.COMPLETED, time.time()
    return _result(options, status, *received)


def _copy(
    options: CloneOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> tuple[DonorFacts, Received]:
    owner = _owner(options.chown)
    local = find_programs(options.mysqld) if options.boot else None
    facts = check(
        options.donor, options.directory, mapping=options.map_paths, install_plugin=options.install_plugin,
        local=local,
    )  # fmt: skip
    status.notes += facts.notes
    facts.verdict()
    target = Target(options.directory, options.map_paths, fsync=options.fsync)
    if target.restarted:
        status.notes.append(f"{options.directory} held an unfinished clone: it was removed, this one begins anew")
    try:
        received = receive(
            options.donor, target, threads=options.threads, compression=options.compression, limits=limits,
            block_ddl=options.block_ddl, ddl_timeout=options.ddl_timeout, stall_timeout=options.stall_timeout,
            verify_pages=options.verify_pages, status=status, stopped=stopped,
        )  # fmt: skip
        if received.compression != options.compression.algorithm:
            status.notes.append(f"the donor does not offer {options.compression.algorithm}: nothing was compressed")
        status.notes += [f"followed DDL on the donor: {change}" for change in received.table.changes]
        finished = time.time()
        manifest = _manifest(options, status, facts, received, target, finished)
        target.finish(manifest, _views(options.donor, status, finished), owner=owner)
    except (Interrupted, KeyboardInterrupt):
        target.release()
        raise
    except BaseException:
        target.discard()
        raise
    return facts, received


def _boot(options: CloneOptions, status: CloneStatus, stopped: threading.Event) -> None:
    from innoclone.operation.boot import boot

    boot(BootOptions(options.directory, mysqld=options.mysqld), status=status, stopped=stopped)


def _views(donor: Endpoint, status: CloneStatus, finished: float) -> dict[str, str]:
    """What the booted server shows; the clone counts as completed there, and gets its position at the boot."""
    status.end = finished
    views = view_files(status, donor.address)
    status.end = None
    return views


def _owner(text: str | None) -> tuple[int, int] | None:
    """User and group ids of ``user``, ``user:group`` or ``:group``; -1 leaves one as it is. Raises `UsageError`."""
    if text is None:
        return None
    user, _, group = text.partition(":")
    try:
        account = pwd.getpwnam(user) if user and not user.isdigit() else None
        uid = account.pw_uid if account else int(user or -1)
        if group:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        else:
            gid = account.pw_gid if account else -1
    except KeyError as error:
        raise UsageError(f"--chown {text}: no such user or group") from error
    if os.geteuid() != 0 and (uid not in (-1, os.geteuid()) or gid not in (-1, *os.getgroups())):
        raise FileError(f"--chown {text} needs root")
    return uid, gid


def _manifest(
    options: CloneOptions, status: CloneStatus, facts: DonorFacts, received: Received, target: Target, finished: float
) -> dict[str, object]:
    variables = facts.variables
    return {
        "format": FORMAT,
        "innoclone": __version__,
        "state": "complete",
        "donor": {
            "uuid": variables.get("server_uuid", ""),
            "version": received.parameters.version,
            "host": str(options.donor.socket or options.donor.host),
            "port": options.donor.port,
            "user": options.donor.user,
            "page_size": int(variables.get("innodb_page_size", 16384)),
            "lower_case_table_names": int(variables.get("lower_case_table_names", 0)),
            "data_file_path": variables.get("innodb_data_file_path", ""),
            "gtid_mode": variables.get("gtid_mode", "OFF"),
            "enforce_gtid_consistency": variables.get("enforce_gtid_consistency", "OFF"),
            "log_bin": variables.get("log_bin", ""),
            "character_set_server": variables.get("character_set_server", ""),
            "collation_server": variables.get("collation_server", ""),
            "plugins": sorted(name for name, library in received.parameters.plugins.items() if library),
        },
        "options": {
            "threads": options.threads,
            "compression": received.compression,
            "tls": received.cipher,
            "block_ddl": options.block_ddl,
            "fsync": options.fsync,
            "verify_pages": options.verify_pages,
            "map_paths": [list(pair) for pair in options.map_paths],
        },
        "protocol": f"{received.protocol:#06x}",
        "clone_id": received.locator.clone_id,
        "snapshot_id": received.locator.snapshot_id,
        "started": timestamp(status.begin or finished),
        "finished": timestamp(finished),
        "stages": [
            {"stage": row.stage.value, "seconds": round(row.seconds, 3), "data": row.data, "network": row.network}
            for row in (status.stages[stage] for stage in COPY_STAGES)
        ],
        "files": [_file_row(file, target.root) for file in received.table.all_files()],
        "external_directories": sorted({str(path.parent) for path in target.external}),
        "notes": list(status.notes),
    }


def _file_row(file: ClonedFile, root: Path) -> dict[str, object]:
    path = file.path.relative_to(root) if file.path.is_relative_to(root) else file.path
    return {
        "name": file.metadata.name or file.path.name,
        "path": str(path),
        "space_id": file.metadata.space_id,
        "flags": file.metadata.fsp_flags,
        "size": file.path.stat().st_size,
    }


def _result(options: CloneOptions, status: CloneStatus, facts: DonorFacts, received: Received) -> CloneResult:
    rows = [status.stages[stage] for stage in COPY_STAGES[:3]]
    return CloneResult(
        options.directory, facts.variables.get("server_uuid", ""), received.parameters.version,
        (status.end or time.time()) - (status.begin or 0), sum(row.data for row in rows),
        sum(row.network for row in rows), received.connections, received.compression, received.cipher,
        status.binlog_file, status.binlog_position, status.gtid_executed, list(status.notes),
    )  # fmt: skip
