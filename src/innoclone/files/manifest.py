"""``#innoclone/manifest.json``: what a finished clone is, for whoever finds the directory later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from innoclone.errors import FileError, TargetUnusable
from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error, sync_directory

__all__ = ["FORMAT", "MANIFEST", "donor_text", "read_manifest", "timestamp", "update_manifest"]

MANIFEST = "manifest.json"
FORMAT = 1


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a finished clone. Raises `TargetUnusable` if there is none, `FileError` if it can't be read."""
    path = directory / OWN_DIR / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise TargetUnusable(
            f"{directory} holds no finished clone of innoclone", hint=f"there is no {OWN_DIR}/{MANIFEST} in it"
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(f"can't read {path}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FileError(f"{path} is not a manifest of format {FORMAT}")
    return manifest


def donor_text(donor: Mapping[str, Any]) -> str:
    """Where the donor of a manifest was reached: ``user@host:port``, the socket, or the way there; empty where nothing
    tells it."""
    if donor.get("via"):
        return str(donor["via"])
    host = str(donor.get("host") or "")
    where = host if host.startswith("/") else f"{host}:{donor.get('port', '')}"
    return f"{donor.get('user', '')}@{where}" if host else ""


def timestamp(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, milliseconds included."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def update_manifest(directory: Path, **fields: object) -> dict[str, Any]:
    """Set ``fields``, atomically and durably; the manifest as it is then."""
    manifest = read_manifest(directory) | fields
    path = directory / OWN_DIR / MANIFEST
    beside = path.with_suffix(".new")
    try:
        owner = path.stat()
        with beside.open("w") as file:
            file.write(json.dumps(manifest, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.chown(beside, owner.st_uid, owner.st_gid)
        beside.chmod(owner.st_mode & 0o7777)
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise file_error(error, f"can't write {path}") from error
    return manifest
