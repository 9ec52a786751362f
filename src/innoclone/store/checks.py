"""What a boot of a snapshot has shown: sealed objects beside it, ``checks/<run>/<id>``: none is written twice.

``run`` is the snapshot's, ``id`` random. The snapshot's name is sealed within, so that none speaks for another one.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from innoclone.errors import CloneError, StoreDamaged, StoreMissing
from innoclone.store.objects import SMALL, Gone
from innoclone.store.repository import Repository
from innoclone.store.sealing import Piece
from innoclone.store.snapshots import Snapshot, is_there

__all__ = ["CHECKED", "checks_of", "orphaned_checks", "record_check"]

FOLDER = "checks"
NAME = re.compile(rf"{FOLDER}/([0-9a-f]{{32}})/([0-9a-f]{{32}})\Z")
CHECKED = "checked"  # when, in seconds since the epoch, by the store's clock


def record_check(repository: Repository, snapshot: Snapshot, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Write what was found, with the moment; what was written. Raises `StoreMissing` for a snapshot that is gone."""
    if not is_there(repository, snapshot.name):
        raise StoreMissing(f"snapshot {snapshot.id} was forgotten while it was checked")
    own = secrets.token_bytes(16)
    body = {**fields, "snapshot": snapshot.name, CHECKED: round(repository.now(), 3)}
    sealed = repository.vault.sealer(own).seal(Piece.CHECK, 0, 0, json.dumps(body).encode())
    repository.objects.create(f"{FOLDER}/{snapshot.run.hex()}/{own.hex()}", sealed)
    return body


def checks_of(
    repository: Repository, snapshot: Snapshot | None = None, *, unreadable: list[CloneError] | None = None
) -> dict[str, dict[str, Any]]:
    """The last check of one snapshot, or of each, by its name. What isn't what was written is none, and is put into
    ``unreadable``."""
    found: dict[str, dict[str, Any]] = {}
    folder = FOLDER if snapshot is None else f"{FOLDER}/{snapshot.run.hex()}"
    for entry in repository.objects.list(folder):
        if (name := NAME.match(entry.name)) is None:
            continue
        try:
            fields = _read(repository, entry.name, name)
        except Gone:
            continue
        except StoreDamaged as error:
            if unreadable is not None:
                unreadable.append(error)
            continue
        older = found.get(fields["snapshot"])
        if older is None or older[CHECKED] < fields[CHECKED]:
            found[fields["snapshot"]] = fields
    return found


def orphaned_checks(names: list[str], runs: set[str]) -> list[str]:
    """Those of the objects ``names`` whose snapshots' runs are none of these."""
    return [name for name in names if (known := NAME.match(name)) is not None and known[1] not in runs]


def _read(repository: Repository, name: str, parts: re.Match[str]) -> dict[str, Any]:
    try:
        sealed = repository.objects.read(name, SMALL)
        fields = json.loads(repository.vault.sealer(bytes.fromhex(parts[2])).open(Piece.CHECK, 0, 0, sealed))
        if str(fields["snapshot"]).partition("-")[2] != parts[1]:
            raise ValueError(f"it is of snapshot {fields['snapshot']}")
        return {**fields, CHECKED: float(fields[CHECKED])}
    except StoreDamaged as error:
        raise StoreDamaged(f"check {name} isn't what was written") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreDamaged(f"check {name} makes no sense: {error}") from error
