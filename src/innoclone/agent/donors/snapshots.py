"""Snapshots of stores that the agent serves: restored when it starts, and directories for as long as it runs.

Nothing is restored while a recipient waits: it would give up long before. Until all is there it is told so, with the
number that a busy donor has, and a restore that failed is tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from innoclone.commands.awaitedsnapshot import being_restored
from innoclone.commands.storeoptions import BootCheckOptions
from innoclone.commands.storescratch import ForServing, restored_to_serve
from innoclone.donor.offer import Source
from innoclone.donor.stored import look
from innoclone.errors import CloneError, one_line
from innoclone.records.status import CloneStatus

__all__ = ["ServedSnapshot"]

log = logging.getLogger("innoclone.donor")
AGAIN = 60.0  # seconds after which what failed is tried again
END_WITHIN = 20.0  # seconds for the folder to be removed


class ServedSnapshot:
    """One of them. ``ready`` is called when it can be served, from its own thread."""

    def __init__(self, name: str, options: BootCheckOptions, ready: Callable[[], None]) -> None:
        self._name, self._options, self._ready = name, options, ready
        self._stopped = threading.Event()
        self._found: ForServing | None = None
        self._error: CloneError | None = None
        self._status = CloneStatus()
        self._thread = threading.Thread(target=self._run, name=f"innoclone-snapshot-{name}", daemon=True)

    def start(self) -> None:
        """Begin to restore it."""
        self._thread.start()

    def source(self) -> Source:
        """What can be served. Raises `CloneRunning` while it is restored, or why it could not be."""
        found, error = self._found, self._error
        if found is not None:
            return replace(look(found.directory, self._options.keyring), called=found.address)
        if error is not None:
            raise error
        raise being_restored(self._options, self._status)

    def stop(self) -> None:
        """Remove the folder, once nobody takes what is in it any more."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(END_WITHIN)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._hold()
            except CloneError as error:
                self._error = error
                if not self._stopped.is_set():
                    log.warning("%s can't be restored: %s", self._name, one_line(error.message))
            except Exception:
                log.exception("%s: unexpected", self._name)
            self._stopped.wait(AGAIN)

    def _hold(self) -> None:
        """Restore it, and keep it until the end. Raises what `restored_to_serve` does."""
        self._status = CloneStatus()
        with restored_to_serve(self._options, status=self._status, stopped=self._stopped) as found:
            self._found, self._error = found, None
            try:
                self._ready()
                self._stopped.wait()
            finally:
                self._found = None
