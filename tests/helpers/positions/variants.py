"""The donors: settings that decide how and when a server notes where its binary log stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["VARIANTS", "Variant"]


@dataclass(frozen=True)
class Variant:
    """``options`` of the donor, ``init`` those that its data is also made with; ``load`` threads write to it, ``ddl``
    and ``trouble`` run beside them. ``source`` options make it a replica of another, busy server. ``has_log`` is
    whether its clones have a position at all."""

    options: Sequence[str] = ()
    init: Sequence[str] = ()
    load: int = 3
    ddl: bool = True
    trouble: bool = True
    source: Sequence[str] | None = None
    has_log: bool = True


_NO_GTIDS = ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")

VARIANTS: dict[str, Variant] = {
    "plain": Variant(),
    "no GTIDs": Variant(_NO_GTIDS),
    "unordered commits": Variant(("--binlog-order-commits=OFF",), load=6),
    "unordered, no GTIDs": Variant(("--binlog-order-commits=OFF", *_NO_GTIDS), load=6, ddl=False),
    "never synced": Variant(("--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2")),
    "group commit": Variant(("--sync-binlog=1", "--binlog-group-commit-sync-delay=2000"), load=8),
    "rotated all the time": Variant(("--max-binlog-size=4096",), ddl=False),
    "statements, a long name": Variant(("--binlog-format=STATEMENT", f"--log-bin={'l' * 200}"), ddl=False),
    "compressed transactions": Variant(("--binlog-transaction-compression=ON",)),
    "pages of 4 KiB": Variant(init=("--innodb-page-size=4k",)),
    "pages of 8 KiB": Variant(init=("--innodb-page-size=8k",)),
    "pages of 32 KiB": Variant(init=("--innodb-page-size=32k",)),
    "pages of 64 KiB": Variant(init=("--innodb-page-size=64k",)),
    "a small redo log": Variant(("--innodb-redo-log-capacity=8M",), load=4),
    "undo truncated": Variant(("--innodb-undo-log-truncate=ON", "--innodb-max-undo-log-size=10M",
                               "--innodb-purge-rseg-truncate-frequency=1")),
    "idle": Variant(load=0, ddl=False, trouble=False),
    "replica": Variant(load=1, ddl=False, trouble=False, source=()),
    "replica without updates in its log": Variant(
        ("--log-replica-updates=OFF",), load=1, ddl=False, trouble=False, source=()
    ),
    "replica that does nothing else": Variant(load=0, ddl=False, trouble=False, source=()),
    "no binary log": Variant(("--disable-log-bin",), trouble=False, has_log=False),
    "redo log without checksums": Variant(("--innodb-log-checksums=OFF",)),
}  # fmt: skip
