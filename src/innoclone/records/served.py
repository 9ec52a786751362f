"""Who serves a stored clone, and who takes it: one file for each donor in the state folder, for other processes.

The directory that is served is only read, so nothing of this is in it. Files of processes that are gone are ignored,
and removed by the next donor.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError
from innoclone.files.lock import Holder
from innoclone.files.replacefile import replace_file
from innoclone.records.folders import state_directory

__all__ = ["ServedFile", "served_from"]

FOLDER = "served"


class ServedFile:
    """One donor's. A file that can't be written is nobody's concern."""

    def __init__(self, name: str, directory: str, where: str) -> None:
        """``directory`` may be another name of what is served; ``where`` is what it listens on; ``name`` is the
        donor's in the agent, empty for `innoclone serve`."""
        self._process = Holder.this_process()
        self._told = {"name": name, "directory": directory, "where": where}
        self._path = state_directory() / FOLDER / f"{os.getpid()}{'-' if name else ''}{name}.json"
        self._last: object = None
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self._path.parent.glob("*.json"):
                if (found := _read(path)) is not None and not _process_of(found).is_here:
                    path.unlink(missing_ok=True)

    def write(self, recipients: Sequence[dict[str, Any]]) -> None:
        """Say who takes it now."""
        if recipients == self._last:
            return
        self._last = recipients
        with contextlib.suppress(OSError, CloneError):
            content = {"process": asdict(self._process), **self._told, "recipients": list(recipients)}
            replace_file(self._path, json.dumps(content) + "\n", durable=False)

    def remove(self) -> None:
        """It is served no more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def served_from(directory: Path) -> list[dict[str, Any]]:
    """The donors of this user that serve a directory: ``name``, ``where``, ``pid`` and ``recipients`` of each."""
    try:
        paths = sorted((state_directory() / FOLDER).glob("*.json"))
    except (OSError, CloneError):
        return []
    real = os.path.realpath(directory)
    found = [one for one in map(_read, paths) if one is not None and os.path.realpath(one["directory"]) == real]
    return [
        {"pid": process.pid} | {name: one[name] for name in ("name", "where", "recipients")}
        for one in found if (process := _process_of(one)).is_here
    ]  # fmt: skip


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
        return found if {"process", "name", "directory", "where", "recipients"} <= found.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def _process_of(found: dict[str, Any]) -> Holder:
    return Holder.parse(json.dumps(found["process"]))
