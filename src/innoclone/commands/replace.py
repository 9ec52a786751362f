"""The one door to CLONE INSTANCE without a directory: a clone takes the place of a managed server's data.

    copy        a clone beside the data, by the ordinary operation: it can be continued
    trial       a private mysqld recovers it, while the server goes on serving
    stop        from here on there is a note beside the data (`innoclone.files.replacing`)
    carry       what belongs to the server and not to the data is copied into the new data
    exchange    the two directories swap names, in one step
    start       the server comes up on the new data: that decides
    drop        the old data is removed, or kept under another name

Nothing of the old data is touched before the server has come up on the new. Whatever fails until then, the directories
are swapped back and the server is started on the old data. After a crash the note says which it shall be, and
`recover_replacement` brings the server up.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from innoclone.commands.boot import boot
from innoclone.commands.clone import copy
from innoclone.commands.options import BootOptions, CloneOptions, ReplaceOptions
from innoclone.commands.replacekeyring import refuse_unreadable, server_key
from innoclone.commands.runrecord import record_completed, record_dead, recorded
from innoclone.commands.stoprequest import stop_on_request
from innoclone.errors import (
    BootFailed,
    CloneError,
    DiskFull,
    DiskSpace,
    FileError,
    Interrupted,
    SnapshotGone,
    TargetBusy,
    TargetUnusable,
)
from innoclone.files.base import server_process
from innoclone.files.belongings import belongings, carry, folders_of, refuse_clashes, size_of
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.marks import is_unfinished
from innoclone.files.replacing import Note, Places, Step
from innoclone.innodb.names import schema_folder
from innoclone.receive.resume import find_resumable
from innoclone.records.limits import Limits
from innoclone.records.managedserver import Managed
from innoclone.records.position import UNKNOWN, ClonePosition, Positioned
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.records.units import amount
from innoclone.server.cloned import is_private_server, is_recovered, read_recovery
from innoclone.server.managedfacts import ServerFacts, refuse_unlike, refuse_without_account, schemas_told
from innoclone.server.preflight import check
from innoclone.server.servercontrol import Control
from innoclone.server.trial import account_visit, check_trial
from innoclone.transport.sql import Sql

__all__ = ["COMPLETED", "ReplaceResult", "recover_replacement", "replace_data"]

LITTLE = 0.05  # of a file system
COMPLETED = "a broken off replacement was completed: the server runs on the new data"


@dataclass(frozen=True, kw_only=True)
class ReplaceResult(Positioned):
    """A server that runs on a donor's data; ``old_data`` is where its former data is, if that was to be kept."""

    directory: Path
    donor_version: str
    seconds: float
    position: ClonePosition = UNKNOWN
    old_data: Path | None = None
    notes: list[str] = field(default_factory=list)


def replace_data(
    options: ReplaceOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> ReplaceResult:
    """Replace a managed server's data by a clone of ``options.donor``, and restart it. Raises a `CloneError`.

    After an error the server runs on its old data; if it does not, the message says so. ``stopped`` may be set to end
    the clone, until the server is up on the new data. What was copied stays for the same call to go on with.
    """
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.clone.max_data_bandwidth, network=options.clone.max_network_bandwidth)
    places = Places(options.directory)
    with (
        recorded("replace", options.donor, places.data, status),
        _claimed(places) as lock,
        stop_on_request(lock, stopped),
    ):
        old_data = _Replacement(options, places, status, stopped, limits).run()
    return ReplaceResult(
        directory=places.data,
        donor_version=status.donor_version,
        seconds=status.seconds,
        position=status.position,
        old_data=old_data,
        notes=list(status.notes),
    )


def recover_replacement(managed: Managed) -> str | None:
    """Bring a server up whose replacement was broken off by a crash; what was done, None if there was nothing to do.

    Raises a `CloneError` where it can't be brought up.
    """
    places = Places(managed.datadir)
    if not places.folder.exists():
        return None
    with _claimed(places):
        done = _recover(places, _control(managed, places))
        _end_trial(managed, places)
    return done


@contextmanager
def _claimed(places: Places) -> Iterator[int]:
    lock = places.claim()
    try:
        yield lock
    finally:
        os.close(lock)


def _control(managed: Managed, places: Places) -> Control:
    return Control(managed, places.data, places.server_log)


def _end_trial(managed: Managed, places: Places) -> None:
    """A private mysqld outlives the process that was killed while it tried the new data out. There is no note now.

    Raises `TargetBusy` if it is a server of somebody else.
    """
    process = server_process(places.new)
    if process is None:
        return
    if not is_private_server(process):
        raise TargetBusy(f"a server runs on {places.new}, where new data is to be", hint="stop that server first")
    Control(replace(managed, stop=()), places.new, places.server_log).stop(force=True)


