"""What a statement may take of time, rows and memory: no loop whose length a client chooses goes on without a look at
KILL and at the clock, and nothing is kept that wasn't counted, in the budget of the thread."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from innoclone.agent.faults import StatementError

SECONDS = 10.0  # of one statement
ROWS = 1_000_000  # that a statement may look at
STATEMENT_BYTES = 64 << 20
STEPS_BETWEEN_LOOKS = 500  # steps of about a microsecond
AT_ONCE = 1 << 16  # bytes that are taken from the pool at a time
WORTH_TRIMMING = 4 << 20  # bytes: freeing less is not worth a look at the whole heap
POLITE_AFTER = 0.02  # seconds of a statement, after which others come first
PAUSE, WAIT = 0.001, 0.05  # seconds: what it leaves to them each time, and between two looks while it waits for a turn
EMPTY_TEXT = 64  # bytes of a value besides its characters


def trim(count: int) -> None:
    """So many bytes were freed: much of it goes back to the system, which Python and libc would keep."""
    if count >= WORTH_TRIMMING:
        with contextlib.suppress(OSError, AttributeError):  # another libc than glibc
            ctypes.CDLL(None).malloc_trim(0)


def size_of(text: str) -> int:
    """Bytes of a text in memory, or more."""
    return EMPTY_TEXT + (len(text) if text.isascii() else 4 * len(text))


class Pool(Protocol):
    """The memory of all sessions together."""

    def take(self, count: int) -> None:
        """So many bytes. Raises error 3170."""

    def give(self, count: int) -> None:
        """Give back what was taken."""


class Budget:
    """One statement's. Used by its own thread alone, but for `interrupted`, which any may set."""

    def __init__(
        self, pool: Pool | None = None, interrupted: threading.Event | None = None, *, seconds: float = SECONDS,
        rows: int = ROWS, most: int = STATEMENT_BYTES,
    ) -> None:  # fmt: skip
        """``interrupted`` is set by KILL; ``most`` is in bytes."""
        self._pool, self.interrupted = pool, interrupted or threading.Event()
        self._steps, self._began = STEPS_BETWEEN_LOOKS, time.monotonic()
        self._end = self._began + seconds
        self._has_turn = False
        self._rows, self._most = rows, most
        self.held = self.most_held = 0  # bytes in use, and bytes that were in use at a time, or a little more

    def within(self, seconds: float | None, rows: int) -> None:
        """Less than until now, counted from the statement's begin; None is no other time."""
        if seconds is not None:
            self._end = min(self._end, self._began + seconds)
        self._rows = min(self._rows, rows)

    def spend(self, steps: int) -> None:
        """Raises errors 1317, 3024."""
        self._steps -= steps
        if self._steps <= 0:
            self._steps = STEPS_BETWEEN_LOOKS
            self.look()

    def look(self) -> None:
        """Raises errors 1317, 3024. Lets other threads go first: of the statements that take long one works at a time,
        and that half of the time, as each would add the 5 ms of Python's turns to every step of a clone."""
        self.check()
        if time.monotonic() - self._began <= POLITE_AFTER:
            return
        self.rest()
        time.sleep(PAUSE)
        self.take_turn()

    def take_turn(self) -> None:
        """Wait until no other statement has it. Raises errors 1317, 3024."""
        while not self._has_turn and not _turn.acquire(timeout=WAIT):
            self.check()
        self._has_turn = True

    def check(self) -> None:
        """Raises errors 1317, 3024."""
        if self.interrupted.is_set():
            raise StatementError(1317)
        if time.monotonic() >= self._end:
            raise StatementError(3024)

    def rest(self) -> None:
        """Others may work, while this one waits for something."""
        if self._has_turn:
            self._has_turn = False
            _turn.release()

    def look_at(self, rows: int) -> None:
        """So many rows more. Raises error 1104."""
        self._rows -= rows
        if self._rows < 0:
            raise StatementError(1104)

    def hold(self, count: int) -> None:
        """So many bytes more, or less. Raises error 3170."""
        self.held += count
        if self.held > self.most_held:
            if self.held > self._most:
                raise StatementError(3170, self._most, "a statement", "")
            wanted = (self.held - self.most_held) // AT_ONCE * AT_ONCE + AT_ONCE
            if self._pool is not None:
                self._pool.take(wanted)
            self.most_held += wanted

    def close(self) -> None:
        """Everything is given back."""
        self.rest()
        if self._pool is not None:
            self._pool.give(self.most_held)
        self.held = 0


class _Local(threading.local):
    budget: Budget | None = None


_local = _Local()
_turn = threading.Lock()


def current() -> Budget | None:
    """This thread's."""
    return _local.budget


@contextlib.contextmanager
def running(budget: Budget) -> Iterator[Budget]:
    """This thread's budget until the end of the block."""
    before, _local.budget = current(), budget
    try:
        yield budget
    finally:
        _local.budget = before
        budget.close()


def spend(steps: int = 1) -> None:
    """In every loop: about a microsecond of work each. Raises errors 1317, 3024."""
    if (budget := _local.budget) is not None:
        budget.spend(steps)


def hold(count: int) -> None:
    """For what is kept until the statement's end. Raises error 3170."""
    if (budget := _local.budget) is not None:
        budget.hold(count)


def alone() -> None:
    """Before what takes long or much memory in one call: no other statement does such a thing. Errors 1317, 3024."""
    if (budget := _local.budget) is not None:
        budget.take_turn()


def look_at(rows: int = 1) -> None:
    """For rows that are looked at. Raises errors 1104, 1317, 3024."""
    if (budget := _local.budget) is not None:
        budget.look_at(rows)
        budget.spend(rows)
