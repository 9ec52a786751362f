"""Where a clone stands in its donor's binary log: one record, wherever it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from innoclone.dataclass import dataclass

__all__ = ["FROM_BOOT", "FROM_COPY", "FROM_PAGES", "UNKNOWN", "ClonePosition", "Positioned"]

FROM_PAGES = "pages"  # read from the clone's own files; only a boot tells the GTID set, too
FROM_BOOT = "boot"  # found by the first boot's recovery
FROM_COPY = "copy"  # the same, on a copy of the system tablespaces


@dataclass(frozen=True, kw_only=True)
class ClonePosition:
    """A place in the donor's binary log. Empty and 0: unknown, or the donor has none.

    ``position_from`` is how it was found: one of the three above, empty where it isn't known. The GTID set is known
    after a boot only.
    """

    binlog_file: str = ""
    binlog_position: int = 0
    gtid_executed: str = ""
    position_from: str = ""

    @classmethod
    def of_manifest(cls, entry: Mapping[str, Any]) -> Self:
        """From what a manifest has as its ``position``; there the GTID set is None before a boot."""
        return cls(
            binlog_file=entry.get("binlog_file", ""),
            binlog_position=entry.get("binlog_position", 0),
            gtid_executed=entry.get("gtid_executed") or "",
            position_from=entry.get("from", ""),
        )

    @property
    def fields(self) -> dict[str, Any]:
        """The same by name, as results and records show it."""
        return asdict(self)


UNKNOWN = ClonePosition()


class Positioned:
    """What has a ``position`` shows its parts as its own."""

    position: ClonePosition

    @property
    def binlog_file(self) -> str:
        """The donor's binary log file."""
        return self.position.binlog_file

    @property
    def binlog_position(self) -> int:
        """The offset in that file, in bytes."""
        return self.position.binlog_position

    @property
    def gtid_executed(self) -> str:
        """The GTID set, known after a boot."""
        return self.position.gtid_executed

    @property
    def position_from(self) -> str:
        """``pages``, ``boot``, or ``copy``; empty where the position isn't known."""
        return self.position.position_from
