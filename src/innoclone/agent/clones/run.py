"""The clone that the agent makes, or the last one that it made, as its process reports it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from innoclone.agent.clones.process import CloneProcess, Control
from innoclone.agent.clones.resuming import restore_status
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
    limits: tuple[float, float] = (0, 0)  # of data and network, MiB/s
    speeds: tuple[int, int] = (0, 0)  # of data and network, bytes per second, in the stage that runs
    _seen: tuple[int, int] = (0, 0)  # the status file that was taken in: inode and time
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def number(self) -> int:
        """ID in the tables."""
        return self.status.number

    def refresh(self) -> None:
        """Take in what its process has written."""
        with self._lock, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = (self.folder / STATUS).stat()
            if (found.st_ino, found.st_mtime_ns) == self._seen:
                return
            fields = status_in(self.folder)
            if fields is not None and fields["id"] == self.number:
                restore_status(self.status, fields, lives=not self.ended.is_set())
                self.speeds = fields["speed"], fields["network_speed"]
                self._seen = found.st_ino, found.st_mtime_ns

    def finish(self) -> None:
        """Its process has ended: what it wrote last counts."""
        self.process = None
        self.ended.set()
        self._seen = (0, 0)
        self.refresh()

    def send_control(self) -> None:
        """Tell its process what has changed. Raises a file error."""
        with self._lock:
            data, network = self.limits
            Control(number=self.number, data=data, network=network, stop=self.stopped.is_set()).write(self.folder)
