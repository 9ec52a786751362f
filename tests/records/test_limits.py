"""Bandwidth limits on a clock of our own: amounts and rates, not how fast this machine is."""

from __future__ import annotations

import pytest

from innoclone.records import limits as module
from innoclone.records.limits import LARGEST_SLICE, SMALLEST_SLICE, Limits
from innoclone.records.units import MIB
from innoclone.transport.timings import DATA_BLOCK_WAIT


class Clock:
    """Time passes only in sleeps, and in `work`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Stopped:
    """The event that `Limits.pause` waits on; ``oversleep`` is how much later a real wait ends, in seconds."""

    def __init__(self, clock: Clock, *, oversleep: float = 0.0) -> None:
        self._clock, self._oversleep = clock, oversleep
        self.sleeps: list[float] = []
        self.stop_at = float("inf")

    def is_set(self) -> bool:
        return self._clock.now >= self.stop_at

    def wait(self, seconds: float) -> bool:
        self.sleeps.append(seconds)
        self._clock.now += seconds + self._oversleep
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def transfer(
    limits: Limits, clock: Clock, stopped: Stopped, seconds: float, *, speed: float = 1e9, ratio: float = 1.0
) -> int:
    """Bytes that one connection moves in so many seconds. ``speed``: bytes per second of the network without a limit;
    ``ratio``: bytes on the wire for each byte of data."""
    end, moved = clock.now + seconds, 0
    while clock.now < end and not stopped.is_set():
        piece = limits.piece
        clock.now += piece / speed
        limits.pause(piece, int(piece * ratio), stopped)
        moved += piece
    return moved


@pytest.mark.parametrize("rate", [0.1, 0.5, 1, 10, 100, 400])
@pytest.mark.parametrize("oversleep", [0.0, 0.0005, 0.005])
def test_a_limit_is_true_within_five_percent_over_ten_seconds(clock, rate, oversleep):
    moved = transfer(Limits(data=rate), clock, Stopped(clock, oversleep=oversleep), 10)
    assert moved == pytest.approx(10 * rate * MIB, rel=0.05)


def test_the_network_limit_counts_what_is_on_the_wire(clock):
    stopped = Stopped(clock)
    assert transfer(Limits(network=2), clock, stopped, 10, ratio=0.25) == pytest.approx(80 * MIB, rel=0.05)
    assert transfer(Limits(data=3, network=2), clock, stopped, 10, ratio=0.25) == pytest.approx(30 * MIB, rel=0.05)
    assert transfer(Limits(data=3, network=2), clock, stopped, 10, ratio=1.0) == pytest.approx(20 * MIB, rel=0.05)


def test_no_limit_is_no_pause(clock):
    stopped = Stopped(clock)
    transfer(Limits(), clock, stopped, 1)
    assert stopped.sleeps == []
    assert Limits().rate == 0


def test_a_network_slower_than_the_limit_is_not_slowed_down(clock):
    stopped = Stopped(clock)
    moved = transfer(Limits(data=100), clock, stopped, 10, speed=10 * MIB)
    assert moved == pytest.approx(100 * MIB, rel=0.01)
    assert stopped.sleeps == []


def test_time_without_traffic_is_not_made_up_for(clock):
    """After a minute of waiting for the donor it does not go at full speed for a minute."""
    limits, stopped = Limits(data=1), Stopped(clock)
    transfer(limits, clock, stopped, 1)
    clock.now += 60
    assert transfer(limits, clock, stopped, 10) == pytest.approx(10 * MIB, rel=0.05)


def test_pauses_are_short_and_end_with_a_stop(clock):
    limits, stopped = Limits(data=0.001), Stopped(clock)
    stopped.stop_at = clock.now + 0.6
    limits.pause(MIB, MIB, stopped)
    assert clock.now < stopped.stop_at + 0.5
    assert max(stopped.sleeps) <= 0.5


@pytest.mark.parametrize(("before", "after"), [(1, 50), (50, 1), (0.1, 100), (1, 0.5)])
def test_a_limit_that_is_changed_counts_from_then_on(clock, before, after):
    limits, stopped = Limits(data=before), Stopped(clock)
    transfer(limits, clock, stopped, 10)
    limits.data = after
    assert limits.data == after
    assert transfer(limits, clock, stopped, 10) == pytest.approx(10 * after * MIB, rel=0.05)


def test_a_connection_that_waits_notices_that_the_limit_is_raised(clock):
    """Many connections have moved a piece each, and the last would have to wait for minutes."""
    limits = Limits(data=0.01)

    class Raised(Stopped):
        def wait(self, seconds: float) -> bool:
            if len(self.sleeps) == 3:
                limits.data = 100
            return super().wait(seconds)

    raised = Raised(clock)
    begin = clock.now
    limits.pause(MIB, MIB, raised)  # 100 s at the old rate
    assert len(raised.sleeps) > 3
    assert clock.now - begin < 3


@pytest.mark.parametrize("change", [0.0, 5.0])
def test_a_limit_that_is_lifted_or_set_while_it_runs(clock, change):
    limits, stopped = Limits(data=2 if change == 0 else 0), Stopped(clock)
    transfer(limits, clock, stopped, 1)
    limits.data = change
    sleeps = len(stopped.sleeps)
    moved = transfer(limits, clock, stopped, 10)
    if change:
        assert moved == pytest.approx(50 * MIB, rel=0.05)
    else:
        assert len(stopped.sleeps) == sleeps


@pytest.mark.parametrize("rate", [0, 0.01, 0.06, 0.3, 0.77, 1, 4, 1000])
def test_pieces_are_of_whole_small_pages_and_in_bounds(rate):
    for limits in (Limits(data=rate), Limits(network=rate)):
        assert SMALLEST_SLICE <= limits.piece <= LARGEST_SLICE
        assert limits.piece % SMALLEST_SLICE == 0


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 1, 6.4, 1000])
@pytest.mark.parametrize("wanted", [1, 4, 128])
def test_so_few_connections_that_none_starves(rate, wanted):
    """With one block of 1 MiB each, going round takes no longer than a donor is patient."""
    limits = Limits(data=rate)
    count = limits.connections(wanted)
    assert 1 <= count <= wanted
    assert count == 1 or count * MIB / limits.rate <= DATA_BLOCK_WAIT


def test_all_connections_without_a_limit():
    assert Limits().connections(128) == 128


def test_several_connections_share_one_limit(clock):
    """Taking turns, as threads do: the sum is bounded, and each gets its part."""
    limits, stopped = Limits(data=8), Stopped(clock)
    moved = [0, 0, 0, 0]
    end = clock.now + 10
    while clock.now < end:
        for connection in range(4):
            limits.pause(limits.piece, limits.piece, stopped)
            moved[connection] += limits.piece
    assert sum(moved) == pytest.approx(80 * MIB, rel=0.05)
    assert min(moved) == pytest.approx(max(moved), rel=0.1)
