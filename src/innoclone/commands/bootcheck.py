"""A snapshot is tried: restored to a folder for a while, booted, and what was found is noted beside it in the store.

room        the folder's disk has as much as the snapshot takes, and what a server writes when it comes up
restore     whole, every page checked
boot        a private mysqld recovers it: now the GTID set is known, and the position is seen to be what was said
note        a sealed object beside the snapshot, which is not written again
remove      the folder, whatever happened
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from innoclone.commands.options import VerifyOptions
from innoclone.commands.storeaccess import opened
from innoclone.commands.storeoptions import BootCheckOptions
from innoclone.commands.storescratch import restored_for_a_while
from innoclone.commands.verify import VerifyReport, verify
from innoclone.errors import VerifyFailed
from innoclone.records.position import ClonePosition, Positioned
from innoclone.records.status import CloneStatus
from innoclone.server.programs import find_programs
from innoclone.store.checks import CHECKED, record_check
from innoclone.store.snapshots import Snapshot, find
from innoclone.transport.endpoint import Endpoint
from innoclone.version import __version__

__all__ = ["BootChecked", "boot_check", "verify_snapshot"]


@dataclass(frozen=True, kw_only=True)
class BootChecked(Positioned):
    """A snapshot that a mysqld of ``version`` came up on; ``checked`` is when, by the store's clock."""

    store: str
    snapshot: str
    version: str
    pages: int
    checked: float
    position: ClonePosition


def boot_check(
    options: BootCheckOptions, *, status: CloneStatus | None = None, stopped: threading.Event | None = None
) -> BootChecked:
    """Try a snapshot; see `BootCheckOptions`. Raises a `CloneError`; nothing is noted then."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    repository = opened(options.store, stopped)
    snapshot = find(repository, options.snapshot)
    with restored_for_a_while(options, repository, snapshot, status, stopped, boot=True) as result:
        _refuse_other_position(snapshot, result.position)
        found = {
            "mysqld": result.booted,
            "pages": result.pages_checked,
            "position": {
                "binlog_file": result.binlog_file, "binlog_position": result.binlog_position,
                "gtid_executed": result.gtid_executed, "from": result.position_from,
            },
            "innoclone": __version__,
        }  # fmt: skip
    written = record_check(repository, snapshot, found)
    return BootChecked(
        store=repository.address, snapshot=snapshot.id, version=result.booted, pages=result.pages_checked,
        checked=written[CHECKED], position=result.position,
    )  # fmt: skip


def verify_snapshot(
    options: BootCheckOptions, against: Endpoint | None = None, *, status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
) -> VerifyReport:  # fmt: skip
    """Check a snapshot as `verify` does a clone, restored for a while. Raises what that does, a `CloneError`."""
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    repository = opened(options.store, stopped)
    snapshot = find(repository, options.snapshot)
    if against is not None:
        find_programs(options.mysqld)
    with restored_for_a_while(options, repository, snapshot, CloneStatus(), stopped) as result:
        return verify(
            VerifyOptions(
                result.directory, against=against, mysqld=options.mysqld, threads=options.threads,
                keyring=options.keyring,
            ),
            status=status, stopped=stopped,
        )  # fmt: skip


def _refuse_other_position(snapshot: Snapshot, found: ClonePosition) -> None:
    """What the server says must be what the snapshot says. Raises `VerifyFailed`."""
    said = ClonePosition.of_manifest(snapshot.fields.get("position") or {})
    if not said.binlog_file:
        return
    one, other = (f"{each.binlog_file}:{each.binlog_position}" for each in (said, found))
    if one != other or (said.gtid_executed and said.gtid_executed != found.gtid_executed):
        raise VerifyFailed(f"snapshot {snapshot.id} says that it stands at {one}, a server on it at {other}")
