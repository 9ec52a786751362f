"""Amounts in MiB and GiB, as MySQL's own tools count them."""

from __future__ import annotations

__all__ = ["GIB", "MIB", "amount"]

MIB = 1024 * 1024
GIB = 1024 * MIB


def amount(count: float) -> str:
    """``count`` bytes in MiB, from 10 GiB on in GiB, and in KiB where MiB would look like nothing."""
    if 0 < count < MIB / 10:
        return f"{count / 1024:,.1f} KiB"
    return f"{count / GIB:,.2f} GiB" if count >= 10 * GIB else f"{count / MIB:,.1f} MiB"
