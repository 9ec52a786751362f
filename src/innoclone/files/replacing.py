"""What lies beside a data directory DIR whose data is replaced: the folder ``DIR.innoclone``.

In it are ``new``, the clone that shall take DIR's place, ``old-TIME``, data that was replaced and kept, the lock, and,
for as long as the server may be down, ``replacing.json``: the note by which whoever comes after a crash knows what to
do. Which of the two directories is at DIR is seen by its inode, because an exchange of names and a note about it can't
be made in one step. As long as there is no note, ``new`` is never the old data. Rule 4 of docs/design.md.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from innoclone.errors import FileError, TargetBusy, TargetUnusable
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.lock import take_lock
from innoclone.files.marks import remove_clone
from innoclone.files.swap import exchange_names
from innoclone.files.system import file_error, sync_directory

__all__ = ["Note", "Places", "Step"]

NOTE = "replacing.json"
DONE = "replacing.done"  # the last note, written with the first: the disk may be full when it is needed
DROPPED = "old-dropped"  # old data that is being removed
FORMAT = 1
FOLDER_MODE = 0o711  # ours; a mysqld of another user only passes through to the new data


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
            raise TargetUnusable(
                f"{self.data} is not a server's data directory: there is no mysql.ibd in it",
                hint="datadir in the configuration must be what the server says (SELECT @@datadir)",
            )
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
            raise TargetBusy(error.message, hint=f"wait for it, or: innoclone stop {self.data}") from error
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

    def begin(self, source: str, began: float, *, keep: bool) -> Note:
        """The first note, of the two directories as they are. Raises a file error."""
        try:
            old, new = self.data.stat().st_ino, self.new.stat().st_ino
        except OSError as error:
            raise file_error(error, f"can't look at {self.new}") from error
        kept = self._name_to_keep() if keep else ""
        note = Note(step=Step.FORTH, old=old, new=new, kept=kept, source=source, began=began)
        self._write(self.folder / DONE, replace(note, step=Step.DONE))
        self.write(note)
        return note

    def _name_to_keep(self) -> str:
        """For old data that stays: by the time of its end. An hour comes twice when summer time ends."""
        name = time.strftime("old-%Y%m%dT%H%M%S")
        taken = {entry.name for entry in self.folder.iterdir()}
        return next(one for one in (name, *(f"{name}-{more}" for more in range(2, 1000))) if one not in taken)

    def done(self, note: Note) -> None:
        """The last note: a server came up on the new data. It needs no space. Raises a file error."""
        try:
            (self.folder / DONE).replace(self.folder / NOTE)
            sync_directory(self.folder)
        except FileNotFoundError:  # it was done before
            self.write(replace(note, step=Step.DONE))
        except OSError as error:
            raise file_error(error, f"can't write {self.folder / NOTE}") from error

    def write(self, note: Note) -> None:
        """Replace the note as a whole. Raises a file error; then the earlier one counts."""
        self._write(self.folder / NOTE, note)

    def _write(self, path: Path, note: Note) -> None:
        beside = path.with_name(path.name + ".new")
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
                step=Step(fields["step"]), old=int(fields["old"]), new=int(fields["new"]), kept=str(fields["kept"]),
                source=str(fields["source"]), began=float(fields["began"]),
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
            for name in (NOTE, DONE):
                (self.folder / name).unlink(missing_ok=True)
            sync_directory(self.folder)
        except OSError as error:
            raise file_error(error, f"can't remove {self.folder / NOTE}") from error

    def exchange(self) -> None:
        """Swap new and old data. Raises `TargetBusy` if a server runs on one of them, a file error."""
        refuse_in_use(self.new, Purpose.START)
        exchange_names(self.new, self.data)

    def remove_new(self, note: Note | None) -> None:
        """Give up what was copied. Without a note `new` is never old data, with one its inode tells.

        Raises `TargetBusy` if somebody uses it, a file error.
        """
        if note is not None and self.new.stat().st_ino != note.new:
            raise FileError(f"{self.new} is not the data that was copied", hint="somebody has moved directories")
        remove_clone(self.new)

    def put_aside(self, note: Note) -> Path | None:
        """After a replacement: where the old data is kept, or None: it was removed.

        Raises `TargetBusy` if a server runs on it, a file error.
        """
        kept = self.folder / (note.kept or DROPPED)
        try:
            if self.new.exists() and self.new.stat().st_ino == note.old:
                refuse_in_use(self.new, Purpose.START)
                if not note.kept and kept.exists():
                    self._remove_dropped()
                self.new.rename(kept)
                sync_directory(self.folder)
            if not note.kept and kept.exists():
                self._remove_dropped()
        except OSError as error:
            raise file_error(error, f"can't put the old data at {self.new} aside") from error
        return kept if note.kept else None

    def _remove_dropped(self) -> None:
        """What has that name was renamed to it by us, after a server had come up on the new data."""
        remove_clone(self.folder / DROPPED)
