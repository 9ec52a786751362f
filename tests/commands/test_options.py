"""innoclone.commands.options: what no operation could run with is refused before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from innoclone.commands.options import CloneOptions, LocalOptions, RestoreOptions
from innoclone.errors import UsageError
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
