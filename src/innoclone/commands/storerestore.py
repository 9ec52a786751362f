"""A snapshot in a store becomes a new data directory, whole or not at all.

    find        the snapshot, and all that it says
    begin       the target, marked as unfinished like a clone: no server starts on it
    copy        pack by pack; every frame is checked before it is written
    sync        and read back: every page, every file's size, the redo log
    finish      manifest, owner; the mark goes last
    check       where asked for, a private mysqld comes up on it

What goes wrong before the mark is gone leaves nothing behind, but where the same command can go on: after an
interruption, a full disk, a store that did not answer, or a death of the process. The store is only read.

With ``delta`` (`innoclone.commands.deltarestore`) there is data already: tablespaces are set aside as for an update of
a clone, those that the snapshot has are taken back, compared with its hashes, and only what differs is fetched. From
the first change to the end the directory stays marked: whatever fails, the same command goes on, and compares again.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innoclone.commands.deltarestore import has_data, keep_beside, refuse_foreign, refuse_loss, refuse_too_large
from innoclone.commands.destination import owner_of, places_of
from innoclone.commands.encryption import configuration_of, own_keyring
from innoclone.commands.restore import RestoreResult, server_settings
from innoclone.commands.runrecord import recorded
from innoclone.commands.stoprequest import stop_on_request
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import StoreRestoreOptions
from innoclone.commands.wholeclone import boot_restored, refuse_target
from innoclone.errors import CloneError, DiskFull, Interrupted, StoreDamaged, StoreUnavailable, VerifyFailed
from innoclone.files.keyring import CloneKeyring, keyring_home
from innoclone.files.manifest import FORMAT, read_manifest, timestamp
from innoclone.files.marks import is_unfinished
from innoclone.files.names import ANY_TABLE, OWN_DIR, place
from innoclone.files.ownlife import LEFT, left_behind
from innoclone.files.system import file_error
from innoclone.records.history import RESTORE
from innoclone.records.limits import Limits
from innoclone.records.position import ClonePosition
from innoclone.records.status import CloneStatus, Stage
from innoclone.records.statusfile import StatusFile
from innoclone.records.units import amount
from innoclone.records.verdict import FIELD, record_verdict
from innoclone.server import cloned
from innoclone.server.asuser import owner_to_be, refuse_unfit_user
from innoclone.server.keyring import Keyring
from innoclone.server.programs import Programs, find_programs
from innoclone.sinks.directory import Target
from innoclone.sources.fetched import Fetched
from innoclone.sources.fetching import Fetching
from innoclone.sources.storedelta import Differing, units_of
from innoclone.store.address import LATEST
from innoclone.store.contents import Contents, StoredFile
from innoclone.store.pack import UNIT
from innoclone.store.reading import PackReader
from innoclone.store.repository import Repository
from innoclone.store.snapshots import Snapshot, before, find
from innoclone.verification.integrity import check_pages, other_problems
from innoclone.version import __version__

__all__ = ["restore_from_store"]

NAMED = 5  # problems that an error names


def restore_from_store(
    options: StoreRestoreOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    operation: str = RESTORE,
) -> RestoreResult:
    """Make a new data directory of a snapshot; see `StoreRestoreOptions`. Raises a `CloneError`.

    ``operation`` is what the history calls it.
    """
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth)
    address = f"{options.store.address}@{options.snapshot}"
    with recorded(operation, address, options.directory, status):
        restore = _Restore(options, status, stopped, limits)
        try:
            return restore.run()
        except StoreDamaged as error:
            if options.snapshot == LATEST and restore.found is not None:
                with contextlib.suppress(CloneError):  # what was wrong is told in any case
                    error.advice = before(*restore.found)
            raise


class _Restore:
    """State of one restore."""

    def __init__(
        self, options: StoreRestoreOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
    ) -> None:
        self.options, self.status = options, status
        self.stopped, self.limits = stopped, limits
        self.directory = options.directory.absolute()
        self.owner = owner_of(options.chown) or self._owner_there()
        self.keyring = CloneKeyring(keyring_home(Path(os.path.realpath(self.directory))))
        self.keys: Keyring | None = None
        self.pages = 0
        self.delta = False  # there is data that is brought up or back to the snapshot
        self.found: tuple[Repository, Snapshot] | None = None
        self.adopted: list[int] = []  # files, by their numbers, of which some content was there

    def run(self) -> RestoreResult:
        self.delta = self.options.delta and has_data(self.directory)
        if not self.delta or is_unfinished(self.directory):
            refuse_target(self.directory)
        repository = opened(self.options.store, self.stopped)
        snapshot = find(repository, self.options.snapshot)
        self.found = repository, snapshot
        self.status.source = source = f"{repository.address}@{snapshot.id}"
        donor = snapshot.fields.get("donor") or {}
        made = timestamp(snapshot.moment)
        self.status.notes.append(f"snapshot {snapshot.id} is of {donor.get('host')}:{donor.get('port')}, made {made}")
        contents = snapshot.contents(repository)
        if contents.manifest.get("format") != FORMAT or "files" not in contents.manifest:
            raise StoreDamaged(f"snapshot {snapshot.id} holds no manifest of format {FORMAT}")
        places = [self._place(file) for file in contents.files]
        if self.delta:
            refuse_loss(self.directory, snapshot, discard_changes=self.options.discard_changes)
            refuse_foreign(self.directory, places, self.options.map_paths)
            refuse_too_large(self.directory, contents.files, places)
        programs = self._programs(contents.manifest)
        self.keys = cloned.keyring_of(contents.manifest, self.options.keyring)
        reader = PackReader(repository, contents.packs)
        manifest = self._copy(contents, places, reader, snapshot, source, repository.vault.page_key)
        booted = ""
        if programs is not None:
            booted = boot_restored(self.directory, self.options.mysqld, self.status, self.stopped)
            manifest = read_manifest(self.directory)
        elif self.options.verify_pages:
            text = f"{self.pages} pages sound when it was restored"
            details: dict[str, object] = {"pages": self.pages}
            record_verdict(self.directory, manifest, time.time(), text, problems=[], tables=None, details=details)
        self.status.position = ClonePosition.of_manifest(manifest.get("position") or {})
        return RestoreResult(
            directory=self.directory,
            clone=source,
            seconds=time.time() - (self.status.begin or time.time()),
            files=len(contents.files),
            size=sum(file.size for file in contents.files),
            pages_checked=self.pages,
            methods=("store", "delta") if self.delta else ("store",),
            settings=server_settings(manifest, self.directory),
            owner=self.owner,
            booted=booted,
            position=self.status.position,
            notes=list(self.status.notes),
        )

    def _owner_there(self) -> tuple[int, int] | None:
        """Root leaves the files to whom the directory that is there belongs."""
        if os.geteuid() != 0 or not self.directory.is_dir():
            return None
        state = self.directory.stat()
        return (state.st_uid, state.st_gid) if state.st_uid else None

    def _programs(self, manifest: dict[str, Any]) -> Programs | None:
        """What checks the copy, where that is wished; the owner-to-be can run it."""
        if not self.options.mysqld_check:
            return None
        programs = find_programs(self.options.mysqld)
        cloned.check_series(manifest.get("donor", {}).get("version", ""), programs)
        places = places_of(self.directory, self.options.map_paths)
        refuse_unfit_user(programs, owner_to_be(self.directory, self.owner), places)
        return programs

    def _place(self, file: StoredFile) -> Path:
        """Where a file goes. Raises `PathRefused` for one outside that has no mapping, `StoreDamaged`."""
        if Path(file.path).is_absolute():
            return place(file.path, ANY_TABLE, self.directory, self.options.map_paths)
        if Path(file.path).parts[0] == OWN_DIR:
            raise StoreDamaged(f"the snapshot names a file {file.path!r}, which no clone is given away with")
        return self.directory / file.path

    def _copy(
        self, contents: Contents, places: list[Path], reader: PackReader, snapshot: Snapshot, source: str, key: bytes
    ) -> dict[str, Any]:
        fetched, target, goes_on = self._begin(contents, places, snapshot)
        if target.restarted:
            self.status.notes.append(f"what an earlier restore had left unfinished in {self.directory} was removed")
        if os.geteuid() == 0 and self.owner is None:
            self.status.notes.append("the files will be root's: --chown USER makes them those of a server's user")
        try:
            with (
                StatusFile(target.root / OWN_DIR, self.status, operation=RESTORE),
                stop_on_request(target.lock, self.stopped),
            ):
                if self.delta:
                    self._set_aside(target)
                if not goes_on:
                    self._make(contents, places, target)
                differing = self._compare(contents, places, target, reader, key) if self.delta else {}
                if fetched is not None:
                    fetched.begin()
                fetching = Fetching(
                    contents.files, places, target, reader, fetched=fetched, differing=differing,
                    threads=self.options.threads, limits=self.limits, status=self.status, stopped=self.stopped,
                )  # fmt: skip
                fetching.copy()
                fetching.sync()
                manifest = self._new_manifest(contents, places, target, snapshot, source)
                self._prove(manifest, target)
            manifest |= own_keyring(manifest, self.keyring, self.keys, self.status)
            target.finish(manifest, {}, owner=self.owner, markers=(), configuration=configuration_of(manifest))
            self.keyring.give(target.root)
        except BaseException as error:
            self.keyring.discard()
            if self.delta:
                if not target.put_back():  # from the first change on the same command goes on
                    target.release()
            elif _may_go_on(error) and fetched is not None and fetched.done:
                target.release()
            else:
                target.discard()
            raise
        finally:
            if fetched is not None:
                fetched.close()
        return manifest

    def _begin(self, contents: Contents, places: list[Path], snapshot: Snapshot) -> tuple[Fetched | None, Target, bool]:
        """What was fetched by an earlier process, the target, and whether that goes on."""
        if self.delta:
            options = self.options
            target = Target(
                self.directory, options.map_paths, fsync=options.fsync, reuse=True, keep=True, data=True,
                discard_changes=options.discard_changes,
            )  # fmt: skip
            return None, target, False
        fetched = Fetched(self.directory, snapshot.run)
        goes_on = is_unfinished(self.directory) and fetched.may_go_on(places, [file.size for file in contents.files])
        target = Target(self.directory, self.options.map_paths, fsync=self.options.fsync, keep=goes_on)
        if goes_on:
            target.go_on()
            self.status.notes.append(f"going on with what was restored: {len(fetched.done)} packs are there")
        return fetched, target, goes_on

    def _set_aside(self, target: Target) -> None:
        """What isn't data goes beside, tablespaces into our own folder, all else away. Raises as `keep_beside`."""
        if (beside := keep_beside(target, self.directory)) is not None:
            self.status.notes.append(f"what is a server's own in {self.directory} was moved to {beside}")
        target.clear()

    def _compare(
        self, contents: Contents, places: list[Path], target: Target, reader: PackReader, key: bytes
    ) -> Mapping[int, array[int]]:
        """COMPARE: the units of files that were there that differ."""
        differing = Differing(
            contents, places, self.adopted, target, reader, key, threads=self.options.threads, status=self.status,
            stopped=self.stopped,
        ).find()  # fmt: skip
        size = sum(contents.files[number].size for number in self.adopted)
        self.status.notes.append(
            f"{len(self.adopted)} tablespaces were there, {amount(size)}: {amount(UNIT * units_of(differing))} of them "
            "differ from the snapshot"
        )
        return differing

    def _make(self, contents: Contents, places: list[Path], target: Target) -> None:
        """Directories and empty files of their size. Raises `DiskSpace` where they don't fit."""
        for name, _ in contents.directories:
            target.make_directory(self.directory / name)
        for number, (file, path) in enumerate(zip(contents.files, places, strict=True)):
            if (
                self.delta
                and file.space_id is not None
                and target.adopt(file.path, file.space_id, None, path, file.size)
            ):
                self.adopted.append(number)
            else:
                target.create(path)
            descriptor = target.open(path)
            try:
                os.ftruncate(descriptor, file.size)
            except OSError as error:
                raise file_error(error, f"can't make {path}") from error
            finally:
                os.close(descriptor)
        pairs = zip(contents.files, places, strict=True)
        target.require((path, max(0, file.map.stored - path.stat().st_blocks * 512)) for file, path in pairs)

    def _prove(self, manifest: dict[str, Any], target: Target) -> None:
        """PAGE CHECK: everything is read back. Raises `VerifyFailed`."""
        if self.options.verify_pages:
            size = sum(row["size"] for row in manifest["files"])
            row = self.status.start(Stage.PAGE_CHECK, estimate=size, threads=self.options.threads)
            counter, lock = row.counter(), threading.Lock()

            def progress(count: int) -> None:
                with lock:
                    counter.data += count

            report, problems = check_pages(
                target.root, manifest, threads=self.options.threads, progress=progress, cancel=self.stopped
            )
            if self.stopped.is_set():
                raise Interrupted("stopped while a snapshot was restored")
            self.pages = report.pages
            self.status.finish(Stage.PAGE_CHECK)
        else:
            problems = other_problems(target.root, manifest)
        if problems:
            raise VerifyFailed(
                f"the copy is not whole: {'; '.join(problems[:NAMED])}",
                hint="restore another snapshot; --no-verify-pages restores this one as it is",
            )

    def _new_manifest(
        self, contents: Contents, places: list[Path], target: Target, snapshot: Snapshot, source: str
    ) -> dict[str, Any]:
        """The clone's, with where its files are now and where it came from; it is of no series."""
        moved = {file.path: str(path) for file, path in zip(contents.files, places, strict=True)}
        outside = {path for path in moved if Path(path).is_absolute()}
        rows = [
            {**row, "path": moved[row["path"]] if row["path"] in outside else row["path"]}
            for row in contents.manifest["files"]
        ]
        return {
            **{name: value for name, value in contents.manifest.items() if name != FIELD},
            "series": None,
            LEFT: left_behind(target.root),
            "files": rows,
            "external_directories": sorted({str(path.parent) for path in target.external}),
            "outside": target.outside.for_manifest,
            "restored": {
                "from": source,
                "run": snapshot.run.hex(),
                "at": timestamp(time.time()),
                "innoclone": __version__,
            },
        }


def _may_go_on(error: BaseException) -> bool:
    """Whether the same command can go on where this one ended."""
    return isinstance(error, Interrupted | KeyboardInterrupt | DiskFull | StoreUnavailable)
