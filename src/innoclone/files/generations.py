"""A folder of dated clones that share unchanged blocks: which of them are ours, the newest, the removal of old ones.

A folder may hold other things, and generations of several donors. A *series* is what `innoclone local --generations`
made in one folder of one donor. Its id is in the manifest of each, and in a note in one that is not finished: only what
is of the series counts and may go.
"""

from __future__ import annotations

import calendar
import contextlib
import fcntl
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from innoclone.errors import CloneError, TargetBusy, TargetExists
from innoclone.files.base import tablespaces
from innoclone.files.copying import FICLONE, Account, copy_file
from innoclone.files.discard import remove_unfinished_clone
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.keyring import noted_keyring
from innoclone.files.lock import Holder, take_lock
from innoclone.files.manifest import read_manifest
from innoclone.files.marks import begin_directory, is_unfinished, remove_clone
from innoclone.files.names import OWN_DIR, SERIES
from innoclone.files.outside import identity_of
from innoclone.files.ownership import give
from innoclone.files.ownlife import refuse_losses
from innoclone.files.system import file_error, sync_directory

__all__ = [
    "LATEST", "Generation", "begin_generation", "check_latest", "generations_of", "name_for", "point_latest",
    "give_base", "refuse_removal", "remove_generations", "remove_unfinished", "series_id", "series_of",
    "shares_blocks",
]  # fmt: skip

LATEST = "latest"
NEXT_LATEST = ".latest.new"  # for the moment in which it is put in its place
NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z\Z")
FORMAT = "%Y-%m-%dT%H-%M-%SZ"


class Generation(NamedTuple):
    """A finished clone of ours in a folder of generations; ``moment`` is that of its name, seconds since the epoch."""

    path: Path
    manifest: Mapping[str, Any]
    moment: float

    @property
    def donor(self) -> str:
        """The UUID of the server that it is a clone of."""
        donor = self.manifest.get("donor")
        return str(donor.get("uuid", "")) if isinstance(donor, dict) else ""

    @property
    def series(self) -> str | None:
        """The id of its series; '' if it is of none, None where it was made before series had ids."""
        return str(self.manifest["series"] or "") if "series" in self.manifest else None

    @property
    def is_local(self) -> bool:
        """Whether `innoclone local` made it."""
        options = self.manifest.get("options")
        return isinstance(options, dict) and options.get("local") is True

    @property
    def is_copy(self) -> bool:
        """Whether somebody copied it here: it is another directory than the one that was made, by inode and generation.

        The device says nothing: its number may be another one after a reboot."""
        outside = self.manifest.get("outside")
        made, here = outside.get("of") if isinstance(outside, dict) else None, identity_of(self.path)
        return made is not None and (here is None or made[1:] != here[1:])


def name_for(moment: float) -> str:
    """The directory name of a generation: its time in UTC, fit for every file system."""
    return time.strftime(FORMAT, time.gmtime(moment))


def generations_of(folder: Path) -> list[Generation]:
    """The finished clones of ours in ``folder`` that have the name of a generation, of whatever donor, oldest first.

    Without those whose manifest can't be read: nothing says what they are. Raises OSError if the folder can't be read.
    """
    found = []
    for path in folder.iterdir():
        if not NAME.match(path.name) or path.is_symlink() or not path.is_dir() or is_unfinished(path):
            continue
        with contextlib.suppress(CloneError, ValueError):  # ValueError: the name is no date
            moment = calendar.timegm(time.strptime(path.name, FORMAT))
            found.append(Generation(path, read_manifest(path), float(moment)))
    return sorted(found, key=lambda one: one.moment)


def series_id(folder: Path, donor_uuid: str) -> str:
    """The id of the series that ``folder`` has of this donor: that of ``latest``, or else of its newest generation with
    one; '' if there is none yet. Copies, which have the id of their original's series, don't change it."""
    own = [one for one in generations_of(folder) if one.donor == donor_uuid and one.series and not one.is_copy]
    latest = (folder / LATEST).resolve()
    chosen = next((one for one in own if one.path.resolve() == latest), own[-1] if own else None)
    return chosen.series or "" if chosen else ""


def series_of(folder: Path, donor_uuid: str) -> list[Generation]:
    """The generations that count and may go, oldest first: finished, of this donor, of the folder's own series, and no
    copies: those are somebody's who wants to keep them.

    Those that were made before series had ids count if they are local clones of the donor. Raises OSError.
    """
    series = series_id(folder, donor_uuid)
    return [
        one
        for one in generations_of(folder)
        if one.donor == donor_uuid
        and not one.is_copy
        and (one.is_local if one.series is None else one.series == series != "")
    ]


def shares_blocks(folder: Path) -> bool:
    """Whether files in ``folder`` can share blocks with one another (FICLONE)."""
    try:
        with (
            tempfile.NamedTemporaryFile(dir=folder, prefix=".innoclone-") as source,
            tempfile.NamedTemporaryFile(dir=folder, prefix=".innoclone-") as copy,
        ):
            source.write(b"probe")
            source.flush()
            fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    return True


