"""The clone that the agent makes, or the last one that it made, as its process tells of it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.agent.clones.process import CloneProcess, Orders
from innoclone.agent.clones.resuming import fill
from innoclone.files.names import STATUS
from innoclone.records.status import CloneStatus
from innoclone.records.statusfile import status_in

__all__ = ["CloneRun"]


@dataclass
class CloneRun:
    """The clone that runs, or the last one that did. ``process`` is its process, None once there was one."""

    session: int
    folder: Path
    status: CloneStatus = field(default_factory=CloneStatus)
    process: CloneProcess | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    operation: str = "clone"
    began: float = 0.0  # when the statement was given; a clone that goes on began earlier
    limits: tuple[float, float] = (0, 0)  # of data and network, bytes per second
    speeds: tuple[int, int] = (0, 0)  # of data and network, bytes per second, in the stage that runs
    _read: tuple[int, int] = (0, 0)  # the status file that was taken in: inode and time
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def number(self) -> int:
        """ID in the tables."""
        return self.status.number

    def look(self) -> None:
        """Take in what its process tells."""
        with self._lock, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            seen = (self.folder / STATUS).stat()
            if (seen.st_ino, seen.st_mtime_ns) == self._read:
                return
            fields = status_in(self.folder)
            if fields is not None and fields["id"] == self.number:
                fill(self.status, fields, lives=not self.ended.is_set())
                self.speeds = fields["speed"], fields["network_speed"]
                self._read = seen.st_ino, seen.st_mtime_ns

    def end(self) -> None:
        """Its process has ended: what it told last counts."""
        self.process = None
        self.ended.set()
        self._read = (0, 0)
        self.look()

    def order(self) -> None:
        """Tell its process what has changed. Raises a file error."""
        with self._lock:
            Orders(self.number, *self.limits, stop=self.stopped.is_set()).write(self.folder)
