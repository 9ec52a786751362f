"""``#innoclone/manifest.json`` of a finished clone, read: what it is, for whoever finds the directory later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from innoclone.errors import FileError, TargetUnusable
from innoclone.files.names import OWN_DIR

__all__ = ["FORMAT", "MANIFEST", "read_manifest"]

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
