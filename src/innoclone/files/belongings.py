"""What stays with a server whose data is replaced: found in its data directory, measured, and copied into the new data.

The entries that are the server's own and not data: auto.cnf, persisted variables, option files, keys and certificates,
logs that are read by people, relay logs, and whatever else somebody put there. The stock plugin leaves all of them, too
(tested with 9.7).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from innoclone.errors import TargetExists, TargetUnusable
from innoclone.files.copying import copy_file
from innoclone.files.system import file_error, sync_directory
from innoclone.innodb.names import schema_folder

__all__ = ["belongings", "carry", "folders_of", "refuse_clashes", "size_of"]

# What a clone brings itself (manual, "InnoDB On-Disk Structures"; clone0copy.cc for the buffer pool's dump). System
# tablespaces and logs may have other names: those come with the server's variables.
DATA_FILES = (
    r".*\.ib[du]|undo_\d+|ibdata\d+|ibtmp\d+|ib_logfile\d+|ib_buffer_pool(\.incomplete)?",
    r"#ib_\d+_\d+\.b?dblwr|.*\.#clone",
)
DATA_FOLDERS = r"#innodb_.*|#ib_archive|#clone|#innoclone"
# In the folder of a schema. InnoDB's file, or the dictionary's copy for others; the dictionary's copy is missing for
# tables that a server made for itself when it first came up on a clone (tested with 9.7).
TABLES = (".ibd", ".sdi")
INDEXES = (".MYI", ".CSM", ".MRG", ".ARZ")  # one for each table of another engine that has files
TABLE_FILES = (*TABLES, *INDEXES, ".MYD", ".CSV", ".ARM", ".cfg", ".cfp")
LEFT_FROM_57 = "db.opt"  # the schema's options, which are in the dictionary since 8.0


def belongings(data: Path, replaced: Sequence[str], schemas: Collection[str] = ()) -> list[Path]:
    """The entries of a data directory that are the server's own.

    ``replaced`` are regular expressions of data's names besides the usual ones, ``schemas`` the server's schemas as far
    as they are known: a folder of such a name is data whatever is in it, another one if tables are. Raises
    `TargetUnusable` for a schema's folder with foreign files in it, like the stock plugin (its error 1010), and for
    data that a symbolic link leads to; a file error.
    """
    files = re.compile("|".join((*DATA_FILES, *replaced)))
    folders = {schema_folder(name) for name in schemas}
    found = []
    try:
        for entry in sorted(data.iterdir()):
            if entry.is_dir():
                is_data = re.fullmatch(DATA_FOLDERS, entry.name) is not None or _is_schema(entry, folders)
            else:
                is_data = files.fullmatch(entry.name) is not None
            if is_data and entry.is_symlink():
                raise TargetUnusable(
                    f"{entry} is a symbolic link to data elsewhere", hint=f"move the data itself to {entry}"
                )
            if not is_data and (entry.is_dir() or entry.is_file() or entry.is_symlink()):
                found.append(entry)
    except OSError as error:
        raise file_error(error, f"can't look into {data}") from error
    return found


def _is_schema(folder: Path, known: Collection[str]) -> bool:
    """Whether a folder is a schema's."""
    names = {entry.name for entry in folder.iterdir()}
    suffixes = {Path(name).suffix for name in names}
    if not names:
        # A letter of another alphabet than ours has a code that is the server's own: such a name isn't known.
        return folder.name in known or re.fullmatch(r"\w*(@\w+)+", folder.name, re.ASCII) is not None
    of_other_engines = suffixes <= {*TABLE_FILES} and not suffixes.isdisjoint(INDEXES)
    if folder.name not in known and suffixes.isdisjoint(TABLES) and not of_other_engines:
        return False
    foreign = sorted(name for name in names - {LEFT_FROM_57} if Path(name).suffix not in TABLE_FILES)
    if foreign:
        raise TargetUnusable(
            f"{folder} holds tables and also {foreign[0]}, which is none", hint="move it elsewhere, it would be lost"
        )
    return True


def refuse_clashes(entries: Sequence[Path], schemas: Collection[str]) -> None:
    """Raise `TargetExists` for what is the server's own and has the name of a schema's folder in the new data.

    An empty folder is in nobody's way: it may be a schema that the server doesn't show to its account.
    """
    for entry in entries:
        if entry.name in schemas and not _is_empty(entry):
            raise TargetExists(
                f"the donor has a schema of the name of {entry}, which is no schema of the managed server",
                hint=f"move {entry} elsewhere",
            )


def _is_empty(entry: Path) -> bool:
    return entry.is_dir() and not any(entry.iterdir())


def folders_of(data: Path) -> set[str]:
    """The names of the folders in a data directory: its schemas, and a server's own. Raises a file error."""
    try:
        return {entry.name for entry in data.iterdir() if entry.is_dir()}
    except OSError as error:
        raise file_error(error, f"can't look into {data}") from error


def size_of(entries: Sequence[Path]) -> int:
    """Bytes that `carry` is going to need. Raises a file error."""
    try:
        return sum(one.lstat().st_size for entry in entries for one in (entry, *entry.rglob("*")))
    except OSError as error:
        raise file_error(error, "can't look at what stays with the server") from error


def carry(entries: Sequence[Path], data: Path) -> None:
    """Copy the server's own files into its new data, durably, with owner and mode; nothing of the old is touched.

    The server must be down. Raises what `refuse_clashes` does, a file error.
    """
    refuse_clashes(entries, folders_of(data))
    for entry in entries:
        place = data / entry.name
        if place.is_dir():
            continue  # an empty one
        try:
            place.unlink(missing_ok=True)
            _copy(entry, place)
        except OSError as error:
            raise file_error(error, f"can't copy {entry}") from error
    try:
        sync_directory(data)
    except OSError as error:
        raise file_error(error, f"can't sync {data}") from error


def _copy(entry: Path, place: Path) -> None:
    """A file, a symbolic link or a whole folder."""
    status = entry.lstat()
    if entry.is_symlink():
        place.symlink_to(entry.readlink())
    elif entry.is_dir():
        place.mkdir(mode=0o700)
        for one in sorted(entry.iterdir()):
            _copy(one, place / one.name)
        _take_on(place, status)
        sync_directory(place)
        return
    elif entry.is_file():
        with entry.open("rb") as source, place.open("xb") as target:
            copy_file(source.fileno(), target.fileno(), lambda _: None)
            os.fsync(target.fileno())
    else:
        return  # a socket or pipe of a server that is down
    _take_on(place, status)


def _take_on(place: Path, status: os.stat_result) -> None:
    """Owner, mode and times."""
    if os.geteuid() == 0 or (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.chown(place, status.st_uid, status.st_gid, follow_symlinks=False)
    if not place.is_symlink():
        place.chmod(status.st_mode & 0o7777)
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
