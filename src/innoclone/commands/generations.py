"""Dated clones of one server in one folder: each bootable by itself, unchanged blocks shared, the oldest removed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from innoclone.commands.destination import check_place
from innoclone.commands.local import LocalResult, local
from innoclone.commands.options import LocalOptions
from innoclone.commands.runrecord import record_dead
from innoclone.errors import CloneError, TargetUnusable
from innoclone.files.copying import Method
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.generations import (
    Generation,
    begin_generation,
    check_latest,
    name_for,
    point_latest,
    reflink_base,
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

__all__ = ["Preview", "add_generation", "preview"]


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
    check_place(folder)
    folder.mkdir(mode=0o750, exist_ok=True)
    check_latest(folder)
    for path in folder.iterdir():
        record_dead(path, status)
    with Sql(options.donor, read_timeout=options.stall_timeout) as sql:
        donor = str(sql.value("SELECT @@GLOBAL.server_uuid"))
        files = DonorFiles.find(sql, options.datadir)
    series = series_id(folder, donor)
    removed, strange = remove_unfinished(folder, donor, series)
    status.notes += [f"removed {path.name}, which an interrupted run had left unfinished" for path in removed]
    reflinks, shares = files.can_reflink(folder), shares_blocks(folder)
    if not (reflinks or shares or options.full_copies):
        raise TargetUnusable(
            f"the file system of {folder} can't share blocks, so every generation would be a full copy",
            hint="use XFS or btrfs, or say --full-copies",
        )
    new = _free_place(folder)
    status.notes.append(f"cloning {options.donor} into {new}")
    older = series_of(folder, donor)
    series = begin_generation(new, donor, series, like=older[-1].path if older else None)
    one = replace(
        options, directory=new, generations=0, keep=Policy(), keep_base=False, incremental="off", series=series
    )
    try:
        if older and shares and not reflinks:
            reflink_base(older[-1].path, new)
            methods = tuple(name for name in options.copy_methods if name != Method.REFLINK.value)
            one = replace(one, incremental="require", copy_methods=methods)
        result = local(one, status=status, stopped=stopped, limits=limits)
    except BaseException:
        with contextlib.suppress(CloneError, OSError):
            if is_unfinished(new) and all(is_mark(entry) for entry in new.iterdir()):
                remove_unfinished_clone(new)  # it was refused before anything was copied
            else:
                new.rmdir()  # empty, where nothing of the clone was worth keeping
        raise
    point_latest(folder, new)
    outlived = _outlived(series_of(folder, donor), options.policy, new)
    gone, kept = remove_generations(outlived, discard_changes=options.discard_changes)
    status.notes += [f"removed generation {path.name}" for path in gone]
    return replace(result, kept=(*strange, *kept), notes=list(status.notes))


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
