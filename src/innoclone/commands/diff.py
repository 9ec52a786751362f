"""Which tablespaces, and how many of their pages, differ between two clones."""

from __future__ import annotations

import os
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
    blocks, found = Blocks(), []
    for key in sorted(set(ours) | set(theirs)):
        one, other = ours.get(key), theirs.get(key)
        present = other or one
        assert present is not None
        path = (new if other else old) / present
        page = page_size_of(path)
        if one is None or other is None:
            pages = -(-path.stat().st_size // page)
            found.append(Difference(table_name(present), old_name=one, new_name=other, pages=pages, differing=pages))
            continue
        pages, differing = _compare(old / one, new / other, page, blocks)
        found.append(Difference(table_name(other), old_name=one, new_name=other, pages=pages, differing=differing))
    return found


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


def _compare(one: Path, other: Path, page: int, blocks: Blocks) -> tuple[int, int]:
    """Pages of the larger file, and how many differ."""
    try:
        with one.open("rb") as first, other.open("rb") as second:
            sizes = [os.fstat(file.fileno()).st_size for file in (first, second)]
            pages, found = -(-max(sizes) // page), -(-(max(sizes) - min(sizes)) // page)
            with Reader(first.fileno(), blocks.memory) as a, Reader(second.fileno(), blocks.older) as b:
                for at in range(0, min(sizes), BLOCK):
                    runs = blocks.compare(a, b, at, min(BLOCK, min(sizes) - at), page).runs
                    found += sum(-(-(end - start) // page) for start, end in runs)
    except OSError as error:
        raise file_error(error, f"can't compare {one} with {other}") from error
    return pages, found
