"""How fast something moves: the mean over the last seconds, which neither jumps nor lags."""

from __future__ import annotations

from collections import deque

__all__ = ["Speed"]

WINDOW = 5.0  # seconds


class Speed:
    """Of an amount that grows; whoever looks at it says when and how much."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, moment: float, amount: int) -> float:
        """The amount at a moment (seconds of any clock); the speed per second as it is then, never below 0."""
        self._samples.append((moment, amount))
        while len(self._samples) > 2 and moment - self._samples[1][0] >= WINDOW:
            self._samples.popleft()
        then, had = self._samples[0]
        return max((amount - had) / (moment - then), 0.0) if moment > then else 0.0

    def clear(self) -> None:
        """What comes next has nothing to do with what was."""
        self._samples.clear()
