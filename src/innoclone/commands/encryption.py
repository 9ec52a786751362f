"""The keyring of a clone: which one it gets, what the manifest tells of it, and what a server needs to find it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from innoclone.commands.options import CopyOptions
from innoclone.errors import CloneError, KeyringFailed
from innoclone.files.generations import LATEST
from innoclone.files.keyring import ENCRYPTION, CloneKeyring, keyring_home, local_configuration
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.names import OWN_DIR
from innoclone.receive.resume import Resumable, keyring_in
from innoclone.records.journal import read_journal
from innoclone.records.status import CloneStatus
from innoclone.server.keyring import Keyring
from innoclone.server.preflight import DonorFacts

__all__ = ["configuration_of", "encryption_of", "keyring_for", "own_keyring", "refuse_another_keyring"]


def keyring_for(options: CopyOptions, directory: Path, *, in_series: bool = False) -> CloneKeyring:
    """The keyring of a clone in ``directory``: the one that was named, or that of what is there, or a new one beside
    it; all of a series have one. Raises `KeyringFailed` where the one that was named can't serve."""
    real = Path(os.path.realpath(directory))
    home = keyring_home(real.parent if in_series else real)
    earlier = [_known(real), *([_known(real.parent / LATEST)] if in_series else [])]
    known = next((one for one in earlier if one is not None), None)
    if known is not None and known[0].parent != home:
        known = None  # somebody's own, or that of a clone from which this one was copied
    found = CloneKeyring(home, file=options.keyring, key=options.keyring_key, known=known)
    found.check()
    return found


def refuse_another_keyring(options: CopyOptions, left: Resumable | None) -> None:
    """An unfinished clone has its keyring, and goes on with that. Raises `KeyringFailed` where another one is named."""
    if left is None or left.keyring is None or options.keyring is None:
        return
    path, _ = left.keyring
    if os.path.realpath(path) != os.path.realpath(options.keyring):
        raise KeyringFailed(
            f"the unfinished clone in {options.directory} was begun with the keyring {path}",
            hint="name that one, or none, to go on with it; or remove the directory, and begin anew",
        )


def _known(directory: Path) -> tuple[Path, str] | None:
    """The keyring of the clone that is there, finished or not."""
    with suppress(CloneError, KeyError, TypeError, ValueError):
        if (directory / OWN_DIR / MANIFEST).exists():
            entry = read_manifest(directory)[ENCRYPTION]
            return Path(entry["keyring"]), str(entry["key"])
        return keyring_in(read_journal(directory / OWN_DIR))
    return None


def encryption_of(keyring: CloneKeyring, facts: DonorFacts) -> dict[str, object]:
    """What the manifest tells: nothing where nothing is encrypted."""
    if not keyring.in_use:
        return {}
    logs = {name: facts.variables.get(f"innodb_{name}_log_encrypt", "OFF") for name in ("redo", "undo")}
    return {ENCRYPTION: {"keyring": str(keyring.path), "key": keyring.master().name} | logs}


def own_keyring(
    manifest: Mapping[str, Any], keyring: CloneKeyring, keys: Keyring | None, status: CloneStatus
) -> dict[str, object]:
    """A server on a copy adds keys to its keyring: it gets one of its own. What the manifest tells of it."""
    if keys is None or ENCRYPTION not in manifest:
        return {}
    entry = manifest[ENCRYPTION]
    keyring.copy(keys.path, entry["key"])
    status.notes.append(f"encrypted: a server needs the keyring {keyring.path} (component_keyring_file)")
    return {ENCRYPTION: {**entry, "keyring": str(keyring.path)}}


def configuration_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Files of the data directory by which a server finds the keyring, by name; none without encryption."""
    return local_configuration(Path(entry[ENCRYPTION]["keyring"])) if ENCRYPTION in entry else {}
