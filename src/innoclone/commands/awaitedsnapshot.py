"""A snapshot that is served by one donor: a `Source` from the moment at which the donor listens.

It is restored meanwhile, so that a port that is in use is told before hours of reading. Who comes earlier is told so,
with the number that a busy donor has; and it is a directory until the donor has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from innoclone.commands.storeoptions import BootCheckOptions
from innoclone.commands.storescratch import restored_to_serve
from innoclone.donor.description import Description
from innoclone.donor.offer import Given, Source, T, Wish
from innoclone.donor.shelf import UNKNOWN_VERSION
from innoclone.donor.stored import look
from innoclone.errors import CloneRunning
from innoclone.records.status import CloneStatus
from innoclone.transport.donorerrors import RESTORES

__all__ = ["Awaited", "being_restored"]


def being_restored(options: BootCheckOptions, status: CloneStatus) -> CloneRunning:
    """What a recipient is told that comes too early."""
    address = f"{options.store.address}@{options.snapshot}"
    return CloneRunning(f"{address}{RESTORES}{status.copied} bytes are there; try again later")


class Awaited:
    """A `Source`. ``status`` is that of its restore."""

    def __init__(self, options: BootCheckOptions, status: CloneStatus) -> None:
        self._options, self._status = options, status
        self._stopped = threading.Event()
        self._source: Source | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def restore(self, ready: Callable[[], None], failed: Callable[[], None]) -> None:
        """Do that in a thread of its own, which then calls ``ready``, or ``failed``."""
        self._thread = threading.Thread(target=self._run, args=(ready, failed), name="innoclone-snapshot", daemon=True)
        self._thread.start()

    def _run(self, ready: Callable[[], None], failed: Callable[[], None]) -> None:
        try:
            with restored_to_serve(self._options, status=self._status, stopped=self._stopped) as found:
                source = replace(look(found.directory, self._options.keyring), called=found.address)
                try:
                    self._source = source
                    ready()
                    self._stopped.wait()
                finally:
                    source.close()
        except BaseException as error:  # noqa: BLE001 - `close` raises it, in the thread that serves
            self._error = error
            if not self._stopped.is_set():
                failed()

    @property
    def there(self) -> Source:
        """What was restored. Raises `CloneRunning`."""
        if (source := self._source) is None:
            raise being_restored(self._options, self._status)
        return source

    @property
    def name(self) -> str:
        """The address, once it is there with the snapshot's id."""
        if self._source is None:
            return f"{self._options.store.address}@{self._options.snapshot}"
        return self._source.name

    @property
    def version(self) -> str:
        """The server's, as far as it is known."""
        return UNKNOWN_VERSION if self._source is None else self._source.version

    @property
    def description(self) -> Description:
        """What it says of itself."""
        return self.there.description

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        return self.there.notes

    @property
    def chunks(self) -> int:
        """The most that a stage has."""
        return self.there.chunks

    def begin(self, wish: Wish, make: Callable[[Given], T], is_gone: Callable[[], bool]) -> T:
        """A clone of it."""
        return self.there.begin(wish, make, is_gone)

    def revive(self, fingerprint: int) -> Given | None:
        """The state, if it is that."""
        return self.there.revive(fingerprint)

    def close(self) -> None:
        """Remove the folder, when nobody reads of it any more. Raises what ended the restore."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
