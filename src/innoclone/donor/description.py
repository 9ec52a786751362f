"""What a donor says of itself: its version and configuration, as the directory tells them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from innoclone.errors import ProtocolError, TargetUnusable, VersionUnsupported
from innoclone.files.system import file_error
from innoclone.innodb.page import PAGE_NUMBER
from innoclone.innodb.space import DICTIONARY_SPACE
from innoclone.stream.pagecheck import ExpectedFile
from innoclone.wire.serverversion import check_version

__all__ = ["Description", "describe"]

HISTORY = "mysql_upgrade_history"
_VERSION = struct.Struct(f">{PAGE_NUMBER + 4}x I")  # of page 0: the number of the server that made or upgraded it
LTS = "LTS"


@dataclass(frozen=True)
class Description:
    """``maturity`` is empty where nothing tells it; ``configuration`` are variables that a recipient compares.

    A recipient has to have the ``collations`` and the ``plugins`` (by their libraries, empty if built in) that a live
    server has; a directory at rest tells of none.
    """

    version: str
    maturity: str
    page_size: int
    configuration: Mapping[str, str]
    uuid: str
    manifest: Mapping[str, Any]
    plugins: Mapping[str, str] = field(default_factory=dict)
    collations: Sequence[str] = ()
    increments: bool = True
    """Whether only what differs can be sent: that takes files that can be read."""

    @property
    def json(self) -> str:
        """The object in which newer recipients read the version."""
        return json.dumps({"version": self.version} | ({"maturity": self.maturity} if self.maturity else {}))


def describe(
    directory: Path, manifest: Mapping[str, Any], page_size: int, files: Sequence[ExpectedFile]
) -> Description:
    """Raises `TargetUnusable` where nothing tells a version that can be cloned."""
    donor: Mapping[str, Any] = manifest.get("donor", {})
    version, maturity = _history(directory)
    number = _number(directory, files)
    version = version or str(donor.get("version", "")) or number
    try:
        if check_version(version) != check_version(number):
            version, maturity = number, ""  # the tablespace was upgraded since, or the record is another's
    except (ProtocolError, VersionUnsupported) as error:
        raise TargetUnusable(f"{directory} is of no version that can be cloned: {error.message}") from error
    told = {name: str(donor.get(name) or "") for name in ("character_set_server", "collation_server")}
    configuration = {"innodb_page_size": str(page_size)} | {name: value for name, value in told.items() if value}
    return Description(version, maturity, page_size, configuration, _uuid(directory, donor), manifest)


def _history(directory: Path) -> tuple[str, str]:
    """Version and maturity by the last entry of the upgrade history; empty where there is none."""
    try:
        last = json.loads((directory / HISTORY).read_text())["upgrade_history"][-1]
        return str(last["version"]), str(last.get("maturity", ""))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return "", ""


def _number(directory: Path, files: Sequence[ExpectedFile]) -> str:
    """The version in page 0 of the dictionary's tablespace, as text."""
    path = directory / next((one.name for one in files if one.space_id == DICTIONARY_SPACE), "mysql.ibd")
    try:
        with path.open("rb") as file:
            head = file.read(_VERSION.size)
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    if len(head) < _VERSION.size:
        raise TargetUnusable(f"{path} has no first page")
    number = _VERSION.unpack(head)[0]
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _uuid(directory: Path, donor: Mapping[str, Any]) -> str:
    """Of the server whose data it is."""
    try:
        for line in (directory / "auto.cnf").read_text(errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key.strip().replace("_", "-") == "server-uuid":
                return value.strip()
    except OSError:
        pass
    return os.fspath(donor.get("uuid") or "")
