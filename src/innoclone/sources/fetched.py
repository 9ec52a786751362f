"""``#innoclone/fetched``: which packs of a snapshot an unfinished restore has written, for the process that goes on.

A line for each, appended after the pack's bytes were written. It holds for a crash of the process only: after one of
the system (another boot id) nothing is believed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error, write_all

__all__ = ["FETCHED", "Fetched"]

FETCHED = "fetched"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Fetched:
    """The note of one restore; ``done`` are places of the snapshot's table of packs."""

    def __init__(self, directory: Path, run: bytes) -> None:
        self._path = directory / OWN_DIR / FETCHED
        self._head = {"snapshot": run.hex(), "boot": _boot()}
        self.done: set[int] = set()
        self._descriptor = -1

    def may_go_on(self, places: Sequence[Path], sizes: Sequence[int]) -> bool:
        """Whether a restore of this very snapshot was left here, with all its files as they were made."""
        try:
            lines = self._path.read_text().split("\n")
            if json.loads(lines[0]) != self._head or not self._head["boot"]:
                return False
            done = {int(line) for line in lines[1:-1]}  # what is behind the last line's end was torn
            if not all(path.lstat().st_size == size for path, size in zip(places, sizes, strict=True)):
                return False
        except (OSError, ValueError):
            return False
        self.done = done
        return True

    def begin(self) -> None:
        """All files are made; from now on packs are noted. Raises a file error."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o640)
            lines = [json.dumps(self._head), *map(str, sorted(self.done))]
            write_all(self._descriptor, "".join(f"{line}\n" for line in lines).encode(), 0)
        except OSError as error:
            raise file_error(error, f"can't write {self._path}") from error

    def add(self, place: int) -> None:
        """A pack is written. Raises a file error."""
        try:
            os.write(self._descriptor, f"{place}\n".encode())
        except OSError as error:
            raise file_error(error, f"can't write {self._path}") from error
        self.done.add(place)

    def close(self) -> None:
        """Nothing more is noted."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
