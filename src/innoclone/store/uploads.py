"""Packs on their way into a store while a donor sends: a few, in memory, so that nobody waits long for the store.

A donor gives a connection up that isn't read for 60 seconds. So who fills packs waits for room for `SILENCE` at most
while the store takes nothing at all, and never longer than `LONGEST`: then the backup ends.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time

from innoclone.errors import CloneError, StoreUnavailable
from innoclone.store.pack import Pack
from innoclone.store.runs import Run
from innoclone.store.writing import PackTable

__all__ = ["PIECE", "Uploads"]

PIECE = 4 << 20  # bytes from which on a pack is sent: each connection fills one
WAITING = 8  # packs that were sent and are not in the store
THREADS = 4
SILENCE, LONGEST = 30.0, 45.0  # seconds
STEP = 1.0


class Uploads:
    """For as long as the ``with`` block runs."""

    def __init__(self, run: Run, table: PackTable) -> None:
        self.sent = 0  # bytes that are in the store
        self._run, self._table = run, table
        self._room = threading.Condition()
        self._waiting = 0
        self._moved = time.monotonic()  # when the store took something last
        self._error: CloneError | None = None
        self._pool = concurrent.futures.ThreadPoolExecutor(THREADS, "upload")

    def __enter__(self) -> Uploads:
        """Nothing is on its way."""
        return self

    def __exit__(self, *_: object) -> None:
        """What has not begun is forgotten, what has is waited for."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def send(self, place: int, pack: Pack, body: bytearray) -> None:
        """Take a pack. Raises `StoreUnavailable` where the store doesn't take what is there already, and the error of
        an earlier one."""
        began = time.monotonic()
        with self._room:
            if not self._waiting:
                self._moved = began
            while self._waiting >= WAITING and self._error is None:
                now = time.monotonic()
                if now - self._moved > SILENCE or now - began > LONGEST:
                    self._error = StoreUnavailable(
                        "the store takes packs more slowly than a donor waits",
                        hint="clone to a directory first, and back that up",
                    )
                self._room.wait(STEP)
            if self._error is not None:
                raise self._error
            self._waiting += 1
        self._pool.submit(self._put, place, pack, body)

    def fail(self, error: CloneError) -> None:
        """A pack was lost: nothing that follows can make up for it."""
        with self._room:
            self._error = self._error or error
            self._room.notify_all()

    def drain(self) -> None:
        """Wait until all is in the store. Raises why it isn't."""
        with self._room:
            while self._waiting and self._error is None:
                self._room.wait(STEP)
            if self._error is not None:
                raise self._error

    def _put(self, place: int, pack: Pack, body: bytearray) -> None:
        try:
            self._run.repository.objects.create(pack.name, body)
            self._table.put(place, pack)
        except CloneError as error:
            self.fail(error)
        except BaseException as error:
            self.fail(CloneError(f"{type(error).__name__}: {error}"))
            raise
        finally:
            with self._room:
                self._waiting -= 1
                self._moved = time.monotonic()
                self.sent += len(body)
                self._room.notify_all()
