"""Tablespaces that a data directory's server had outside of it, in places that are named to us.

The data dictionary says what lay elsewhere, and by which name. It does not say whether what lies there now is this
server's: the directory may have been copied from another one, whose files have such names and the same space ids, too.
So nothing is looked for but where the user says that the server had it (its ``innodb_directories``). There a file is
known by its space id, as a server knows it (fil0fil.cc, Tablespace_dirs::scan), and must be as the clean shutdown left
it: not written to since.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from innoclone.errors import TargetUnusable
from innoclone.files.base import space_of
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.system import file_error
from innoclone.innodb.dictionary import DictionaryFile
from innoclone.innodb.page import PAGE_LSN
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags, SpaceHeader, is_temporary, is_undo
from innoclone.stream.pagecheck import ExpectedFile

__all__ = ["find_elsewhere", "is_plain"]

NAME = re.compile(r".+\.ib[du]|undo_\d+")
MOST_NAME = 4096  # bytes
_LSN = struct.Struct(f">{PAGE_LSN}x Q")


def find_elsewhere(
    directory: Path, places: Sequence[Path], rows: Iterable[DictionaryFile], listed: Sequence[ExpectedFile], closed: int
) -> dict[ExpectedFile, str]:
    """The files in ``places`` of the tablespaces that the dictionary's ``rows`` have outside of ``directory`` and that
    are not ``listed``, with the server's names of them; what isn't found is left out. ``closed``: LSN of the shutdown.

    Raises `TargetUnusable` where one is not as that server left it, `TargetBusy` where a server uses one, a file error.
    """
    here = {one.space_id for one in listed}
    names = {row.space_id: row.name for row in rows if row.space_id is not None and _lay_outside(directory, row)}
    wanted = {space_id: name for space_id, name in names.items() if space_id not in here}
    there = _scanned(directory, places, wanted)
    found: dict[ExpectedFile, str] = {}
    try:
        last = _system_file(directory, listed).stat().st_mtime_ns  # its LSN is written when all else is
        for space_id, paths in there.items():
            if len(paths) > 1:
                raise TargetUnusable(
                    f"{paths[0]} and {paths[1]} have the same space id {space_id}",
                    hint="one of them is a copy: name the places that the server had, and no other",
                )
            found[_proven(paths[0], space_id, listed[0].flags, last, closed)] = (
                Path(wanted[space_id]).name if is_undo(space_id) else wanted[space_id]
            )
    except OSError as error:
        raise file_error(error, f"can't look at the files of {directory} that are outside") from error
    refuse_in_use(directory, Purpose.LOOK, outside=[Path(one.name) for one in found])
    return found


def is_plain(name: str) -> bool:
    """Whether a name is one that a stock donor tells of a tablespace elsewhere."""
    return name.startswith("/") and os.path.normpath(name) == name and name.isprintable() and len(name) < MOST_NAME


def _lay_outside(directory: Path, row: DictionaryFile) -> bool:
    if row.space_id is None or is_temporary(row.space_id) or row.space_id == SYSTEM_SPACE or not is_plain(row.name):
        return False
    return not Path(os.path.realpath(row.name)).is_relative_to(directory)


def _system_file(directory: Path, listed: Sequence[ExpectedFile]) -> Path:
    name = next((one.name for one in listed if one.space_id == SYSTEM_SPACE), "ibdata1")
    return directory / name


def _scanned(directory: Path, places: Sequence[Path], wanted: Mapping[int, str]) -> dict[int, list[Path]]:
    """Where files with the ``wanted`` space ids and names are, each file once. Only folders may be other ones than the
    server's: another server's tablespaces have such ids, too."""
    found: defaultdict[int, list[Path]] = defaultdict(list)
    known: set[tuple[int, int]] = set()
    try:
        for place in places:
            if not place.is_dir():
                raise TargetUnusable(
                    f"{place} is not a directory", hint="name what the server's innodb_directories has"
                )
            for path in _files_below(place, directory):
                header, state = space_of(path), path.lstat()
                if header is None or not _is_named(path, header, wanted.get(header.space_id)):
                    continue
                if (state.st_dev, state.st_ino) not in known:
                    known.add((state.st_dev, state.st_ino))
                    found[header.space_id].append(path)
    except OSError as error:
        raise file_error(error, "can't look through innodb_directories") from error
    return found


def _is_named(path: Path, header: SpaceHeader, name: str | None) -> bool:
    """A table's own file lies in a folder of its schema's name; undo and general tablespaces do not."""
    if name is None or path.name != Path(name).name:
        return False
    is_tables = not is_undo(header.space_id) and not header.flags & SpaceFlags.SHARED.mask
    return not is_tables or path.parent.name == Path(name).parent.name


def _files_below(place: Path, directory: Path) -> Iterator[Path]:
    """Tablespace files in a place and below, but not those in the data directory. No links are followed."""

    def refuse(error: OSError) -> None:
        raise error

    for folder, below, names in os.walk(os.path.realpath(place), onerror=refuse):
        here = Path(folder)
        below[:] = sorted(name for name in below if here / name != directory)
        if here.is_relative_to(directory):
            return
        for name in sorted(names):
            path = here / name
            if NAME.fullmatch(name) and stat.S_ISREG(path.lstat().st_mode):
                yield path


def _proven(path: Path, space_id: int, system_flags: int, last: int, closed: int) -> ExpectedFile:
    """The file, if it can be what the server had open when it was shut down: at the LSN ``closed``, the time ``last``
    in nanoseconds."""
    with path.open("rb") as file:
        head, state = file.read(_LSN.size), os.fstat(file.fileno())
    header = space_of(path)
    try:
        if header is None or header.space_id != space_id or len(head) < _LSN.size:
            raise ValueError("it has no first page")
        flags = SpaceFlags(header.flags)
        if flags.logical_page_size != SpaceFlags(system_flags).logical_page_size:
            raise ValueError("its pages are of another size than the server's")
        if state.st_size < header.page_count * flags.physical_page_size:
            raise ValueError(f"it has {header.page_count} pages, and not all of them are there")
    except ValueError as error:
        raise TargetUnusable(f"{path} is no whole tablespace: {error}") from error
    if state.st_mtime_ns > last or _LSN.unpack(head)[0] > closed:
        raise TargetUnusable(
            f"{path} was written to after the shutdown of the server whose data are served",
            hint="another server uses it, or it was copied without its times: cp -a and rsync -a keep them",
        )
    return ExpectedFile(str(path), space_id, header.flags)
