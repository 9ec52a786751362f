"""Snapshots of stores that the agent serves: restored when it starts, and directories for as long as it runs.

Nothing is restored while a recipient waits: it would give up long before. Until all is there it is told so, with the
number that a busy donor has, and a restore that failed is tried again.

Where the latest is meant, a newer one of the same server is restored beside it when it is seen, and given to whoever
comes from then on. The older one's folder goes when nobody takes it any more, nor may come back for the rest; before
that no further one is looked for, so that there are never more than two.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from innoclone.commands.awaitedsnapshot import being_restored
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import BootCheckOptions
from innoclone.commands.storescratch import ForServing, restored_to_serve
from innoclone.donor.offer import Source
from innoclone.donor.stored import Stored, look
from innoclone.errors import CloneError, StoreDamaged, VerifyFailed, one_line
from innoclone.records.status import CloneStatus
from innoclone.store.snapshots import find_newest

__all__ = ["ServedSnapshot"]

log = logging.getLogger("innoclone.donor")
AGAIN = 60.0  # seconds after which what failed is tried again
LOOK = 5.0  # seconds between two looks whether an older one may go
END_WITHIN = 20.0  # seconds for the folder to be removed


@dataclass(eq=False)
class _Held:
    """A folder that is there until ``stack`` is closed, and what was made of it: ``given`` that has locks is served."""

    found: ForServing
    stack: contextlib.ExitStack
    given: list[Stored] = field(default_factory=list)
    looking: int = 0  # threads that are about to serve it

    @property
    def is_used(self) -> bool:
        """Whether somebody takes what is in it, or is about to."""
        self.given = [one for one in self.given if one.locks]
        return bool(self.given) or self.looking > 0


class ServedSnapshot:
    """One of them. ``ready`` is called when it, or a newer one, can be served, from its own thread."""

    def __init__(self, name: str, options: BootCheckOptions, ready: Callable[[], None], *, renew: float = 0.0) -> None:
        """``renew``: seconds after which a newer one is looked for; 0: never."""
        self._name, self._options, self._ready, self._renew = name, options, ready, renew
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._damaged = ""  # the newest snapshot, which is
        self._error: CloneError | None = None
        self._status = CloneStatus()
        self._thread = threading.Thread(target=self._run, name=f"innoclone-snapshot-{name}", daemon=True)

    def start(self) -> None:
        """Begin to restore it."""
        self._thread.start()

    @property
    def leads_to(self) -> object:
        """Another thing once there is a newer one."""
        return self._held

    def source(self) -> Source:
        """What can be served. Raises `CloneRunning` while it is restored, or why it could not be."""
        with self._lock:
            held, error = self._held, self._error
            if held is not None:
                held.looking += 1
        if held is None:
            raise error or being_restored(self._options, self._status)
        try:
            stored = replace(look(held.found.directory, self._options.keyring), called=held.found.address)
            with self._lock:
                held.given.append(stored)
        finally:
            with self._lock:
                held.looking -= 1
        return stored

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
        """Restore it, and keep it until the end, or until a newer one is there. Raises what `restored_to_serve`
        does."""
        held = self._restored(self._options)
        older: _Held | None = None
        try:
            self._give(held)
            looked = time.monotonic()
            while not self._stopped.wait(LOOK):
                if older is not None:
                    older = self._kept(older)
                elif self._renew and time.monotonic() - looked > self._renew:
                    newer, looked = self._newer(held), time.monotonic()
                    if newer is not None:
                        held, older = newer, held
                        self._give(held)
        finally:
            with self._lock:
                self._held = None
            for one in (held, older):
                if one is not None:
                    one.stack.close()

    def _restored(self, options: BootCheckOptions) -> _Held:
        self._status = CloneStatus()
        stack = contextlib.ExitStack()
        return _Held(stack.enter_context(restored_to_serve(options, status=self._status, stopped=self._stopped)), stack)

    def _give(self, held: _Held) -> None:
        """From now on."""
        with self._lock:
            self._held, self._error = held, None
        self._ready()

    def _kept(self, older: _Held) -> _Held | None:
        """None if nobody takes it any more, and it is gone."""
        with self._lock:
            if older.is_used:
                return older
        older.stack.close()
        log.info("%s: %s is not served any more", self._name, one_line(older.found.address))
        return None

    def _newer(self, held: _Held) -> _Held | None:
        """A newer snapshot of the same server, restored. What is in its way is a warning; the older one stays."""
        there = held.found.snapshot
        if there is None or not there.donor:
            return None
        newest = None
        try:
            newest = find_newest(opened(self._options.store, self._stopped), there.donor)
            if newest is None or newest.order <= there.order or newest.name == self._damaged:
                return None
            return self._restored(replace(self._options, snapshot=newest.name))
        except CloneError as error:
            if newest is not None and isinstance(error, StoreDamaged | VerifyFailed):
                self._damaged = newest.name
            if not self._stopped.is_set():
                log.warning("%s: a newer snapshot can't be restored: %s", self._name, one_line(error.message))
            return None
