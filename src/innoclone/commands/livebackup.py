"""A running server goes into a store without a copy on this host: the stream's sink is the store.

    check       the donor, as a clone does
    begin       a run with its lease, and the parent
    receive     FILE COPY goes into packs as it comes; PAGE COPY and the redo log into a directory of this host
    gather      what is here joins what is in the store
    commit      the snapshot object: only with it there is a backup

What is here has room for changed pages and redo, not for the data, is marked as unfinished from the first byte to the
last, and is removed in the end, however that comes; after kill -9 by the next backup.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innoclone.commands.backup import ANYWHERE, BackupResult, compact, known_of, note_moved, says_of_itself
from innoclone.commands.encryption import encryption_of
from innoclone.commands.finishedclone import manifest_of, note_changes, note_position, views_of
from innoclone.commands.runrecord import recorded
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import LiveBackupOptions
from innoclone.errors import CloneError, DiskFull, DonorFilesUnreadable, EncryptionUnsupported
from innoclone.files.extents import regular_files
from innoclone.files.keyring import CloneKeyring
from innoclone.files.marks import IN_PROGRESS
from innoclone.files.names import CLONE_DIR, OWN_DIR
from innoclone.files.outside import Outside
from innoclone.files.scratch import scratch_folder
from innoclone.receive.recipient import Received, Recipient
from innoclone.receive.transfer import Controls, Transfer
from innoclone.records.history import BACKUP
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus
from innoclone.server.donorfiles import DonorFiles
from innoclone.server.preflight import DonorFacts, check
from innoclone.sinks.streaming import StreamTarget
from innoclone.sources.donor import DonorStream
from innoclone.sources.gathering import Gathering
from innoclone.sources.local import refuse_few_connections
from innoclone.sources.localstream import LocalStream
from innoclone.store.contents import StoredFile, write_contents
from innoclone.store.known import Known
from innoclone.store.runs import Run, begin_run
from innoclone.store.snapshots import Snapshot
from innoclone.store.uploads import Uploads
from innoclone.store.writing import PackTable
from innoclone.stream.source import FileSource
from innoclone.transport.sql import Sql

__all__ = ["backup_live"]

MORE_ROOM = "--spool FOLDER names a place with room for pages that change meanwhile and the redo log; then run it again"
NOT_HERE = "run as root or as the server's own user, on the server's host; or leave --local out"
NAME_KEYRING = "--keyring FILE names one to use, or to make; keep it, and apart from the store, which has none"


def backup_live(
    options: LiveBackupOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> BackupResult:
    """Put a running server into a store; see `LiveBackupOptions`. Raises a `CloneError`."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth)
    with recorded(BACKUP, options.donor, options.store.address, status):
        return _Live(options, status, stopped, limits).run()


