"""The one door to a clone on the donor's own host: in full, or an earlier clone brought up to date."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.engine.donorfiles import DonorFiles
from innoclone.engine.local import CopiedLocally, copy_local
from innoclone.engine.localcopy import CopySummary
from innoclone.engine.preflight import DonorFacts, check
from innoclone.engine.programs import find_programs
from innoclone.errors import CloneError, Interrupted, TargetExists, TargetUnusable
from innoclone.files.base import is_earlier_clone
from innoclone.files.copying import Method
from innoclone.files.swap import exchange, fresh_sibling
from innoclone.files.target import Target
from innoclone.operation.options import BootOptions, LocalOptions
from innoclone.operation.record import manifest_of, note_changes, owner_of, views_of
from innoclone.ops.limits import Limits
from innoclone.ops.status import CloneStatus, State
from innoclone.transport.sql import Sql

__all__ = ["LocalResult", "local"]


@dataclass(frozen=True)
class LocalResult:
    """A finished local clone; ``summary`` says by files and pages what it took."""

    directory: Path
    donor_uuid: str
    seconds: float
    incremental: bool
    reflink: bool
    summary: CopySummary
    binlog_file: str = ""
    binlog_position: int = 0
    gtid_executed: str = ""
    notes: list[str] = field(default_factory=list)


def local(
    options: LocalOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> LocalResult:
    """Clone a server on this host into a directory. Raises a `CloneError`.

    An earlier clone in the directory is used up by an incremental run: whatever happens, it can't be started any more
    until a run has come to its end. With ``keep_base`` it stays whole until the new clone takes its place.
    """
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth)
    status.source, status.destination = str(options.donor), str(options.directory)
    status.state, status.begin = State.IN_PROGRESS, time.time()
    try:
        facts, copied, incremental = _copy(options, status, stopped, limits)
        if options.boot:
            from innoclone.operation.boot import boot

            boot(BootOptions(options.directory, mysqld=options.mysqld), status=status, stopped=stopped)
    except CloneError as error:
        status.fail(error.code, error.message)
        raise
    status.state, status.end = State.COMPLETED, time.time()
    return LocalResult(
        options.directory, facts.variables.get("server_uuid", ""), status.end - status.begin, incremental,
        copied.reflink, copied.summary, status.binlog_file, status.binlog_position, status.gtid_executed,
        list(status.notes),
    )  # fmt: skip


def _copy(
    options: LocalOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> tuple[DonorFacts, CopiedLocally, bool]:
    owner = owner_of(options.chown)
    has_base = options.directory.is_dir() and is_earlier_clone(options.directory)
    if options.incremental == "require" and not has_base:
        raise TargetUnusable(
            f"{options.directory} holds no earlier clone", hint="leave --incremental=require out for the first one"
        )
    if has_base and options.incremental == "off" and not options.keep_base:
        raise TargetExists(f"{options.directory} holds an earlier clone", hint="use --incremental or --keep-base")
    programs = find_programs(options.mysqld) if options.boot else None
    facts = check(
        options.donor, None if has_base else options.directory, mapping=options.map_paths,
        install_plugin=options.install_plugin, local=programs,
    )  # fmt: skip
    status.notes += facts.notes
    facts.verdict()
    with Sql(options.donor) as sql:
        files = DonorFiles.find(sql, options.datadir)
    _refuse_nesting(options.directory, files.root)
    beside = options.keep_base and has_base
    directory = fresh_sibling(options.directory) if beside else options.directory
    target = Target(directory, options.map_paths, fsync=options.fsync, reuse=has_base and not beside)
    if target.restarted:
        status.notes.append(f"{directory} held an unfinished clone: it was removed, this one begins anew")
    try:
        copied = copy_local(
            options.donor, files, target, threads=options.threads, limits=limits, block_ddl=options.block_ddl,
            ddl_timeout=options.ddl_timeout, stall_timeout=options.stall_timeout, verify_pages=options.verify_pages,
            methods=tuple(Method(name) for name in options.copy_methods), status=status, stopped=stopped,
        )  # fmt: skip
        note_changes(status, copied.received)
        finished = time.time()
        settings = _settings(options, copied, target.base is not None)
        manifest = manifest_of(options.donor, settings, status, facts, copied.received, target, finished)
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
    if beside:
        exchange(directory, options.directory)
    return facts, copied, target.base is not None


def _settings(options: LocalOptions, copied: CopiedLocally, incremental: bool) -> dict[str, object]:
    """What the manifest tells about how the clone was made."""
    summary = copied.summary
    return {
        "local": True,
        "incremental": incremental,
        "threads": options.threads,
        "copied_by": sorted(summary.methods),
        "files_new": summary.new,
        "files_reused": summary.reused,
        "pages_compared": summary.pages_compared,
        "pages_written": summary.pages_written,
        "block_ddl": options.block_ddl,
        "fsync": options.fsync,
        "verify_pages": options.verify_pages,
        "map_paths": [list(pair) for pair in options.map_paths],
    }


def _refuse_nesting(directory: Path, datadir: Path) -> None:
    """A clone inside the donor's data directory would become part of it, the other way round destroy it."""
    target, source = Path(os.path.realpath(directory)), Path(os.path.realpath(datadir))
    if target == source or target.is_relative_to(source) or source.is_relative_to(target):
        raise TargetUnusable(f"{directory} and the donor's data directory {datadir} lie one in the other")
