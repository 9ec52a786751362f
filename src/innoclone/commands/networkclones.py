"""Clones over the network that leave an earlier one whole: its successor beside it, or a new one in a dated series.

Both begin with the blocks of the earlier clone, shared where the file system can, and take what differs from the donor,
where that sends increments; else everything.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from innoclone.commands.beside import settle_sibling, take_place
from innoclone.commands.clone import CloneResult, boot_clone, clone, copy, result_of
from innoclone.commands.earlierclone import check_same_donor, check_unchanged, refuse_occupied
from innoclone.commands.generations import add_to_series, no_sharing, prepare_folder
from innoclone.commands.increments import may_update, refuse_full, sends_increments
from innoclone.commands.options import CloneOptions
from innoclone.commands.runrecord import recorded
from innoclone.commands.stoprequest import stop_on_request
from innoclone.errors import Interrupted
from innoclone.files.base import base_files, is_earlier_clone
from innoclone.files.generations import give_base, shares_blocks
from innoclone.files.marks import begin_directory, is_unfinished, undo_begun_update
from innoclone.files.ownership import give
from innoclone.files.swap import fresh_sibling, hold_for_swap
from innoclone.receive.recipient import Received
from innoclone.records.limits import Limits
from innoclone.records.retention import Policy
from innoclone.records.status import CloneStatus
from innoclone.server.preflight import DonorFacts, check
from innoclone.server.programs import find_programs

__all__ = ["clone_over_network"]


def clone_over_network(
    options: CloneOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> CloneResult:
    """Clone into a directory, in whatever way the options say; see `innoclone.commands.clone.clone`."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    limits = limits or Limits(data=options.max_data_bandwidth, network=options.max_network_bandwidth)
    if options.policy:
        return _add_generation(options, status, stopped, limits)
    directory = options.directory
    undo_begun_update(directory)
    if options.keep_base and directory.is_dir() and is_earlier_clone(directory) and not is_unfinished(directory):
        return _replace(options, status, stopped, limits)
    return clone(options, status=status, stopped=stopped, limits=limits)


def _facts(options: CloneOptions) -> DonorFacts:
    facts = check(options.donor, None, stall_timeout=options.stall_timeout, install_plugin=options.install_plugin)
    facts.verdict()
    return facts


def _uses_base(options: CloneOptions, facts: DonorFacts) -> bool:
    """Whether an increment is to be had. Raises where one is required and isn't."""
    if options.incremental == "require":
        refuse_full(options, facts)
    return options.incremental != "off" and sends_increments(facts)


# ---- beside ------------------------------------------------------------------------------------------------


def _replace(
    options: CloneOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> CloneResult:  # fmt: skip
    """Into a new directory, which takes the earlier clone's place once it is whole."""
    with recorded("clone", options.donor, options.directory, status):
        received = _copy_beside(options, status, stopped, limits)
        if options.boot:
            boot_clone(options, status, stopped)
    return result_of(options, status, *received)


def _copy_beside(
    options: CloneOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> tuple[DonorFacts, Received]:
    old = Path(os.path.realpath(options.directory))  # a symbolic link stays one
    new, donor, discard = fresh_sibling(old), options.donor, options.discard_changes
    if options.boot:
        find_programs(options.mysqld)  # raises before anything is copied
    may_update(options)  # raises where there is no base and one is required
    check_unchanged(old, discard, status)
    facts = _facts(options)
    uuid = facts.variables.get("server_uuid", "")
    check_same_donor(old, donor, uuid, discard, status)
    refuse_occupied(facts.outside, old, options.map_paths, beside=True)
    uses_base = _uses_base(options, facts)
    with hold_for_swap(old) as lock, stop_on_request(lock, stopped):
        settle_sibling(new, donor, uuid, discard, status)
        is_whole = new.is_dir() and is_earlier_clone(new) and not is_unfinished(new)
        if not is_whole and uses_base:
            _seed(old, new, stopped, limits)
        one = replace(options, directory=new, keep_base=False, write_changed_only=is_whole)
        received = copy(one, status, stopped, limits, seeded=True, successor_of=old)
        take_place(new, old, discard)
    return received


def _seed(old: Path, new: Path, stopped: threading.Event, limits: Limits) -> None:
    """Let the successor begin with what the older clone has, unless an earlier run of it has left something."""
    if new.is_dir() and base_files(new):
        return
    if not new.exists() or is_unfinished(new) or not any(new.iterdir()):
        begin_directory(new)  # also where it was only half begun
        give(new, old)
        new.chmod(old.stat().st_mode & 0o7777)
        give_base(old, new, _account(stopped, limits))


def _account(stopped: threading.Event, limits: Limits) -> Callable[[int], None]:
    def account(count: int) -> None:
        limits.pause(count, 0, stopped)
        if stopped.is_set():
            raise Interrupted("stopped")

    return account


# ---- dated -------------------------------------------------------------------------------------------------


def _add_generation(
    options: CloneOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> CloneResult:  # fmt: skip
    """Add a clone to the folder, and remove what of its series no rule of the options keeps. It begins with the blocks
    of the newest generation, where the donor sends increments."""
    folder = options.directory
    prepare_folder(folder, status)
    shares = shares_blocks(folder)
    if not (shares or options.full_copies):
        raise no_sharing(folder)
    facts = _facts(options)
    uses_base = _uses_base(options, facts)

    def make(new: Path, series: str, newest: Path | None) -> CloneResult:
        one = replace(
            options, directory=new, generations=0, keep=Policy(), keep_base=False, incremental="off", series=series
        )
        if newest is not None and uses_base:
            give_base(newest, new, None if shares else _account(stopped, limits))
            one = replace(one, incremental="require")
        return clone(one, status=status, stopped=stopped, limits=limits, seeded=True)

    uuid = facts.variables.get("server_uuid", "")
    result, kept = add_to_series(folder, uuid, options.policy, make, status, discard=options.discard_changes)
    return replace(result, kept=kept, notes=list(status.notes))
