"""The keyring file of a generation that was removed goes, too, where it is certain that nobody needs it."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError
from innoclone.files.keyring import ENCRYPTION, keyring_home, noted_keyring, read_keyring
from innoclone.files.manifest import read_manifest
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR, SERIES
from innoclone.innodb.keyring import serialize_keyring

__all__ = ["manifests_of_unfinished", "remove_spent_keyring"]


def manifests_of_unfinished(folder: Path) -> dict[Path, Mapping[str, Any]]:
    """Of clones in a folder whose removal was cut short: their manifests are there until the end. Raises OSError."""
    found: dict[Path, Mapping[str, Any]] = {}
    for path in folder.iterdir():
        with contextlib.suppress(CloneError):
            if not path.is_symlink() and is_unfinished(path):
                found[path] = read_manifest(path)
    return found


def remove_spent_keyring(folder: Path, manifest: Mapping[str, Any]) -> Path | None:
    """Remove the keyring of a generation of ``folder`` that is gone, of which ``manifest`` told; None if it stays.

    It goes only if it is one that we make beside a series, as we made it and with nothing written since its clone was
    finished, so that no server has used it; if nothing else in the folder names it; and if another generation has its
    key in a file of its own, so that a copy of the clone that is gone can still be opened.
    """
    with contextlib.suppress(CloneError, OSError, KeyError, TypeError, ValueError):
        entry = manifest[ENCRYPTION]
        path, name = Path(entry["keyring"]), str(entry["key"])
        named = list(_named(folder))
        if path.parent == keyring_home(folder.resolve()) and _is_as_made(path, name, manifest):
            key = read_keyring(path)[name]
            others = [other for other, known in named if known == name and other.parent == path.parent]
            if path not in (other for other, _ in named) and any(read_keyring(one).get(name) == key for one in others):
                path.unlink()
                return path
    return None


def _is_as_made(path: Path, name: str, manifest: Mapping[str, Any]) -> bool:
    """Whether it is a file of that key alone, not written since. Raises `KeyringFailed`, OSError, ValueError."""
    state = path.lstat()
    finished = datetime.fromisoformat(str(manifest["finished"])).timestamp()
    return (
        stat.S_ISREG(state.st_mode) and state.st_nlink == 1 and state.st_mtime <= finished
        and path.read_bytes() == serialize_keyring(read_keyring(path)[name])
    )  # fmt: skip


def _named(folder: Path) -> Iterator[tuple[Path, str]]:
    """Keyrings that clones in the folder have, and the names of their keys. Raises a `CloneError`, OSError, or what
    comes of a manifest that makes no sense: of one that is damaged, or unfinished and no generation, nobody knows what
    it needs."""
    for clone in folder.iterdir():
        if clone.is_symlink() or not (clone / OWN_DIR).is_dir():
            continue
        if is_unfinished(clone) and (clone / OWN_DIR / SERIES).exists():
            if (noted := noted_keyring(clone)) is not None:  # which nobody has a key of yet
                yield noted.path, ""
        elif (entry := read_manifest(clone).get(ENCRYPTION)) is not None:
            yield Path(entry["keyring"]), str(entry["key"])
