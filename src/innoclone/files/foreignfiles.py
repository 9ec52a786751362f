"""What lies in an unfinished clone that no clone brings: somebody put it there, and it must not go with the clone.

There is no manifest yet that says what belongs to the clone, and system tablespaces can have any name. So a file is the
clone's by its name, or by how it begins: as a page 0 of InnoDB, or with nothing yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from innoclone.errors import TargetExists
from innoclone.files.manifest import MANIFEST
from innoclone.files.names import BUFFER_POOL, CLONE_DIR, OWN_DIR, STATUS
from innoclone.files.system import file_error

__all__ = ["refuse_strangers"]

OF_A_CLONE = re.compile(rf".*\.ib[du]|ibdata\d+|undo_.*|ib_logfile\d+|{BUFFER_POOL}.*|.*\.#clone.*|#ib_.*dblwr")
NEVER_RAN = "auto.cnf"  # the UUID that mysqld takes before it finds that it can't start here: no server ever had it
FOLDERS = re.compile(rf"{CLONE_DIR}|{OWN_DIR}|#innodb_.*|#ib_archive")
HEAD = 64  # bytes: the header of a page (FIL_PAGE_DATA is 38) and more
TYPE = slice(24, 26)  # FIL_PAGE_TYPE
FSP_HDR = (8).to_bytes(2, "big")  # FIL_PAGE_TYPE_FSP_HDR: every tablespace begins with one
SHOWN = 4


def refuse_strangers(directory: Path) -> None:
    """Raise `TargetExists` where an unfinished clone that is to go has files of somebody else in it; a file error.

    A clone with a manifest was whole once, and was looked at when its removal began; what a restore copies may be a
    server's own files.
    """
    if (directory / OWN_DIR / MANIFEST).exists() or _is_restore(directory):
        return
    try:
        found = sorted(str(path.relative_to(directory)) for path in _strangers(directory))
    except OSError as error:
        raise file_error(error, f"can't look through {directory}") from error
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise TargetExists(
            f"the unfinished clone in {directory} holds what is not the clone's: {', '.join(found[:SHOWN])}{more}",
            hint="move that elsewhere, it would be lost",
        )


def _strangers(directory: Path) -> Iterator[Path]:
    for entry in directory.iterdir():
        if FOLDERS.fullmatch(entry.name):
            continue
        if entry.is_dir() and not entry.is_symlink():  # a schema's
            yield from (one for one in entry.iterdir() if not _is_clones(one))
        elif entry.name != NEVER_RAN and not _is_clones(entry):
            yield entry


def _is_clones(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    if OF_A_CLONE.fullmatch(path.name):
        return True
    with path.open("rb") as file:
        head = file.read(HEAD)
    return head[TYPE] == FSP_HDR or not any(head)


def _is_restore(directory: Path) -> bool:
    try:
        return bool(json.loads((directory / OWN_DIR / STATUS).read_bytes())["operation"] == "restore")
    except (OSError, ValueError, KeyError, TypeError):
        return False