def begin_generation(new: Path, donor_uuid: str, series: str, *, like: Path | None = None) -> str:
    """Make the directory of a new generation, as an unfinished clone that says of which series it is and who makes it.

    Owner and mode are those of ``like``. The id, a new one where ``series`` is ''. Raises `TargetExists` if something
    of that name is there, a file error.
    """
    series = series or secrets.token_hex(8)
    try:
        new.mkdir(mode=0o750)
        if like is not None:
            give(new, like)
            new.chmod(like.stat().st_mode & 0o7777)
        begin_directory(new)
        note = {"donor": donor_uuid, "series": series, **asdict(Holder.this_process())}
        (new / OWN_DIR / SERIES).write_text(json.dumps(note) + "\n")
    except FileExistsError:
        raise TargetExists(f"{new} exists already", hint="run the command again") from None
    except OSError as error:
        raise file_error(error, f"can't create {new}") from error
    return series


def give_base(older: Path, new: Path, account: Account | None = None) -> None:
    """Give ``new``, which has only begun, the tablespaces of ``older``, sharing their blocks. Raises a file error where
    that can't be; with ``account``, which is told the bytes and may raise to stop, they are copied then."""
    try:
        for path in tablespaces(older):
            place = new / path.relative_to(older)
            place.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, place.open("xb") as copy:
                if account is None:
                    fcntl.ioctl(copy.fileno(), FICLONE, source.fileno())
                else:
                    copy_file(source.fileno(), copy.fileno(), account)
                os.fchmod(copy.fileno(), os.fstat(source.fileno()).st_mode & 0o7777)
    except OSError as error:
        deed = "share" if account is None else "copy"
        raise file_error(error, f"can't {deed} blocks between {older} and {new}") from error


def check_latest(folder: Path) -> None:
    """Raise `TargetExists` if ``latest`` is anything but a symbolic link to a generation, which only we make."""
    for name in (LATEST, NEXT_LATEST):
        link = folder / name
        if os.path.lexists(link) and not (link.is_symlink() and NAME.match(str(link.readlink()))):
            raise TargetExists(
                f"{link} is not a symbolic link to a generation", hint="rename it: innoclone keeps that name up to date"
            )


def point_latest(folder: Path, newest: Path) -> None:
    """Let ``latest`` name the newest generation, in one step. Raises what `check_latest` does."""
    check_latest(folder)
    link, beside = folder / LATEST, folder / NEXT_LATEST
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    beside.symlink_to(newest.name)
    beside.replace(link)
    sync_directory(folder)


def remove_unfinished(folder: Path, donor_uuid: str, series: str) -> tuple[list[Path], list[CloneError]]:
    """Remove what interrupted runs of the series left, unless one is at work there, each with the keyring that was made
    for it. What was removed, and why another one had to stay: somebody put something into it.

    That may be a generation that was being removed. Without a ``series`` (none was ever finished) it is what they left
    of this donor.
    """
    gone: list[Path] = []
    kept: list[CloneError] = []
    for path in folder.iterdir():
        if not NAME.match(path.name) or path.is_symlink() or not is_unfinished(path):
            continue
        with contextlib.suppress(TargetBusy, OSError, ValueError, KeyError, TypeError):
            if _was_going(path, donor_uuid, series) or _was_coming(path, donor_uuid, series):
                keyring = noted_keyring(path)
                try:
                    remove_unfinished_clone(path)
                except TargetExists as error:
                    kept.append(error)
                else:
                    gone.append(path)
                    if keyring is not None and keyring.remove():
                        gone.append(keyring.path)
    return gone, kept


def _was_coming(path: Path, donor_uuid: str, series: str) -> bool:
    """Whether an unfinished clone is a generation that was begun, and whoever made it is not about to lock it. Raises
    OSError, ValueError, KeyError, TypeError for what is none."""
    text = (path / OWN_DIR / SERIES).read_text()
    maker = Holder.parse(text)
    note = json.loads(text)
    if note["donor"] != donor_uuid or note["series"] != (series or note["series"]):
        return False
    return not maker.is_here or maker.pid == os.getpid()


def _was_going(path: Path, donor_uuid: str, series: str) -> bool:
    """Whether an unfinished clone is a generation whose removal was cut short: its manifest goes last."""
    with contextlib.suppress(CloneError):
        one = Generation(path, read_manifest(path), 0.0)
        return one.donor == donor_uuid and bool(one.series) and one.series == (series or one.series) and not one.is_copy
    return False


def remove_generations(
    old: Sequence[Generation], *, discard_changes: bool = False
) -> tuple[list[Path], list[CloneError]]:
    """Remove generations; they are made unbootable first. What was removed, and why each other one had to stay: it is
    in use, or it has, without ``discard_changes``, what nobody else has (`innoclone.files.ownlife`)."""
    gone, kept = [], []
    for one in old:
        try:
            _remove(one.path, discard_changes)
        except CloneError as error:
            kept.append(error)
        else:
            gone.append(one.path)
    return gone, kept


def refuse_removal(path: Path, *, discard_changes: bool = False) -> None:
    """Raises `TargetBusy` if somebody uses it, `TargetExists` if it has something of its own, a file error."""
    refuse_in_use(path, Purpose.REMOVE)
    if not discard_changes:
        refuse_losses(path)


def _remove(path: Path, discard_changes: bool) -> None:
    """Raises what `refuse_removal` does."""
    refuse_removal(path, discard_changes=discard_changes)
    try:
        lock = take_lock(path / OWN_DIR, path)
    except OSError as error:
        raise file_error(error, f"can't lock {path}") from error
    try:
        remove_clone(path)
    except OSError as error:
        raise file_error(error, f"can't remove {path}") from error
    finally:
        os.close(lock)
