"""The search for the number of connections, against simulated donors, and connections that are held back."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.receive.active import HALF_CHUNK, TRICKLE, ActiveConnections
from innoclone.receive.autotune import Autotune
from innoclone.records.status import CloneStatus, Decision, Stage

MIB = 1 << 20
TICK = 0.1  # seconds between two looks
CONNECT = 0.3  # seconds until a new connection gets data
ENDLESS = 1 << 60

Speed = Callable[[int, float], float]
"""Bytes per second of a donor with so many connections at some time."""


def disk_bound(connections: int, now: float) -> float:
    return 500.0 * MIB


def latency_bound(connections: int, now: float) -> float:
    return 25.0 * MIB * connections


def latency_bound_up_to_six(connections: int, now: float) -> float:
    return 25.0 * MIB * min(connections, 6)


def processor_bound(connections: int, now: float) -> float:
    """Two are best, each more costs a part."""
    return 400.0 * MIB * (0.6 if connections == 1 else 0.95 ** (connections - 2))


def spinning_disk(connections: int, now: float) -> float:
    return 100.0 * MIB / (1 + 0.25 * min(connections - 1, 4))


@dataclass
class Simulation:
    """A clone from a donor of that speed; what comes is counted in blocks."""

    speed: Speed
    tuner: Autotune
    noise: float = 0.0
    seed: int = 1
    now: float = 0.0
    done: float = 0.0
    active: int = 0
    numbers: list[int] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def run(self, seconds: float, *, left: Callable[[float], float] = lambda done: ENDLESS) -> None:
        chance = random.Random(self.seed)
        got = [chance.random() * MIB for _ in range(128)]  # of each connection, but for whole blocks
        active, coming = self.tuner.wanted, 0.0
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            for number in range(active):
                got[number] += TICK * max(0.0, self.speed(active, self.now) * chance.gauss(1, self.noise)) / active
                blocks, got[number] = divmod(got[number], MIB)
                self.done += blocks * MIB
            decision = self.tuner.sample(self.now, int(self.done), int(left(self.done)), active)
            if decision is not None:
                self.decisions.append(decision)
                assert decision.connections == self.tuner.wanted
            if self.tuner.wanted > active:
                coming += TICK
            if self.tuner.wanted < active or coming > CONNECT:
                active, coming = self.tuner.wanted, 0.0
            self.numbers.append(active)


def simulate(speed: Speed, seconds: float, *, most: int = 16, noise: float = 0.0, seed: int = 1) -> Simulation:
    simulation = Simulation(speed, Autotune(most), noise, seed)
    simulation.run(seconds)
    return simulation


@pytest.mark.parametrize(
    ("speed", "best", "seconds"),
    [
        (disk_bound, {1}, 8.0),
        (latency_bound, {16}, 4.0),
        (latency_bound_up_to_six, {8}, 8.0),  # 6 isn't on the way, 4 would cost a third
        (processor_bound, {2}, 8.0),
        (spinning_disk, {1}, 8.0),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_finds_the_best_number_in_a_few_seconds(speed: Speed, best: set[int], seconds: float, noise: float) -> None:
    simulation = simulate(speed, seconds, noise=noise)
    assert simulation.tuner.wanted in best, [decision.reason for decision in simulation.decisions]


@pytest.mark.parametrize("speed", [disk_bound, latency_bound, latency_bound_up_to_six, processor_bound])
@pytest.mark.parametrize("seed", range(5))
def test_loses_little_in_a_minute_with_noise(speed: Speed, seed: int) -> None:
    simulation = simulate(speed, 60.0, noise=0.1, seed=seed)
    best = max(speed(connections, 0.0) for connections in (1, 2, 4, 8, 16))
    assert simulation.done > 60.0 * best / 1.1, [decision.reason for decision in simulation.decisions]


def test_tries_more_again_when_the_speed_falls() -> None:
    def far_after_a_while(connections: int, now: float) -> float:
        return disk_bound(connections, now) if now < 10 else latency_bound(connections, now)

    simulation = simulate(far_after_a_while, 10.0)
    assert simulation.tuner.wanted == 1
    simulation.run(15.0)
    assert simulation.tuner.wanted == 16


def test_goes_down_again_when_more_begin_to_hurt() -> None:
    def loaded_after_a_while(connections: int, now: float) -> float:
        return latency_bound(connections, now) if now < 10 else processor_bound(connections, now)

    simulation = simulate(loaded_after_a_while, 10.0)
    assert simulation.tuner.wanted == 16
    simulation.run(20.0)
    assert simulation.tuner.wanted == 2


def test_looks_again_though_the_speed_stays() -> None:
    def no_better_until_later(connections: int, now: float) -> float:
        return 100.0 * MIB if now < 20 else 100.0 * MIB * max(1, connections)

    simulation = simulate(no_better_until_later, 20.0)
    assert simulation.tuner.wanted == 1
    simulation.run(80.0)
    assert simulation.tuner.wanted == 16


def test_rests_longer_and_longer() -> None:
    simulation = simulate(latency_bound, 400.0)
    changes = [decision for decision in simulation.decisions if decision.connections != 16]
    assert simulation.tuner.wanted == 16
    assert len(changes) < 10, "each trial of fewer costs speed"


def test_does_without_connections_that_do_not_come() -> None:
    tuner = Autotune(16)
    reasons = []
    for tick in range(600):
        decision = tuner.sample(tick * TICK, tick * 10 * MIB, ENDLESS, min(tuner.wanted, 5))
        reasons += [decision.reason] if decision else []
    assert tuner.most == 5
    assert "5 connections came instead of 8" in reasons


def test_tries_nothing_when_the_end_is_near() -> None:
    simulation = Simulation(disk_bound, Autotune(16))
    simulation.run(3.0, left=lambda done: 1500.0 * MIB - done)
    assert simulation.decisions == []
    assert simulation.tuner.wanted == 8


@pytest.mark.parametrize("most", [1, 2, 3, 5, 6, 12, 16, 128])
def test_goes_up_to_a_limit(most: int) -> None:
    simulation = simulate(latency_bound, 20.0, most=most)
    assert simulation.tuner.wanted == most
    assert max(simulation.numbers) <= most
    if most == 1:
        assert simulation.decisions == []


def test_reasons_say_what_was_measured() -> None:
    simulation = simulate(latency_bound, 3.0)
    first, second = [decision.reason for decision in simulation.decisions]
    assert re.fullmatch(r"8 connections: (199|20.)\.. MiB/s, trying 16", first)
    assert re.fullmatch(r"16 connections: (39.|40.)\.. MiB/s after (199|20.)\.. MiB/s with 8, staying with 16", second)
    assert simulation.decisions[-1].speed == pytest.approx(400 * MIB, rel=0.01)


JUMPS = st.tuples(
    st.floats(-1.0, 20.0), st.integers(-(1 << 30), 1 << 34), st.integers(0, 200), st.integers(0, 1 << 40)
)  # fmt: skip


@given(most=st.integers(1, 128), steps=st.lists(JUMPS, max_size=200))
def test_never_leaves_the_bounds_whatever_it_is_told(most: int, steps: list[tuple[float, int, int, int]]) -> None:
    """Clocks that jump, counts that fall because a clone began anew, connections that come and go."""
    tuner = Autotune(most)
    now, done = 0.0, 0
    for later, more, active, left in steps:
        now, done = now + later, max(0, done + more)
        decision = tuner.sample(now, done, left, active)
        assert 1 <= tuner.wanted <= most
        if decision is not None:
            assert decision.connections == tuner.wanted


@given(most=st.integers(1, 64), rates=st.lists(st.floats(0.0, 1e9), min_size=64, max_size=64), seed=st.integers(0, 99))
def test_doubles_or_halves_or_goes_back(most: int, rates: list[float], seed: int) -> None:
    """Whatever the speeds are, no step is wilder than from one trial to the other side of where it began."""
    simulation = Simulation(lambda connections, now: rates[connections - 1], Autotune(most), 0.1, seed)
    simulation.run(60.0)
    for before, after in pairwise(simulation.numbers):
        assert after <= 4 * before + 1
        assert before <= 4 * after + 3


# ---- active connections ---------------------------------------------------------------------------------------


def all_running(connections: int, status: CloneStatus, *, autotune: Autotune | None = None) -> ActiveConnections:
    active = ActiveConnections(connections, autotune, status)
    for number in range(connections):
        active.join(number)
    return active


def test_a_fixed_number_is_never_held_back_nor_tuned() -> None:
    status = CloneStatus()
    status.start(Stage.FILE_COPY, estimate=1 << 40)
    active = all_running(16, status)
    for _ in range(100):
        active.tune()
    active.wait_turn(15, 100 * TRICKLE)  # would wait for ever
    assert active.wanted == 16
    assert status.decisions == []


def test_those_held_back_go_on_when_all_are_active() -> None:
    active = all_running(16, CloneStatus(), autotune=Autotune(16))
    active.wait_turn(7, TRICKLE)  # the eighth of eight
    held_back = threading.Thread(target=active.wait_turn, args=(8, TRICKLE))
    held_back.start()
    held_back.join(0.2)
    assert held_back.is_alive()
    active.activate_all()
    held_back.join(10)
    assert not held_back.is_alive()


def test_those_held_back_read_a_little_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("innoclone.receive.timings.IDLE_INTERVAL", 0.01)
    active = all_running(16, CloneStatus(), autotune=Autotune(16))
    waits = []

    def wait_for(met: Callable[[], bool], seconds: float) -> bool:
        waits.append(seconds)
        return met()

    monkeypatch.setattr(active._changed, "wait_for", wait_for)
    for network in range(0, 10 * TRICKLE + 1, TRICKLE // 4):
        active.wait_turn(8, network)
    assert waits == [0.01] * 10


def test_all_are_active_when_the_end_is_near() -> None:
    status = CloneStatus()
    row = status.start(Stage.FILE_COPY, estimate=17 * HALF_CHUNK)
    active = all_running(16, status, autotune=Autotune(16))
    counter = row.counter()
    active.tune()
    assert not active._is_active(8)
    counter.data = HALF_CHUNK
    active.tune()
    assert active._is_active(8)
