"""Dated clones of one server in one folder: each bootable by itself, unchanged blocks shared, the oldest removed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from innoclone.commands.destination import check_place
from innoclone.commands.options import LocalOptions
from innoclone.commands.runrecord import record_dead
from innoclone.commands.spentkeyrings import manifests_of_unfinished, remove_spent_keyring
from innoclone.errors import CloneError, TargetUnusable
from innoclone.files.copying import Method
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.generations import (
    Generation,
    begin_generation,
    check_latest,
    give_base,
    name_for,
    point_latest,
    refuse_removal,
    remove_generations,
    remove_unfinished,
    series_id,
    series_of,
    shares_blocks,
)
from innoclone.files.marks import is_mark, is_unfinished
from innoclone.records.limits import Limits
from innoclone.records.retention import Policy, apply
from innoclone.records.status import CloneStatus
from innoclone.server.donorfiles import DonorFiles
from innoclone.transport.sql import Sql

if TYPE_CHECKING:
    from innoclone.commands.local import LocalResult

__all__ = ["Preview", "add_generation", "add_to_series", "no_sharing", "prepare_folder", "preview"]

R = TypeVar("R")


@dataclass(frozen=True)
class Preview:
    """What a clone that began now would do to a folder: ``new`` is its directory; ``kept`` has the older generations of
    its series with the rules that keep each, ``removed`` those that would go, ``stuck`` those that should and could not
    as they are now, with the reason."""

    new: Path
    kept: tuple[tuple[Path, tuple[str, ...]], ...]
    removed: tuple[Path, ...]
    stuck: tuple[tuple[Path, str], ...] = ()


def add_generation(
    options: LocalOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    limits: Limits | None = None,
) -> LocalResult:
    """Add a clone to the folder ``options.directory``, and remove what of its series no rule of ``options`` keeps.

    Where the folder can share blocks with the donor's own files, a generation costs nothing but what changes later;
    else it starts from the blocks of the newest generation and only differing pages are written. Raises
    `TargetUnusable` where the file system can do neither, unless ``full_copies`` allows it. ``kept`` of the result says
    why an old one is still there: somebody uses it.
    """
    status = status if status is not None else CloneStatus()
    folder = options.directory
    prepare_folder(folder, status)
    with Sql(options.donor, read_timeout=options.stall_timeout) as sql:
        donor = str(sql.value("SELECT @@GLOBAL.server_uuid"))
        files = DonorFiles.find(sql, options.datadir)
    reflinks, shares = files.can_reflink(folder), shares_blocks(folder)
    if not (reflinks or shares or options.full_copies):
        raise no_sharing(folder)

    def make(new: Path, series: str, newest: Path | None) -> LocalResult:
        status.notes.append(f"cloning {options.donor} into {new}")
        one = replace(
            options, directory=new, generations=0, keep=Policy(), keep_base=False, incremental="off", series=series
        )
        if newest is not None and shares and not reflinks:
            give_base(newest, new)
            methods = tuple(name for name in options.copy_methods if name != Method.REFLINK.value)
            one = replace(one, incremental="require", copy_methods=methods)
        from innoclone.commands.local import local  # clones over the network make generations, too, without it

        return local(one, status=status, stopped=stopped, limits=limits)

    result, kept = add_to_series(folder, donor, options.policy, make, status, discard=options.discard_changes)
    return replace(result, kept=kept, notes=list(status.notes))


def prepare_folder(folder: Path, status: CloneStatus) -> None:
    """Let the folder be one that generations are added to. Raises where it can't be that."""
    check_place(folder)
    folder.mkdir(mode=0o750, exist_ok=True)
    check_latest(folder)
    for path in folder.iterdir():
        record_dead(path, status)


def no_sharing(folder: Path) -> TargetUnusable:
    """The error for a file system on which a generation is as large as its data."""
    return TargetUnusable(
        f"the file system of {folder} can't share blocks, so every generation would be a full copy",
        hint="use XFS or btrfs, or say --full-copies",
    )


def add_to_series(
    folder: Path,
    donor: str,
    policy: Policy,
    make: Callable[[Path, str, Path | None], R],
    status: CloneStatus,
    *,
    discard: bool,
) -> tuple[R, tuple[CloneError, ...]]:
    """Have ``make`` clone into a new generation of the server with UUID ``donor``, of the series that it is told, with
    its newest generation if there is one. Then what no rule of ``policy`` keeps goes; what should have gone and had to
    stay is handed back. What a generation has of its own goes with ``discard``."""
    series = series_id(folder, donor)
    going = manifests_of_unfinished(folder)
    removed, strange = remove_unfinished(folder, donor, series)
    status.notes += [f"removed {path.name}, which an interrupted run had left unfinished" for path in removed]
    _remove_spent(folder, [going[path] for path in removed if path in going], status)
    new = _free_place(folder)
    older = series_of(folder, donor)
    newest = older[-1].path if older else None
    series = begin_generation(new, donor, series, like=newest)
    try:
        result = make(new, series, newest)
    except BaseException:
        with contextlib.suppress(CloneError, OSError):
            if is_unfinished(new) and all(is_mark(entry) for entry in new.iterdir()):
                remove_unfinished_clone(new)  # it was refused before anything was copied
            else:
                new.rmdir()  # empty, where nothing of the clone was worth keeping
        raise
    point_latest(folder, new)
    outlived = _outlived(series_of(folder, donor), policy, new)
    gone, kept = remove_generations(outlived, discard_changes=discard)
    status.notes += [f"removed generation {path.name}" for path in gone]
    _remove_spent(folder, [one.manifest for one in outlived if one.path in gone], status)
    return result, (*strange, *kept)


def _remove_spent(folder: Path, manifests: Iterable[Mapping[str, Any]], status: CloneStatus) -> None:
    for manifest in manifests:
        if (spent := remove_spent_keyring(folder, manifest)) is not None:
            status.notes.append(f"removed its keyring, {spent}: the series has the key in those of other generations")


def _free_place(folder: Path) -> Path:
    """Where a generation of this moment goes; of the next second where a run of this one has the place already."""
    while os.path.lexists(place := folder / name_for(time.time())):
        time.sleep(1 - time.time() % 1)
    return place


def preview(options: LocalOptions, *, now: float | None = None) -> Preview:
    """What `add_generation` would do, without doing it. Raises what a connection to the donor raises."""
    now = time.time() if now is None else now
    with Sql(options.donor, read_timeout=options.stall_timeout) as sql:
        donor = str(sql.value("SELECT @@GLOBAL.server_uuid"))
    new = options.directory / name_for(now)
    older = series_of(options.directory, donor) if options.directory.is_dir() else []
    verdicts = apply([*(one.moment for one in older), now], options.policy, now)
    pairs = list(zip(older, verdicts[:-1], strict=True))
    removed, stuck = [], []
    for path in (one.path for one, verdict in pairs if not verdict.stays):
        try:
            refuse_removal(path, discard_changes=options.discard_changes)
            removed.append(path)
        except CloneError as error:
            stuck.append((path, error.message))
    return Preview(
        new=new,
        kept=tuple((one.path, verdict.reasons) for one, verdict in pairs if verdict.stays),
        removed=tuple(removed),
        stuck=tuple(stuck),
    )


def _outlived(series: Sequence[Generation], policy: Policy, newest: Path) -> list[Generation]:
    """What no rule keeps; never the clone that was just made, whatever a clock says."""
    verdicts = apply([one.moment for one in series], policy, time.time())
    return [one for one, kept in zip(series, verdicts, strict=True) if not kept.stays and one.path != newest]
