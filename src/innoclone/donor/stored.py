"""A directory as something to be served: proven at rest and complete, and its files listed.

Three kinds are served: a server's data after a clean shutdown (nothing in the redo log), a clone that no server has run
on (its redo log is sent with it, and the recipient recovers), and a clone that was only recovered here. Data of a
server that crashed is refused. What the log says of it can't be told without the binary log, which no clone carries:
transactions that were acknowledged could be missing (tested).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innoclone.donor.binlogpage import binlog_position, page_with_position
from innoclone.donor.completeness import named_files, refuse_absent, refuse_stale_log
from innoclone.donor.description import Description, describe
from innoclone.donor.elsewhere import names_elsewhere, wanted_places
from innoclone.donor.keys import Keys
from innoclone.donor.offer import Given, T, Wish
from innoclone.donor.places import find_elsewhere
from innoclone.donor.plans import BLOCK, CHUNK, DataFile, FilePlan, Page, PagePlan, Plan, RedoPlan, StoredFile
from innoclone.donor.redolog import redo_plan
from innoclone.errors import FileError, TargetBusy, TargetUnusable
from innoclone.files.base import space_of
from innoclone.files.inuse import Purpose
from innoclone.files.lock import FLOCK
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.names import BUFFER_POOL, CLONE_DIR, OWN_DIR
from innoclone.files.system import file_error
from innoclone.innodb.binlogposition import TRX_SYS_PAGE
from innoclone.innodb.space import (
    DICTIONARY_SPACE,
    FLAGS_UNKNOWN,
    NO_SPACE,
    SYSTEM_SPACE,
    SpaceFlags,
    is_temporary,
    is_undo,
)
from innoclone.server import cloned
from innoclone.stream.pagecheck import ExpectedFile, find_tablespaces, plan_files
from innoclone.verification.integrity import expected_files, other_problems
from innoclone.wire.descriptors import StageNumber

__all__ = ["Stored", "hold", "look", "open_stored"]

LEFTOVER = ("*.#clone", "*.#clone_save", "*.#clone_ddl", "*/*.#clone", "*/*.#clone_save", "*/*.#clone_ddl")
NAMED = 5  # problems that an error message names
SYSTEM_FILES = 32  # that are locked at most


@dataclass(frozen=True)
class Stored:
    """What is served. ``fingerprint`` stands for the files and how they are cut: the same after a restart of ours."""

    directory: Path
    files: FilePlan
    pages: PagePlan
    redo: RedoPlan
    description: Description
    fingerprint: int
    notes: tuple[str, ...] = ()
    locks: list[int] = field(default_factory=list, compare=False)
    encrypted: bool = False
    outside: tuple[Path, ...] = ()
    called: str = ""  # where it came from, if the directory is there for a while only

    @property
    def name(self) -> str:
        """The directory, or where it came from."""
        return self.called or str(self.directory)

    @property
    def version(self) -> str:
        """The server's."""
        return self.description.version

    @property
    def is_at_rest(self) -> bool:
        """It is."""
        return True

    @property
    def size(self) -> int:
        """Bytes of all that is sent, holes included."""
        return self.files.estimate + self.pages.estimate + self.redo.estimate

    @property
    def plans(self) -> Mapping[StageNumber, Plan]:
        """All of them are known."""
        return {
            StageNumber.FILE_COPY: self.files, StageNumber.PAGE_COPY: self.pages, StageNumber.REDO_COPY: self.redo
        }  # fmt: skip

    @property
    def chunks(self) -> int:
        """The most that a stage has."""
        return max(plan.chunks for plan in self.plans.values())

    def begin(self, _wish: Wish, make: Callable[[Given], T], _is_gone: Callable[[], bool]) -> T:
        """Nothing changes here, and any number of clones may be taken."""
        self.refuse_changed()
        return make(self)

    def revive(self, fingerprint: int) -> Given | None:
        """The directory, if it is as it was."""
        return self if fingerprint == self.fingerprint else None

    def open(self, file: StoredFile) -> int:
        """A descriptor of a file that is as it was listed. Raises `FileError`."""
        return open_stored(file)

    def refuse_changed(self) -> None:
        """Raise `FileError` if a file is no longer as it was when it was listed."""
        for file in (*self.files.files, *self.redo.files):
            try:
                if StoredFile.of(file.path, file.path.stat()) != file:
                    raise FileError(f"{file.path} was changed while it was served")
            except OSError as error:
                raise file_error(error, f"can't look at {file.path}") from error

    def close(self) -> None:
        """Let go of the directory: servers may start on it again."""
        for descriptor in self.locks:
            os.close(descriptor)
        self.locks.clear()


