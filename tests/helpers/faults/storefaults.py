"""What can go wrong between a command and its store, at the one call that is chosen: `FaultyStore`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from innoclone.errors import AccessDenied, DiskFull, StoreUnavailable
from innoclone.store.objects import Entry, Objects

__all__ = ["FAULTS", "KILLS", "LYING", "Fault", "FaultyStore"]

KILLS = ("killed before", "killed after", "killed within")
REFUSING = ("503 once", "503 for good", "denied", "full", "answer lost")
LYING = ("cut", "flipped", "swapped", "vanished")
ODD = ("reordered", "slow", "listed twice")
FAULTS = (*KILLS, *REFUSING, *LYING, *ODD)


@dataclass(frozen=True)
class Fault:
    """``kind`` happens at call number ``at``; ``dice`` is for what else is left to chance."""

    kind: str
    at: int
    dice: int = 0


class FaultyStore:
    """Another place for objects with one fault; ``reached`` is told of it, before it happens."""

    def __init__(self, objects: Objects, fault: Fault | None, reached: Callable[[], None]) -> None:
        self.objects, self.fault, self._reached = objects, fault, reached
        self.address, self.keeps_versions = objects.address, objects.keeps_versions
        self.calls = 0
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes | bytearray) -> None:
        kind = self._turn()
        if kind == "killed within":
            os.link = _die  # type: ignore[assignment]
        if kind == "answer lost":
            self.objects.create(name, data)
            raise StoreUnavailable("the answer was lost")
        self.objects.create(name, data)
        self._after(kind)

    def read(self, name: str, most: int) -> bytes:
        kind = self._turn()
        found = self._hurt(kind, name, self.objects.read(name, most))
        self._after(kind)
        return found

    def read_range(self, name: str, start: int, length: int) -> bytes:
        kind = self._turn()
        if kind == "swapped":
            start = max(0, start - 7)
        found = self._hurt(kind, name, self.objects.read_range(name, start, length))
        self._after(kind)
        return found

    def list(self, prefix: str) -> Iterator[Entry]:
        kind = self._turn()
        found = list(self.objects.list(prefix))
        if kind == "reordered" or (self.fault and self.fault.kind == "reordered"):
            found = sorted(found, key=lambda one: one.name, reverse=True)
        if kind == "listed twice":
            found += found
        yield from found
        self._after(kind)

    def delete(self, names: Iterable[str]) -> None:
        kind, names = self._turn(), list(names)
        if kind in ("killed within", "answer lost"):
            self.objects.delete(names[: len(names) // 2 + 1])
            if kind == "answer lost":
                raise StoreUnavailable("the answer was lost")
            _die()
        self.objects.delete(names)
        self._after(kind)

    def _turn(self) -> str:
        """The fault of this call, or nothing."""
        with self._lock:
            self.calls += 1
            fault, number = self.fault, self.calls
        if fault is None or number < fault.at:
            return ""
        if number == fault.at:
            self._reached()
        elif fault.kind not in ("503 for good", "denied", "full"):
            return ""
        if fault.kind == "killed before":
            _die()
        if fault.kind == "slow":
            time.sleep(0.05)
        if fault.kind in ("503 once", "503 for good"):
            raise StoreUnavailable("503 Slow Down")
        if fault.kind == "denied":
            raise AccessDenied("403 Forbidden", hint="check the provider's credentials")
        if fault.kind == "full":
            raise DiskFull("the disk is full")
        return fault.kind

    def _hurt(self, kind: str, name: str, data: bytes) -> bytes:
        if kind == "cut":
            return data[: len(data) // 2]
        if kind == "flipped" and data:
            at = (self.fault.dice if self.fault else 0) % len(data)
            return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        if kind == "vanished":
            return self.objects.read(f"{name}.gone", 1)
        if kind == "swapped":
            return data[::-1]
        return data

    def _after(self, kind: str) -> None:
        if kind == "killed after":
            _die()


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
