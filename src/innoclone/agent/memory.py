"""The memory of all sessions together, and what each keeps from one statement to the next."""

from __future__ import annotations

import threading

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import trim

__all__ = ["MOST_PREPARED", "PREPARED", "Kept", "Pool"]

SESSION_BYTES = 8 << 20  # that one session keeps from one statement to the next
MOST_PREPARED = 16382  # max_prepared_stmt_count
PREPARED, BYTES_OF_A_KEY = "prepared", 300
SESSIONS_BYTES = 256 << 20  # of all sessions and their statements


class Pool:
    """The memory of all sessions together."""

    def __init__(self, most: int = SESSIONS_BYTES) -> None:
        """``most`` is in bytes."""
        self._most, self._taken, self._prepared = most, 0, 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._taken

    def take(self, count: int) -> None:
        """Raises error 3170."""
        with self._lock:
            if self._taken + count > self._most:
                raise StatementError(3170, self._most, "all sessions", "Try again later.")
            self._taken += count

    @property
    def prepared(self) -> int:
        """How many prepared statements there are."""
        return self._prepared

    def count_prepared(self, more: int) -> None:
        """So many prepared statements more, or less. Raises error 1461."""
        with self._lock:
            if self._prepared + more > MOST_PREPARED:
                raise StatementError(1461, MOST_PREPARED)
            self._prepared += more

    def give(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._taken -= count


class Kept:
    """What one session keeps from one statement to the next: user variables and prepared statements, by keys."""

    def __init__(self, pool: Pool, most: int = SESSION_BYTES) -> None:
        """``most`` is in bytes."""
        self._pool, self._most = pool, most
        self._sizes: dict[tuple[object, ...], int] = {}
        self._total = 0

    def put(self, key: tuple[object, ...], size: int) -> None:
        """So many bytes under that key, instead of what was there. Raises errors 1461, 3170."""
        size += BYTES_OF_A_KEY
        more = size - self._sizes.get(key, 0)
        if self._total + more > self._most:
            raise StatementError(3170, self._most, "a session's variables and statements", "")
        self._pool.take(more)
        if key[0] == PREPARED and key not in self._sizes:
            try:
                self._pool.count_prepared(1)
            except StatementError:
                self._pool.give(more)
                raise
        self._sizes[key] = size
        self._total += more

    def drop(self, key: tuple[object, ...]) -> None:
        """It is kept no more."""
        size = self._sizes.pop(key, 0)
        self._total -= size
        self._pool.give(size)
        if size and key[0] == PREPARED:
            self._pool.count_prepared(-1)

    def clear(self) -> None:
        """Nothing is kept any more; its owner has let it go."""
        total = self._total
        for key in list(self._sizes):
            self.drop(key)
        trim(total)
