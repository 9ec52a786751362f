"""Has a clone had a life of its own? Then an update would lose what nobody else has.

A server that was started on a clone leaves a UUID, binary logs, certificates, and a redo log that is not the clone's
any more (tested with 9.7, also after kill -9). The first one also recovers the clone, which is seen by another file.
What somebody put into the directory counts as well. A private server of ours (`innoclone.server.cloned`) takes its
traces away, and what it leaves of the redo log is in the manifest's ``left``. While one runs, and after it was cut off,
there is a mark, and the redo log says nothing; but the UUID that it has is in the mark, and any other one is that of a
server that came later.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError, FileError, TargetExists
from innoclone.files.base import is_earlier_clone
from innoclone.files.belongings import belongings
from innoclone.files.keyring import is_configuration
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.marks import is_recovered, is_unfinished
from innoclone.files.names import OWN_DIR, REDO_DIR
from innoclone.files.system import file_error
from innoclone.innodb.redo import BLOCK_SIZE, FILE_HEADER_SIZE, RedoFile, RedoHeader, newest_checkpoint

__all__ = [
    "AUTO_CNF",
    "LEFT",
    "PRIVATE_MARK",
    "has_private_uuid",
    "is_as_left",
    "left_behind",
    "losses",
    "refuse_losses",
]

LEFT = "left"  # in the manifest: what `left_behind` said at the end of a private server; None until one ran
PRIVATE_MARK = "private-server"  # in #innoclone, as long as a private server may run, or was cut off: its UUID
AUTO_CNF = "auto.cnf"
SHOWN = 4  # names in a message
BINLOG_MAGIC = b"\xfebin"  # log_event.h; relay logs have it, too
MADE_BY_ANY_BOOT = (r"mysql_upgrade_(history|info)",)


def left_behind(directory: Path) -> str:
    """A digest of the redo log: its files' names, sizes and headers, and the block that the newest checkpoint names.

    After a clean end that block is the last one, and the next change goes into it. Raises a file error.
    """
    found = hashlib.sha256()
    log: list[tuple[Path, RedoFile]] = []
    files = [*directory.glob("ib_logfile*"), *(directory / REDO_DIR).glob("#ib_redo*")]
    try:
        for path in sorted(path for path in files if not path.name.endswith("_tmp")):  # spare files hold no log
            with path.open("rb") as file:
                head, size = file.read(FILE_HEADER_SIZE), path.stat().st_size
            found.update(f"{path.name} {size} ".encode() + head)
            with contextlib.suppress(ValueError):  # before 8.0.30: there the headers must do
                log.append((path, RedoFile(0, size, RedoHeader.parse(head))))
        if (newest := newest_checkpoint([one for _, one in log])) is not None:
            holder, lsn = newest
            with next(path for path, one in log if one is holder).open("rb") as file:
                file.seek(holder.offset(lsn // BLOCK_SIZE * BLOCK_SIZE))
                found.update(file.read(BLOCK_SIZE))
    except OSError as error:
        raise file_error(error, f"can't read the redo log of {directory}") from error
    return found.hexdigest()


def is_as_left(directory: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether no server but a private one has run on a clone, as far as its redo log tells. Raises a file error."""
    if not is_recovered(directory):
        return True
    if (directory / OWN_DIR / PRIVATE_MARK).exists():
        return not (directory / AUTO_CNF).exists() or has_private_uuid(directory)
    if LEFT in manifest:
        return bool(manifest[LEFT] == left_behind(directory))
    return not (directory / AUTO_CNF).exists()  # recovered before there was such a field


def has_private_uuid(directory: Path) -> bool:
    """Whether ``auto.cnf`` is of a private server that was cut off. Raises a file error."""
    try:
        uuid = (directory / OWN_DIR / PRIVATE_MARK).read_text().strip()
        return bool(uuid) and uuid in (directory / AUTO_CNF).read_text(errors="replace")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise file_error(error, f"can't tell whose UUID {directory} has") from error


def losses(directory: Path) -> list[str]:
    """What an update of a clone would lose, a line for each kind; an empty list for one that is as it was cloned, for
    an unfinished one, and for what is no clone. Raises a file error."""
    if not directory.is_dir() or not is_earlier_clone(directory) or is_unfinished(directory):
        return []
    has_manifest = (directory / OWN_DIR / MANIFEST).exists()
    found, system = [], []
    manifest: dict[str, Any] = {}
    if has_manifest:
        try:
            manifest = read_manifest(directory)
            system = [row["path"] for row in manifest["files"] if "/" not in row["path"]]
        except (CloneError, KeyError, TypeError) as error:
            found.append(f"data of which its manifest does not tell ({error})")
    elif is_recovered(directory):
        found.append("data that may be its own: there is no manifest to tell")
    if has_manifest and not is_as_left(directory, manifest):
        found.append("data that a server wrote after the clone")
    try:
        strangers = belongings(directory, [*map(re.escape, system), *MADE_BY_ANY_BOOT])
        strangers = [path for path in strangers if not is_configuration(path, manifest)]
    except OSError as error:
        raise file_error(error, f"can't look into {directory}") from error
    except FileError:
        raise
    except CloneError as error:
        found.append(error.message)
        strangers = []
    is_ours = has_private_uuid(directory)
    return found + _told(
        [path for path in strangers if not (is_ours and path.name == AUTO_CNF) and not _is_empty_folder(path)]
    )


def refuse_losses(directory: Path) -> None:
    """Raise `TargetExists` where the update or removal of a clone would lose something; it says what."""
    if found := losses(directory):
        raise TargetExists(
            f"{directory} is no longer what was cloned, and this would be lost: {'; '.join(found)}",
            hint="name another directory, or say --discard-changes if all of that may go",
        )


def _told(strangers: list[Path]) -> list[str]:
    """Files and folders that no clone brings, in words."""
    logs = [path for path in strangers if _is_binary_log(path)]
    indexes = {f"{path.name.rpartition('.')[0]}.index" for path in logs}
    others = [path for path in strangers if path not in logs and path.name not in indexes]
    told = []
    if uuid := [path for path in others if path.name == AUTO_CNF]:
        others.remove(uuid[0])
        told.append(f"its server UUID ({AUTO_CNF})")
    if logs:
        span = f" to {logs[-1].name}" if len(logs) > 1 else ""
        told.append(f"{len(logs)} binary or relay log{'s' if span else ''} ({logs[0].name}{span})")
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        told.append(", ".join(path.name for path in others[:SHOWN]) + more)
    return told


def _is_empty_folder(path: Path) -> bool:
    """As an empty schema has it."""
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _is_binary_log(path: Path) -> bool:
    if not re.fullmatch(r".+\.\d{6,}", path.name) or not path.is_file():
        return False
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(BINLOG_MAGIC)) == BINLOG_MAGIC
    return False
