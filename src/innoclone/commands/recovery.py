"""Data of a server that crashed, to be served: recovered by a private mysqld, on a copy.

What the crashed server has acknowledged may be in its binary log only, so the private server has that, too, as the
server itself would at its next start. The copy is this server's alone: whatever could lead it to a file of the original
is refused before.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from innoclone.donor.binlogpage import is_from_crash
from innoclone.donor.completeness import named_files, refuse_absent
from innoclone.donor.keys import Keys
from innoclone.donor.stored import hold
from innoclone.errors import DiskFull, FileError, TargetUnusable
from innoclone.files.base import space_of
from innoclone.files.inuse import Purpose
from innoclone.files.names import REDO_DIR
from innoclone.files.system import file_error
from innoclone.innodb.redo import BLOCK_SIZE, FILE_HEADER_SIZE
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags
from innoclone.records.units import MIB, amount
from innoclone.server import cloned
from innoclone.server.mysqld import Server
from innoclone.server.programs import find_programs
from innoclone.stream.pagecheck import ExpectedFile, find_tablespaces

__all__ = ["recovered_copy"]

_BLOCK_HEAD, _BLOCK_TAIL = 12, 4  # bytes of a redo block that are no log
_WINDOW = 8 * MIB // BLOCK_SIZE * BLOCK_SIZE
_LONGEST_NAME = 4096
_ABSOLUTE = re.compile(rb"(?s)(?=(..)(/[^\0]{1,4094}\0))")
_TABLESPACE = re.compile(rb"\.ib[du]\0\Z|/undo_\d+\0\Z")
_INDEX = "*.index"


@contextmanager
def recovered_copy(
    directory: Path, folder: Path, mysqld: Path | None = None, keyring: Path | None = None
) -> Iterator[Path]:
    """A copy of the directory in ``folder`` on which a mysqld has come up and was shut down; it is removed at the end.
    ``keyring`` is for encrypted data.

    Raises `TargetUnusable` with the reason, `TargetBusy`, `DiskFull`, `ServerNotFound`, `BootFailed`,
    `KeyringFailed`, a file error.
    """
    directory, folder = Path(os.path.realpath(directory)), Path(os.path.realpath(folder))
    listed = _proven(directory, folder, Keys.of({}, keyring))
    programs = find_programs(mysqld)
    locks = hold(directory, listed)
    scratch = None
    try:
        cloned.check_bootable(directory, Purpose.LOOK)
        index = _binary_logs(directory)
        scratch = _copied(directory, folder)
        _point_to_own(scratch / index.name)
        cloned.check_bootable(directory, Purpose.LOOK)  # who came before our locks
    except BaseException:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    finally:
        for descriptor in locks:
            os.close(descriptor)
    try:
        page_size = SpaceFlags(listed[0].flags).logical_page_size
        options = [
            *cloned.settings({"donor": {"page_size": page_size}}), *cloned.no_replication(programs),
            *(option for option in cloned.PRIVATE if option != "--disable-log-bin"),
            "--persisted-globals-load=OFF", f"--log-bin={scratch / index.stem}",
            f"--server-id={secrets.randbelow(2**31) + 1}",
        ]  # fmt: skip
        with Server.start(
            programs, scratch, options=options, skip_grants=True, user=cloned.run_as(scratch, programs),
            timeout=3600.0, keyring=cloned.keyring_of({}, keyring),
        ):  # fmt: skip
            pass  # it is shut down in order
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _proven(directory: Path, folder: Path, keys: Keys) -> list[ExpectedFile]:
    """The tablespaces, if a server on a copy can't reach a file outside of it."""
    cloned.check_bootable(directory, Purpose.LOOK)
    if folder.is_relative_to(directory):
        raise TargetUnusable(f"{folder} lies in {directory}", hint="name another folder with --recover")
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise TargetUnusable(f"{path} is a symbolic link: a server on a copy would write to what it leads to")
    listed = []
    for name in find_tablespaces(directory):
        if (header := space_of(directory / name)) is not None:
            listed.append(ExpectedFile(name, header.space_id, header.flags))
    listed.sort(key=lambda one: one.space_id != SYSTEM_SPACE)
    if not listed or listed[0].space_id != SYSTEM_SPACE:
        raise TargetUnusable(f"{directory} has no system tablespace")
    page_size = SpaceFlags(listed[0].flags).logical_page_size
    rows = named_files(directory, listed, page_size, keys)
    refuse_absent(directory, listed, page_size, rows, settled=False, placed=False)
    for path in (directory / REDO_DIR).glob("#ib_redo*"):
        if (outside := _absolute_name(path)) is not None:
            raise TargetUnusable(
                f"the redo log names a file that may be outside, {outside!r}: a server on a copy would write to it",
                hint="start the server itself and shut it down",
            )
    return listed


