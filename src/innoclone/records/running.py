"""What of this user runs on this host now: a status file for each clone, backup and restore in the state folder.

A clone's directory has such a file as well; a backup has no directory, and who looks after a host, as the agent's page
does, doesn't know all directories. Files of processes that are gone are not shown. The next one that begins removes
them, and is told of them.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError
from innoclone.files.lock import Holder
from innoclone.records.folders import state_directory
from innoclone.records.status import CloneStatus
from innoclone.records.statusfile import StatusFile, status_in

__all__ = ["running", "shown_running"]

FOLDER = "running"
TOLD = frozenset({
    "id", "operation", "pid", "host", "user", "source", "destination", "began", "state", "stage", "stage_percent",
    "percent", "data", "network", "estimate", "speed", "network_speed", "connections",
})  # fmt: skip
NAME = re.compile(r"([0-9]+)-([0-9]+)-[0-9]+\.json\Z")
_numbers = itertools.count(1)


@contextlib.contextmanager
def shown_running(
    operation: str, status: CloneStatus, *, died: Callable[[dict[str, Any]], None] = lambda _: None
) -> Iterator[None]:
    """Meanwhile others see it. ``died`` is told what those had written whose processes are gone. That it can't be
    written is nobody's concern."""
    try:
        folder = state_directory() / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clean(folder, died)
    except (OSError, CloneError):
        yield
        return
    process = Holder.this_process()
    name = f"{process.pid}-{process.ticks}-{next(_numbers)}.json"
    try:
        with StatusFile(folder, status, operation=operation, name=name):
            yield
    finally:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def running() -> list[dict[str, Any]]:
    """What runs, the oldest first: the fields of a status file of each."""
    try:
        paths = list((state_directory() / FOLDER).iterdir())
    except (OSError, CloneError):
        return []
    found = [fields for path in paths if (fields := _read(path)) is not None and _lives(path, fields)]
    return sorted(found, key=lambda fields: (fields["began"] or 0.0, fields["id"]))


def _read(path: Path) -> dict[str, Any] | None:
    if NAME.match(path.name) is None:
        return None
    try:
        fields = status_in(path.parent, path.name)
    except OSError:
        return None
    return fields if fields is not None and fields.keys() >= TOLD else None  # another version's may lack some


def _lives(path: Path, fields: dict[str, Any]) -> bool:
    """Whether who wrote it is there; a later process with the same id isn't."""
    match = NAME.match(path.name)
    assert match is not None, "it was read"
    return Holder(int(match[1]), int(match[2]), host=str(fields.get("host"))).is_here


def _clean(folder: Path, died: Callable[[dict[str, Any]], None]) -> None:
    """Remove what processes of this host have left."""
    for path in folder.iterdir():
        fields = _read(path)
        if fields is None or fields.get("host") != socket.gethostname() or _lives(path, fields):
            continue
        path.with_name(f"{path.name}.new").unlink(missing_ok=True)
        try:
            path.unlink()
        except FileNotFoundError:  # another one has seen it, and tells
            continue
        died(fields)
