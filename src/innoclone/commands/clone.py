"""The one door to a remote clone: check, copy, finish, boot if asked. CLI and Python API both come in here."""

from __future__ import annotations

import threading
import time
from dataclasses import field, replace
from pathlib import Path

from innoclone.commands.awaiting import await_donor
from innoclone.commands.destination import owner_of, places_of
from innoclone.commands.earlierclone import (
    check_same_donor,
    check_still_same_donor,
    check_unchanged,
    refuse_unfinished_of_other,
)
from innoclone.commands.encryption import configuration_of, encryption_of, keyring_for, refuse_another_keyring
from innoclone.commands.finishedclone import manifest_of, note_changes, note_position, views_of
from innoclone.commands.increments import Increments, describe, may_update, refuse_full, sends_increments
from innoclone.commands.options import BootOptions, CloneOptions
from innoclone.commands.runrecord import recorded
from innoclone.commands.stoprequest import stop_on_request
from innoclone.dataclass import dataclass
from innoclone.errors import CloneError, DiskFull, FileError, Interrupted, SnapshotGone, TargetExists
from innoclone.files.base import base_files
from innoclone.files.keyring import CloneKeyring
from innoclone.files.marks import is_unfinished, undo_begun_update
from innoclone.files.names import OWN_DIR
from innoclone.receive.recipient import Received, Recipient
from innoclone.receive.resume import Resumable, find_resumable, is_resumable
from innoclone.receive.transfer import Controls, Transfer
from innoclone.records.chunks import distrust
from innoclone.records.limits import Limits
from innoclone.records.position import UNKNOWN, ClonePosition, Positioned
from innoclone.records.status import CloneStatus
from innoclone.records.statusfile import StatusFile
from innoclone.records.units import amount
from innoclone.server.asuser import owner_to_be, refuse_unfit_user
from innoclone.server.preflight import DonorFacts, check
from innoclone.server.programs import Programs, find_programs
from innoclone.sinks.directory import Target
from innoclone.sources.comparison import Outcome

__all__ = ["CloneResult", "boot_clone", "clone", "copy", "result_of"]


@dataclass(frozen=True, kw_only=True)
class CloneResult(Positioned):
    """A finished clone. Bytes and seconds. Only a boot (``boot=True``, or `innoclone.boot`) tells the GTID set, and
    sometimes the position."""

    directory: Path
    donor_uuid: str
    donor_version: str
    seconds: float
    data: int
    network: int
    connections: int
    compression: str
    cipher: str
    incremental: bool = False  # only what differed from an earlier clone came
    position: ClonePosition = UNKNOWN
    notes: list[str] = field(default_factory=list)
    kept: tuple[CloneError, ...] = ()  # why a generation that should have gone is still there


def clone(
    options: CloneOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
    seeded: bool = False,
) -> CloneResult:
    """Clone a running server into a directory. Raises a `CloneError`.

    ``status`` may be read by others meanwhile, ``stopped`` set to end the clone, ``limits`` changed. After an error
    that is ``resumable`` the directory is left as it is, unbootable, and the same call goes on with it; after any
    other nothing of a directory that this call made is left. ``seeded`` as in `copy`.
    """
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth)
    with recorded("clone", options.donor, options.directory, status):
        received = copy(options, status, stopped, limits, seeded=seeded)
        if options.boot:
            boot_clone(options, status, stopped)
    return result_of(options, status, *received)


