"""The one door to a backup: a finished clone becomes a snapshot in a store, whole or not at all.

    open        the store, by its key
    hold        the clone, and prove that it is what its manifest says, as a restore does
    begin       a run with its lease; the parent, an earlier snapshot of the same server, must be there after it
    copy        read, check pages, hash; what the parent doesn't have is compressed, sealed and put, in packs
    prove       the clone was not changed meanwhile
    contents    table of packs, manifest, directories, files and their maps
    commit      the snapshot object: only with it there is a backup

The clone is only read. What a run leaves that doesn't come to its commit, `innoclone store prune` removes one day.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innoclone.commands.runrecord import recorded
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import BackupOptions
from innoclone.commands.wholeclone import held, look_at, refuse_changed_clone
from innoclone.errors import VerifyFailed
from innoclone.files.base import space_of
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.keyring import ENCRYPTION
from innoclone.files.manifest import read_manifest
from innoclone.files.system import file_error
from innoclone.innodb.space import NO_SPACE, SYSTEM_SPACE
from innoclone.records.history import BACKUP
from innoclone.records.limits import Limits
from innoclone.records.position import UNKNOWN, ClonePosition, Positioned
from innoclone.records.status import CloneStatus
from innoclone.records.units import amount
from innoclone.server import cloned
from innoclone.sources.restoreplan import plan_copy, rows_of
from innoclone.sources.restoring import Item, refuse_changed
from innoclone.sources.storing import Storing
from innoclone.store.contents import Contents, StoredFile, write_contents
from innoclone.store.known import Known
from innoclone.store.reading import PackReader
from innoclone.store.repository import Repository
from innoclone.store.runs import Run, begin_run
from innoclone.store.snapshots import Snapshot
from innoclone.store.writing import PackTable
from innoclone.version import __version__
from innoclone.wire.descriptors import NO_FSP_FLAGS

__all__ = ["ANYWHERE", "BackupResult", "backup", "compact", "known_of", "note_moved", "says_of_itself"]

NAMED = 5  # problems that an error names
ANYWHERE = (("/", "/"),)  # files outside the clone keep their names in a snapshot


@dataclass(frozen=True, kw_only=True)
class BackupResult(Positioned):
    """A snapshot. Bytes and seconds: ``size`` is that of all files, ``added`` what this backup put into the store.

    ``parent`` is the snapshot that it was compared with, '' for none; ``changed`` the bytes of units that it lacked.
    """

    store: str
    snapshot: str
    name: str
    parent: str
    source: str
    seconds: float
    files: int
    size: int
    added: int
    changed: int
    position: ClonePosition = UNKNOWN
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, run: Run, parent: Snapshot | None, fields: Mapping[str, Any], status: CloneStatus, source: str
    ) -> BackupResult:
        """Of a run that has committed, with the snapshot's ``fields``."""
        return cls(
            store=run.repository.address,
            snapshot=run.id.hex()[:12],
            name=run.name,
            parent=parent.id if parent else "",
            source=source,
            seconds=time.time() - (status.begin or time.time()),
            files=fields["files"],
            size=fields["size"],
            added=fields["added"],
            changed=fields["changed"],
            position=status.position,
            notes=list(status.notes),
        )


