"""Where all connections of one clone meet: stages, their ends, and the first failure.

Rule 1 of docs/design.md is kept here: a stage is acknowledged only when its END was processed on every attached
connection. And no worker goes into a stage before the master has, because the master learns of DDL first.

A connection counts from the donor's answer to COM_ATTACH on, not from the question: while a stage is ended the donor
lets the question wait, until the stage was acknowledged. Where it has counted a connection whose answer is still on
its way, it doesn't leave the stage before that connection has, so the master looks again (`wait_until_ended`) before it
goes on behind the END.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from innoclone.errors import CloneError, ProtocolError
from innoclone.receive import timings
from innoclone.stream.source import Stopped
from innoclone.wire.descriptors import StageNumber

__all__ = ["Barrier"]


class Barrier:
    """Shared by the connections of one clone. Who waits gets `Stopped` when it ends; the reason is in `failure`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ended: dict[int, StageNumber] = {}  # connection -> last stage whose END it has processed
        self._stage = StageNumber.INIT  # the master's
        self._listed = False
        self._waiting: list[Callable[[], bool]] = []  # what the connections that wait here wait for
        self.chunks = 0  # of the stage that the master is in
        self.failure: CloneError | None = None
        self.stopped = threading.Event()

    def join(self, connection: int, stage: StageNumber) -> None:
        """A connection takes part from now on; it was attached in ``stage``, so it has ended the one before."""
        with self._changed:
            self._ended[connection] = StageNumber(max(stage - 1, StageNumber.NONE))

    def leave(self, connection: int) -> None:
        """It takes no part any more (complete, or never attached)."""
        with self._changed:
            self._ended.pop(connection, None)
            self._changed.notify_all()

    def ended(self, connection: int, stage: StageNumber) -> None:
        """It has processed the END of ``stage``: every byte it got is written."""
        with self._changed:
            self._ended[connection] = stage
            self._changed.notify_all()

    def start(self, stage: StageNumber, chunks: int) -> None:
        """The master has processed START of ``stage``, which has so many chunks."""
        with self._changed:
            self._stage, self.chunks = stage, chunks
            self._changed.notify_all()

    def listed(self) -> None:
        """The master has the whole list of files."""
        with self._changed:
            self._listed = True
            self._changed.notify_all()

    def fail(self, error: CloneError) -> None:
        """End everything; the first error is the one that counts."""
        with self._changed:
            if self.failure is None:
                self.failure = error
            self.stopped.set()
            self._changed.notify_all()

    def wait_until_ended(self, stage: StageNumber) -> None:
        """Until every connection has ended ``stage``. Raises `Stopped`."""
        self._wait(lambda: all(last >= stage for last in self._ended.values()))

    def wait_until_started(self, stage: StageNumber) -> None:
        """Until the master is in ``stage`` or later. Raises `Stopped`."""
        self._wait(lambda: self._stage >= stage)

    def wait_until_listed(self) -> None:
        """Until the list of files is known. Raises `Stopped`."""
        self._wait(lambda: self._listed)

    def _wait(self, reached: Callable[[], bool]) -> None:
        """Raises `ProtocolError` when all connections wait for each other: no honest donor leads them there."""
        with self._changed:
            self._waiting.append(reached)
            try:
                if len(self._waiting) >= len(self._ended) and not any(met() for met in self._waiting):
                    raise ProtocolError("the donor leads its connections through the stages out of step")
                if not self._changed.wait_for(lambda: self.stopped.is_set() or reached(), timings.STAGE_END):
                    raise CloneError("the connections of the clone wait for each other without end")
            finally:
                self._waiting.remove(reached)
            if self.stopped.is_set():
                raise Stopped
