"""Who supplies the files of FILE COPY; PAGE COPY and REDO COPY come from the donor's server in any case."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from innoclone.records.status import StageStatus
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.suspects import Suspects

__all__ = ["FileSource", "Stopped"]


class Stopped(Exception):
    """A clone is being stopped; why, who stopped it knows."""


class FileSource(Protocol):
    """A strategy of one run. One that doesn't `stream` is started when the list of files is known, and the donor is
    told that all chunks are there already."""

    streams: bool
    """Whether the files come over the donor's connections."""

    def check_donor(self, keeps: float) -> None:
        """Raise what a donor is refused for that keeps its snapshot for ``keeps`` seconds without a connection."""

    def files_to_come(self, files: Iterable[ClonedFile]) -> Iterable[ClonedFile]:
        """Those of ``files`` that will take room."""

    def start(self, table: FileTable, suspects: Suspects, row: StageStatus, stopped: threading.Event) -> None:
        """Begin to copy the files of ``table``. Pages that are torn as they are read go to ``suspects``."""

    def wait(self, seconds: float) -> bool:
        """Whether all files are there; waits a while for it. Raises what went wrong, or `Stopped`."""

    def close(self) -> None:
        """Wait for what still works, which ends soon once the run is stopped; let go of everything."""
