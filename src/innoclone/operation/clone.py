"""The one door to a remote clone: check, copy, finish, boot if asked. CLI and Python API both come in here."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.engine.preflight import DonorFacts, check
from innoclone.engine.programs import find_programs
from innoclone.engine.recipient import Received, receive
from innoclone.errors import Interrupted
from innoclone.files.base import is_earlier_clone
from innoclone.files.target import Target
from innoclone.operation.options import BootOptions, CloneOptions
from innoclone.operation.record import COPY_STAGES, manifest_of, note_changes, owner_of, views_of
from innoclone.operation.run import recorded
from innoclone.ops.limits import Limits
from innoclone.ops.status import CloneStatus

__all__ = ["CloneResult", "clone"]


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
    with recorded("clone", options.donor, options.directory, status):
        received = _copy(options, status, stopped, limits)
        status.donor_version = received[0].version
        if options.boot:
            _boot(options, status, stopped)
    return _result(options, status, *received)


def _copy(
    options: CloneOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> tuple[DonorFacts, Received]:
    owner = owner_of(options.chown)
    local = find_programs(options.mysqld) if options.boot else None
    reuse = options.write_changed_only and options.directory.is_dir() and is_earlier_clone(options.directory)
    facts = check(
        options.donor, None if reuse else options.directory, mapping=options.map_paths,
        install_plugin=options.install_plugin, local=local,
    )  # fmt: skip
    status.notes += facts.notes
    facts.verdict()
    target = Target(options.directory, options.map_paths, fsync=options.fsync, reuse=reuse)
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
        note_changes(status, received)
        if target.base is not None:
            written = sum(row.written for row in status.stages.values())
            removed = target.base.remove_rest()
            status.notes.append(
                f"brought an earlier clone up to date: {written} bytes written, {target.base.renamed} tablespaces"
                f" renamed, {removed} removed"
            )
        finished = time.time()
        manifest = manifest_of(options.donor, _settings(options, received), status, facts, received, target, finished)
        target.finish(manifest, views_of(options.donor, status, finished), owner=owner)
    except (Interrupted, KeyboardInterrupt):
        target.release()
        raise
    except BaseException:
        if target.base is None:
            target.discard()
        else:
            target.release()  # what is there of the earlier clone serves the next run
        raise
    return facts, received


def _settings(options: CloneOptions, received: Received) -> dict[str, object]:
    """What the manifest tells about how the clone was made."""
    return {
        "threads": options.threads,
        "compression": received.compression,
        "tls": received.cipher,
        "block_ddl": options.block_ddl,
        "fsync": options.fsync,
        "verify_pages": options.verify_pages,
        "map_paths": [list(pair) for pair in options.map_paths],
    }


def _boot(options: CloneOptions, status: CloneStatus, stopped: threading.Event) -> None:
    from innoclone.operation.boot import boot

    boot(BootOptions(options.directory, mysqld=options.mysqld), status=status, stopped=stopped)


def _result(options: CloneOptions, status: CloneStatus, facts: DonorFacts, received: Received) -> CloneResult:
    rows = [status.stages[stage] for stage in COPY_STAGES[:3]]
    return CloneResult(
        options.directory, facts.variables.get("server_uuid", ""), received.parameters.version,
        (status.end or time.time()) - (status.begin or 0), sum(row.data for row in rows),
        sum(row.network for row in rows), received.connections, received.compression, received.cipher,
        status.binlog_file, status.binlog_position, status.gtid_executed, list(status.notes),
    )  # fmt: skip
