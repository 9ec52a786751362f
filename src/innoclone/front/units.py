"""How amounts are written for people: MiB and GiB as MySQL's own tools count them, MiB/s, durations, times of day."""

from __future__ import annotations

import time

__all__ = ["MIB", "amount", "duration", "moment", "speed"]

MIB = 1024 * 1024
GIB = 1024 * MIB


def amount(count: float) -> str:
    """``count`` bytes in MiB, from 10 GiB on in GiB, and in KiB where MiB would look like nothing."""
    if 0 < count < MIB / 10:
        return f"{count / 1024:,.1f} KiB"
    return f"{count / GIB:,.2f} GiB" if count >= 10 * GIB else f"{count / MIB:,.1f} MiB"


def speed(bytes_per_second: float) -> str:
    """A speed in MiB/s, always in the same unit so that lines compare."""
    return f"{bytes_per_second / MIB:,.1f} MiB/s"


def duration(seconds: float) -> str:
    """``m:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(epoch: float) -> str:
    """Seconds since the epoch as date and time of day here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))
