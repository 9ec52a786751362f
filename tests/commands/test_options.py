"""innoclone.commands.options: what no operation could run with is refused before it begins."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from innoclone.agent.settings import AgentSettings
from innoclone.commands.options import (
    BootOptions,
    CloneOptions,
    LocalOptions,
    ReplicateOptions,
    RestoreOptions,
    ServeOptions,
)
from innoclone.commands.stop import stop
from innoclone.commands.storeoptions import BackupOptions, LiveBackupOptions, StoreAccess, StoreRestoreOptions
from innoclone.errors import UsageError
from innoclone.settings.servetable import ServedClone
from innoclone.transport.endpoint import Endpoint

MAKERS: list[Any] = [
    lambda **options: CloneOptions(Endpoint(), Path("/c"), **options),
    lambda **options: LocalOptions(Endpoint(), Path("/c"), **options),
    lambda **options: RestoreOptions(Path("/c"), Path("/d"), **options),
]


@pytest.mark.parametrize("make", MAKERS, ids=["clone", "local", "restore"])
@pytest.mark.parametrize("pair", [("/a", "b"), ("a", "/b"), ("", "")])
def test_files_go_to_absolute_places(make: Any, pair: tuple[str, str]) -> None:
    """A manifest names them, for a process in any directory."""
    assert make(map_paths=(("/a", "/b"),)).map_paths == (("/a", "/b"),)
    with pytest.raises(UsageError, match="two absolute paths"):
        make(map_paths=(("/a", "/b"), pair))


@pytest.mark.parametrize("make", MAKERS[:2], ids=["clone", "local"])
@pytest.mark.parametrize(
    "wrong", [{"stall_timeout": 0}, {"ddl_timeout": -1}, {"retry_for": -1}, {"max_data_bandwidth": -1}, {"threads": 0}]
)
def test_what_all_clones_have_in_common(make: Any, wrong: dict[str, Any]) -> None:
    """Has the same bounds."""
    with pytest.raises(UsageError):
        make(**wrong)


NUMBERS: list[Any] = [
    *MAKERS,
    lambda **options: BootOptions(Path("/c"), **options),
    lambda **options: ReplicateOptions(Path("/c"), Endpoint(), **options),
    lambda **options: ServeOptions(Path("/c"), "u", "p", **options),
    lambda **options: BackupOptions(Path("/c"), StoreAccess("/s"), **options),
    lambda **options: LiveBackupOptions(Endpoint(), StoreAccess("/s"), **options),
    lambda **options: StoreRestoreOptions(StoreAccess("/s"), "x", Path("/d"), **options),
    lambda **options: ServedClone("x", 1, Path("/c"), **options),
    lambda **options: AgentSettings(**options),
]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("make", NUMBERS)
def test_what_is_no_number(make: Any, wrong: float) -> None:
    """``nan`` and ``inf`` are numbers to the command line, and in TOML."""
    names = [one.name for one in fields(make()) if "float" in str(one.type)]
    assert names
    for name in names:
        with pytest.raises(UsageError, match=name.replace("_", "[_-]")):
            make(**{name: wrong})


def test_no_stop_without_end() -> None:
    with pytest.raises(UsageError, match="timeout"):
        stop(Path("/c"), timeout=math.nan)
