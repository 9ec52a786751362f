"""What lies beside a data directory DIR whose data is replaced: the folder ``DIR.innoclone``.

In it are ``new``, the clone that shall take DIR's place, ``old-TIME``, data that was replaced and kept, the lock, and,
for as long as the server may be down, ``replacing.json``: the note by which whoever comes after a crash knows what to
do. Which of the two directories is at DIR is seen by its inode, because an exchange of names and a note about it can't
be made in one step. As long as there is no note, ``new`` is never the old data.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from innoclone.errors import FileError, TargetBusy, TargetExists, TargetUnusable
from innoclone.files.copying import copy_file
from innoclone.files.lock import take_lock
from innoclone.files.marks import remove_clone
from innoclone.files.swap import exchange_names
from innoclone.files.system import file_error, sync_directory

__all__ = ["Note", "Places", "Step", "belongings", "carry", "name_to_keep", "size_of"]

NOTE = "replacing.json"
FORMAT = 1
FOLDER_MODE = 0o711  # ours; a mysqld of another user only passes through to the new data

# What a clone brings itself (manual, "InnoDB On-Disk Structures"; clone0copy.cc for the buffer pool's dump). System
# tablespaces and logs may have other names: those come with the server's variables.
DATA_FILES = (
    r".*\.ib[du]|undo_\d+|ibdata\d+|ibtmp\d+|ib_logfile\d+|ib_buffer_pool(\.incomplete)?",
    r"#ib_\d+_\d+\.b?dblwr|.*\.#clone",
)
DATA_FOLDERS = r"#innodb_.*|#ib_archive|#clone|#innoclone"
# In the folder of a schema. Each table has one of the first two: InnoDB's file, or the dictionary's copy for others.
TABLES = (".ibd", ".sdi")
TABLE_FILES = (*TABLES, ".MYD", ".MYI", ".CSV", ".CSM", ".ARZ", ".ARM", ".MRG", ".cfg", ".cfp")


class Step(enum.Enum):
    """How far a replacement is; it says which data is to be served in the end."""

    FORTH = "forth"
    """The server is being stopped, or the directories were exchanged: the new data, if a server comes up on it."""
    BACK = "back"
    """That has failed: the old data."""
    DONE = "done"
    """A server came up on the new data: that, and the old can go."""


@dataclass(frozen=True)
class Note:
    """``replacing.json``. ``old`` and ``new`` are inodes; ``kept`` is the name under which old data stays, or ''.
    ``source`` is the donor and ``began`` when it all began (seconds since the epoch): for the history."""

    step: Step
    old: int
    new: int
    kept: str = ""
    source: str = ""
    began: float = 0.0


class Places:
    """The paths for one data directory, and the steps that are nothing but changes of names. Durable, each of them."""

    def __init__(self, datadir: Path) -> None:
        """A symbolic link stays one: what it leads to is replaced."""
        self.data = Path(os.path.realpath(datadir))
        self.folder = self.data.with_name(self.data.name + ".innoclone")
        self.new = self.folder / "new"
        self.server_log = self.folder / "mysqld.log"

    def claim(self) -> int:
        """Make the folder and be the only process that replaces this data until the descriptor is closed.

        Raises `TargetUnusable`, `TargetBusy`, a file error.
        """
        if not (self.data / "mysql.ibd").is_file():
            raise TargetUnusable(f"{self.data} is not a server's data directory: there is no mysql.ibd in it", hint="")
        if self.data.is_mount():
            raise TargetUnusable(
                f"{self.data} is a mount point: its data can't be swapped by renaming it",
                hint="let the server's datadir be a directory below the mount point",
            )
        try:
            owner = self.data.stat()
            if not self.folder.exists():
                self.folder.mkdir()
                self.folder.chmod(FOLDER_MODE)  # whatever the umask is
                sync_directory(self.folder.parent)
            if self.folder.stat().st_dev != owner.st_dev:
                raise TargetUnusable(f"{self.folder} is on another file system than {self.data}")
            return take_lock(self.folder, self.data)
        except TargetBusy as error:
            raise TargetBusy(error.message, hint="wait for it") from error
        except OSError as error:
            raise file_error(error, f"can't use {self.folder}") from error

    def is_new(self, note: Note) -> bool:
        """Whether the new data is at the server's directory. Raises `FileError` where neither is."""
        try:
            inode = self.data.stat().st_ino
        except OSError as error:
            raise file_error(error, f"can't look at {self.data}") from error
        if inode not in (note.old, note.new):
            raise FileError(
                f"{self.data} is neither the old data nor the new one that {self.folder / NOTE} tells of",
                hint="somebody has moved directories; put the right one there, and remove that file",
            )
        return inode == note.new

    def begin(self, kept: str, source: str, began: float) -> Note:
        """The first note, of the two directories as they are. Raises a file error."""
        try:
            note = Note(Step.FORTH, self.data.stat().st_ino, self.new.stat().st_ino, kept, source, began)
        except OSError as error:
            raise file_error(error, f"can't look at {self.new}") from error
        self.write(note)
        return note

    def write(self, note: Note) -> None:
        """Replace the note as a whole. Raises a file error; then the earlier one counts."""
        path = self.folder / NOTE
        beside = path.with_suffix(".new")
        try:
            with beside.open("w") as file:
                file.write(json.dumps({"format": FORMAT, **asdict(note), "step": note.step.value}) + "\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync_directory(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise file_error(error, f"can't write {path}") from error

    def read(self) -> Note | None:
        """The note that a run before this one left, None if it left none. Raises a file error."""
        path = self.folder / NOTE
        try:
            fields = json.loads(path.read_text())
            if fields["format"] != FORMAT:
                raise ValueError(f"it is not of format {FORMAT}")
            return Note(
                Step(fields["step"]), int(fields["old"]), int(fields["new"]), str(fields["kept"]),
                str(fields["source"]), float(fields["began"]),
            )  # fmt: skip
        except FileNotFoundError:
            return None
        except OSError as error:
            raise file_error(error, f"can't read {path}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileError(f"{path} is damaged: {error}", hint="see which data is right, and remove it") from error

    def forget(self) -> None:
        """Remove the note. Raises a file error."""
        try:
            (self.folder / NOTE).unlink(missing_ok=True)
            sync_directory(self.folder)
        except OSError as error:
            raise file_error(error, f"can't remove {self.folder / NOTE}") from error

    def exchange(self) -> None:
        """Swap new and old data. Raises `TargetBusy` if a server runs there, a file error."""
        exchange_names(self.new, self.data)

    def put_aside(self, note: Note) -> Path | None:
        """After a replacement: where the old data is kept, or None: it was removed. Raises a file error."""
        kept = self.folder / (note.kept or "old-dropped")
        try:
            if self.new.exists() and self.new.stat().st_ino == note.old:
                self.new.rename(kept)
                sync_directory(self.folder)
            if not note.kept and kept.exists():
                remove_clone(kept)
        except OSError as error:
            raise file_error(error, f"can't put the old data at {self.new} aside") from error
        return kept if note.kept else None


def name_to_keep() -> str:
    """For old data that stays: by the time of its end."""
    return time.strftime("old-%Y%m%dT%H%M%S")


# ---- what stays with the server --------------------------------------------------------------------------------


def belongings(data: Path, replaced: Sequence[str]) -> list[Path]:
    """The entries of a data directory that are the server's own and not data: auto.cnf, persisted variables, option
    files, keys and certificates, logs that are read by people, relay logs, and whatever else somebody put there. The
    stock plugin leaves all of them, too (tested with 9.7).

    ``replaced`` are regular expressions of data's names besides the usual ones. Raises `TargetUnusable` for a schema's
    folder with foreign files in it, like the stock plugin (its error 1010), but before anything is changed.
    """
    files = re.compile("|".join((*DATA_FILES, *replaced)))
    found = []
    try:
        for entry in sorted(data.iterdir()):
            if entry.is_dir():
                if not re.fullmatch(DATA_FOLDERS, entry.name) and not _is_schema(entry):
                    found.append(entry)
            elif (entry.is_file() or entry.is_symlink()) and not files.fullmatch(entry.name):
                found.append(entry)
    except OSError as error:
        raise file_error(error, f"can't look into {data}") from error
    return found


def _is_schema(folder: Path) -> bool:
    """Whether a folder holds tables, or nothing."""
    names = {entry.name for entry in folder.iterdir()}
    if names and not any(Path(name).suffix in TABLES for name in names):
        return False
    foreign = sorted(name for name in names if Path(name).suffix not in TABLE_FILES)
    if foreign:
        raise TargetUnusable(
            f"{folder} holds tables and also {foreign[0]}, which is none", hint="move it elsewhere, it would be lost"
        )
    if folder.is_symlink():
        raise TargetUnusable(f"{folder} is a symbolic link to tables elsewhere", hint="move the folder itself here")
    return True


def size_of(entries: Sequence[Path]) -> int:
    """Bytes that `carry` is going to need. Raises a file error."""
    try:
        return sum(one.lstat().st_size for entry in entries for one in (entry, *entry.rglob("*")))
    except OSError as error:
        raise file_error(error, "can't look at what stays with the server") from error


def carry(entries: Sequence[Path], data: Path) -> None:
    """Copy the server's own files into its new data, durably, with owner and mode; nothing of the old is touched.

    The server must be down. Raises `TargetExists` where the new data has a folder of that name, a file error.
    """
    for entry in entries:
        place = data / entry.name
        try:
            if place.is_dir():
                raise TargetExists(f"the clone has a schema {entry.name}, and the server a folder of that name")
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
