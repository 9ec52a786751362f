"""FILE COPY on the donor's own host: its server keeps the snapshot, the files are copied by us.

The donor believes a recipient that says in COM_REINIT which chunks it has. So the list of files is taken from a first
COM_EXECUTE, every chunk of FILE_COPY is claimed, the files are copied at the speed of the file system, and only pages
that changed meanwhile and the redo come over the connection.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from innoclone.errors import BadPage, ConfigurationMismatch, ConnectionLimit
from innoclone.files.copying import Method
from innoclone.records.limits import Limits
from innoclone.records.status import StageStatus
from innoclone.server.donorfiles import DonorFiles
from innoclone.sinks.clonefiles import CloneFiles
from innoclone.sources.localcopy import CopySummary, FileCopier
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.pagecheck import ExpectedFile, check_files
from innoclone.stream.source import BegunClone
from innoclone.stream.suspects import Suspects

__all__ = ["LocalFiles", "check_unseen", "refuse_few_connections"]

ER_USER_LIMIT_REACHED = 1226
CONNECTIONS = 3  # two, and the one that was replaced: a donor keeps it for a while, because its recipient may come back
SHOWN = 5  # damaged pages that an error names


class LocalFiles:
    """A `innoclone.stream.source.FileSource`: copies the donor's ``files`` into those of a directory beside them."""

    request = b""
    streams = False
    claims = True
    instead = "use 'innoclone clone'"
    """What does without the donor's patience."""

    def __init__(
        self,
        files: DonorFiles,
        target: CloneFiles,
        *,
        threads: int,
        methods: tuple[Method, ...],
        verify_pages: bool,
        limits: Limits,
    ) -> None:
        """``methods`` are tried in this order. ``verify_pages``: pages are checked as they pass, so that the kernel
        copies only what can't be read and written."""
        if verify_pages and Method.READ_WRITE in methods:
            methods = tuple(method for method in methods if method is not Method.KERNEL)  # nobody sees what it copies
        self.reflink = Method.REFLINK in methods and files.can_reflink(target.folder)
        self._methods = methods if self.reflink else tuple(one for one in methods if one is not Method.REFLINK)
        self._files, self._target, self._threads, self._limits = files, target, threads, limits
        self._copier: FileCopier | None = None

    @property
    def copier(self) -> FileCopier:
        """Of the run."""
        assert self._copier is not None, "it was started"
        return self._copier

    @property
    def summary(self) -> CopySummary:
        """What the copy did."""
        return self.copier.summary

    def begun(self, clone: BegunClone) -> None:
        """Raise `ConfigurationMismatch` where the clone would not outlive the change of its master connection."""
        if not clone.keeps:
            raise ConfigurationMismatch(
                "the donor gives the clone up while its connection is replaced:"
                " clone_donor_timeout_after_network_failure is 0",
                hint=f"set that variable to 5, its default, on the donor; or {self.instead}",
            )

    def files_to_come(self, files: Iterable[ClonedFile]) -> Iterable[ClonedFile]:
        """Those that don't share blocks with the donor's, and have none of an earlier clone."""
        return [] if self.reflink else [file for file in files if not file.adopted]

    def start(self, table: FileTable, suspects: Suspects, row: StageStatus, stopped: threading.Event) -> None:
        """Begin to copy. Raises `Stopped`."""
        row.threads, row.measured = self._threads, not self.reflink
        self._copier = FileCopier(
            table, self._files, self._target, suspects, limits=self._limits, stopped=stopped, threads=self._threads,
            methods=self._methods,
        )  # fmt: skip
        self._copier.start(row)

    def wait(self, seconds: float) -> bool:
        """Whether every file is copied. Raises what went wrong, or `Stopped`."""
        return self._copier is not None and self._copier.wait(seconds)

    def close(self) -> None:
        """Wait for the copying to end."""
        if self._copier is not None:
            self._copier.close()


def refuse_few_connections(allowed: int) -> None:
    """Raise `ConnectionLimit` where an account may have too few at a time for this; 0 is any number."""
    if 0 < allowed < CONNECTIONS:
        raise ConnectionLimit(
            f"a local clone takes {CONNECTIONS} connections at a time, the account may have {allowed}",
            server_number=ER_USER_LIMIT_REACHED,
            hint=f"on the donor: ALTER USER ... WITH MAX_USER_CONNECTIONS {CONNECTIONS}",
        )


def check_unseen(table: FileTable, target: CloneFiles, stopped: threading.Event) -> None:
    """Check every page, where some were copied without passing through our hands. Raises `BadPage`, `Interrupted`."""
    expected = [
        ExpectedFile(os.path.relpath(file.path, target.root), file.metadata.space_id, file.flags.raw)
        for file in table.all_files()
        if file.flags is not None
    ]
    problems = list(check_files(target.root, expected, threads=2, cancel=stopped).problems())
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise BadPage(f"damaged: {', '.join(problems[:SHOWN])}{more}")
