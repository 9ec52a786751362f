"""What is given away: a source makes states of the data, and clones are taken of a state.

A directory at rest has one state, for ever. A live server has one for as long as its snapshot is held, and the next one
is another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from innoclone.donor.description import Description
from innoclone.donor.plans import Plan, StoredFile
from innoclone.errors import CloneError, EncryptionNeedsTls
from innoclone.wire.descriptors import StageNumber

__all__ = ["Given", "Source", "T", "Taker", "Wish", "refuse_keys"]


@dataclass(frozen=True)
class Wish:
    """What a recipient asks for with COM_INIT; ``ddl_timeout`` in seconds. ``tls``: keys may go over its connection."""

    block_ddl: bool
    ddl_timeout: int
    tls: bool


class HasKeys(Protocol):
    """What may be encrypted."""

    @property
    def encrypted(self) -> bool:
        """Whether keys are among it, which are given over TLS alone."""


class Given(HasKeys, Protocol):
    """One state of the data."""

    @property
    def fingerprint(self) -> int:
        """Stands for it: 63 bits, not 0."""

    @property
    def description(self) -> Description:
        """What a recipient is told of the server."""

    @property
    def plans(self) -> Mapping[StageNumber, Plan]:
        """What is sent in which stage. A stage that is still missing comes later: until then its recipients wait."""

    @property
    def outside(self) -> Sequence[Path]:
        """What a recipient, or a server on what it took, may open under an absolute name."""

    @property
    def is_at_rest(self) -> bool:
        """Whether nobody writes to the files."""

    def open(self, file: StoredFile) -> int | None:
        """A new descriptor of a file of its plans; None if the file is gone, and its recipients will be told so.
        Raises `FileError`."""

    def refuse_changed(self) -> None:
        """Raise `FileError` if it is not any more what it was."""


class Taker(Protocol):
    """One clone that is taken, as far as who gives has to know of it."""

    is_past_files: bool
    """No byte of a file will be asked for any more."""
    is_dropped: bool
    """Nobody knows it any more."""
    stage: StageNumber
    sent: int
    """Bytes."""
    error: CloneError | None

    @property
    def is_over(self) -> bool:
        """Whether its recipient stayed away for too long."""

    def fail(self, error: CloneError) -> None:
        """End it: its recipient is told."""

    def look(self) -> None:
        """A plan has come that was missing."""


T = TypeVar("T", bound=Taker)


class Source(Protocol):
    """Where the data come from."""

    @property
    def name(self) -> str:
        """What a user knows it by."""

    @property
    def version(self) -> str:
        """The server's, for whoever has not logged in yet; as it was when it was looked at last."""

    @property
    def description(self) -> Description:
        """What it says of itself. Raises why there is nothing to give."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""

    @property
    def chunks(self) -> int:
        """The most that a stage has."""

    def begin(self, wish: Wish, make: Callable[[Given], T], is_gone: Callable[[], bool]) -> T:
        """A clone that ``make`` makes of what is given to it. Waits where it has to, until ``is_gone``. Raises
        `CloneRunning` if it would have to wait too long, or why there is nothing to give."""

    def revive(self, fingerprint: int) -> Given | None:
        """The state that an earlier process gave under this fingerprint, if it is still that."""

    def close(self) -> None:
        """Let go of everything."""


def refuse_keys(given: HasKeys, *, tls: bool) -> None:
    """Raise `EncryptionNeedsTls` where keys would go over a connection that others can read."""
    if given.encrypted and not tls:
        raise EncryptionNeedsTls("what is encrypted here is given over TLS alone, since its keys go with it")
