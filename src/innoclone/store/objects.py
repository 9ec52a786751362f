"""What a place for objects has to be able to do: create if absent, read, list, delete. Nothing else is asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from innoclone.errors import CloneError, StoreDamaged

__all__ = ["SMALL", "AlreadyThere", "Entry", "Gone", "Objects", "too_large"]

SMALL = 1 << 16
"""Bytes of what says one thing: description, key, lease."""


class Gone(CloneError):
    """There is no object of that name. Whoever asks makes of it what it means."""


class AlreadyThere(CloneError):
    """There is an object of that name already, so none was created."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as it is listed: ``size`` in bytes; ``modified`` in seconds since the epoch, by the store's clock."""

    name: str
    size: int
    modified: float


def too_large(name: str, size: int, most: int) -> StoreDamaged:
    """Of an object that nobody of us wrote so."""
    return StoreDamaged(f"{name} has {size} bytes, and no such object has more than {most}")


class Objects(Protocol):
    """A place for objects, named by paths of plain words. Each method may be called by any thread, and raises
    `StoreUnavailable`, `AccessDenied` or a file error beside what it says."""

    address: str
    """For people, without anything secret."""

    @property
    def keeps_versions(self) -> bool:
        """Whether what is removed is only hidden, and still takes its room: known of S3 and Azure when an object was
        created; Google doesn't tell, and a folder keeps nothing."""

    def create(self, name: str, data: bytes | bytearray) -> None:
        """Make a whole object, or nothing; durable when this returns. Raises `AlreadyThere`."""

    def read(self, name: str, most: int) -> bytes:
        """All of an object. Raises `Gone`, `StoreDamaged` for one of more than ``most`` bytes, which isn't read."""

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the object's end. Raises `Gone`."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object below the folder ``prefix``, in no order."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone is fine."""
