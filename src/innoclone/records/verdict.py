"""What ``verify`` found, as a record in the clone's manifest, and whether it is still true.

With it goes a fingerprint of the clone's files (name, size, time of change, inode). A server that ran on the directory,
an update or a copy has another one, so a verdict ends with what it was about; no one has to remember to remove it. What
a disk does to a file by itself is not seen: for that the record has its date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError
from innoclone.files.extents import regular_files
from innoclone.files.names import OWN_DIR
from innoclone.records.manifest import timestamp, update_manifest

__all__ = ["FIELD", "Verdict", "fingerprint", "record_verdict", "verdict_of"]

FIELD = "verified"  # of the manifest
LONGEST = 20  # problems that are recorded


@dataclass(frozen=True)
class Verdict:
    """``at`` as ISO 8601; ``tables`` is how many were compared with a server and are equal, None where only pages were
    checked; ``current`` whether the clone is still as it was then."""

    sound: bool
    at: str
    text: str
    tables: int | None
    current: bool

    @property
    def what(self) -> str:
        """What was looked at."""
        return "pages" if self.tables is None else "pages and tables"


def fingerprint(directory: Path, outside: Mapping[str, Any] | None = None) -> str:
    """Of all files of a clone, with those of its manifest ``outside`` the directory; not of our own folder in it.

    Raises OSError.
    """
    found = hashlib.sha256()
    for path, state in regular_files(directory):
        name = path.relative_to(directory)
        if name.parts[0] != OWN_DIR:
            found.update(
                f"{name}\0{state.st_size} {state.st_mtime_ns} {state.st_ino}\n".encode(errors="surrogateescape")
            )
    for row in (outside or {}).get("files", []):
        if (path := Path(row["path"])).is_absolute():
            state = path.stat()
            found.update(
                f"{path}\0{state.st_size} {state.st_mtime_ns} {state.st_ino}\n".encode(errors="surrogateescape")
            )
    return found.hexdigest()


def record_verdict(
    directory: Path,
    manifest: Mapping[str, Any],
    moment: float,
    text: str,
    *,
    problems: list[str],
    tables: int | None,
    details: Mapping[str, object],
) -> str:
    """Write what was found at ``moment`` (seconds since the epoch) into the manifest; why that failed, or nothing.

    A clone that nobody may write to is as good as verified.
    """
    try:
        record = {
            "at": timestamp(moment), "sound": not problems, "verdict": text, "tables": tables, **details,
            "problems": problems[:LONGEST], "files": fingerprint(directory, manifest),
        }  # fmt: skip
        update_manifest(directory, **{FIELD: record})
    except OSError as error:
        return error.strerror or str(error)
    except CloneError as error:
        return error.message
    return ""


def verdict_of(directory: Path, manifest: Mapping[str, Any]) -> Verdict | None:
    """What the last ``verify`` of a clone said; None if there was none."""
    record = manifest.get(FIELD)
    if not isinstance(record, dict):
        return None
    try:
        current = fingerprint(directory, manifest) == record["files"]
    except OSError:
        current = False
    return Verdict(
        sound=bool(record["sound"]),
        at=str(record["at"]),
        text=str(record["verdict"]),
        tables=record.get("tables"),
        current=current,
    )
