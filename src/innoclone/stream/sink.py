"""What takes a clone: a directory, and what will be written later (an object store, a peer that gets it passed on).

One `Sink` for a clone, one `BlockWriter` for each connection. Rules that hold for all of them:

* **Places.** `Sink.place` and `Sink.redo_path` only calculate: they say where a file of the donor goes, or raise
  `PathRefused`. All else names files by these paths. Within one sink two files have two places.
* **Stages.** Each block belongs to the stage that `BlockWriter.begin_stage` named. Blocks of FILE_COPY come once and in
  order within a chunk. Those of PAGE_COPY are newer images of single pages: they lie over what FILE_COPY brought,
  wherever that is by then. A sink that can't overwrite keeps them as an overlay of its own. REDO_COPY is written
  in order. Blocks of two stages never mix: `drain` comes between them.
* **Reading back.** Nothing is read of what was written unless `Sink.can_read_back` says so. Who needs the bytes
  elsewhere looks at them as they pass.
* **Durable** is what was written before `checkpoint` or `complete` returned, where `Sink.fsync` asks for it; names are
  after `sync_names`.
* **Faults** are `CloneError`s: a full disk is `DiskFull`, what is in the way `PathRefused`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from innoclone.native.pages import Place
from innoclone.records.status import Counter
from innoclone.stream.filetable import ClonedFile, Places
from innoclone.wire.descriptors import StageNumber

__all__ = ["BlockWriter", "Sink"]


class BlockWriter(Protocol):
    """One connection's way into the sink, for one thread. `open` chooses the file, what follows is for that one."""

    buffer_size: int
    """The most bytes of one piece."""

    def begin_stage(self, stage: StageNumber, counter: Counter) -> None:
        """Blocks belong to ``stage`` from now on; the bytes that are really written are added to ``counter``."""

    def open(self, file: ClonedFile) -> None:
        """What comes is of ``file``; where that was dropped it is taken and goes nowhere. Raises a file error."""

    def buffer(self) -> memoryview:
        """Memory of `buffer_size` bytes for the next piece, which is filled from its beginning on, for `write`."""

    def write(self, view: memoryview, offset: int) -> None:
        """Take ``view``, the beginning of the last `buffer`, as the bytes from ``offset`` on: whole pages where the
        file has pages. It may be written later, but in order; ``view`` must not be changed any more."""

    def place(self, offset: int, count: int) -> Place | None:
        """Where who fills the last `buffer` with ``count`` bytes from ``offset`` on may write them at once; None:
        nowhere, they are given to `write`. After that it is told with `wrote`; or, where it failed, they are given to
        `write` all the same, which knows what the failure means."""

    def wrote(self, offset: int, count: int) -> None:
        """The bytes are at their `place`."""

    def after(self, note: Callable[[], None]) -> None:
        """Call ``note`` once everything that was taken before is written."""

    def drain(self) -> None:
        """Wait until everything is written and all notes were called. Raises what went wrong with that."""

    def close_file(self) -> None:
        """Let go of the file; after `drain`."""

    def close(self) -> None:
        """The end, also after an error: what is not written yet is forgotten."""


class Sink(Places, Protocol):
    """Where one clone goes to, from its first file to its last."""

    fsync: bool
    """Whether what is written is to be durable."""
    folder: Path
    """A folder on this host for what must outlive the process while the clone is unfinished: journal, progress."""
    can_read_back: bool
    """Whether `read` gives what was written."""

    # ---- the clone as a whole

    def start(self) -> None:
        """Make room for a new clone; what an earlier one left goes, unless it serves this one."""

    def go_on(self) -> None:
        """Take over what an earlier process left of this very clone."""

    def is_there(self) -> bool:
        """Whether this is still the place that was begun."""

    def check_place(self) -> None:
        """Raise `FileError` where it isn't."""

    def require(self, needed: Iterable[tuple[Path, int]]) -> None:
        """Raise `DiskSpace` where there is no room for files of so many bytes; their folders are there."""

    # ---- files

    def create(self, path: Path, content: bytes = b"", size: int = 0) -> None:
        """Make a file, with ``content`` and then zeros up to ``size``. Raises `PathRefused` where something is."""

    def adopt(self, name: str, space_id: int, fsp_flags: int, path: Path, size: int) -> bool:
        """Let an older file of this tablespace be ``path``, to be brought up to date by what comes: the sink compares,
        and writes what differs. False where there is none: it is created then."""

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file; ``new`` must not exist."""

    def unlink(self, path: Path) -> None:
        """Drop a file; one that is gone is fine."""

    def exists(self, path: Path) -> bool:
        """Whether a file is there."""

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Bytes of a file, fewer at its end; only where `can_read_back`."""

    # ---- blocks

    def writer(self, buffer: int) -> BlockWriter:
        """For one connection, with pieces of up to ``buffer`` bytes."""

    # ---- durability

    def checkpoint(self, paths: Iterable[Path]) -> None:
        """Make what was written to these files durable; one that is gone is fine."""

    def sync_names(self) -> None:
        """Make the names of all files durable."""

    def complete(self, file: ClonedFile) -> None:
        """Nothing more comes for ``file``: give it its size, and make it durable.

        One shorter than the donor's is extended with zeros; a tablespace longer than one extent ends at an extent's
        border, as in a stock recipient (clone0copy.cc: it works around a problem of recovery).
        """
