"""How amounts are written for people: MiB and GiB (`innoclone.records.units`), MiB/s, durations, times of day."""

from __future__ import annotations

import time

from innoclone.records.units import MIB, amount

__all__ = ["MIB", "amount", "duration", "moment", "speed"]


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
