"""The keyring of a clone: which one it gets, what the manifest tells of it, and what a server needs to find it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from innoclone.commands.options import CopyOptions
from innoclone.errors import CloneError, KeyringFailed
from innoclone.files.generations import LATEST
from innoclone.files.keyring import ENCRYPTION, CloneKeyring, is_configuration, keyring_home, local_configuration
from innoclone.files.manifest import MANIFEST, read_manifest, update_manifest
from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error
from innoclone.receive.resume import Resumable, keyring_in
from innoclone.records.journal import read_journal
from innoclone.records.status import CloneStatus
from innoclone.server.keyring import Keyring
from innoclone.server.preflight import DonorFacts

__all__ = [
    "configuration_of",
    "encryption_of",
    "keyring_for",
    "keyring_to_write",
    "own_keyring",
    "refuse_another_keyring",
]


def keyring_for(options: CopyOptions, directory: Path, *, in_series: bool = False) -> CloneKeyring:
    """The keyring of a clone in ``directory``: the one that was named, or that of what is there, or a new one beside
    it; all of a series have one key, each in a file of its own. Raises `KeyringFailed` where the one that was named, or
    that of what is there, can't serve."""
    real = Path(os.path.realpath(directory))
    home = keyring_home(real.parent if in_series else real)
    own = _known(real)
    known = own or (_known(real.parent / LATEST) if in_series else None)
    if known is not None and known[0].parent != home:
        known = None  # somebody's own, or that of a clone from which this one was copied
    found = CloneKeyring(
        home, file=options.keyring, key=options.keyring_key, known=known, is_anothers=own is None,
        generation=real if in_series else None,
    )  # fmt: skip
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
    """What the manifest tells: nothing where nothing is encrypted. Raises `KeyringFailed` where the keyring that the
    clone was made with is not there any more."""
    if not keyring.in_use:
        return {}
    keyring.prove()
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


def keyring_to_write(
    directory: Path, manifest: Mapping[str, Any], keys: Keyring | None, status: CloneStatus
) -> Keyring | None:
    """For a server that is kept: it adds keys to its keyring, and writes the file anew each time, with no others in it
    than those it has read or made itself (tested with 9.7.4). So it gets a file of its own where the clone's is, or may
    be, another one's, too: of a series, of the original of a copy, or of a server. The manifest and the settings beside
    the data name that one from then on. Raises `KeyringFailed`, a file error."""
    home = keyring_home(directory)
    if keys is None or ENCRYPTION not in manifest or keys.path.parent == home:
        return keys
    entry = manifest[ENCRYPTION]
    keyring = CloneKeyring(home)
    keyring.copy(keys.path, entry["key"])
    keyring.give(directory)
    assert keyring.path is not None, "that is where it was copied to"
    try:
        for name, text in local_configuration(keyring.path).items():
            if is_configuration(directory / name, manifest):
                (directory / name).write_text(text)
    except OSError as error:
        raise file_error(error, f"can't set up the keyring of {directory}") from error
    update_manifest(directory, **{ENCRYPTION: {**entry, "keyring": str(keyring.path)}})
    status.notes.append(f"encrypted: the server has a keyring of its own, {keyring.path}, a copy of {keys.path}")
    return replace(keys, path=keyring.path)


def configuration_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Files of the data directory by which a server finds the keyring, by name; none without encryption."""
    return local_configuration(Path(entry[ENCRYPTION]["keyring"])) if ENCRYPTION in entry else {}