def look(directory: Path, keyring: Path | None = None, places: Sequence[Path] = ()) -> Stored:
    """Prove that a directory can be served, and list it. No server starts on it until `Stored.close`. ``keyring`` is
    for what is encrypted, if it isn't where a clone's manifest says; in ``places`` the server had tablespaces, if it is
    a server's data directory.

    Raises `TargetUnusable` with the reason, `TargetBusy` if somebody uses it, `KeyringFailed`, `EncryptionDamaged`, a
    file error.
    """
    directory = Path(os.path.realpath(directory))
    cloned.check_bootable(directory, Purpose.LOOK)
    locks: list[int] = []
    try:
        found = _look(directory, locks, keyring, places)
        cloned.check_bootable(directory, Purpose.LOOK)  # who came before our locks
    except BaseException:
        for descriptor in locks:
            os.close(descriptor)
        raise
    return found


def _look(directory: Path, locks: list[int], keyring: Path | None, places: Sequence[Path]) -> Stored:
    manifest = read_manifest(directory) if (directory / OWN_DIR / MANIFEST).exists() else {}
    keys = Keys.of(manifest, keyring)
    _refuse_remains(directory, manifest)
    listed = _tablespaces(directory, manifest)
    if not listed:
        raise TargetUnusable(f"{directory} holds no tablespaces")
    elsewhere = names_elsewhere(directory, manifest, listed, told=bool(places))
    locks += hold(directory, listed)
    page_size = SpaceFlags(listed[0].flags).logical_page_size
    recovered, kept = cloned.is_recovered(directory), cloned.was_kept(directory)
    redo = redo_plan(directory, page_size, never_booted=not recovered, keys=keys)
    placed = expected_files(directory, manifest) is not None
    rows = named_files(directory, listed, page_size, keys, ids=bool(places))
    if places and not placed and redo.clean_at is not None:
        timed = binlog_position(directory) is not None
        found = find_elsewhere(directory, places, rows, listed, redo.clean_at, timed=timed)
        locks += hold(directory, list(found))
        listed = sorted([*listed, *found], key=_order)
        elsewhere = {one.name: name for one, name in found.items()}
    named = refuse_absent(directory, listed, page_size, rows, settled=recovered, placed=placed)
    files = FilePlan([*_buffer_pool(directory), *(_data_file(directory, one, elsewhere) for one in listed)])
    pages, notes = [*keys.first_pages(files.data, open_stored)], _of_places(files)
    if recovered and redo.clean_at is not None:
        refuse_stale_log(directory, listed, redo.clean_at)
    if kept:
        position = binlog_position(directory)
        if position is None:
            notes.append(
                "no binary log in the directory that was closed at the shutdown: recipients get the position that"
                " InnoDB keeps, if any"
            )
        else:
            pages.append(_trx_sys(files, page_size, position))
    description = describe(directory, manifest, page_size, listed)
    return Stored(
        directory, files, PagePlan(pages), redo, description, _fingerprint(files, redo, pages), tuple(notes), locks,
        encrypted=any(page.sealed for page in pages) or any(part.sealed for part in redo.parts),
        outside=(*(Path(name) for name in elsewhere.values() if Path(name).is_absolute()), *named),
    )  # fmt: skip


