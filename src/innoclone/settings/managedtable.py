"""The table ``[managed]`` of a TOML file: the server whose data CLONE INSTANCE without a directory replaces."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from innoclone.commands.options import above_0
from innoclone.errors import UsageError
from innoclone.records.managedserver import Managed
from innoclone.transport.endpoint import Endpoint, SslMode

__all__ = ["endpoint_of", "managed_of", "read_managed"]

ENDPOINT: dict[str, tuple[type, ...]] = {
    "host": (str,), "port": (int,), "user": (str,), "password": (str,), "socket": (str,),
}  # fmt: skip
SERVER: dict[str, tuple[type, ...]] = {
    "datadir": (str,), "start": (str, list), "stop": (str, list), "mysqld": (str,), "defaults_file": (str,),
    "options": (str, list), "trial": (bool,), "start_timeout": (int, float), "stop_timeout": (int, float),
}  # fmt: skip
WORDS, PATHS = ("start", "stop", "options"), ("datadir", "mysqld", "defaults_file")


def read_managed(config: Path) -> Managed:
    """The table of a file. Raises `UsageError` where there is none."""
    try:
        table = tomllib.loads(config.read_text()).get("managed")
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read {config}: {error}") from error
    if table is None:
        raise UsageError(f"{config} has no table [managed]", hint="see docs/agent.md")
    return managed_of(table, config)


def managed_of(table: Any, config: Path | None) -> Managed:
    """Raises `UsageError` for what is missing, unknown or of another type."""
    _check(table, ENDPOINT | SERVER, f"{config}: [managed]")
    values: dict[str, Any] = {name: value for name, value in table.items() if name in SERVER}
    if "datadir" not in values:
        raise UsageError(f"{config}: [managed] needs datadir")
    for name in WORDS:
        given = values.get(name, [])
        values[name] = tuple(shlex.split(given) if isinstance(given, str) else map(str, given))
    for name in PATHS:
        if name in values:
            values[name] = Path(values[name])
            if not values[name].is_absolute():
                raise UsageError(f"{config}: [managed] {name} must be an absolute path")
    for name in ("start_timeout", "stop_timeout"):
        above_0(f"{config}: [managed] {name}", values.get(name, 1))
    where = {name: value for name, value in table.items() if name in ENDPOINT}
    return Managed(endpoint=endpoint_of(where, f"{config}: [managed]"), **values)


def endpoint_of(table: Any, where: str) -> Endpoint:
    """``host``, ``port``, ``socket``, ``user`` and ``password`` of a table. Raises `UsageError`."""
    _check(table, ENDPOINT, where)
    socket = Path(table["socket"]) if "socket" in table else None
    endpoint = Endpoint(**{**table, "socket": socket})
    return replace(endpoint, ssl_mode=SslMode.PREFERRED) if socket is not None else endpoint


def _check(table: Any, known: dict[str, tuple[type, ...]], where: str) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table")
    for name, value in table.items():
        kinds = known.get(name)
        if kinds is None:
            raise UsageError(f"{where} may have {', '.join(known)}, not {name}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{where} {name} must be of type {kinds[0].__name__}")
