"""The one door to a clone on the donor's own host: in full, or an earlier clone brought up to date."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from innoclone.commands.awaiting import await_donor
from innoclone.commands.beside import settle_sibling, take_place
from innoclone.commands.destination import owner_of, places_of
from innoclone.commands.earlierclone import (
    check_same_donor,
    check_still_same_donor,
    check_unchanged,
    refuse_occupied,
    refuse_unfinished_of_other,
)
from innoclone.commands.encryption import configuration_of, encryption_of, keyring_for
from innoclone.commands.finishedclone import manifest_of, note_changes, note_position, views_of
from innoclone.commands.options import BootOptions, LocalOptions
from innoclone.commands.runrecord import recorded
from innoclone.commands.stoprequest import stop_on_request
from innoclone.errors import CloneError, SnapshotGone, TargetExists, TargetUnusable
from innoclone.files.base import is_earlier_clone
from innoclone.files.copying import Method
from innoclone.files.keyring import CloneKeyring
from innoclone.files.marks import is_unfinished, undo_begun_update
from innoclone.files.names import OWN_DIR
from innoclone.files.swap import fresh_sibling, hold_for_swap
from innoclone.receive.recipient import Received, Recipient
from innoclone.receive.resume import find_resumable
from innoclone.receive.retry import serves_next_run
from innoclone.receive.transfer import Controls, Transfer
from innoclone.records.limits import Limits
from innoclone.records.position import UNKNOWN, ClonePosition, Positioned
from innoclone.records.status import CloneStatus
from innoclone.records.statusfile import StatusFile
from innoclone.server.asuser import owner_to_be, refuse_unfit_user
from innoclone.server.donorfiles import DonorFiles
from innoclone.server.preflight import DonorFacts, check
from innoclone.server.programs import find_programs
from innoclone.sinks.directory import Target
from innoclone.sources.local import LocalFiles, check_unseen, refuse_few_connections
from innoclone.sources.localcopy import CopySummary
from innoclone.transport.sql import Sql

__all__ = ["LocalResult", "local"]


@dataclass(frozen=True)
class CopiedLocally:
    """A finished transfer: what a remote one has, and what the copy did."""

    received: Received
    summary: CopySummary
    reflink: bool


@dataclass(frozen=True, kw_only=True)
class LocalResult(Positioned):
    """A finished local clone; ``summary`` says by files and pages what it took."""

    directory: Path
    donor_uuid: str
    seconds: float
    incremental: bool
    reflink: bool
    summary: CopySummary
    position: ClonePosition = UNKNOWN
    notes: list[str] = field(default_factory=list)
    kept: tuple[CloneError, ...] = ()  # why a generation that should have gone is still there


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
    with recorded("local", options.donor, options.directory, status):
        facts, copied, incremental = _copy(options, status, stopped, limits)
        if options.boot:
            from innoclone.commands.boot import boot

            boot(BootOptions(options.directory, mysqld=options.mysqld), status=status, stopped=stopped)
    return LocalResult(
        directory=options.directory,
        donor_uuid=facts.variables.get("server_uuid", ""),
        seconds=status.seconds,
        incremental=incremental,
        reflink=copied.reflink,
        summary=copied.summary,
        position=status.position,
        notes=list(status.notes),
    )


@dataclass(kw_only=True)
class _Clone:
    """One run: what is known before a directory is touched."""

    options: LocalOptions
    status: CloneStatus
    stopped: threading.Event
    limits: Limits
    facts: DonorFacts
    files: DonorFiles
    keyring: CloneKeyring
    owner: tuple[int, int] | None

    def into(
        self, directory: Path, *, reuse: bool = False, replace: bool = False, like: Path | None = None
    ) -> CopiedLocally:
        """Clone into ``directory``; with ``reuse`` an earlier clone there is brought up to date, with ``replace`` it
        is removed first. Owner and modes are those of what was there, or of ``like``."""
        options, status = self.options, self.status
        what = "an unfinished clone" if is_unfinished(directory) else "an earlier clone that was not needed any more"
        target = Target(
            directory, options.map_paths, fsync=options.fsync, reuse=reuse, replace=replace,
            discard_changes=options.discard_changes, like=like,
        )  # fmt: skip
        if target.restarted:
            status.notes.append(f"{directory} held {what}: it was removed, this one begins anew")
        try:
            with (
                StatusFile(target.root / OWN_DIR, status, operation="local"),
                stop_on_request(target.lock, self.stopped),
            ):
                copied = self._copy(target)
            note_changes(status, copied.received)
            note_position(status, self.facts, copied.received, target)
            finished = time.time()
            settings = _settings(options, copied, reuse)
            manifest = manifest_of(options.donor, settings, status, self.facts, copied.received, target, finished)
            manifest["series"] = options.series or None
            encryption = encryption_of(self.keyring, self.facts)
            target.finish(
                manifest | encryption, views_of(options.donor, status, finished), owner=self.owner,
                configuration=configuration_of(encryption),
            )  # fmt: skip
            self.keyring.give(target.root)
        except BaseException as error:
            if target.base is not None or serves_next_run(error) or isinstance(error, TargetExists):
                target.release()  # what is there of this clone or of the earlier one
            else:
                target.discard()
                self.keyring.discard()
            raise
        return copied

    def _copy(self, target: Target) -> CopiedLocally:
        """The transfer. Where the donor is lost or gives its snapshot up a new clone begins, and compares what was
        copied already."""
        options = self.options
        checks = options.verify_pages is not False
        made: list[LocalFiles] = []

        def source() -> LocalFiles:
            methods = tuple(Method(name) for name in options.copy_methods)
            files = LocalFiles(
                self.files, target, threads=options.threads, methods=methods, verify_pages=checks, limits=self.limits
            )
            made.append(files)
            return files

        def prepare_anew(error: CloneError) -> None:
            self._await_donor(target.root)
            self.status.notes.append(f"{error.message}: the clone begins anew and compares what was copied already")
            self.status.restarts += 1
            self.status.begin_anew()
            target.clear(reuse=True)

        transfer = Transfer(
            block_ddl=options.block_ddl, ddl_timeout=options.ddl_timeout, stall_timeout=options.stall_timeout,
            verify_pages=checks, retry_for=options.retry_for,
        )  # fmt: skip
        received = Recipient(
            options.donor, target, transfer, Controls(self.status, self.limits, self.stopped), source=source,
            keyring=self.keyring, prepare_anew=prepare_anew,
        ).run()  # fmt: skip
        copied = made[-1]
        if options.verify_pages and copied.copier.unseen:
            check_unseen(received.table, target, self.stopped)
        if target.base is not None:
            copied.summary.renamed = target.base.renamed
            copied.summary.removed = target.base.remove_rest()
        return CopiedLocally(received, copied.summary, copied.reflink)

    def _await_donor(self, directory: Path) -> None:
        """Until it answers again. Raises as `await_donor`, or that another server does."""
        options = self.options
        facts = await_donor(options, self.status, self.stopped)
        check_still_same_donor(directory, options.donor, self.facts, facts, options.discard_changes, self.status)
        self.facts = facts
        with Sql(self.options.donor, read_timeout=self.options.stall_timeout) as sql:
            self.files = DonorFiles.find(sql, self.options.datadir)


def _copy(
    options: LocalOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> tuple[DonorFacts, CopiedLocally, bool]:
    """The facts about the donor, what was copied, and whether that was done incrementally."""
    has_base = _check_base(options, status)
    clone = _check_donor(options, status, stopped, limits, has_base=has_base)
    if has_base and options.keep_base:
        return clone.facts, _copy_beside(clone), False
    copied = clone.into(options.directory, reuse=has_base)
    return clone.facts, copied, has_base


def _check_base(options: LocalOptions, status: CloneStatus) -> bool:
    """Whether the directory holds an earlier clone that the new one comes from or takes the place of. Raises why it
    must not."""
    directory = options.directory
    undo_begun_update(directory)
    has_base = directory.is_dir() and is_earlier_clone(directory)
    if has_base and options.incremental == "off":
        has_base = not is_unfinished(directory)  # one that never was whole is simply begun anew
    if options.incremental == "require" and not has_base:
        raise TargetUnusable(
            f"{directory} holds no earlier clone", hint="leave --incremental=require out for the first one"
        )
    if has_base and options.incremental == "off" and not options.keep_base:
        raise TargetExists(
            f"{directory} holds an earlier clone",
            hint="--incremental=auto brings it up to date; --keep-base makes a new one and keeps it until then",
        )
    if has_base:
        check_unchanged(directory, options.discard_changes, status)
    return has_base


def _check_donor(
    options: LocalOptions, status: CloneStatus, stopped: threading.Event, limits: Limits, *, has_base: bool
) -> _Clone:
    """What is known about the donor, before the directory is touched. Raises why it can't be cloned to there."""
    owner, directory = owner_of(options.chown), options.directory
    programs = find_programs(options.mysqld) if options.boot else None
    if programs is not None:
        refuse_unfit_user(programs, owner_to_be(directory, owner), places_of(directory, options.map_paths))
    facts = check(
        options.donor, None if has_base else directory, mapping=options.map_paths,
        install_plugin=options.install_plugin, local=programs,
    )  # fmt: skip
    status.notes += facts.notes
    status.donor_version = facts.version
    facts.verdict()
    _refuse_another_donors(options, status, facts, has_base=has_base)
    refuse_few_connections(facts.connections)
    with Sql(options.donor, read_timeout=options.stall_timeout) as sql:
        files = DonorFiles.find(sql, options.datadir)
    _refuse_nesting(options, files)
    if has_base:
        refuse_occupied(facts.outside, directory, options.map_paths, beside=options.keep_base)
    return _Clone(
        options=replace(options, donor=facts.reached(options.donor)), status=status, stopped=stopped, limits=limits,
        facts=facts, files=files, owner=owner, keyring=keyring_for(options, directory, in_series=bool(options.series)),
    )  # fmt: skip


