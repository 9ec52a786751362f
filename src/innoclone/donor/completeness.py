"""Whether a directory has all files that its server had: by its data dictionary, and by what InnoDB wrote at shutdown.

A server may have files elsewhere (DATA DIRECTORY, general tablespaces, innodb_undo_directory, innodb_data_home_dir,
innodb_log_group_home_dir), or files of an earlier configuration may still lie here. Nothing in the directory's files
tells that by itself, and a recipient would have tables without data, or old data, and no word of it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from innoclone.donor.keys import Keys
from innoclone.errors import TablespaceMissing, TargetUnusable
from innoclone.files.system import file_error
from innoclone.innodb.dictionary import DictionaryFile, space_ids, tablespace_files
from innoclone.innodb.page import UNCHECKED
from innoclone.innodb.space import DICTIONARY_SPACE, SYSTEM_SPACE, SpaceFlags, SpaceHeader, is_temporary, is_undo
from innoclone.stream.pagecheck import ExpectedFile

__all__ = ["named_files", "refuse_absent", "refuse_stale_log"]

NAMED = 3  # files that an error message names
_FLUSHED = struct.Struct(f">{UNCHECKED}x Q")  # of the system tablespace's page 0: LSN of the last clean shutdown


def refuse_absent(
    directory: Path, listed: Sequence[ExpectedFile], page_size: int, rows: Sequence[DictionaryFile],
    *, settled: bool, placed: bool,
) -> list[Path]:  # fmt: skip
    """Raise `TablespaceMissing` if the server had files that are not ``listed``, by the dictionary's ``rows``.

    ``placed``: what is listed was put there by a clone, wherever the donor had it; otherwise that is known of what is
    listed with an absolute name. Returned are the absolute names that the dictionary has for such files, but for undo
    tablespaces, which are found without it.

    Not ``settled``: the redo log is still to be applied, so that the dictionary may name files that are dropped by
    then; only what lies elsewhere is refused.
    """
    here = {os.path.normpath(one.name) for one in listed}
    outside = {os.path.realpath(one.name) for one in listed if Path(one.name).is_absolute()}
    known = {one.space_id for one in listed if placed or Path(one.name).is_absolute()}
    elsewhere, missing, named = [], [], []
    for file in rows:
        if file.space_id is not None and is_temporary(file.space_id):
            continue
        name = _within(directory, file.name)
        if name is None and (file.space_id in known or os.path.realpath(directory / file.name) in outside):
            named += [] if file.space_id is not None and is_undo(file.space_id) else [directory / file.name]
        elif name is None:
            elsewhere.append(file.name)
        elif name not in here:
            missing.append(file.name)
    if elsewhere:
        raise TablespaceMissing(
            f"the server whose data is in {directory} has tablespaces elsewhere: {_some(elsewhere)}",
            hint="if those files are that server's own, and not of another that it was copied from, say where they are,"
            " as in its innodb_directories: --innodb-directories='DIR;DIR'",
        )
    if missing and settled:
        raise TablespaceMissing(
            f"{directory} is not complete: its data dictionary names {_some(missing)}, not there or of a name that is"
            " not known",
            hint="put the files back; of a discarded tablespace import it or drop the table",
        )
    if settled:
        _refuse_short(directory, listed, page_size)
    return named


def refuse_stale_log(directory: Path, listed: Sequence[ExpectedFile], checkpoint: int) -> None:
    """Raise `TargetUnusable` if redo log and system tablespace are not of one clean shutdown: either is a leftover, and
    the server had its own elsewhere."""
    flushed = _FLUSHED.unpack(_head(directory, listed, _FLUSHED.size))[0]
    if flushed != checkpoint:
        raise TargetUnusable(
            f"redo log and system tablespace in {directory} are not of the same shutdown: the log's checkpoint is at"
            f" LSN {checkpoint}, the tablespace was closed at {flushed}",
            hint="one of them is left of an earlier configuration: look at innodb_log_group_home_dir and"
            " innodb_data_home_dir of the server",
        )


def named_files(
    directory: Path, listed: Sequence[ExpectedFile], page_size: int, keys: Keys, *, ids: bool = False
) -> list[DictionaryFile]:
    """The files that the data dictionary names. ``keys`` are for an encrypted one. ``ids``: with the space ids of
    those, too, whose own rows don't tell it. Raises `TargetUnusable` if it can't be read, a file error."""
    own = next((one for one in listed if one.space_id == DICTIONARY_SPACE), None)
    path = directory / (own.name if own else "mysql.ibd")
    clear = keys.reader(path, SpaceFlags(own.flags)) if own else bytes
    try:
        with path.open("rb", buffering=0) as file:
            descriptor = file.fileno()
            count = os.fstat(descriptor).st_size // page_size

            def page(number: int) -> bytes:
                return clear(os.pread(descriptor, page_size, number * page_size))

            found = tablespace_files(page, count)
            known = space_ids(page, count) if ids else {}
            return [
                one if one.space_id is not None else replace(one, space_id=known.get(one.tablespace)) for one in found
            ]
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    except ValueError as error:
        raise TargetUnusable(
            f"the data dictionary in {path} can't be read: {error}",
            hint="start a server on the directory and shut it down; innoclone verify checks its pages",
        ) from error


def _within(directory: Path, name: str) -> str | None:
    """The name relative to the directory, None if it lies elsewhere."""
    if Path(name).is_absolute():
        name = os.path.relpath(os.path.realpath(name), directory)
    name = os.path.normpath(name)
    return None if name == ".." or name.startswith("../") else name


def _refuse_short(directory: Path, listed: Sequence[ExpectedFile], page_size: int) -> None:
    """Of its files only the first tells anything, the number of pages of all of them."""
    pages = SpaceHeader.parse(_head(directory, listed, SpaceHeader.LAYOUT.size)).page_count
    there = sum(path.stat().st_size for path in _systems(directory, listed)) // page_size
    if there < pages:
        raise TablespaceMissing(
            f"the system tablespace in {directory} is not complete: it has {pages} pages, of which {there} are there",
            hint="a file of innodb_data_file_path lies elsewhere, or has a name that does not begin with ibdata",
        )


def _systems(directory: Path, listed: Sequence[ExpectedFile]) -> Iterator[Path]:
    return (directory / one.name for one in listed if one.space_id == SYSTEM_SPACE)


def _head(directory: Path, listed: Sequence[ExpectedFile], size: int) -> bytes:
    """The first bytes of the system tablespace."""
    path = next(_systems(directory, listed), None)
    if path is None:
        raise TablespaceMissing(
            f"there is no system tablespace in {directory}", hint="look at innodb_data_home_dir of the server"
        )
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    if len(head) < size:
        raise TargetUnusable(f"{path} has no first page")
    return head


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