def _of_places(files: FilePlan) -> list[str]:
    """What whoever types CLONE must know: a stock server finds out when it has dropped its data (tested)."""
    if not (places := wanted_places((file.name, file.space_id) for file in files.data)):
        return []
    return [
        f"tablespaces outside: recipients need innodb_directories = {';'.join(places)}; without it a server that is to"
        " replace its own data has dropped them when it says error 1525"
    ]


def _refuse_remains(directory: Path, manifest: Mapping[str, Any]) -> None:
    """What is left of a replacement, what has begun and not ended, what links lead to."""
    if left := [path for pattern in LEFTOVER for path in directory.glob(pattern)]:
        raise TargetUnusable(
            f"{left[0]} is left of a clone that was not completed",
            hint="start the server on the directory once and shut it down",
        )
    if not cloned.is_recovered(directory) and cloned.recovery_has_begun(directory):
        raise TargetUnusable(
            f"the recovery of the clone in {directory} was begun and not ended", hint=f"innoclone boot {directory}"
        )
    for entry in directory.iterdir():
        if entry.is_symlink() and entry.is_dir() and not entry.name.startswith("#"):
            raise TargetUnusable(f"{entry} is a symbolic link: what is in it would be missing")
    if not cloned.is_recovered(directory) and (directory / CLONE_DIR / "#new_files").exists():
        raise TargetUnusable(f"{directory} waits for a server to put cloned files in their places")


def _tablespaces(directory: Path, manifest: dict[str, Any]) -> list[ExpectedFile]:
    """All tablespace files in the order in which a stock donor lists them. Raises `TargetUnusable` for what is wrong
    with them at first sight."""
    expected = expected_files(directory, manifest)
    plans, extra = plan_files(directory, expected)
    problems = [f"{plan.report.name}: {problem}" for plan in plans for problem in plan.report.problems]
    problems += [f"{name}: not a file of this clone" for name in extra]
    problems += other_problems(directory, manifest)
    found = expected or _as_they_say(directory)
    found = [one for one in found if not is_temporary(one.space_id)]
    for one in found:
        problems += _misfits(directory, one)
    if problems:
        more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise TargetUnusable(
            f"{directory} is not complete: {'; '.join(problems[:NAMED])}{more}", hint=f"innoclone verify {directory}"
        )
    return sorted(found, key=_order)


def _as_they_say(directory: Path) -> list[ExpectedFile]:
    """Each by its own first page; of the system tablespace only the first file has one."""
    found: list[ExpectedFile] = []
    for name in find_tablespaces(directory):
        header = space_of(directory / name)
        system = next((one for one in found if one.space_id == SYSTEM_SPACE), None)
        if Path(name).name.startswith("ibdata") and system is not None:
            found.append(ExpectedFile(name, SYSTEM_SPACE, system.flags))
        elif header is not None:
            found.append(ExpectedFile(name, header.space_id, header.flags))
    return found


def _misfits(directory: Path, file: ExpectedFile) -> Iterator[str]:
    """Why a file can't be sent as it is."""
    path, parts = directory / file.name, Path(file.name).parts
    if (len(parts) > 2 and not Path(file.name).is_absolute()) or not file.name.isprintable():
        yield f"{file.name!r}: not SCHEMA/TABLE or a plain name"
        return
    try:
        state = path.lstat()
        size = SpaceFlags(file.flags).physical_page_size
    except (OSError, ValueError):
        return  # told already
    if not stat.S_ISREG(state.st_mode):
        yield f"{file.name}: not a regular file"
    elif state.st_size % size:
        yield f"{file.name}: its size of {state.st_size} bytes is no multiple of {size}"


def _is_systems(space_id: int) -> bool:
    """Whether any server that starts opens and locks it."""
    return space_id in (SYSTEM_SPACE, DICTIONARY_SPACE) or is_undo(space_id)


