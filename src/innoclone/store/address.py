"""Addresses of stores: ``s3://bucket/prefix``, ``gs://``, ``az://``, ``file:///folder``, and ``...@SNAPSHOT``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from innoclone.errors import UsageError
from innoclone.store.folder import FolderObjects
from innoclone.store.objects import Objects
from innoclone.store.remote import RemoteObjects

__all__ = ["LATEST", "SNAPSHOT", "is_address", "objects_at", "parse_options", "split_snapshot"]

LATEST = "latest"
SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
SNAPSHOT = re.compile(r"[0-9A-Za-z-]{1,64}\Z")


def is_address(text: str) -> bool:
    """Whether a place that the user names is a store, not a directory or a server."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def split_snapshot(text: str) -> tuple[str, str]:
    """Address and snapshot, which is `LATEST` where none is named. Raises `UsageError`."""
    address, separator, snapshot = text.rpartition("@")
    if not separator or "/" in snapshot:
        return text, LATEST
    if not SNAPSHOT.match(snapshot):
        raise UsageError(f"{snapshot!r} names no snapshot", hint="behind @ comes latest, an id or its beginning")
    return address, snapshot


def objects_at(address: str, options: Mapping[str, str]) -> Objects:
    """The objects there; nothing is asked of the store yet. Raises `UsageError`."""
    if not is_address(address):
        raise UsageError(
            f"{address!r} is no address of a store", hint="s3://bucket/prefix, gs://, az://, or file:///folder"
        )
    if "?" in address or "#" in address or re.match(r"\w+://[^/]*@", address):
        raise UsageError("an address of a store has no ?, # or login", hint="credentials come from the environment")
    if "@" in address.rstrip("/").rpartition("/")[2]:
        raise UsageError(
            f"{address!r}: no store has an @ in its last name",
            hint="behind it comes a snapshot, which this is not about; name another prefix",
        )
    scheme, _, rest = address.partition("://")
    if scheme.lower() == "file":
        if not rest.startswith("/") or not Path(rest).name:
            raise UsageError(f"{address!r} has no absolute path", hint="file:///folder has three slashes")
        return FolderObjects(Path(rest))
    return RemoteObjects(address.rstrip("/"), options)


def parse_options(texts: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` of ``--store-option``. Raises `UsageError`."""
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--store-option {text.partition('=')[0]} is not of the form NAME=VALUE")
        found[name] = value
    return found