class _Live:
    """State of one backup."""

    def __init__(
        self, options: LiveBackupOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
    ) -> None:
        self.options, self.status, self.stopped, self.limits = options, status, stopped, limits
        self.keyring: CloneKeyring | None = None
        self.files: DonorFiles | None = None  # where they are read here
        if (file := options.keyring) is not None:
            self.keyring = CloneKeyring(file.parent, file=file, key=options.keyring_key)
        self._is_written = False  # there may be a snapshot that needs the keyring

    def run(self) -> BackupResult:
        """The whole of it. A keyring that was made for it stays where there may be a snapshot."""
        if self.keyring is None:
            return self._backup()
        self.keyring.check()
        try:
            return self._backup()
        finally:
            if not self._is_written:
                self.keyring.discard()

    def _backup(self) -> BackupResult:
        repository = opened(self.options.store, self.stopped)
        facts = self._check()
        self.status.donor_version = facts.version
        run, parent = begin_run(repository, facts.variables.get("server_uuid", ""), full=self.options.full)
        with run:
            known, table = known_of(parent, repository, self.options.threads)
            with (
                scratch_folder(self.options.spool, "innoclone-backup-", self.status.notes) as folder,
                Uploads(run, table) as uploads,
            ):
                try:
                    return self._stream(run, parent, known, table, uploads, folder / "clone", facts)
                except DiskFull as error:
                    if str(folder) in error.message:  # else it is the store that is full
                        error.advice = MORE_ROOM
                    raise

    def _check(self) -> DonorFacts:
        """Raises why the donor can't be cloned."""
        facts = check(self.options.donor, None, mapping=ANYWHERE, stall_timeout=self.options.stall_timeout)
        self.status.notes += facts.notes
        facts.verdict()
        if self.options.local:
            self._find_files(facts)
        # An account without PROCESS isn't told: then the first file that comes tells.
        if facts.encrypted and self.keyring is None:
            raise EncryptionUnsupported(
                f"the donor has {facts.encrypted}, and a backup that goes straight into a store has no keyring",
                hint=NAME_KEYRING,
            )
        return facts

    def _find_files(self, facts: DonorFacts) -> None:
        """The donor's files on this host. Raises `ConnectionLimit`, `DonorFilesUnreadable`."""
        refuse_few_connections(facts.connections)
        if facts.encrypted:
            raise EncryptionUnsupported(
                f"the donor has {facts.encrypted}, and its files are not read for a store",
                hint="leave --local out, and name a --keyring",
            )
        try:
            with Sql(self.options.donor, read_timeout=self.options.stall_timeout) as sql:
                self.files = DonorFiles.find(sql, self.options.datadir)
        except DonorFilesUnreadable as error:
            error.advice = NOT_HERE
            raise

    def _source(self, target: StreamTarget) -> FileSource:
        """Who supplies FILE COPY."""
        if self.files is None:
            return DonorStream()
        return LocalStream(self.files, target, threads=self.options.threads, limits=self.limits)

    def _stream(
        self, run: Run, parent: Snapshot | None, known: Known | None, table: PackTable, uploads: Uploads, root: Path,
        facts: DonorFacts,
    ) -> BackupResult:  # fmt: skip
        target = StreamTarget(root, root.with_name("outside"), run, table, known, uploads)
        try:
            received, facts = self._receive(target, facts)
            uploads.drain()
            note_changes(self.status, received)
            note_position(self.status, facts, received, target)
            finished = time.time()
            target.mark(views_of(self.options.donor, self.status, finished))
            settings: dict[str, object] = {"streamed": True, "verify_pages": True, "tls": received.cipher}
            manifest = manifest_of(self.options.donor, settings, self.status, facts, received, target, finished)
            manifest |= _as_the_donor_has_it(manifest, target) | self._encryption(facts)
            gathering, files = self._gather(target, known, received)
            uploads.drain()
            note_moved(self.status, table)
            contents = compact(manifest, _folders(root), files, table, root)
            sizes = write_contents(run.repository.objects, run.sealer, run.id, contents)
            added = uploads.sent + sum(sizes)
            fields = says_of_itself(
                manifest, parent, contents, sizes, added=added, changed=target.changed + gathering.changed,
                booted=False, pages_checked=True, source=str(self.options.donor),
            )  # fmt: skip
            self._is_written = True
            run.commit(fields)
        finally:
            target.discard()
        return BackupResult.of(run, parent, fields, self.status, str(self.options.donor))

    def _receive(self, target: StreamTarget, facts: DonorFacts) -> tuple[Received, DonorFacts]:
        """The transfer, and the facts about the donor as they are in the end."""

        def prepare_anew(error: CloneError) -> DonorFacts:
            nonlocal facts
            self.status.notes.append(f"the clone begins anew: {error.message}")
            self.status.begin_anew()
            facts = check(self.options.donor, None, mapping=ANYWHERE, stall_timeout=self.options.stall_timeout)
            facts.verdict()
            if self.options.local:
                self._find_files(facts)
            return facts

        transfer = Transfer(
            threads=self.options.threads, max_concurrency=self.options.threads, compression=self.options.compression,
            block_ddl=self.options.block_ddl, stall_timeout=self.options.stall_timeout, retry_for=None,
        )  # fmt: skip
        controls = Controls(self.status, self.limits, self.stopped)
        recipient = Recipient(
            self.options.donor, target, transfer, controls, source=lambda: self._source(target), facts=facts,
            prepare_anew=prepare_anew, keyring=self.keyring,
        )  # fmt: skip
        try:
            return recipient.run(), facts
        except EncryptionUnsupported as error:
            error.advice = NAME_KEYRING
            raise

    def _encryption(self, facts: DonorFacts) -> dict[str, object]:
        """What the manifest tells of the keyring."""
        if self.keyring is None or not (told := encryption_of(self.keyring, facts)):
            return {}
        self.status.notes.append(f"encrypted: without the keyring {self.keyring.path} the snapshot is lost; back it up")
        return told

    def _gather(
        self, target: StreamTarget, known: Known | None, received: Received
    ) -> tuple[Gathering, list[StoredFile]]:
        spaces = {file.path: file.metadata.space_id for file in received.table.data if file.flags is not None}
        found = {file.path: one for file in received.table.data if (one := target.streamed(file)) and not file.dropped}
        paths = [path for path, _ in regular_files(target.root) if not _is_mark(path, target.root)]
        paths += sorted(target.external)
        files = [_stored(path, target, spaces.get(path)) for path in paths]
        for file, path in zip(files, paths, strict=True):
            file.sparse = file.sparse and path not in found
        earlier = [known.file(file.path, file.space_id) if known is not None else None for file in files]
        gathering = Gathering(
            target, files, paths, found, earlier=earlier, threads=self.options.threads, stopped=self.stopped
        )
        gathering.run()
        return gathering, files


def _as_the_donor_has_it(manifest: Mapping[str, Any], target: StreamTarget) -> dict[str, Any]:
    """Those parts of the manifest that name files which were elsewhere, and are here for a while."""
    here = {str(path): target.name_of(path) for path in target.external}
    return {
        "files": [{**row, "path": here.get(row["path"], row["path"])} for row in manifest["files"]],
        "external_directories": sorted({str(Path(name).parent) for name in here.values()}),
        "outside": Outside(target.root).for_manifest,
    }


def _stored(path: Path, target: StreamTarget, space_id: int | None) -> StoredFile:
    state = path.stat()
    sparse = state.st_blocks * 512 < state.st_size
    return StoredFile(target.name_of(path), state.st_mode & 0o7777, state.st_size, space_id, sparse)


def _is_mark(path: Path, root: Path) -> bool:
    """Whether it is of the unfinished directory, not of the clone."""
    return path.relative_to(root).parts[0] == OWN_DIR or path == root / CLONE_DIR / IN_PROGRESS


def _folders(root: Path) -> list[Path]:
    found: list[Any] = [Path(parent, name) for parent, names, _ in os.walk(root) for name in names]
    return sorted(path for path in found if path.relative_to(root).parts[0] != OWN_DIR)
