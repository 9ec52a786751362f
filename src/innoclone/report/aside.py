"""What serves others says its words aside: in a thread of their own, which alone waits for who reads them.

A terminal that was stopped (Ctrl-S, a connection through ssh that hangs) and a pipe that nobody empties make a write(2)
wait. Recipients and clients must not wait with it.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable

__all__ = ["Aside"]

MOST = 10_000  # words that wait to be said; more are dropped, so that memory is bounded

Words = Callable[[], None]


class Aside:
    """Says, in order, what it is given, for as long as the ``with`` block runs; the block ends when all is said."""

    def __init__(self, most: int = MOST) -> None:
        """``most``: words that may wait."""
        self._waiting: queue.Queue[Words | None] = queue.Queue()
        self._most = most
        self._thread = threading.Thread(target=self._run, name="innoclone-words", daemon=True)

    def __enter__(self) -> Aside:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Say the rest."""
        self._waiting.put(None)
        self._thread.join()

    def say(self, words: Words) -> None:
        """Have ``words`` called soon. It doesn't wait; where too many wait already they are lost."""
        if self._waiting.qsize() < self._most:
            self._waiting.put(words)

    def _run(self) -> None:
        while (words := self._waiting.get()) is not None:
            try:
                words()
            except Exception:  # noqa: BLE001 - what comes next may be said
                traceback.print_exc()
