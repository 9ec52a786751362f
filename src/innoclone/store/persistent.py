"""Tries again where a store failed for a moment, and tells an object of ours from another's after a lost answer.

Each call runs in a thread of its own, which is left to itself where the user wants an end: a library that waits for an
answer can't be interrupted, and no signal is seen until it comes back.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from innoclone.errors import Interrupted, StoreDamaged, StoreUnavailable
from innoclone.store.objects import AlreadyThere, Entry, Gone, Objects

__all__ = ["Persistent", "end_waits"]

TRIES = 6
STEP = 0.2  # seconds after which a call is looked at
GRACE = 2.0  # seconds that a call has left when an end is wished: it may be the removal of what is not needed
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds; each wait is a random part of twice the one before

Found = TypeVar("Found")
_ending = threading.Event()  # of the process


def end_waits() -> None:
    """The process is to end: no call waits much longer, in whatever thread, and none is tried again."""
    _ending.set()


class Persistent:
    """The same objects. ``stopped`` ends the waits, with `Interrupted`."""

    def __init__(self, objects: Objects, stopped: threading.Event | None = None) -> None:
        self._objects, self._stopped = objects, stopped or threading.Event()
        self.address = objects.address

    @property
    def keeps_versions(self) -> bool:
        """As far as it is known."""
        return self._objects.keeps_versions

    def create(self, name: str, data: bytes | bytearray) -> None:
        """No two objects that we create have the same content: an equal one there is ours, and its answer was lost."""

        def attempt() -> None:
            try:
                self._objects.create(name, data)
            except AlreadyThere:
                if not self._is_there(name, data):
                    raise

        self._try(attempt)

    def _is_there(self, name: str, data: bytes | bytearray) -> bool:
        try:
            return self._objects.read(name, len(data)) == data
        except (StoreDamaged, Gone):  # it is larger; or has been removed meanwhile
            return False

    def read(self, name: str, most: int) -> bytes:
        """All of an object."""
        return self._try(lambda: self._objects.read(name, most))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """A part of it."""
        return self._try(lambda: self._objects.read_range(name, start, length))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All at once: a listing that breaks off begins anew."""
        yield from self._try(lambda: list(self._objects.list(prefix)))

    def delete(self, names: Iterable[str]) -> None:
        """Removing what is gone is fine, so it may be tried again."""
        names = list(names)
        self._try(lambda: self._objects.delete(names))

    def _try(self, attempt: Callable[[], Found]) -> Found:
        wait = FIRST_WAIT
        for left in range(TRIES - 1, -1, -1):
            try:
                return self._call(attempt)
            except StoreUnavailable:
                if not left or _ending.is_set():
                    raise
                if self._stopped.wait(random.uniform(wait / 2, wait)):  # noqa: S311 - no secret
                    raise Interrupted("stopped while a store did not answer") from None
                wait = min(LONGEST_WAIT, wait * 2)
        raise AssertionError("at least one try")

    def _call(self, attempt: Callable[[], Found]) -> Found:
        """The answer of one call. Raises `Interrupted` where none has come when ``stopped`` is set."""
        found: list[Found] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                found.append(attempt())
            except BaseException as error:  # noqa: BLE001 - raised below, where somebody waits for it
                failed.append(error)

        thread = threading.Thread(target=work, name="innoclone-store", daemon=True)
        thread.start()
        left = GRACE
        while thread.is_alive() and left > 0:
            thread.join(STEP)
            if self._stopped.is_set() or _ending.is_set():
                left -= STEP
        if thread.is_alive():
            raise Interrupted("stopped while a store did not answer")
        if failed:
            raise failed[0]
        return found[0]
