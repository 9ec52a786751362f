"""Telling systemd how the agent is: sd_notify(3), a datagram to the socket that the service manager names."""

from __future__ import annotations

import os
import socket
import threading

from innoclone.agent.clones.manager import Clones
from innoclone.agent.clones.speeds import copied_bytes
from innoclone.agent.donors.donors import Donors
from innoclone.errors import escaped
from innoclone.records.status import COPY_STAGES

__all__ = ["Notifier", "progress_line"]

VARIABLE = "NOTIFY_SOCKET"
EVERY = 2.0  # seconds between two looks at the clone


class Notifier:
    """Between `ready` and `stopping` a thread keeps ``systemctl status`` up to date. Without systemd it is silent."""

    def __init__(self, clones: Clones, donors: Donors) -> None:
        """Takes the socket's name out of the environment: a mysqld that we start would speak to it, too."""
        self._clones, self._donors = clones, donors
        name = os.environ.pop(VARIABLE, "")
        self._address = "\0" + name[1:] if name.startswith("@") else name  # the abstract name space
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="innoclone-notify", daemon=True)

    def ready(self) -> None:
        """Clients can connect."""
        if self._address:
            self._send(f"READY=1\nSTATUS={self._line}")
            self._thread.start()

    def stopping(self) -> None:
        """The end has begun; it may wait for a clone to end in order."""
        if self._address:
            self._end.set()
            self._thread.join()
            self._send("STOPPING=1\nSTATUS=stopping")

    @property
    def _line(self) -> str:
        return progress_line(self._clones, sum(len(one.donor.takings) for one in self._donors))

    def _run(self) -> None:
        shown = ""
        while not self._end.wait(EVERY):
            line = self._line
            if line != shown:
                self._send(f"STATUS={line}")
                shown = line

    def _send(self, text: str) -> None:
        """Nobody has to listen."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(EVERY)
                sock.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError:
            pass


def progress_line(clones: Clones, recipients: int = 0) -> str:
    """What the agent does, in a few words on one line; ``recipients`` take clones from it."""
    given = f"; {recipients} recipient{'s' if recipients > 1 else ''} of clones" if recipients else ""
    return _of_clone(clones) + given


def _of_clone(clones: Clones) -> str:
    status = clones.latest
    if status is None or not clones.is_running:
        return "waiting for statements"
    rows = [status.stages[stage] for stage in COPY_STAGES]
    estimate = sum(max(row.estimate, row.data) for row in rows)
    percent = f", {100 * copied_bytes(status)[0] // estimate} % copied" if estimate else ""
    stage = f": {status.current.stage.value}" if status.current is not None else ""
    text = f"clone {status.number} from {status.source} into {status.destination}{stage}{percent}"
    return escaped(text)
