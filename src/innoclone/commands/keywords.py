"""The options of `innoclone.commands.options` as keywords, for functions that take them one by one and pass them on.

Defaults and bounds are those of the records; a test compares names and types.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, TypeVar, cast

from innoclone.records.retention import Policy
from innoclone.transport.endpoint import Compression

__all__ = [
    "BackupKeywords", "BootCheckKeywords", "BootKeywords", "CloneKeywords", "FilesKeywords",
    "LiveBackupKeywords", "LocalKeywords", "ReplaceKeywords", "ReplicateKeywords", "RestoreKeywords", "ServeKeywords",
    "SharedKeywords", "StoreRestoreKeywords", "VerifyKeywords", "with_paths",
]  # fmt: skip


_PATHS = frozenset({"datadir", "keyring", "mysqld", "recover", "scratch", "spool", "ssl_cert", "ssl_key"})
_K = TypeVar("_K", bound="Mapping[str, object]")


def with_paths(options: _K) -> _K:
    """Files that were given as text, or as seen from the working directory, as absolute paths."""
    found = {
        name: Path(value).absolute() if name in _PATHS and isinstance(value, str | os.PathLike) else value
        for name, value in options.items()
    }
    return cast(_K, found)


class _DonorKeywords(TypedDict, total=False):
    """How a running server is cloned."""

    block_ddl: bool
    ddl_timeout: int
    map_paths: tuple[tuple[str, str], ...]
    install_plugin: bool
    stall_timeout: float
    retry_for: float | None


class _NetworkKeywords(_DonorKeywords, total=False):
    """The same over the network."""

    threads: int | None
    max_concurrency: int
    max_network_bandwidth: float
    max_data_bandwidth: float
    verify_pages: bool


class _ResultKeywords(TypedDict, total=False):
    """What becomes of a clone in a directory of its own."""

    fsync: bool
    discard_changes: bool
    chown: str | None
    boot: bool
    mysqld: Path | None
    keyring: Path | None
    keyring_key: str | None


class SharedKeywords(_DonorKeywords, _ResultKeywords, total=False):
    """What `CloneOptions` and `LocalOptions` both have; without ``verify_pages`` each has its own default."""

    verify_pages: bool


class CloneKeywords(_NetworkKeywords, _ResultKeywords, total=False):
    """Of `CloneOptions`; ``compress`` is an argument of its own."""

    write_changed_only: bool
    incremental: str
    keep_base: bool
    generations: int
    keep: Policy
    full_copies: bool
    series: str


class ReplaceKeywords(_NetworkKeywords, total=False):
    """Of `CloneOptions`, those that count where a server's data is replaced."""

    compression: Compression


class FilesKeywords(TypedDict, total=False):
    """How a server's files are copied on its host, and to what."""

    incremental: str
    keep_base: bool
    full_copies: bool
    datadir: Path | None
    threads: int
    copy_methods: tuple[str, ...]
    max_data_bandwidth: float


class LocalKeywords(_DonorKeywords, _ResultKeywords, FilesKeywords, total=False):
    """Of `LocalOptions`."""

    generations: int
    keep: Policy
    series: str
    verify_pages: bool | None


class RestoreKeywords(TypedDict, total=False):
    """Of `RestoreOptions`."""

    chown: str | None
    keyring: Path | None
    mysqld_check: bool
    mysqld: Path | None
    accept_changes: bool
    map_paths: tuple[tuple[str, str], ...]
    threads: int
    copy_methods: tuple[str, ...]
    max_data_bandwidth: float
    fsync: bool
    verify_pages: bool


class BootCheckKeywords(TypedDict, total=False):
    """Of `BootCheckOptions`."""

    scratch: Path | None
    mysqld: Path | None
    keyring: Path | None
    threads: int


class StoreRestoreKeywords(TypedDict, total=False):
    """Of `StoreRestoreOptions`."""

    delta: bool
    discard_changes: bool
    chown: str | None
    mysqld_check: bool
    mysqld: Path | None
    keyring: Path | None
    map_paths: tuple[tuple[str, str], ...]
    threads: int
    max_data_bandwidth: float
    fsync: bool
    verify_pages: bool


class BackupKeywords(TypedDict, total=False):
    """Of `BackupOptions`."""

    full: bool
    accept_changes: bool
    threads: int
    max_data_bandwidth: float
    verify_pages: bool


class LiveBackupKeywords(TypedDict, total=False):
    """Of `LiveBackupOptions`; ``compress`` is an argument of its own."""

    full: bool
    spool: Path | None
    local: bool
    datadir: Path | None
    threads: int
    block_ddl: bool
    max_data_bandwidth: float
    max_network_bandwidth: float
    stall_timeout: float
    keyring: Path | None
    keyring_key: str | None


class BootKeywords(TypedDict, total=False):
    """Of `BootOptions`."""

    mysqld: Path | None
    keyring: Path | None
    copy: bool
    keep: bool
    port: int | None
    timeout: float


class VerifyKeywords(TypedDict, total=False):
    """Of `VerifyOptions`."""

    mysqld: Path | None
    keyring: Path | None
    threads: int


class ServeKeywords(TypedDict, total=False):
    """Of `ServeOptions`."""

    datadir: Path | None
    relay: bool
    recover: Path | None
    mysqld: Path | None
    bind_address: str
    port: int
    once: bool
    ssl_cert: Path | None
    ssl_key: Path | None
    require_secure_transport: bool
    max_connections: int
    reconnect_timeout: int
    max_data_bandwidth: float
    max_network_bandwidth: float
    max_donor_read: int
    keyring: Path | None
    innodb_directories: str
    called: str


class ReplicateKeywords(TypedDict, total=False):
    """Of `ReplicateOptions`."""

    run: bool
    reset_channels: bool
    wait: float