class _Replacement:
    """State of one run."""

    def __init__(
        self, options: ReplaceOptions, places: Places, status: CloneStatus, stopped: threading.Event, limits: Limits
    ) -> None:
        self.options, self.managed, self.places = options, options.managed, places
        self.status, self.stopped, self.limits = status, stopped, limits
        self.control = _control(options.managed, places)
        self.key: tuple[Path, str] | None = None  # that a clone of an encrypted donor is for

    def run(self) -> Path | None:
        """All of it; where the old data is kept."""
        record_dead(self.places.new, self.status)
        if (done := _recover(self.places, self.control)) is not None:
            self.status.notes.append(done)
        _end_trial(self.managed, self.places)
        server = self._check()
        try:
            self._copy()
            if self.managed.trial:
                self._trial(server)
            first = not is_recovered(self.places.new)
            note = self._swap(server)
        except (DiskFull, BootFailed):
            self._make_room()
            raise
        self._came_up(first=first)
        return self._drop(note)

    # ---- while the server serves ---------------------------------------------------------------------------

    def _check(self) -> ServerFacts:
        """Everything that can be known before a byte is copied."""
        self._refuse_other_owner()
        server = self.control.facts()
        self.control.validate_options(self._waiting)
        stay = self._belongings(server)  # it may refuse
        if self.managed.trial:
            check_trial(self.managed, server.variables["version"], self.places.data, self.places.folder)
        clone = self.options.clone
        donor = check(clone.donor, None, stall_timeout=clone.stall_timeout, install_plugin=clone.install_plugin)
        donor.verdict()
        self.key = server_key(self.managed.endpoint, server.variables.get("server_uuid", ""), donor)
        refuse_unlike(server.variables, donor.variables)
        with Sql(clone.donor, read_timeout=clone.stall_timeout) as sql:
            refuse_clashes(stay, {schema_folder(name) for name in schemas_told(sql)})
            if not refuse_without_account(sql, self.managed.endpoint) and not self.managed.trial:
                self.status.notes.append(
                    f"whether the donor has the account {self.managed.endpoint.user}, which the managed server is asked"
                    " with, is not known: a later replacement needs it"
                )
        if is_unfinished(self.places.new):
            with suppress(SnapshotGone):
                begun = find_resumable(self.places.new, clone.map_paths).begin["donor"]
                if begun["uuid"] != donor.variables["server_uuid"]:
                    remove_unfinished_clone(self.places.new)
                    self.status.notes.append(f"an unfinished clone of {begun['address']} was removed")
        return server

    def _refuse_other_owner(self) -> None:
        """The new data will be the directory's owner's, and must be the server's."""
        data = self.places.data
        owner, user = data.stat().st_uid, (data / "mysql.ibd").stat().st_uid
        if owner != user:
            raise TargetUnusable(
                f"{data} belongs to user id {owner}, and the data in it to {user}",
                hint="let both belong to the server's",
            )
        if os.geteuid() not in (0, owner):
            raise TargetUnusable(f"{data} belongs to another user (id {owner})", hint="run as root or as that user")

    def _belongings(self, server: ServerFacts) -> list[Path]:
        return belongings(self.places.data, server.own_data, server.schemas)

    def _clone_options(self) -> CloneOptions:
        """Beside the data, for its owner; what an earlier run left there is used."""
        owner = self.places.data.stat()
        keyring, key = self.key or (None, None)
        chown = f"{owner.st_uid}:{owner.st_gid}" if os.geteuid() == 0 else None
        return replace(
            self.options.clone, directory=self.places.new, write_changed_only=True, discard_changes=True, fsync=True,
            boot=False, chown=chown, keyring=keyring, keyring_key=key,
        )  # fmt: skip

    def _copy(self) -> None:
        copy(self._clone_options(), self.status, self.stopped, self.limits)
        refuse_unreadable(self.places.new, self.key[0] if self.key else None)
        self.places.new.chmod(self.places.data.stat().st_mode & 0o7777)

    def _trial(self, server: ServerFacts) -> None:
        """A private mysqld on the new data: what does not boot never stops the server, and recovery takes none of its
        time. What can't be tried out is an error as well."""
        trial = CloneStatus(state=State.IN_PROGRESS)
        options = BootOptions(self.places.new, mysqld=self.managed.mysqld, timeout=self.managed.start_timeout)
        self.status.start(Stage.TRIAL)
        visit = account_visit(self.managed, server.variables)
        boot(options, status=trial, stopped=self.stopped, visit=visit)
        self.status.finish(Stage.TRIAL)
        self.status.position = trial.position

    # ---- while it does not ---------------------------------------------------------------------------------

    def _swap(self, server: ServerFacts) -> Note:
        """From the server on the old data to the server on the new; after a failure it is on the old again."""
        stay = self._belongings(server)
        refuse_clashes(stay, folders_of(self.places.new))
        refuse_in_use(self.places.new, Purpose.START)
        needed, usage = size_of(stay), os.statvfs(self.places.folder)
        if needed > (free := usage.f_bavail * usage.f_frsize):
            raise DiskSpace(
                f"{amount(needed)} are needed in {self.places.new} for the server's own files, {amount(free)} are free"
            )
        self._waiting()
        self.status.start(Stage.RESTART)
        note = self.places.begin(self.status.source, self.status.begin or time.time(), keep=self.options.keep_old_data)
        try:
            self.control.stop(self._waiting)
            carry(self._belongings(server), self.places.new)
            self._waiting()
            self.places.exchange()
            self.control.start(self._starting)
        except BaseException as error:
            self._back(note, error)
            raise
        return note

    def _back(self, note: Note, error: BaseException) -> None:
        try:
            _back(self.places, self.control, note)
        except CloneError as second:
            raise BootFailed(
                f"{error}; and the server could not be started on its old data: {second.message}",
                hint="repair what the message names; then innoclone replace --recover, or a new start of the agent",
            ) from error

    def _waiting(self) -> None:
        """While something takes its time: end if that is wished."""
        if self.stopped.is_set():
            raise Interrupted("stopped before the server was up on the new data")

    def _starting(self) -> None:
        """Also show when recovery begins."""
        self._waiting()
        if self.status.stages[Stage.RESTART].state is State.IN_PROGRESS and self.control.running():
            self.status.start(Stage.RECOVERY)

    def _make_room(self) -> None:
        """After a failure: the server needs what is left of a full disk more than the next run needs the copy."""
        if _is_tight(self.places) and self.places.read() is None and self.places.new.exists():
            with suppress(CloneError, OSError):
                self.places.remove_new(None)
                self.status.notes.append("the disk is full: what had been copied was removed, for the server's sake")

    # ---- afterwards ----------------------------------------------------------------------------------------

    def _came_up(self, *, first: bool) -> None:
        """The server answers. Where it is the ``first`` on the clone, it tells when it recovered, and to where."""
        restart, row = self.status.stages[Stage.RESTART], self.status.stages[Stage.RECOVERY]
        if restart.state is State.IN_PROGRESS:
            self.status.start(Stage.RECOVERY)
        self.status.finish(Stage.RECOVERY)
        recovery = None
        try:
            recovery = read_recovery(self.places.data) if first else None
        except CloneError as error:
            self.status.notes.append(f"the server is up, but where its binary log stood is not known: {error.message}")
        if recovery is not None:
            restart.end = row.begin = recovery.begin
            row.end = recovery.end
            self.status.position = recovery.position

    def _drop(self, note: Note) -> Path | None:
        """The old data goes, or stays under another name. What fails now is told, and done by a later run."""
        row = self.status.stages[Stage.DROP_DATA] if note.kept else self.status.start(Stage.DROP_DATA)
        try:
            kept = _drop(self.places, self.control, note)
        except CloneError as error:
            row.state, row.end = State.FAILED, time.time()
            self.status.notes.append(f"the server is up on the new data, but: {error.message}")
            return None
        if kept is None:
            self.status.finish(Stage.DROP_DATA)
        else:
            self.status.notes.append(f"the old data is kept in {kept}")
        return kept


