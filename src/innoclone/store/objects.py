"""What a place for objects has to be able to do: create if absent, read, list, delete. Nothing else is asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from innoclone.errors import CloneError

__all__ = ["AlreadyThere", "Entry", "Gone", "Objects"]


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


class Objects(Protocol):
    """A place for objects, named by paths of plain words. Each method may be called by any thread, and raises
    `StoreUnavailable`, `AccessDenied` or a file error beside what it says."""

    address: str
    """For people, without anything secret."""

    def create(self, name: str, data: bytes | bytearray) -> None:
        """Make a whole object, or nothing; durable when this returns. Raises `AlreadyThere`."""

    def read(self, name: str) -> bytes:
        """All of an object. Raises `Gone`."""

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the object's end. Raises `Gone`."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object below the folder ``prefix``, in no order."""

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone is fine."""
