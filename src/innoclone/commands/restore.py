"""The one door to a restore: a finished clone becomes a new data directory, whole or not at all.

    hold        no other process of ours changes or removes the clone meanwhile; no server runs on it
    prove       it is what its manifest says: every file there, of its size; the redo log whole
    begin       the target, marked as unfinished like a clone: no server starts on it
    copy        shared blocks where the file system can; pages are checked on the way
    sync        and read back, and compared
    finish      the clone was not changed meanwhile; manifest, owner; the mark goes last
    check       where asked for, a private mysqld comes up on it

What goes wrong before the mark is gone leaves nothing behind. The clone itself is only read.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innoclone.commands.destination import owner_of, places_of
from innoclone.commands.encryption import configuration_of, own_keyring
from innoclone.commands.options import RestoreOptions
from innoclone.commands.runrecord import recorded
from innoclone.commands.stoprequest import stop_on_request
from innoclone.commands.wholeclone import boot_restored, held, look_at, refuse_changed_clone, refuse_target
from innoclone.errors import (
    TargetUnusable,
    VerifyFailed,
)
from innoclone.files.copying import Method
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.keyring import CloneKeyring, keyring_home
from innoclone.files.manifest import read_manifest, timestamp
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.files.ownlife import LEFT, left_behind
from innoclone.files.system import file_error
from innoclone.records.history import RESTORE
from innoclone.records.limits import Limits
from innoclone.records.position import UNKNOWN, ClonePosition, Positioned
from innoclone.records.status import CloneStatus
from innoclone.records.statusfile import StatusFile
from innoclone.records.verdict import FIELD, record_verdict
from innoclone.server import cloned
from innoclone.server.asuser import owner_to_be, refuse_unfit_user
from innoclone.server.keyring import Keyring
from innoclone.server.programs import Programs, find_programs
from innoclone.sinks.directory import Target
from innoclone.sources.restoreplan import check_space, plan_copy, rows_of
from innoclone.sources.restoring import Copying, Item, refuse_changed
from innoclone.verification.integrity import other_problems
from innoclone.version import __version__
from innoclone.wire.serverversion import version_number

__all__ = ["RestoreResult", "restore", "server_settings"]

NAMED = 5  # problems that an error names


@dataclass(frozen=True, kw_only=True)
class RestoreResult(Positioned):
    """A data directory that a server can be started on. Bytes and seconds.

    ``settings`` are the variables that its my.cnf must have; ``owner`` is user and group id, None where they are this
    process's; ``booted`` is the version of the mysqld that came up on it, empty where none was asked for.
    """

    directory: Path
    clone: Path | str
    seconds: float
    files: int
    size: int
    pages_checked: int
    methods: tuple[str, ...]
    settings: Mapping[str, str]
    owner: tuple[int, int] | None = None
    booted: str = ""
    position: ClonePosition = UNKNOWN
    notes: list[str] = field(default_factory=list)


def restore(
    options: RestoreOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> RestoreResult:
    """Make a new data directory of a clone; see `RestoreOptions`. Raises a `CloneError`."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth)
    clone = Path(os.path.realpath(options.clone))  # wherever `latest` will lead by then
    with recorded(RESTORE, clone, options.directory, status):
        return _Restore(options, clone, status, stopped, limits).run()


