"""Are all files of a clone there, of their size, with sound pages? What the manifest says holds in degrees.

* No server has run on the clone: files, sizes and tablespace ids are those of the manifest, and the redo log is whole.
* It was recovered and nothing else: undo tablespaces may have been truncated, which gives them new ids and sizes; files
  of a DDL statement that was running are gone (``#sql...``, those of FULLTEXT indexes, a table that was being dropped):
  the dictionary, which the private server has closed, doesn't name them; renames that it had begun may have been
  completed, so that another tablespace has the name now: that is right where the dictionary says so.
* A server was kept on it: files come and go. Each tablespace that is found is judged by its own first page.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from innoclone.files.names import OWN_DIR
from innoclone.files.ownlife import PRIVATE_MARK, is_as_left
from innoclone.innodb.dictionary import tablespace_files
from innoclone.innodb.space import KIB, SpaceHeader, is_undo
from innoclone.server import cloned
from innoclone.stream.pagecheck import ExpectedFile, PageReport, check_files, check_redo, find_tablespaces
from innoclone.stream.pagekeys import Masters
from innoclone.wire.descriptors import NO_FSP_FLAGS

__all__ = ["check_pages", "expected_bytes", "expected_files", "other_problems"]

DICTIONARY = "mysql.ibd"
_DDL_REMAINS = "#sql"  # how InnoDB names the files that ALTER TABLE makes (TEMP_FILE_PREFIX)


def check_pages(
    directory: Path,
    manifest: dict[str, Any],
    *,
    threads: int,
    progress: Callable[[int], None],
    cancel: threading.Event,
    masters: Masters | None = None,
) -> tuple[PageReport, list[str]]:
    """What was read, and a line for each thing that is wrong. An empty manifest checks what is there.

    ``progress`` is told the bytes read since the last call, from any thread. With the keyring's ``masters`` what is
    encrypted is checked, too. Raises `Interrupted`.
    """
    expected = expected_files(directory, manifest)
    report = check_files(directory, expected, threads=threads, progress=progress, cancel=cancel, masters=masters)
    return report, [*report.problems(), *other_problems(directory, manifest, masters)]


def expected_files(directory: Path, manifest: dict[str, Any]) -> list[ExpectedFile] | None:
    """The tablespaces that the manifest says, as far as it still holds; None where nothing can be said."""
    rows = manifest.get("files", [])
    if not rows or cloned.was_kept(directory):
        return None
    if not cloned.is_recovered(directory):
        return [_expected(row) for row in rows if row["flags"] != NO_FSP_FLAGS]
    return list(_after_recovery(directory, manifest))


def other_problems(directory: Path, manifest: dict[str, Any], masters: Masters | None = None) -> list[str]:
    """What is wrong with the redo log and other files that are no tablespaces, of a clone that no server has run on."""
    rows = manifest.get("files", [])
    if not rows or cloned.is_recovered(directory):
        return []
    redo = check_redo(directory, manifest.get("donor", {}).get("page_size", 16 * KIB), masters)
    return [*_other_files(directory, rows), *(f"redo log: {problem}" for problem in redo.problems)]


def expected_bytes(directory: Path) -> int:
    """About how much `check_pages` will read."""
    return sum((directory / name).stat().st_size for name in find_tablespaces(directory))


def _expected(row: dict[str, Any]) -> ExpectedFile:
    return ExpectedFile(row["path"], row["space_id"], row["flags"], row["size"])


def _after_recovery(directory: Path, manifest: dict[str, Any]) -> Iterator[ExpectedFile]:
    """What recovery leaves of the manifest's tablespaces."""
    rows = manifest["files"]
    listed = {row["path"] for row in rows}
    present = {name: head for name in find_tablespaces(directory) if (head := _header(directory / name)) is not None}
    renamed = {head.space_id: name for name, head in present.items() if name not in listed}
    told = _dictionary(directory, manifest)
    moved = {head.space_id for name, head in present.items() if told.places.get(name) == head.space_id}
    for row in rows:
        if row["flags"] == NO_FSP_FLAGS:
            continue
        head = present.get(row["path"])
        takes_over = head is not None and head.space_id != row["space_id"] and head.space_id in moved
        if head is not None and (takes_over or is_undo(row["space_id"])):
            yield ExpectedFile(row["path"], head.space_id, head.flags)
        elif (directory / row["path"]).exists():
            yield _expected(row)
        if takes_over or not (directory / row["path"]).exists():
            if row["space_id"] in renamed:
                yield ExpectedFile(renamed[row["space_id"]], row["space_id"], row["flags"])
            elif row["space_id"] not in moved and not _is_ended(row, told.spaces):
                yield _expected(row)


def _is_ended(row: dict[str, Any], known: frozenset[int] | None) -> bool:
    """Whether a file that is gone was a table's whose DDL recovery has ended."""
    path = Path(row["path"])
    if path.name.startswith(_DDL_REMAINS):
        return True
    return known is not None and len(path.parts) > 1 and row["space_id"] not in known


class _Told(NamedTuple):
    """What the dictionary says: the ids of ``spaces`` that it names, and of those of which it doesn't tell; None where
    it can't be read, or may not be all on the disk. ``places`` has ids by the names of files."""

    spaces: frozenset[int] | None = None
    places: Mapping[str, int] = MappingProxyType({})


def _dictionary(directory: Path, manifest: dict[str, Any]) -> _Told:
    if not is_as_left(directory, manifest) or (directory / OWN_DIR / PRIVATE_MARK).exists():
        return _Told()
    try:
        with (directory / DICTIONARY).open("rb", buffering=0) as file:
            size = manifest["donor"]["page_size"]
            count = os.fstat(file.fileno()).st_size // size
            found = tablespace_files(lambda number: os.pread(file.fileno(), size, number * size), count)
    except (OSError, ValueError, KeyError):  # encrypted, for instance
        return _Told()
    names = {one.name.removeprefix("./") for one in found if one.space_id is None}
    untold = {row["space_id"] for row in manifest["files"] if row["path"] in names}
    places = {one.name.removeprefix("./"): one.space_id for one in found if one.space_id is not None}
    return _Told(frozenset(places.values()) | untold, places)


def _header(path: Path) -> SpaceHeader | None:
    try:
        with path.open("rb") as file:
            head = file.read(SpaceHeader.LAYOUT.size)
        return SpaceHeader.parse(head)
    except (OSError, ValueError):
        return None


def _other_files(directory: Path, rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with files that are no tablespaces: redo log, buffer pool dump."""
    found = []
    for row in rows:
        if row["flags"] != NO_FSP_FLAGS:
            continue
        path = directory / row["path"]
        if not path.is_file():
            found.append(f"{row['path']}: missing")
        elif path.stat().st_size < row["size"]:
            found.append(f"{row['path']}: truncated: {path.stat().st_size} bytes instead of {row['size']}")
    return found
