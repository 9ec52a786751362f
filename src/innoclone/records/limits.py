"""Bandwidth limits shared by all connections of a clone; they may be changed while it runs.

Nobody sleeps for long here: rule 2 of docs/design.md.
"""

from __future__ import annotations

import threading
import time

from innoclone.records.units import MIB
from innoclone.transport.timings import DATA_BLOCK_WAIT

__all__ = ["BUFFER", "Limits"]

LONGEST_SLEEP = 0.25  # seconds; a stop is noticed within this time, and no connection looks dead to the donor
SHORTEST_SLEEP = 1e-5  # seconds; less can't be slept
BURST = 0.25  # seconds; what was not used of the last so long may be used later
SMALLEST_SLICE = 16 << 10  # bytes
LARGEST_SLICE = 256 << 10  # bytes: also the largest piece that is read at once without a limit
SMALLEST_BUFFER, LARGEST_BUFFER = 32 << 10, 4 << 20  # bytes
BUFFER = 4 << 20  # bytes, as the plugin's clone_buffer_size
ROUND_TRIP = 0.25  # seconds


class _Pace:
    """How far everybody together may be by now. Whoever moves bytes takes a ticket and waits until it is reached."""

    def __init__(self, rate: float) -> None:
        self._rate = rate  # bytes per second; 0 = no limit
        self._taken = 0.0  # bytes for which there are tickets
        self._reached = 0.0  # bytes that were allowed until the moment `_at`
        self._at = time.monotonic()
        self._lock = threading.Lock()

    @property
    def rate(self) -> float:
        """Bytes per second, 0 = no limit."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        with self._lock:
            self._go_on()
            if not self._rate:
                self._reached = self._taken
            self._rate = value

    def take(self, count: int) -> float:
        """A ticket for ``count`` bytes that were just moved."""
        with self._lock:
            self._go_on()
            self._taken += count
            return self._taken

    def left(self, ticket: float) -> float:
        """Seconds until the ticket is reached, at the rate that holds now."""
        with self._lock:
            self._go_on()
            return (ticket - self._reached) / self._rate if self._rate else 0.0

    def _go_on(self) -> None:
        """Time has passed. A short delay is made up for, so that the rate is true; a long one is not."""
        now = time.monotonic()
        self._reached = min(self._reached + (now - self._at) * self._rate, self._taken + BURST * self._rate)
        self._at = now


class Limits:
    """``data`` bounds file bytes, ``network`` bytes on the wire; both in MiB/s over all connections, 0 = none.

    ``buffer``, in bytes, bounds what is moved at once: a local clone copies pieces of that size, and the buffers of a
    remote clone's connections have four times as much together.
    """

    def __init__(self, *, data: float = 0.0, network: float = 0.0, buffer: int = BUFFER) -> None:
        self.buffer = buffer
        self._data, self._network = _Pace(data * MIB), _Pace(network * MIB)
        self._connections = 1

    @property
    def data(self) -> float:
        """Limit of file bytes, MiB/s."""
        return self._data.rate / MIB

    @data.setter
    def data(self, value: float) -> None:
        self._data.rate = value * MIB

    @property
    def network(self) -> float:
        """Limit of bytes on the wire, MiB/s."""
        return self._network.rate / MIB

    @network.setter
    def network(self, value: float) -> None:
        self._network.rate = value * MIB

    @property
    def rate(self) -> float:
        """The stricter limit in bytes per second, 0 = none."""
        data, network = self._data.rate, self._network.rate  # asked for twice a block: no list, no loop
        return min(data, network) if data and network else data or network

    @property
    def piece(self) -> int:
        """How many bytes to move at once, so that pauses stay short; a multiple of 16 KiB.

        All connections together move one piece each before the first has to wait.
        """
        if not self.rate:
            return LARGEST_SLICE
        wanted = int(self.rate * LONGEST_SLEEP / 4 / self._connections)
        return max(SMALLEST_SLICE, min(LARGEST_SLICE, wanted - wanted % SMALLEST_SLICE))

    def connections(self, wanted: int, *, compressed: bool = False) -> int:
        """How many of ``wanted`` connections the limits can feed so that none waits longer than `DATA_BLOCK_WAIT`.

        From now on they are the ones that share it. Compressed data may be short on the wire, and each connection needs
        its part of that, so a data limit feeds no more of them than in a stock recipient: one for each MiB/s.
        """
        least = MIB / DATA_BLOCK_WAIT
        fed = [int(self._network.rate / least)] if self._network.rate else []
        if self._data.rate:
            fed.append(int(self._data.rate / (MIB if compressed else least)))
        self._connections = max(1, min([wanted, *fed]))
        return self._connections

    @property
    def receive_buffer(self) -> int:
        """Bytes for each connection's receive buffer, 0 = the system's own choice. What lies there has used the
        network already, unseen by us; and it must do for the way to a donor far away (`ROUND_TRIP`)."""
        wanted = int(self.rate * ROUND_TRIP / self._connections)
        return max(SMALLEST_BUFFER, wanted) if 0 < wanted < LARGEST_BUFFER else 0

    def pause(self, data: int, network: int, stopped: threading.Event, *, urgent: bool = False) -> None:
        """Sleep, in short steps, until the bytes that were just moved are within both limits.

        Where it is ``urgent`` they are only counted, and others wait longer for them.
        """
        tickets = [(pace, pace.take(count)) for pace, count in ((self._data, data), (self._network, network)) if count]
        while not stopped.is_set() and not urgent:
            left = max((pace.left(ticket) for pace, ticket in tickets), default=0.0)
            if left < SHORTEST_SLEEP:
                return
            stopped.wait(min(left, LONGEST_SLEEP))
