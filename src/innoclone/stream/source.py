"""Who supplies the files of FILE COPY; PAGE COPY and REDO COPY come from the donor's server in any case."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from innoclone.dataclass import dataclass
from innoclone.records.status import StageStatus
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.suspects import Suspects
from innoclone.transport.connection import Connection
from innoclone.wire.descriptors import Locator

__all__ = ["BegunClone", "FileSource", "Stopped"]


class Stopped(Exception):
    """A clone is being stopped; why, who stopped it knows."""


@dataclass(frozen=True)
class BegunClone:
    """What a source has to know of the clone that a donor has begun."""

    keeps: float
    """Seconds for which the donor keeps its snapshot without a connection."""
    answers: Mapping[str, str]
    """What the donor told of itself by keys."""
    locator: Locator
    connect: Callable[[threading.Event], Connection]
    """One more connection in clone mode; the event ends it."""


class FileSource(Protocol):
    """A strategy of one run. One that doesn't `stream` is started when the list of files is known."""

    request: bytes
    """What the donor is asked for in COM_INIT beside the clone; a stock donor doesn't see it."""
    streams: bool
    """Whether the files come over the donor's connections; settled once the clone has `begun`."""
    claims: bool
    """Where they don't: whether the donor has to be told, by COM_REINIT, that all chunks are there already."""

    def begun(self, clone: BegunClone) -> None:
        """The donor has begun a clone, and nothing is touched here yet. Raises why it won't do."""

    def files_to_come(self, files: Iterable[ClonedFile]) -> Iterable[ClonedFile]:
        """Those of ``files`` that will take room."""

    def start(self, table: FileTable, suspects: Suspects, row: StageStatus, stopped: threading.Event) -> None:
        """Begin to copy the files of ``table``. Pages that are torn as they are read go to ``suspects``."""

    def wait(self, seconds: float) -> bool:
        """Whether all files are there; waits a while for it. Raises what went wrong, or `Stopped`."""

    def close(self) -> None:
        """Wait for what still works, which ends soon once the run is stopped; let go of everything."""