def _order(file: ExpectedFile) -> tuple[int, int]:
    """The system tablespace's files as they are listed, undo tablespaces, the dictionary, all others."""
    kinds = (file.space_id == SYSTEM_SPACE, is_undo(file.space_id), file.space_id == DICTIONARY_SPACE, True)
    return kinds.index(True), 0 if file.space_id == SYSTEM_SPACE else -file.space_id


def _buffer_pool(directory: Path) -> list[DataFile]:
    path = directory / BUFFER_POOL
    if not path.is_file() or path.is_symlink() or not path.stat().st_size:
        return []
    return [DataFile(_found(path), BUFFER_POOL, NO_SPACE, FLAGS_UNKNOWN)]


def _data_file(directory: Path, file: ExpectedFile, elsewhere: Mapping[str, str]) -> DataFile:
    path = directory / file.name
    if file.name in elsewhere:
        return DataFile(_found(path), elsewhere[file.name], file.space_id, file.flags)
    plain = file.space_id == SYSTEM_SPACE or is_undo(file.space_id) or file.space_id == DICTIONARY_SPACE
    return DataFile(_found(path), path.name if plain else f"./{file.name}", file.space_id, file.flags)


def _found(path: Path) -> StoredFile:
    try:
        return StoredFile.of(path, path.lstat())
    except OSError as error:
        raise file_error(error, f"can't look at {path}") from error


def open_stored(file: StoredFile) -> int:
    """A descriptor of a file that is as it was listed. Raises `FileError`."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME)
    except PermissionError:  # O_NOATIME is for the owner
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(error, f"can't open {file.path}") from error
    except OSError as error:
        raise file_error(error, f"can't open {file.path}") from error
    if StoredFile.of(file.path, os.fstat(descriptor)) != file:
        os.close(descriptor)
        raise FileError(f"{file.path} was changed while it was served")
    return descriptor


def hold(directory: Path, listed: Sequence[ExpectedFile]) -> list[int]:
    """Read locks on the system's files, which keep mysqld from starting on them: it wants to lock them for writing.
    Their descriptors. Raises `TargetBusy`, a file error."""
    paths = [directory / one.name for one in listed if _is_systems(one.space_id)]
    found: list[int] = []
    request = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    try:
        for path in paths[:SYSTEM_FILES]:
            found.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
            fcntl.fcntl(found[-1], fcntl.F_OFD_SETLK, request)
    except OSError as error:
        for descriptor in found:
            os.close(descriptor)
        if isinstance(error, BlockingIOError | PermissionError):
            raise TargetBusy(f"a server uses {path}", hint="stop that server first") from error
        raise file_error(error, f"can't lock {path}") from error
    return found


def _trx_sys(files: FilePlan, page_size: int, position: tuple[str, int]) -> Page:
    """The page of the system tablespace that tells the binary log position, with this one in it."""
    index = next(at for at, file in enumerate(files.data) if file.space_id == SYSTEM_SPACE)
    stored = files.files[index]
    descriptor = open_stored(stored)
    try:
        content = os.pread(descriptor, page_size, TRX_SYS_PAGE * page_size)
    except OSError as error:
        raise file_error(error, f"can't read {stored.path}") from error
    finally:
        os.close(descriptor)
    try:
        return Page(index, TRX_SYS_PAGE * page_size, stored.size, page_with_position(content, *position))
    except ValueError as error:
        raise TargetUnusable(f"{stored.path}: {error}", hint="innoclone verify tells more") from error


def _fingerprint(files: FilePlan, redo: RedoPlan, pages: Sequence[Page]) -> int:
    """Not 0; 63 bits, so that no one takes it for negative."""
    found = hashlib.sha256(f"{CHUNK} {BLOCK}\n".encode())
    for file in (*files.files, *redo.files):
        found.update(f"{file.path}\0{file.size} {file.modified} {file.inode}\n".encode(errors="surrogateescape"))
    for page in pages:
        found.update(page.content)
    return int.from_bytes(found.digest()[:8], "big") >> 1 | 1
