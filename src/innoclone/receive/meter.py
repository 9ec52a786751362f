"""Counts what one connection moves, and paces it: the one place where a clone from a server waits for its limits."""

from __future__ import annotations

import threading
import time

from innoclone.receive import timings
from innoclone.records.limits import Limits
from innoclone.records.status import Counter
from innoclone.transport.connection import Connection

__all__ = ["Meter"]

UNLIMITED = 16 << 20  # bytes of compressed packets that are read at once without a limit
KEEPS_ALIVE = 1 << 20  # bytes off the wire that a compressed connection must have got within `timings.STARVED`


class Meter:
    """Bytes of one connection. What comes compressed is paced twice: packets as they are read (the connection calls
    `moved`), for the network's limit, and what was in them (`took`), for that of data.

    Buffers on the way can hold a MiB of packets, and in them so much data that a data limit lets it pass in minutes
    only. To the donor that looks like a dead connection (seen after a minute). So one that starves goes on at once.
    """

    def __init__(self, connection: Connection, limits: Limits, stopped: threading.Event) -> None:
        self.counter = Counter()  # of the stage
        self._connection, self._limits, self._stopped = connection, limits, stopped
        self._compressed = connection.compression != "off"
        self._network = 0  # what the connection had read when it was looked at last
        self._alive = 0  # bytes off the wire since `_since`
        self._since = time.monotonic()
        connection.slow_down(self)

    def most(self, buffer: int, page: int) -> int:
        """How many bytes to take at once: whole pages, at most ``buffer``, and few where pauses must stay short."""
        if self._limits.rate:
            buffer = min(buffer, max(self._limits.piece, page))
        return buffer - buffer % page

    def took(self, count: int) -> None:
        """``count`` bytes of a block were taken; returns when the next may be."""
        counter, paced = self.counter, count
        counter.data += count
        if self._compressed:
            network = self._connection.network
            counter.network += network - self._network
            self._network, paced = network, 0  # `moved` has paced what was on the wire
        else:
            counter.network += count
        if self._limits.rate:
            urgent = self._compressed and self._starves and self._connection.has_more_on_the_wire()
            self._pause(count, paced, urgent=urgent)

    # ---- what a compressed connection asks (`innoclone.transport.compression.Throttle`)

    @property
    def piece(self) -> int:
        """Bytes to read off the wire at once."""
        return self._limits.piece if self._limits.rate else UNLIMITED

    def moved(self, count: int) -> None:
        """``count`` bytes were read off the wire; returns when the next may be."""
        self._alive += count
        if self._alive >= KEEPS_ALIVE:
            self._alive, self._since = 0, time.monotonic()
        if self._limits.rate:
            self._pause(0, count)

    @property
    def _starves(self) -> bool:
        """Too little was read for too long."""
        return time.monotonic() - self._since > timings.STARVED

    def _pause(self, data: int, network: int, *, urgent: bool = False) -> None:
        self._limits.pause(data, network, self._stopped, urgent=urgent)
