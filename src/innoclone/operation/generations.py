"""Dated clones of one server in one folder: each bootable by itself, unchanged blocks shared, the oldest removed."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace

from innoclone.engine.donorfiles import DonorFiles
from innoclone.errors import TargetUnusable
from innoclone.files.copying import Method
from innoclone.files.generations import (
    begin_generation,
    name_for,
    point_latest,
    reflink_base,
    remove_generations,
    remove_unfinished,
    series_id,
    series_of,
    shares_blocks,
)
from innoclone.operation.local import LocalResult, local
from innoclone.operation.options import LocalOptions
from innoclone.operation.run import record_dead
from innoclone.ops.status import CloneStatus
from innoclone.transport.sql import Sql

__all__ = ["add_generation"]


def add_generation(
    options: LocalOptions, *, status: CloneStatus | None = None, stopped: threading.Event | None = None
) -> LocalResult:
    """Add a clone to the folder ``options.directory`` and keep the newest ``options.generations`` of its series.

    Where the folder can share blocks with the donor's own files, a generation costs nothing but what changes later;
    else it starts from the blocks of the newest generation and only differing pages are written. Raises
    `TargetUnusable` where the file system can do neither, unless ``full_copies`` allows it. ``kept`` of the result says
    why an old one is still there: somebody uses it.
    """
    status = status if status is not None else CloneStatus()
    folder = options.directory
    folder.mkdir(mode=0o750, exist_ok=True)
    for path in folder.iterdir():
        record_dead(path, status)
    with Sql(options.donor) as sql:
        donor = str(sql.value("SELECT @@GLOBAL.server_uuid"))
        files = DonorFiles.find(sql, options.datadir)
    series = series_id(folder, donor)
    for path in remove_unfinished(folder, donor, series):
        status.notes.append(f"removed {path.name}, which an interrupted run had left unfinished")
    reflinks, shares = files.can_reflink(folder), shares_blocks(folder)
    if not (reflinks or shares or options.full_copies):
        raise TargetUnusable(
            f"the file system of {folder} can't share blocks, so every generation would be a full copy",
            hint="use XFS or btrfs, or say --full-copies",
        )
    new = folder / name_for(time.time())
    older = series_of(folder, donor)
    series = begin_generation(new, donor, series)
    one = replace(options, directory=new, generations=0, keep_base=False, incremental="off", series=series)
    try:
        if older and shares and not reflinks:
            reflink_base(older[-1].path, new)
            methods = tuple(name for name in options.copy_methods if name != Method.REFLINK.value)
            one = replace(one, incremental="require", copy_methods=methods)
        result = local(one, status=status, stopped=stopped)
    except BaseException:
        with contextlib.suppress(OSError):
            new.rmdir()  # empty, where nothing of the clone was worth keeping
        raise
    point_latest(folder, new)
    gone, kept = remove_generations(series_of(folder, donor)[: -options.generations])
    status.notes += [f"removed generation {path.name}" for path in gone]
    return replace(result, kept=tuple(kept), notes=list(status.notes))