def _absolute_name(path: Path) -> str | None:
    """An absolute name of a tablespace in a redo file, behind its length in two bytes as the log has names. Parts of
    rows may look so, too."""
    kept = b""
    try:
        with path.open("rb") as file:
            file.seek(FILE_HEADER_SIZE)
            while window := file.read(_WINDOW):
                blocks = range(0, len(window), BLOCK_SIZE)
                log = kept + b"".join(window[at + _BLOCK_HEAD : at + BLOCK_SIZE - _BLOCK_TAIL] for at in blocks)
                for found in _ABSOLUTE.finditer(log):
                    if int.from_bytes(found[1], "big") == len(found[2]) and _TABLESPACE.search(found[2]):
                        return found[2][:-1].decode(errors="replace")
                kept = log[-_LONGEST_NAME:]
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    return None


def _binary_logs(directory: Path) -> Path:
    """The index of the binary logs, which have to be there: the last one as a crash leaves it. Relay logs, and what an
    earlier configuration left, would have a server take transactions back that it has acknowledged."""
    found = [path for path in directory.glob(_INDEX) if _is_of_crash(path)]
    if len(found) != 1 or not all((directory / name).is_file() for name in _named(found[0])):
        raise TargetUnusable(
            f"the binary logs of the server whose data is in {directory} are not there as a whole: without them"
            " transactions that it has acknowledged could be lost",
            hint="start the server itself and shut it down",
        )
    return found[0]


def _is_of_crash(index: Path) -> bool:
    names = _named(index)
    with suppress(OSError):
        return bool(names) and is_from_crash(index.parent / names[-1])
    return False


def _named(index: Path) -> list[str]:
    try:
        return [Path(line).name for line in index.read_text().splitlines() if line]
    except (OSError, UnicodeError) as error:
        raise TargetUnusable(f"{index} can't be read: {error}") from error


def _point_to_own(index: Path) -> None:
    """The copy's index names the copy's files, whatever the original's named."""
    index.write_text("".join(f"./{name}\n" for name in _named(index)))


def _copied(directory: Path, folder: Path) -> Path:
    """A copy that shares blocks where it can."""
    try:
        # No dot in front: InnoDB finds no tablespaces in a hidden directory.
        scratch = Path(tempfile.mkdtemp(prefix="innoclone-recovered-", dir=folder))
    except OSError as error:
        raise file_error(error, f"can't make a directory in {folder}") from error
    try:
        _copy(directory, scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return scratch


def _copy(directory: Path, scratch: Path, folder: Path) -> None:
    space = os.statvfs(folder)  # the rest of a copy that fails takes all of it
    command = ["cp", "-aT", "--reflink=auto", "--sparse=auto", str(directory), str(scratch)]
    plain = os.environ | {"LC_ALL": "C"}  # what it says is read below
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=plain)
    if not done.returncode:
        return
    if "No space left" in done.stderr:
        raise DiskFull(f"{folder} has {amount(space.f_bavail * space.f_frsize)}, too little for a copy of {directory}")
    raise FileError(f"can't copy {directory}: {done.stderr.strip()}")
