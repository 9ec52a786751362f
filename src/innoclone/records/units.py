"""Amounts in MiB and GiB, as MySQL's own tools count them."""

from __future__ import annotations

from innoclone.innodb.space import KIB, MIB

__all__ = ["GIB", "MIB", "amount"]

GIB = 1024 * MIB


def amount(count: float) -> str:
    """``count`` bytes in MiB, from 10 GiB on in GiB, and in KiB where MiB would look like nothing."""
    if 0 < count < MIB / 10:
        return f"{count / KIB:,.1f} KiB"
    return f"{count / GIB:,.2f} GiB" if count >= 10 * GIB else f"{count / MIB:,.1f} MiB"
