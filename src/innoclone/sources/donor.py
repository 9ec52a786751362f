"""FILE COPY as the clone protocol has it: the donor streams its files."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from innoclone.records.status import StageStatus
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.source import BegunClone
from innoclone.stream.suspects import Suspects

__all__ = ["DonorStream"]


class DonorStream:
    """A `innoclone.stream.source.FileSource`: nothing is to be done beside the connections."""

    request = b""
    streams = True
    claims = False

    def begun(self, clone: BegunClone) -> None:
        """Any will do."""

    def files_to_come(self, files: Iterable[ClonedFile]) -> Iterable[ClonedFile]:
        """All of them."""
        return files

    def start(self, table: FileTable, suspects: Suspects, row: StageStatus, stopped: threading.Event) -> None:
        """Never asked for."""

    def wait(self, seconds: float) -> bool:
        """Behind its END of FILE COPY all is there."""
        return True

    def close(self) -> None:
        """Nothing is open."""
