"""What an agent is told when it starts: where it listens, its limits, and the server on its host."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from innoclone.commands.options import above_0
from innoclone.errors import UsageError
from innoclone.records.folders import state_directory
from innoclone.records.managedserver import Managed
from innoclone.settings.managedtable import endpoint_of, managed_of
from innoclone.settings.servetable import ServedClone, served_of
from innoclone.transport.endpoint import Endpoint

__all__ = ["DEFAULT_PORT", "AgentSettings", "read_settings"]

DEFAULT_PORT = 3307
DEFAULT_WEB_PORT = 9307
TABLES = ("server", "managed", "serve", "web_port", "web_bind_address")  # fields that are tables of the file, or in one


def _folder() -> Path:
    return state_directory() / "agent"


@dataclass(frozen=True)
class AgentSettings:
    """Raises UsageError when a value is out of bounds. Times are in seconds."""

    folder: Path = field(default_factory=_folder)  # accounts, keys, persisted variables
    bind_address: str = "127.0.0.1"  # "*" for all; "" for no TCP
    port: int = DEFAULT_PORT  # 0: any that is free
    socket: Path | None = None  # None: agent.sock in the folder
    ssl_cert: Path | None = None  # None: one of our own making
    ssl_key: Path | None = None
    require_secure_transport: bool = False
    max_connections: int = 151
    max_allowed_packet: int = 1 << 20  # bytes
    connect_timeout: float = 10.0  # for a login, TLS included
    wait_timeout: float = 28800.0  # for the next command
    max_failed_logins: int = 20  # of one host in a row; then it must wait
    block_time: float = 60.0
    stop_timeout: float = 60.0  # for a clone to end in order
    server: Endpoint | None = None  # what CLONE LOCAL copies
    web_bind_address: str = "127.0.0.1"  # [web] in the file
    web_port: int | None = None  # None: no page and no metrics; 0: any that is free
    managed: Managed | None = None  # whose data CLONE INSTANCE without a directory replaces
    serve: tuple[ServedClone, ...] = ()  # [serve.NAME]: stored clones that others may take

    def __post_init__(self) -> None:
        """Refuse what no agent could run with."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be from 0 to 65535, not {self.port}")
        if self.web_port is not None and not 0 <= self.web_port <= 65535:
            raise UsageError(f"the web port must be from 0 to 65535, not {self.web_port}")
        if not self.web_bind_address:
            raise UsageError("the web bind address must not be empty", hint="* is everywhere")
        if not 1 <= self.max_connections <= 100_000:
            raise UsageError(f"max_connections must be from 1 to 100000, not {self.max_connections}")
        if not 1024 <= self.max_allowed_packet <= 1 << 30:
            raise UsageError(f"max_allowed_packet must be from 1024 to 1073741824, not {self.max_allowed_packet}")
        for name in ("connect_timeout", "wait_timeout", "block_time", "stop_timeout", "max_failed_logins"):
            above_0(name, getattr(self, name))
        if any(one.live for one in self.serve) and self.running is None:
            raise UsageError("[serve.NAME] with live = true needs a table [server] or [managed]")
        if (self.ssl_cert is None) != (self.ssl_key is None):
            raise UsageError("ssl_cert and ssl_key belong together")

    @property
    def running(self) -> Endpoint | None:
        """The server on this host."""
        return self.server or (None if self.managed is None else self.managed.endpoint)

    @property
    def recipients(self) -> int:
        """Connections of recipients that there may be, of all that is served together."""
        return sum(one.max_connections for one in self.serve)

    @property
    def socket_path(self) -> Path:
        """Where the Unix socket is."""
        return self.socket or self.folder / "agent.sock"


def read_settings(config: Path | None, options: Mapping[str, Any]) -> AgentSettings:
    """What the TOML file says, and over it ``options`` that are not None. Raises `UsageError`."""
    found: dict[str, Any] = {}
    if config is not None:
        try:
            found = tomllib.loads(config.read_text())
        except (OSError, UnicodeError) as error:
            raise UsageError(f"can't read {config}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{config}: {error}") from error
    server, managed = found.pop("server", None), found.pop("managed", None)
    serve = served_of(found.pop("serve", {}), config)
    web = _web(found.pop("web", None), config)
    given = {name: value for name, value in options.items() if value is not None}
    if "web_bind_address" in given:
        web = {"web_port": DEFAULT_WEB_PORT} | web
    known = {one.name: str(one.type) for one in fields(AgentSettings) if one.name not in TABLES}
    values = {name: _checked(name, value, known, config) for name, value in found.items()} | web | given
    return AgentSettings(
        **values,
        server=None if server is None else endpoint_of(server, f"{config}: [server]"),
        managed=None if managed is None else managed_of(managed, config),
        serve=serve,
    )


def _checked(name: str, value: Any, known: Mapping[str, str], config: Path | None) -> Any:
    kind = known.get(name)
    if kind is None:
        raise UsageError(f"{config}: unknown setting {name}")
    if kind.startswith("Path") and isinstance(value, str):
        return Path(value)
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}
    right = kinds.get(kind)
    if right is None or not isinstance(value, right) or (isinstance(value, bool) and kind != "bool"):
        raise UsageError(f"{config}: {name} must be of type {kind.split()[0].lower()}")
    return value


def _web(web: Any, config: Path | None) -> dict[str, Any]:
    if web is None:
        return {}
    known = {"port": int, "bind_address": str}
    if not isinstance(web, dict) or any(type(value) is not known.get(name) for name, value in web.items()):
        raise UsageError(f"{config}: [web] may have port and bind_address")
    return {f"web_{name}": value for name, value in ({"port": DEFAULT_WEB_PORT} | web).items()}