def copy(
    options: CloneOptions,
    status: CloneStatus,
    stopped: threading.Event,
    limits: Limits,
    *,
    seeded: bool = False,
    successor_of: Path | None = None,
) -> tuple[DonorFacts, Received]:
    """The clone itself, without its record and without a boot: for `clone` and what is made of clones. ``seeded``: the
    directory has been begun, with what an increment can begin with. It will take the place of ``successor_of``, whose
    keyring goes on."""
    owner = owner_of(options.chown)
    undo_begun_update(options.directory)
    local = find_programs(options.mysqld) if options.boot else None
    if local is not None:
        places = places_of(options.directory, options.map_paths)
        refuse_unfit_user(local, owner_to_be(options.directory, owner), places)
    left, lost = (None, None) if seeded else _find_left(options)
    refuse_another_keyring(options, left)
    reuse = may_update(options)
    keyring = keyring_for(options, successor_of or options.directory, in_series=bool(options.series))
    before = len(status.notes)
    facts = _check(options, status, left, local, reuse=reuse)
    if lost is not None:
        status.notes.insert(before, _begins_anew(options, lost, facts))
    options = replace(options, donor=facts.reached(options.donor))
    status.donor_version = facts.version
    target = Target(
        options.directory, options.map_paths, fsync=options.fsync, reuse=reuse, keep=True,
        discard_changes=options.discard_changes,
    )  # fmt: skip
    try:
        with (
            StatusFile(target.root / OWN_DIR, status, operation="clone") as file,
            stop_on_request(target.lock, stopped),
        ):
            increments = Increments(options, target, limits, left, has_whole=reuse)
            controls = Controls(status, limits, stopped)
            received, facts = _receive(options, target, facts, left, controls, file, keyring, increments)
        _finish(options, target, status, facts, received, owner, keyring, increments.taken)
    except BaseException as error:
        if _let_go(target, error):
            keyring.discard()
        raise
    return facts, received


def _find_left(options: CloneOptions) -> tuple[Resumable | None, SnapshotGone | None]:
    """What an earlier process left of a clone, if that can be gone on with, or why it can't."""
    if options.directory.is_dir() and is_unfinished(options.directory):
        try:
            return find_resumable(options.directory, options.map_paths), None
        except SnapshotGone as error:
            return None, error
    return None, None


def _check(
    options: CloneOptions, status: CloneStatus, left: Resumable | None, local: Programs | None, *, reuse: bool
) -> DonorFacts:
    """The facts about the donor, before the directory is touched. Raises why it can't be cloned, or not to there."""
    if left is not None:
        if not left.needs_donor:
            return DonorFacts(variables=left.variables)
    elif reuse:
        check_unchanged(options.directory, options.discard_changes, status)
    facts = check(
        options.donor, None if reuse or left else options.directory, stall_timeout=options.stall_timeout,
        mapping=() if left else options.map_paths, install_plugin=options.install_plugin, local=local,
    )  # fmt: skip
    status.notes += facts.notes
    facts.verdict()
    uuid = facts.variables.get("server_uuid", "")
    if left is not None:
        refuse_unfinished_of_other(options.directory, left, uuid)
    elif reuse:
        refuse_full(options, facts)
        check_same_donor(options.directory, options.donor, uuid, options.discard_changes, status)
    return facts


def _finish(
    options: CloneOptions,
    target: Target,
    status: CloneStatus,
    facts: DonorFacts,
    received: Received,
    owner: tuple[int, int] | None,
    keyring: CloneKeyring,
    taken: Outcome | None,
) -> None:
    """All is there: note what was done, and let the directory be one that a server starts on."""
    if received.compression not in ("", options.compression.algorithm):
        status.notes.append(f"the donor does not offer {options.compression.algorithm}: nothing was compressed")
    note_changes(status, received)
    note_position(status, facts, received, target)
    if target.base is not None:
        written = sum(row.written for row in status.stages.values())
        removed = target.base.remove_rest()
        status.notes.append(
            f"brought an earlier clone up to date: {amount(written)} written, {target.base.renamed} tablespaces"
            f" renamed, {removed} removed"
        )
    if taken is not None:
        status.notes.append(describe(taken, status))
    finished = time.time()
    settings = _settings(options, received, taken)
    manifest = manifest_of(options.donor, settings, status, facts, received, target, finished)
    manifest["series"] = options.series or None
    encryption = encryption_of(keyring, facts)
    target.finish(
        manifest | encryption, views_of(options.donor, status, finished), owner=owner,
        configuration=configuration_of(encryption),
    )  # fmt: skip
    keyring.give(target.root)


def _let_go(target: Target, error: BaseException) -> bool:
    """After an error: what serves the next run stays, and so does an earlier clone that was not changed yet. Whether
    nothing of the new one is left."""
    if isinstance(error, DiskFull | FileError) and target.is_there():
        distrust(target.folder)
    if target.put_back():
        return True
    if target.base is not None or _serves_as_base(target) or _stays(target, error):
        target.release()
        return False
    target.discard()
    return True