# ---- the decisions, from the note alone ------------------------------------------------------------------------


def _recover(places: Places, control: Control) -> str | None:
    """After a crash: finish what the note tells of. What was done, None without a note."""
    note = places.read()
    if note is None:
        return None
    new = places.is_new(note)
    if note.step is Step.DONE and not new:
        raise FileError(f"{places.data} is the old data, although it had been replaced", hint="somebody moved it back")
    if new and note.step is not Step.BACK:
        try:
            control.start()
        except CloneError as error:
            if note.step is Step.DONE:
                raise
            _back(places, control, note)
            return f"a broken off replacement was undone, the server runs on its old data: {error.message}"
        _drop(places, control, note)
        _record(places, note)
        return COMPLETED
    _back(places, control, note)
    return "a broken off replacement was undone: the server runs on its old data"


def _record(places: Places, note: Note) -> None:
    """The history of whoever completed it says so; what the run that died noted of its copy is lost."""
    status = CloneStatus(
        source=note.source, destination=str(places.data), state=State.COMPLETED, begin=note.began, end=time.time()
    )
    with suppress(CloneError):
        if (recovery := read_recovery(places.data)) is not None:
            status.position = recovery.position
    record_completed("replace", status)


def _back(places: Places, control: Control, note: Note) -> None:
    """The server on the old data again, whatever was reached. Raises a `CloneError` if not; the note stays then."""
    with suppress(CloneError):  # a full disk: then a later run tries the new data first
        places.write(replace(note, step=Step.BACK))
    if places.is_new(note):
        control.stop(force=True)
        places.exchange()
    try:
        control.start()
    except BootFailed:
        if not (_is_tight(places) and places.new.exists()):
            raise
        places.remove_new(note)
        control.start()
    places.forget()


def _is_tight(places: Places) -> bool:
    """Whether hardly anything is free on the file system."""
    usage = os.statvfs(places.folder)
    return usage.f_bavail < LITTLE * usage.f_blocks


def _drop(places: Places, control: Control, note: Note) -> Path | None:
    """The new data is what counts: put the old aside, or remove it. Where it is kept.

    Raises `BootFailed` if the server has ended meanwhile: the note stays as it was; a file error.
    """
    if not (control.running() and places.is_new(note)):
        raise BootFailed(
            f"the server ended after it had come up on {places.data}; the old data is in {places.new}",
            hint="innoclone replace --recover starts it again, on the old data if it does not come up",
        )
    if note.step is not Step.DONE:
        places.done(note)
    kept = places.put_aside(note)
    places.forget()
    return kept
