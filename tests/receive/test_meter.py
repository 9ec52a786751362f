"""Counting and pacing of one connection: what is limited waits once, what starves doesn't wait."""

from __future__ import annotations

import threading

import pytest

from innoclone.receive import timings
from innoclone.receive.meter import KEEPS_ALIVE, Meter
from innoclone.records.limits import Limits
from innoclone.transport.compression import Throttle

KIB = 1 << 10


class Line:
    """A connection, as far as a meter asks."""

    def __init__(self, compression: str) -> None:
        self.compression, self.network, self.throttle, self.is_readable = compression, 0, None, True

    def slow_down(self, throttle: Throttle) -> None:
        self.throttle = throttle

    def has_more_on_the_wire(self) -> bool:
        return self.is_readable


class Paused(Limits):
    """Notes the pauses instead of sleeping."""

    def __init__(self, **limits: float) -> None:
        super().__init__(**limits)
        self.pauses: list[tuple[int, int, bool]] = []

    def pause(self, data: int, network: int, stopped: threading.Event, *, urgent: bool = False) -> None:
        self.pauses.append((data, network, urgent))


def meter_of(line: Line, limits: Limits) -> Meter:
    return Meter(line, limits, threading.Event())  # type: ignore[arg-type]


def test_a_plain_connection_is_paced_for_both_limits_at_once() -> None:
    limits = Paused(data=1)
    meter = meter_of(Line("off"), limits)
    meter.took(64 * KIB)
    assert limits.pauses == [(64 * KIB, 64 * KIB, False)]
    assert (meter.counter.data, meter.counter.network) == (64 * KIB, 64 * KIB)


def test_what_comes_compressed_is_paced_by_packets_and_by_what_was_in_them() -> None:
    limits, line = Paused(network=1), Line("zstd")
    meter = meter_of(line, limits)
    assert line.throttle is meter
    line.network = 10 * KIB
    meter.moved(10 * KIB)
    meter.took(64 * KIB)
    assert limits.pauses == [(0, 10 * KIB, False), (64 * KIB, 0, False)]
    assert (meter.counter.data, meter.counter.network) == (64 * KIB, 10 * KIB)


def test_without_a_limit_nobody_waits_and_pieces_are_large() -> None:
    limits = Paused()
    meter = meter_of(Line("zstd"), limits)
    meter.moved(1)
    meter.took(1)
    assert limits.pauses == []
    assert meter.most(1 << 20, 16 * KIB) == 1 << 20
    assert meter.most((1 << 20) + 5, 16 * KIB) == 1 << 20, "whole pages"


@pytest.mark.parametrize("page", [1, 4 * KIB, 64 * KIB])
def test_under_a_low_limit_pieces_are_short_but_whole_pages(page: int) -> None:
    most = meter_of(Line("off"), Limits(data=0.1)).most(1 << 20, page)
    assert page <= most <= 64 * KIB
    assert most % page == 0


def test_a_connection_that_starves_goes_on_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A little is in each packet, and a data limit lets it pass too slowly for the donor; only if more has come."""
    limits, line = Paused(data=1), Line("zlib")
    meter = meter_of(line, limits)
    monkeypatch.setattr(timings, "STARVED", -1.0)
    for readable in (True, False):
        line.is_readable = readable
        meter.took(64 * KIB)
    assert [urgent for *_, urgent in limits.pauses] == [True, False]
    monkeypatch.setattr(timings, "STARVED", 3600.0)
    line.is_readable = True
    meter.moved(KEEPS_ALIVE)
    meter.took(1)
    assert not limits.pauses[-1][2]
