"""Which file names of a donor are accepted, and where they go. A donor is not trusted (rule 5 of docs/design.md).

Facts: names are relative to the donor's data directory (``./schema/table.ibd``) or, for tablespaces outside of it,
absolute; undo and system files come without a directory.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from innoclone.errors import FileNameClash, PathRefused
from innoclone.innodb.space import SYSTEM_SPACE, is_undo

__all__ = [
    "ANY_TABLE", "BUFFER_POOL", "CLONE_DIR", "OWN_DIR", "OWN_KEYRING", "REDO_DIR", "SERIES", "STATUS", "Mapping",
    "clash", "place", "same_names",
]  # fmt: skip

BUFFER_POOL = "ib_buffer_pool"
CLONE_DIR = "#clone"  # the clone plugin's own folder (clone0api.h)
OWN_DIR = "#innoclone"
STATUS = "status.json"  # in it, while a clone is unfinished
SERIES = "series.json"  # in it, while it is to become a generation
OWN_KEYRING = "keyring.json"  # beside that: the keyring file that was made for it
REDO_DIR = "#innodb_redo"

LONGEST_PART = 255 - len(".#clone_ddl")  # bytes of a file's name (NAME_MAX), with what a rename adds for a while

ANY_TABLE = 1  # the id of some ordinary tablespace, for `place`

Mapping = tuple[tuple[str, str], ...]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")  # they would reach a terminal or a log
_SYSTEM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
# Files that a booting server would read as something else than a tablespace.
_SYSTEM_TABOO = re.compile(
    r"(\.(cnf|my|pem|so|index|sdi|json|ib[du]|dblwr|pid|err|log)|^auto\.cnf|^ib_buffer_pool)\Z", re.I
)


def place(name: str, space_id: int, root: Path, mapping: Mapping = ()) -> Path:
    """The path for the donor's file ``name``, below ``root`` or where ``mapping`` (old, new prefixes) sends it.

    Raises `PathRefused` for everything else: parent references, control characters, reserved or disguised names.
    """
    if not name or _CONTROL.search(name) or len(name.encode()) > 4000:
        raise PathRefused(f"the donor names a file {name[:80]!r}")
    pure = PurePosixPath(name)
    if any(len(part.encode()) > LONGEST_PART for part in pure.parts):
        raise PathRefused(f"the donor names a file {name[:80]!r}..., which is too long for a file system")
    if ".." in pure.parts:
        raise PathRefused(f"the donor names a file outside the target: {name!r}")
    if pure.is_absolute():
        return _mapped(pure, mapping)
    parts = pure.parts
    if not parts or len(parts) > 2:
        raise PathRefused(f"the donor names a file {name!r}, which is not SCHEMA/TABLE or a plain name")
    if not _fits(parts, space_id):
        raise PathRefused(f"the donor names a file {name!r} for tablespace {space_id}")
    return root.joinpath(*parts)


def clash(path: Path, one: str, other: str) -> PathRefused:
    """The error for two files of the donor that go to one place, which is a mapping's doing."""
    return PathRefused(
        f"the donor's files {one!r} and {other!r} would both be {path}",
        hint="give each of their directories one of its own with --map-path",
    )


def same_names(space_id: int, name: str) -> FileNameClash:
    """The error for two undo or system tablespace files of one name, whose directories a donor doesn't tell."""
    if not is_undo(space_id):
        return FileNameClash(f"the donor has multiple system tablespace files with same name: {name}")
    return FileNameClash(
        f"the donor has multiple undo files with same name: {name}",
        hint="on the donor: make an undo tablespace of another file name, ALTER UNDO TABLESPACE one of the two SET"
        " INACTIVE, and DROP it when it is empty",
    )


def _fits(parts: tuple[str, ...], space_id: int) -> bool:
    """Whether a relative name can be a tablespace of this id and nothing else to a server."""
    if len(parts) == 2:
        return not parts[0].startswith("#") and parts[1].endswith(".ibd")
    name = parts[0]
    if space_id == SYSTEM_SPACE:
        return bool(_SYSTEM_NAME.match(name)) and not _SYSTEM_TABOO.search(name)
    if space_id == 0xFFFFFFFF:
        return name == BUFFER_POOL
    if is_undo(space_id):
        return bool(re.match(r"undo_\d+\Z", name)) or name.endswith(".ibu")
    return name.endswith(".ibd")


def _mapped(path: PurePosixPath, mapping: Mapping) -> Path:
    if path.suffix not in (".ibd", ".ibu") and not re.match(r"(ibdata|undo_)\d+\Z", path.name):
        raise PathRefused(f"the donor names a file {str(path)!r}, which is not a tablespace")
    for old, new in sorted(mapping, key=lambda pair: -len(pair[0])):
        prefix = PurePosixPath(old)
        if path.is_relative_to(prefix):
            return Path(new) / path.relative_to(prefix)
    raise PathRefused(
        f"the donor has a tablespace outside its data directory: {str(path)!r}",
        hint=f"say where it shall go: --map-path {path.parent}=DIRECTORY",
    )
