"""What goes on at a donor while it serves: looked at once a second, told to other processes, kept in the history."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from innoclone.donor.service import Donor
from innoclone.donor.takings import Taking
from innoclone.errors import CloneError
from innoclone.records.history import SERVE, append_history
from innoclone.records.served import ServedFile
from innoclone.version import __version__

__all__ = ["Attendant", "record_taking"]

log = logging.getLogger("innoclone.donor")
EVERY = 1.0  # seconds


class Attendant:
    """Looks after a donor for as long as the ``with`` block runs."""

    def __init__(self, donor: Donor, look: Callable[[Sequence[Taking]], None] = lambda _: None) -> None:
        """``look`` is told once a second who takes a clone, from a thread of its own."""
        self._donor, self._tell = donor, look
        options = donor.options
        where = "a pipe through ssh" if options.socket is not None else f"{options.bind_address}:{donor.port}"
        self._file = ServedFile(options.name, donor.source.name, where)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="innoclone-attendant", daemon=True)

    def __enter__(self) -> Attendant:
        """Begin."""
        self._file.write([])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self._thread.join()
        self._file.remove()

    def _run(self) -> None:
        while not self._end.wait(EVERY):
            try:
                self._donor.tidy()
                takings = self._donor.takings
                self._file.write([taking.fields for taking in takings])
                self._tell(takings)
            except Exception:  # it is not the donor that would end
                log.exception("unexpected")


def record_taking(taking: Taking, source: str) -> None:
    """Put a clone that was taken, or that came to another end, into the history. A failure is a line of the log."""
    ended = taking.ended or 0.0
    record: dict[str, Any] = {
        "operation": SERVE, "innoclone": __version__, "pid": os.getpid(), "host": socket.gethostname(),
        "source": source, "destination": str(taking.recipient), "began": round(taking.began, 3),
        "ended": round(ended, 3), "seconds": round(ended - taking.began, 3), "state": taking.state,
        "error_number": taking.error_number, "error_message": taking.error_message, "data": taking.data,
        "network": taking.network, "connections": taking.connections, "restarts": taking.restarts,
    }  # fmt: skip
    try:
        append_history(record)
    except CloneError as error:
        log.warning("a clone that %s took is not in the history: %s", taking.recipient, error.message)
