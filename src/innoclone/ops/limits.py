"""Bandwidth limits shared by all connections of a clone; they may be changed while it runs."""

from __future__ import annotations

import threading
import time

__all__ = ["MIB", "Limits"]

MIB = 1 << 20
LONGEST_SLEEP = 0.25  # seconds; a stop is noticed within this time, and no connection looks dead to the donor
SMALLEST_SLICE = 16 << 10  # bytes
LARGEST_SLICE = 256 << 10  # bytes: also the largest piece that is read at once without a limit
PATIENCE = 20.0  # seconds that one connection may have to wait for its next block; the donor gives up after 60


class _Pace:
    """Hands out time slots: each amount of bytes moves the moment at which the next may go."""

    def __init__(self, rate: float) -> None:
        self.rate = rate  # bytes per second; 0 = no limit
        self._free_at = 0.0
        self._lock = threading.Lock()

    def delay(self, count: int) -> float:
        """Seconds to wait for ``count`` bytes that were just moved."""
        if self.rate <= 0 or not count:
            return 0.0
        now = time.monotonic()
        with self._lock:
            self._free_at = max(now, self._free_at) + count / self.rate
            return self._free_at - now


class Limits:
    """``data`` bounds file bytes, ``network`` bytes on the wire; both in MiB/s over all connections, 0 = none."""

    def __init__(self, *, data: float = 0.0, network: float = 0.0) -> None:
        self._data, self._network = _Pace(data * MIB), _Pace(network * MIB)

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
        rates = [pace.rate for pace in (self._data, self._network) if pace.rate > 0]
        return min(rates, default=0.0)

    @property
    def piece(self) -> int:
        """How many bytes to move at once, so that pauses stay short; a multiple of 16 KiB."""
        if not self.rate:
            return LARGEST_SLICE
        wanted = int(self.rate * LONGEST_SLEEP / 4)
        return max(SMALLEST_SLICE, min(LARGEST_SLICE, wanted - wanted % SMALLEST_SLICE))

    def connections(self, wanted: int, block: int = MIB) -> int:
        """How many of ``wanted`` connections the limit can feed so that none waits longer than `PATIENCE`."""
        return wanted if not self.rate else max(1, min(wanted, int(self.rate * PATIENCE / block)))

    def pause(self, data: int, network: int, stopped: threading.Event) -> None:
        """Sleep, in short steps, until the bytes that were just moved are within both limits."""
        end = time.monotonic() + max(self._data.delay(data), self._network.delay(network))
        while not stopped.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return
            stopped.wait(min(left, LONGEST_SLEEP))