def server_settings(manifest: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """The variables that my.cnf must have for a server on ``directory``.

    Undo, system and redo files are all in it, wherever the donor has them; and a clone of a replica or of a member of a
    group would begin to replicate when it starts.
    """
    donor = manifest.get("donor", {})
    places = ("datadir", "innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory")
    gtids = {name: str(donor[name]) for name in ("enforce_gtid_consistency", "gtid_mode") if donor.get(name)}
    old = donor.get("version") and version_number(donor["version"]) < 80026
    return {
        **dict.fromkeys(places, str(directory)),
        **cloned.needed_variables(manifest),
        **cloned.log_variables(manifest),
        **gtids,
        "skip_slave_start" if old else "skip_replica_start": "ON",
        "loose_group_replication_start_on_boot": "OFF",
    }


class _Restore:
    """State of one restore."""

    def __init__(
        self, options: RestoreOptions, clone: Path, status: CloneStatus, stopped: threading.Event, limits: Limits
    ) -> None:
        self.options, self.clone, self.status = options, clone, status
        self.stopped, self.limits = stopped, limits
        self.directory = options.directory.absolute()
        self.manifest: dict[str, Any] = {}
        self.changed = False  # a server of its own has run on the clone
        self.programs: Programs | None = None
        self.keyring = CloneKeyring(keyring_home(Path(os.path.realpath(self.directory))))

    def run(self) -> RestoreResult:
        began = time.time()
        refuse_target(self.directory)
        look_at(self.clone)
        with held(self.clone, self.status, self.stopped):
            self.manifest = read_manifest(self.clone)
            accept = self.options.accept_changes
            self.changed = refuse_changed_clone(self.clone, self.manifest, self.status, accept=accept)
            owner = self._owner()
            self.programs = self._programs(owner)
            self._refuse_nesting()
            keys = cloned.keyring_of(self.manifest, self.options.keyring)
            items, folders = self._plan()
            copying = self._copy(items, folders, owner, keys)
        booted = ""
        if self.programs is not None:
            booted = boot_restored(self.directory, self.options.mysqld, self.status, self.stopped)
            self.manifest = read_manifest(self.directory)
        self._note_verdict(copying)
        self.status.position = ClonePosition.of_manifest(self.manifest.get("position") or {})
        return RestoreResult(
            directory=self.directory,
            clone=self.clone,
            seconds=time.time() - began,
            files=len(items),
            size=sum(item.size for item in items),
            pages_checked=copying.pages if self.options.verify_pages else 0,
            methods=tuple(sorted(method.value for method in copying.methods)),
            settings=server_settings(self.manifest, self.directory),
            owner=owner,
            booted=booted,
            position=self.status.position,
            notes=list(self.status.notes),
        )

    # ---- before ----------------------------------------------------------------------------------------------

    def _owner(self) -> tuple[int, int] | None:
        """As asked for; else root leaves the files to whom the directory that is there belongs, or else the clone: a
        server of theirs shall use them."""
        if self.options.chown is not None:
            return owner_of(self.options.chown)
        there = self.directory.is_dir() and not is_unfinished(self.directory)
        state = (self.directory if there else self.clone).stat()
        return (state.st_uid, state.st_gid) if os.geteuid() == 0 and state.st_uid != 0 else None

    def _programs(self, owner: tuple[int, int] | None) -> Programs | None:
        """What checks the copy, where that is wished; the owner-to-be can run it."""
        if not self.options.mysqld_check:
            return None
        programs = find_programs(self.options.mysqld)
        cloned.check_series(self.manifest.get("donor", {}).get("version", ""), programs)
        places = places_of(self.directory, self.options.map_paths)
        refuse_unfit_user(programs, owner_to_be(self.directory, owner), places)
        return programs

    def _refuse_nesting(self) -> None:
        """One in the other, each would become part of the other; and a server takes tablespaces that it finds anywhere
        below its data directory for its own."""
        target = Path(os.path.realpath(self.directory))
        mapped = [Path(os.path.realpath(new)) for _, new in self.options.map_paths]
        sources = [self.clone, *(Path(name) for name in self.manifest.get("external_directories") or ())]
        for place_ in (target, *mapped):
            for source in sources:
                if place_.is_relative_to(source) or (place_ == target and source.is_relative_to(place_)):
                    raise TargetUnusable(
                        f"{place_} and {source}, where files of the clone are, lie one in the other",
                        hint="name a directory elsewhere",
                    )

    # ---- the copy --------------------------------------------------------------------------------------------

    def _plan(self) -> tuple[list[Item], list[Path]]:
        """Every file with where it goes, and the directories. Raises `VerifyFailed` where the clone isn't whole."""
        try:
            items, folders, problems = plan_copy(self.clone, self.manifest, self.directory, self.options.map_paths)
        except OSError as error:
            raise file_error(error, f"can't look through {self.clone}") from error
        if problems:
            more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
            self.status.notes += problems
            raise VerifyFailed(
                f"{self.clone} is not whole: {'; '.join(problems[:NAMED])}{more}", hint="restore another clone"
            )
        return items, folders

    def _copy(
        self, items: list[Item], folders: list[Path], owner: tuple[int, int] | None, keys: Keyring | None
    ) -> Copying:
        options = self.options
        shares = Method.REFLINK.value in options.copy_methods
        check_space(self.clone, items, shares=shares)
        target = Target(self.directory, options.map_paths, fsync=options.fsync)
        if target.restarted:
            self.status.notes.append(f"what an earlier restore had left unfinished in {self.directory} was removed")
        if os.geteuid() == 0 and owner is None:
            self.status.notes.append("the files will be root's: --chown USER makes them those of a server's user")
        try:
            with (
                StatusFile(target.root / OWN_DIR, self.status, operation=RESTORE),
                stop_on_request(target.lock, self.stopped),
            ):
                for folder in folders:
                    target.make_directory(self.directory / folder.relative_to(self.clone))
                copying = Copying(
                    items, target, threads=options.threads,
                    methods=tuple(Method(name) for name in options.copy_methods), limits=self.limits,
                    verify_pages=options.verify_pages, status=self.status, stopped=self.stopped,
                )  # fmt: skip
                copying.copy()
                copying.sync()
                copying.compare()
            self._prove(items, target)
            self.manifest = self._new_manifest(items, target) | own_keyring(
                self.manifest, self.keyring, keys, self.status
            )
            target.finish(self.manifest, {}, owner=owner, markers=(), configuration=configuration_of(self.manifest))
            self.keyring.give(target.root)
        except BaseException:
            target.discard()
            self.keyring.discard()
            raise
        return copying

    def _prove(self, items: list[Item], target: Target) -> None:
        """The clone is still what was copied, and the copy has a whole redo log."""
        refuse_in_use(self.clone, Purpose.START)
        refuse_changed(items)
        if problems := other_problems(target.root, self.manifest):
            raise VerifyFailed(f"the copy is not whole: {'; '.join(problems[:NAMED])}")

    def _new_manifest(self, items: list[Item], target: Target) -> dict[str, Any]:
        """The clone's, with where its files are now and where it came from; it is of no series."""
        moved = {str(item.source): str(item.target) for item in items}
        rows = [{**row, "path": moved.get(row["path"], row["path"])} for row in self.manifest["files"]]
        return {
            **{name: value for name, value in self.manifest.items() if name != FIELD},
            "series": None,
            LEFT: left_behind(target.root),
            "files": rows_of(items, self.directory) if self.changed else rows,
            "external_directories": sorted({str(path.parent) for path in target.external}),
            "outside": target.outside.for_manifest,
            "restored": {"from": str(self.clone), "at": timestamp(time.time()), "innoclone": __version__},
        }

    # ---- after -----------------------------------------------------------------------------------------------

    def _note_verdict(self, copying: Copying) -> None:
        """All pages were read back: that is what `innoclone verify` does. A server has changed them since."""
        if not self.options.verify_pages or self.programs is not None:
            return
        text = f"{copying.pages} pages sound when it was restored"
        record_verdict(
            self.directory, self.manifest, time.time(), text, problems=[], tables=None, details={"pages": copying.pages}
        )
