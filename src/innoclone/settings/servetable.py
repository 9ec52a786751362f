"""The tables ``[serve.NAME]`` of the agent's file: stored clones, and the server of its host, that it serves.

Each has a port of its own: a recipient names nothing but a host, a port and an account.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innoclone.commands.options import MAX_BANDWIDTH, bounded, split_directories
from innoclone.commands.storeoptions import BootCheckOptions, StoreAccess
from innoclone.errors import UsageError

__all__ = ["ServedClone", "served_of"]

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MOST_CONNECTIONS, LONGEST_TIMEOUT = 10_000, 30
RENEW, LONGEST_RENEW = 60.0, 10_080.0  # minutes: an hour, a week
KINDS: dict[str, tuple[type, ...]] = {
    "directory": (str,), "live": (bool,), "datadir": (str,), "port": (int,), "bind_address": (str,),
    "store": (str,), "key_file": (str,), "passphrase_file": (str,), "store_options": (dict,), "scratch": (str,),
    "keyring": (str,), "innodb_directories": (str,), "renew": (int, float),
    "require_secure_transport": (bool,), "max_connections": (int,), "reconnect_timeout": (int,),
    "max_data_bandwidth": (int, float), "max_network_bandwidth": (int, float), "max_donor_read": (int, float),
}  # fmt: skip
PATHS = ("directory", "datadir", "key_file", "passphrase_file", "scratch", "keyring")
OF_STORES = ("key_file", "passphrase_file", "store_options", "scratch")


@dataclass(frozen=True)
class ServedClone:
    """One table. Limits in MiB/s, of all recipients together, 0 is none; ``reconnect_timeout`` in minutes. Raises
    `UsageError`."""

    name: str
    port: int  # 0: any that is free
    directory: Path | None = None  # or a link to it: what it leads to when a recipient comes
    live: bool = False  # the running server of [server], else of [managed]
    datadir: Path | None = None  # that server's data directory as it is seen here
    store: str | None = None  # URL[@SNAPSHOT]; it is restored when the agent starts, newer ones later
    key_file: Path | None = None
    passphrase_file: Path | None = None
    store_options: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # obstore's: there may be secrets
    scratch: Path | None = None  # where it is restored to; None: the folder of temporary files
    keyring: Path | None = None  # of what is encrypted; None: as the clone's manifest tells
    innodb_directories: str = ""  # where the server whose data it is had tablespaces outside, separated by semicolons
    renew: float | None = None  # minutes after which a newer one is looked for; 0: never; None: `RENEW`
    bind_address: str | None = None  # None: the agent's
    require_secure_transport: bool | None = None  # None: the agent's
    max_connections: int = 256
    reconnect_timeout: int = 5
    max_data_bandwidth: float = 0.0
    max_network_bandwidth: float = 0.0
    max_donor_read: float = 0.0  # of the files

    @property
    def source(self) -> str:
        """What a user knows it by."""
        if self.store is not None:
            return self.store
        return "the running server" if self.directory is None else str(self.directory)

    @property
    def places(self) -> tuple[Path, ...]:
        """``innodb_directories``, one by one. Raises `UsageError`."""
        return split_directories(self.innodb_directories)

    @property
    def snapshot(self) -> BootCheckOptions | None:
        """What is to be restored. Raises `UsageError`."""
        from innoclone.store.address import split_snapshot

        if self.store is None:
            return None
        address, snapshot = split_snapshot(self.store)
        access = StoreAccess(address, self.key_file, self.passphrase_file, self.store_options)
        return BootCheckOptions(store=access, snapshot=snapshot, scratch=self.scratch, keyring=self.keyring)

    @property
    def renewed_after(self) -> float:
        """Seconds after which a newer snapshot is looked for, 0: never, as where one is named."""
        wanted = self.snapshot
        if wanted is None or wanted.snapshot != "latest":
            return 0.0
        return 60 * (RENEW if self.renew is None else self.renew)

    def __post_init__(self) -> None:
        """Refuse what could not be served."""
        where = f"[serve.{self.name}]"
        if not NAME.fullmatch(self.name):
            raise UsageError(f"{where}: a name has letters, digits, -, _ and .")
        if (self.directory is not None) + self.live + (self.store is not None) != 1:
            raise UsageError(f"{where} needs directory, store, or live = true")
        if self.store is None and any(getattr(self, name) for name in OF_STORES):
            raise UsageError(f"{where} {', '.join(OF_STORES)} go together with store")
        if self.store is not None and not _is_address(self.store):
            raise UsageError(f"{where} store must be a URL, such as s3://BUCKET/PREFIX")
        if self.renew is not None:
            bounded(f"{where} renew", self.renew, 0, LONGEST_RENEW)
            if self.store is None or (self.renew and not self.renewed_after):
                raise UsageError(f"{where} renew goes together with the latest snapshot of a store")
        _ = self.snapshot
        if self.keyring is not None and self.live:
            raise UsageError(
                f"{where} keyring goes together with directory or store", hint="a running server has its own"
            )
        if self.places and self.directory is None:
            raise UsageError(f"{where} innodb_directories goes together with directory")
        if self.datadir is not None and not self.live:
            raise UsageError(f"{where} datadir goes together with live")
        if not all(path is None or path.is_absolute() for path in (getattr(self, name) for name in PATHS)):
            raise UsageError(f"{where} {', '.join(PATHS)} must be absolute paths")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"{where} port must be from 0 to 65535, not {self.port}")
        if self.bind_address == "":
            raise UsageError(f"{where} bind_address must not be empty", hint="* is everywhere")
        if not 3 <= self.max_connections <= MOST_CONNECTIONS:
            raise UsageError(f"{where} max_connections must be from 3 to {MOST_CONNECTIONS}")
        if not 0 <= self.reconnect_timeout <= LONGEST_TIMEOUT:
            raise UsageError(f"{where} reconnect_timeout must be from 0 to {LONGEST_TIMEOUT} minutes")
        for name in ("max_data_bandwidth", "max_network_bandwidth", "max_donor_read"):
            bounded(f"{where} {name}", getattr(self, name), 0, MAX_BANDWIDTH)


def _is_address(text: str) -> bool:
    from innoclone.store.address import is_address

    return is_address(text)


def served_of(tables: Any, config: Path | None) -> tuple[ServedClone, ...]:
    """The table of tables ``serve``. Raises `UsageError` for what is missing, unknown or of another type."""
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageError(f"{config}: each stored clone that is served is a table of its own, [serve.NAME]")
    found = [_one(name, table, f"{config}: [serve.{name}]") for name, table in tables.items()]
    ports = [one.port for one in found if one.port]
    if twice := next((port for port in ports if ports.count(port) > 1), None):
        raise UsageError(f"{config}: two [serve.NAME] have port {twice}", hint="each needs one of its own")
    return tuple(found)


def _one(name: str, table: dict[str, Any], where: str) -> ServedClone:
    for key, value in table.items():
        kinds = KINDS.get(key)
        if kinds is None:
            raise UsageError(f"{where} may have {', '.join(KINDS)}, not {key}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{where} {key} must be of type {kinds[0].__name__}")
    if "port" not in table:
        raise UsageError(f"{where} needs port")
    if not all(isinstance(value, str) for value in table.get("store_options", {}).values()):
        raise UsageError(f"{where} store_options must be of type str, each")
    values: dict[str, Any] = {key: Path(value) if key in PATHS else value for key, value in table.items()}
    values["store_options"] = tuple(table.get("store_options", {}).items())
    return ServedClone(name, **values)