def _serves_as_base(target: Target) -> bool:
    """Whether what an earlier run left is there as ever, for a next one to compare with."""
    return target.is_as_found and target.is_there() and bool(base_files(target.root))


def _stays(target: Target, error: BaseException) -> bool:
    """Whether what is there is worth being kept."""
    if not isinstance(error, CloneError) or isinstance(error, TargetExists):
        return True  # a defect of ours, or just what was refused for its sake
    return error.resumable and target.is_there() and (isinstance(error, Interrupted) or is_resumable(target.root))


def _begins_anew(options: CloneOptions, reason: CloneError, facts: DonorFacts) -> str:
    """What is said where a new clone takes the place of an unfinished one."""
    if not isinstance(reason, SnapshotGone):
        return "the connection broke before anything was copied: the clone begins anew"
    compared = options.incremental != "off" and sends_increments(facts) and base_files(options.directory)
    how = "which takes only what is missing" if compared else "in full"
    return f"the unfinished clone in {options.directory} can't be continued: {reason.message}; a new one begins, {how}"


def _transfer_of(options: CloneOptions) -> Transfer:
    """How the clone is transferred."""
    return Transfer(
        threads=options.threads, max_concurrency=options.max_concurrency, compression=options.compression,
        block_ddl=options.block_ddl, ddl_timeout=options.ddl_timeout, stall_timeout=options.stall_timeout,
        verify_pages=options.verify_pages, retry_for=options.retry_for,
    )  # fmt: skip


def _receive(
    options: CloneOptions,
    target: Target,
    facts: DonorFacts,
    left: Resumable | None,
    controls: Controls,
    file: StatusFile,
    keyring: CloneKeyring,
    increments: Increments,
) -> tuple[Received, DonorFacts]:
    """The transfer, and the facts about the donor as they are in the end: where it has given the snapshot up a new
    clone begins, and that is said."""

    def begun(donor_waits: float) -> None:
        file.resumable_seconds = donor_waits

    def prepare_anew(error: CloneError) -> DonorFacts:
        nonlocal facts
        compared = increments.taken is not None
        if compared:
            now = await_donor(options, controls.status, controls.stopped)
        else:
            now = check(options.donor, None, stall_timeout=options.stall_timeout)
            now.verdict()
        if options.write_changed_only or compared or is_resumable(target.root):  # else nothing is there yet
            check_still_same_donor(target.root, options.donor, facts, now, options.discard_changes, controls.status)
        what = f"{error.message}: the clone begins anew and compares what was copied already"
        controls.status.notes.append(what if compared else _begins_anew(options, error, now))
        controls.status.begin_anew()
        facts = now
        return facts

    recipient = Recipient(
        options.donor, target, _transfer_of(options), controls, facts=facts, mapping=options.map_paths, left=left,
        keyring=keyring, on_begun=begun, prepare_anew=prepare_anew, source=increments,
    )  # fmt: skip
    return recipient.run(), facts


def _settings(options: CloneOptions, received: Received, taken: Outcome | None) -> dict[str, object]:
    """What the manifest tells about how the clone was made."""
    return {
        "threads": options.threads or "auto",
        "incremental": taken is not None,
        "compression": received.compression,
        "tls": received.cipher,
        "block_ddl": options.block_ddl,
        "fsync": options.fsync,
        "verify_pages": options.verify_pages,
        "map_paths": [list(pair) for pair in options.map_paths],
    }


def boot_clone(options: CloneOptions, status: CloneStatus, stopped: threading.Event) -> None:
    """Let a private server recover it."""
    from innoclone.commands.boot import boot

    boot(BootOptions(options.directory, mysqld=options.mysqld), status=status, stopped=stopped)


def result_of(options: CloneOptions, status: CloneStatus, facts: DonorFacts, received: Received) -> CloneResult:
    """What its caller is told."""
    return CloneResult(
        directory=options.directory,
        donor_uuid=facts.variables.get("server_uuid", ""),
        donor_version=received.parameters.version,
        seconds=status.seconds,
        data=status.copied,
        network=status.copied_network,
        connections=received.connections,
        compression=received.compression,
        cipher=received.cipher,
        incremental=received.compared,
        position=status.position,
        notes=list(status.notes),
    )
