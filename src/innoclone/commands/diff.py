"""Which tablespaces, and how many of their pages, differ between two clones."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from innoclone.errors import FileError, TargetUnusable
from innoclone.files.base import space_of, tablespaces
from innoclone.files.blocks import Blocks
from innoclone.files.copying import BLOCK, Reader
from innoclone.files.marks import is_recovered, is_unfinished
from innoclone.files.system import file_error
from innoclone.innodb.names import table_name
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags, is_temporary

__all__ = ["Difference", "diff", "has_unapplied_redo", "index_of", "page_size_of"]

THREADS = min(8, (os.cpu_count() or 1) + 1)  # they read, too
PART = 16 * BLOCK  # bytes of a file that a thread takes at once

_kept = threading.local()


@dataclass(frozen=True)
class Difference:
    """One tablespace. ``pages`` of the larger file, ``differing`` of them; None where it is in one clone only."""

    name: str
    old_name: str | None
    new_name: str | None
    pages: int
    differing: int

    @property
    def kind(self) -> str:
        """new, removed, renamed, changed or equal."""
        if self.old_name is None:
            return "new"
        if self.new_name is None:
            return "removed"
        if self.old_name != self.new_name:
            return "renamed"
        return "changed" if self.differing else "equal"


def diff(old: Path, new: Path) -> list[Difference]:
    """Compare every tablespace of two clone directories by content; tablespaces are matched by their ids.

    Raises `TargetUnusable` for a directory that is no clone, or a file error.
    """
    ours, theirs = index_of(old), index_of(new)
    with ThreadPoolExecutor(THREADS, "diff") as pool:
        try:
            pairs = [_Pair(old, new, ours.get(key), theirs.get(key), pool) for key in sorted(set(ours) | set(theirs))]
            return [pair.difference() for pair in pairs]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def has_unapplied_redo(directory: Path) -> bool:
    """Whether no server has recovered the clone yet: what is only in its redo is not in its tablespaces."""
    return not is_recovered(directory)


def index_of(directory: Path) -> dict[tuple[int, int], str]:
    """(tablespace id, number of the file among those of this id) -> relative name."""
    if not directory.is_dir() or is_unfinished(directory):
        raise TargetUnusable(f"{directory} is not a finished clone")
    found: dict[tuple[int, int], str] = {}
    for path in tablespaces(directory):
        header = space_of(path)
        if header is None or is_temporary(header.space_id):
            continue
        # The second file of the system tablespace has no header of its own.
        space_id = SYSTEM_SPACE if path.name.startswith("ibdata") else header.space_id
        part = 0
        while (space_id, part) in found:
            part += 1
        found[space_id, part] = str(path.relative_to(directory))
    if not found:
        raise TargetUnusable(f"{directory} holds no tablespaces", hint="name a directory that innoclone clone made")
    return found


def page_size_of(path: Path) -> int:
    """Bytes of a page of this tablespace. Raises a file error where that can't be."""
    header = space_of(path)
    try:
        return SpaceFlags(header.flags).physical_page_size if header is not None else 16384
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error


class _Pair:
    """One tablespace in both clones, or in one: compared by threads, in parts, from its making on."""

    def __init__(
        self, old: Path, new: Path, old_name: str | None, new_name: str | None, pool: ThreadPoolExecutor
    ) -> None:
        present = new_name or old_name
        assert present is not None
        path = (new if new_name else old) / present
        page = page_size_of(path)
        self._name, self._names = table_name(present), (old_name, new_name)
        self._parts: list[Future[int]] = []
        self._pages = self._differing = -(-_size(path) // page)
        if old_name is not None and new_name is not None:
            sizes = _size(old / old_name), _size(new / new_name)
            self._pages, self._differing = -(-max(sizes) // page), -(-(max(sizes) - min(sizes)) // page)
            self._parts = [
                pool.submit(_compare, old / old_name, new / new_name, page, start, min(start + PART, min(sizes)))
                for start in range(0, min(sizes), PART)
            ]

    def difference(self) -> Difference:
        """What was found. Raises a file error."""
        differing = self._differing + sum(part.result() for part in self._parts)
        return Difference(
            self._name, old_name=self._names[0], new_name=self._names[1], pages=self._pages, differing=differing
        )  # fmt: skip


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise file_error(error, f"can't compare {path}") from error


def _compare(one: Path, other: Path, page: int, start: int, end: int) -> int:
    """How many pages differ from ``start`` up to ``end``, where neither file ends before."""
    try:
        with one.open("rb") as first, other.open("rb") as second:
            blocks = _own_blocks()
            with Reader(first.fileno(), blocks.memory) as a, Reader(second.fileno(), blocks.older) as b:
                runs = [
                    run for at in range(start, end, BLOCK)
                    for run in blocks.compare(a, b, at, min(BLOCK, end - at), page).runs
                ]  # fmt: skip
            return sum(-(-(end - start) // page) for start, end in runs)
    except OSError as error:
        raise file_error(error, f"can't compare {one} with {other}") from error


def _own_blocks() -> Blocks:
    """The thread's."""
    if not hasattr(_kept, "blocks"):
        _kept.blocks = Blocks()
    blocks: Blocks = _kept.blocks
    return blocks