def backup(
    options: BackupOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> BackupResult:
    """Put a finished clone into a store; see `BackupOptions`. Raises a `CloneError`."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth)
    clone = Path(os.path.realpath(options.clone))
    with recorded(BACKUP, clone, options.store.address, status):
        return _Backup(options, clone, status, stopped, limits).run()


class _Backup:
    """State of one backup."""

    def __init__(
        self, options: BackupOptions, clone: Path, status: CloneStatus, stopped: threading.Event, limits: Limits
    ) -> None:
        self.options, self.clone, self.status = options, clone, status
        self.stopped, self.limits = stopped, limits
        self.manifest: dict[str, Any] = {}

    def run(self) -> BackupResult:
        look_at(self.clone)
        repository = opened(self.options.store, self.stopped)
        with held(self.clone, self.status, self.stopped):
            self.manifest = read_manifest(self.clone)
            accept = self.options.accept_changes
            changed = refuse_changed_clone(self.clone, self.manifest, self.status, accept=accept)
            items, folders = self._plan()
            if changed:
                self.manifest["files"] = rows_of(items, self.clone)
            elif cloned.is_recovered(self.clone):
                self.manifest["files"] = _still_there(self.manifest["files"], items, self.clone)
            self.status.position = ClonePosition.of_manifest(self.manifest.get("position") or {})
            donor = str(self.manifest.get("donor", {}).get("uuid", ""))
            if ENCRYPTION in self.manifest:
                keyring = self.manifest[ENCRYPTION]["keyring"]
                self.status.notes.append(f"encrypted by its server: keep the keyring {keyring}, it isn't in the backup")
            run, parent = begin_run(repository, donor, full=self.options.full)
            with run:
                return self._copy(repository, run, parent, items, folders)

    def _plan(self) -> tuple[list[Item], list[Path]]:
        """Every file and directory. Raises `VerifyFailed` where the clone isn't whole."""
        try:
            items, folders, problems = plan_copy(self.clone, self.manifest, self.clone, ANYWHERE)
        except OSError as error:
            raise file_error(error, f"can't look through {self.clone}") from error
        if problems:
            more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
            self.status.notes += problems
            raise VerifyFailed(f"{self.clone} is not whole: {'; '.join(problems[:NAMED])}{more}")
        return items, folders

    def _copy(
        self, repository: Repository, run: Run, parent: Snapshot | None, items: list[Item], folders: list[Path]
    ) -> BackupResult:
        known, table = known_of(parent, repository, self.options.threads)
        storing = Storing(
            items, [_stored(item, self.clone) for item in items], run=run, table=table, known=known,
            threads=self.options.threads, limits=self.limits, verify_pages=self.options.verify_pages,
            status=self.status, stopped=self.stopped,
        )  # fmt: skip
        storing.copy()
        note_moved(self.status, table)
        refuse_in_use(self.clone, Purpose.START)
        refuse_changed(items)
        contents = compact(self.manifest, folders, storing.files, table, self.clone)
        sizes = write_contents(repository.objects, run.sealer, run.id, contents)
        fields = says_of_itself(
            self.manifest, parent, contents, sizes, added=storing.sent + sum(sizes), changed=storing.changed,
            booted=cloned.is_recovered(self.clone), pages_checked=self.options.verify_pages, source=str(self.clone),
        )  # fmt: skip
        run.commit(fields)
        return BackupResult.of(run, parent, fields, self.status, str(self.clone))


def known_of(parent: Snapshot | None, repository: Repository, threads: int) -> tuple[Known | None, PackTable]:
    """What the store has already, and the table of packs to go on with."""
    if parent is None:
        return None, PackTable([])
    earlier = parent.contents(repository)
    reader = PackReader(repository, earlier.packs)
    reader.read_directories(range(len(earlier.packs)), threads)
    known = Known(earlier, reader)
    return known, PackTable(earlier.packs, known.thin_packs())


def note_moved(status: CloneStatus, table: PackTable) -> None:
    """Why more was written than has changed."""
    if table.moved:
        status.notes.append(
            f"{amount(table.moved)} that haven't changed were written anew: no more was needed of the packs that have "
            "them, which can go when older snapshots do"
        )


def says_of_itself(
    manifest: dict[str, Any], parent: Snapshot | None, contents: Contents, sizes: list[int], *, added: int,
    changed: int, booted: bool, pages_checked: bool, source: str,
) -> dict[str, Any]:  # fmt: skip
    """What a snapshot says: the fields of its object."""
    donor = manifest.get("donor", {})
    return {
        "contents": sizes,
        "time": round(time.time(), 3),
        "parent": parent.name if parent else None,
        "donor": {name: donor.get(name) for name in ("uuid", "version", "host", "port")},
        "cloned": manifest.get("finished"),
        "size": sum(file.size for file in contents.files),
        "files": len(contents.files),
        "packs": len(contents.packs),
        "added": added,
        "changed": changed,
        "position": manifest.get("position"),
        "keyring": manifest.get(ENCRYPTION, {}).get("keyring"),
        "booted": booted,
        "pages_checked": pages_checked,
        "source": source,
        "host": socket.gethostname(),
        "user": _user(),
        "innoclone": __version__,
    }


def _still_there(rows: list[dict[str, Any]], items: list[Item], clone: Path) -> list[dict[str, Any]]:
    """Of a manifest's files those that recovery has left: it makes the redo log anew, and ends DDL that was running, so
    that another tablespace may have the name."""
    there = {_name(item, clone) for item in items}
    listed = {row["path"] for row in rows}
    renamed = {item.plan.space_id: name for item in items if item.plan and (name := _name(item, clone)) not in listed}
    now = {_name(item, clone): item for item in items if item.plan is not None}
    found = []
    for row in rows:
        if row["path"] in there:
            found.append(_as_it_is(row, now.get(row["path"])))
        elif row["flags"] != NO_FSP_FLAGS and row["space_id"] in renamed:
            found.append({**row, "path": renamed[row["space_id"]]})
    return found


def _as_it_is(row: dict[str, Any], item: Item | None) -> dict[str, Any]:
    """A manifest's row of the tablespace that is there by its name now."""
    header = space_of(item.source) if item is not None and item.plan is not None else None
    if header is None or item is None or item.plan is None or item.plan.space_id in (row["space_id"], SYSTEM_SPACE):
        return row
    return {**row, "space_id": header.space_id, "flags": header.flags, "size": item.size}


def _name(item: Item, clone: Path) -> str:
    return str(item.source.relative_to(clone)) if item.source.is_relative_to(clone) else str(item.source)


def _stored(item: Item, clone: Path) -> StoredFile:
    space = item.plan.space_id if item.plan is not None else None
    return StoredFile(
        path=_name(item, clone),
        mode=item.state.st_mode & 0o7777,
        size=item.size,
        space_id=None if space == NO_SPACE else space,
        sparse=item.state.st_blocks * 512 < item.size,
    )


def compact(
    manifest: dict[str, Any], folders: list[Path], files: list[StoredFile], table: PackTable, clone: Path
) -> Contents:
    """The contents, with a table of those packs alone that are in some file's map."""
    used = sorted({place for file in files for place in file.map.packs()})
    places = {old: new for new, old in enumerate(used)}
    for file in files:
        file.map = file.map.translated(places.__getitem__)
    directories = [(str(path.relative_to(clone)), path.stat().st_mode & 0o7777) for path in folders]
    return Contents(manifest, directories, files, [table.written(place) for place in used])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
