"""What a manifest out of a store must look like. Without encryption anybody who can write there can make one, and those
who read a clone's manifest trust it: it is of their own making."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["refuse_odd_manifest", "refuse_odd_origin"]

MANIFEST = {
    "format": int, "innoclone": str, "donor": dict, "position": dict, "files": list, "channels": list, "options": dict,
    "series": str, "left": str, "stages": list, "external_directories": list, "notes": list, "encryption": dict,
    "started": str, "finished": str, "restored": dict,
}  # fmt: skip
DONOR = {"uuid": str, "version": str, "host": str, "port": int, "page_size": int, "variables": dict}
POSITION = {"binlog_file": str, "binlog_position": int, "gtid_executed": str, "from": str}
FILE = {"path": str, "space_id": int, "flags": int, "size": int}
PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
LARGEST = 1 << 63


def refuse_odd_manifest(manifest: Mapping[str, Any]) -> None:
    """Raises ValueError, TypeError, AttributeError for one that no clone of ours has."""
    _fields(manifest, MANIFEST)
    refuse_odd_origin(manifest)
    if (size := (manifest.get("donor") or {}).get("page_size")) is not None and size not in PAGE_SIZES:
        raise ValueError(f"pages of {size} bytes")
    for row in manifest.get("files", ()):
        for name, kind in FILE.items():
            value: object = row.get(name)
            if not isinstance(value, kind) or (isinstance(value, int) and not 0 <= value < LARGEST):
                raise ValueError(f"the manifest's file {row!r}")
    if any(not isinstance(path, str) for path in manifest.get("external_directories") or ()):
        raise ValueError("the manifest's external_directories")


def refuse_odd_origin(fields: Mapping[str, Any]) -> None:
    """Of a manifest, or a snapshot. Raises ValueError for a donor or a position that can't be one."""
    _fields(fields, {"donor": dict, "position": dict})
    _fields(fields.get("donor") or {}, DONOR)
    _fields(fields.get("position") or {}, POSITION)


def _fields(found: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if not isinstance(found.get(name), kind | None):
            raise ValueError(f"the manifest's {name}")
