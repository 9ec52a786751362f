"""A scripted donor whose messages are damaged: see test_hostile_fuzz.py. Memory must not grow over the rounds."""

from __future__ import annotations

import gc
from pathlib import Path

from faults.attempt import Broken
from faults.rounds import Round, Scenario
from faults.world import World
from test_hostile_fuzz import converse, hurried

__all__ = ["Hostility"]

MIB = 1 << 20
CONVERSATIONS = 20  # in a round
# The C library keeps what threads have freed, up to a point: measured, 125 MiB after 600 conversations and as many
# after 1200, with the same number of Python objects all the time.
MOST = 256 * MIB  # of resident memory
WARM = 60  # rounds after which it has come to that point
GROWTH = 32 * MIB  # over all later rounds


class Hostility(Scenario):
    """No program of its own: the recipient runs in this process, so that its memory can be watched."""

    name = "hostile"
    kinds = ("damaged",)
    needs_donor = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._rounds = 0
        self._memory = 0

    def play(self, round_: Round, kind: str) -> None:
        """Some conversations, each with damage of its own."""
        with hurried():
            for number in range(CONVERSATIONS):
                outcome = converse(round_.folder / str(number), round_.seed * CONVERSATIONS + number)
                round_.counts[type(outcome).__name__] += 1
                round_.counts["conversations"] += 1
        round_.assert_nothing_outside()
        self._watch_memory()

    def _watch_memory(self) -> None:
        gc.collect()
        self._rounds += 1
        now = resident()
        if self._rounds == WARM:
            self._memory = now
        if now > MOST or (self._memory and now > self._memory + GROWTH):
            raise Broken(f"memory has grown to {now // MIB} MiB, from {self._memory // MIB} after {WARM} rounds")


def resident() -> int:
    """Bytes of this process's resident memory (proc(5), VmRSS)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