def _refuse_another_donors(options: LocalOptions, status: CloneStatus, facts: DonorFacts, *, has_base: bool) -> None:
    """Raise `TargetExists` where the directory holds a clone of another server, finished or not."""
    directory, uuid = options.directory, facts.variables.get("server_uuid", "")
    if directory.is_dir() and is_unfinished(directory):
        with suppress(SnapshotGone):  # it could not be gone on with
            refuse_unfinished_of_other(directory, find_resumable(directory, options.map_paths), uuid)
    if has_base:
        check_same_donor(directory, options.donor, uuid, options.discard_changes, status)


def _copy_beside(clone: _Clone) -> CopiedLocally:
    """Into a new directory, which takes the earlier clone's place once it is whole."""
    old = Path(os.path.realpath(clone.options.directory))  # a symbolic link stays one
    new = fresh_sibling(old)
    with hold_for_swap(old) as lock, stop_on_request(lock, clone.stopped):
        uuid = clone.facts.variables.get("server_uuid", "")
        settle_sibling(new, clone.options.donor, uuid, clone.options.discard_changes, clone.status)
        copied = clone.into(new, replace=True, like=old)
        take_place(new, old, clone.options.discard_changes)
    return copied


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


def _refuse_nesting(options: LocalOptions, files: DonorFiles) -> None:
    """A clone inside a directory of the donor would become part of it (a server searches innodb_directories for
    tablespaces when it starts), the other way round destroy it."""
    target = Path(os.path.realpath(options.directory))
    mapped = [Path(os.path.realpath(new)) for _, new in options.map_paths]
    for folder in files.folders:
        source = Path(os.path.realpath(folder))
        if target.is_relative_to(source) or source.is_relative_to(target):
            raise TargetUnusable(f"{options.directory} and the donor's directory {folder} lie one in the other")
        for path in mapped:
            if path.is_relative_to(source):
                raise TargetUnusable(f"{path} lies in the donor's directory {folder}", hint="map files elsewhere")
