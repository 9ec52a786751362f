"""What a directory holds, seen from outside: a clone that runs, one that was ended or that died, a finished one."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from innoclone.errors import TargetUnusable
from innoclone.files.lock import Holder, holder_of
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.files.swap import fresh_sibling
from innoclone.files.system import file_error
from innoclone.records.history import DIED
from innoclone.records.served import served_from
from innoclone.records.status import State
from innoclone.records.statusfile import INTERRUPTED, read_status

__all__ = ["Condition", "DirectoryStatus", "inspect", "inspect_with_donors"]


class Condition(enum.Enum):
    """What a directory is."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"  # somebody stopped it
    FAILED = "failed"
    DIED = "died"  # killed, or the machine went down
    UNFINISHED = "unfinished"  # and nothing tells why
    COMPLETE = "complete"
    SERVED = "served"  # no clone of ours, but a donor of ours serves it


_ENDED = {INTERRUPTED: Condition.INTERRUPTED, State.FAILED.value: Condition.FAILED}


@dataclass(frozen=True)
class DirectoryStatus:
    """One directory at one moment.

    ``holder`` is the process that works on it, ``last`` what the last one wrote to ``status.json`` (empty where that is
    not known), ``manifest`` that of a finished clone, ``successor`` the clone that is made beside it to take its place
    (``local --keep-base``), ``served`` the donors of this user that serve it (`innoclone.records.served`).
    """

    directory: Path
    condition: Condition
    holder: Holder | None = None
    last: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    successor: DirectoryStatus | None = None
    served: Sequence[Mapping[str, Any]] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """All that is known, flat: for ``--json``."""
        process = None
        if self.holder is not None:
            process = {"pid": self.holder.pid, "started": self.holder.started, "host": self.holder.host}
        found: dict[str, Any] = {
            "directory": str(self.directory),
            "condition": self.condition.value,
            "process": process,
        }
        if self.condition is Condition.COMPLETE:
            files = self.manifest["files"]
            taken = ("donor", "started", "finished", "stages", "options", "position", "notes")
            found |= {"size": sum(file["size"] for file in files), "files": len(files)}
            found |= {name: self.manifest.get(name) for name in taken}
        if self.successor is not None:
            found["successor"] = self.successor.fields
        if self.served:
            found["served"] = list(self.served)
        found |= {name: value for name, value in self.last.items() if name != "format"}
        return found | ({"state": DIED} if self.condition is Condition.DIED else {})


def inspect_with_donors(directory: Path) -> DirectoryStatus:
    """The same with the donors that serve it, also where that is no clone of ours: for who only wants to know.

    Raises as `inspect`.
    """
    served = served_from(directory)
    try:
        return replace(inspect(directory), served=served)
    except TargetUnusable:
        if not served:
            raise
        return DirectoryStatus(directory, Condition.SERVED, served=served)


def inspect(directory: Path) -> DirectoryStatus:
    """Look at a directory, without touching it.

    Raises `TargetUnusable` if no clone of ours is in it, a file error if it can't be read.
    """
    try:
        if not (directory / OWN_DIR).is_dir():
            what = "holds no clone of innoclone" if directory.is_dir() else "is no directory"
            raise TargetUnusable(f"{directory} {what}", hint="name the directory that a clone was made in")
        if is_unfinished(directory):
            return _unfinished(directory)
    except OSError as error:
        raise file_error(error, f"can't look at {directory}") from error
    if not (directory / OWN_DIR / MANIFEST).exists() and (holder := holder_of(directory)) is not None:
        return DirectoryStatus(directory, Condition.RUNNING, holder=holder)  # it has only just begun
    beside = fresh_sibling(directory)
    successor = _unfinished(beside) if is_unfinished(beside) else None
    manifest = read_manifest(directory)
    return DirectoryStatus(
        directory, Condition.COMPLETE, holder=holder_of(directory), manifest=manifest, successor=successor
    )


def _unfinished(directory: Path) -> DirectoryStatus:
    holder = holder_of(directory)
    last = read_status(directory) or {}
    if holder is not None:
        known = last.get("pid") == holder.pid and last.get("host") == holder.host  # else it is an earlier one's
        return DirectoryStatus(directory, Condition.RUNNING, holder=holder, last=last if known else {})
    condition = _ENDED.get(last["state"], Condition.DIED) if last else Condition.UNFINISHED
    return DirectoryStatus(directory, condition, last=last)
