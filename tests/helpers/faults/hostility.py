"""A scripted donor whose messages are damaged: see damage.py. Memory must not grow over the rounds."""

from __future__ import annotations

import gc
from pathlib import Path

from damage import converse, hurried
from faults.attempt import Broken
from faults.rounds import Round, Scenario
from faults.world import World

__all__ = ["Hostility"]

MIB = 1 << 20
CONVERSATIONS = 20  # in a round
# Of resident memory, since the first round. The C library keeps some of what threads have freed: measured, 5 MiB
# after 20 conversations and no more after 220. This process may hold much else, from other tests.
GROWTH = 64 * MIB


class Hostility(Scenario):
    """No program of its own: the recipient runs in this process, so that its memory can be watched."""

    name = "hostile"
    kinds = ("damaged",)
    needs_donor = False

    def __init__(self, world: World) -> None:
        super().__init__(world)
        gc.collect()
        self._memory = resident()

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
        if (now := resident()) > self._memory + GROWTH:
            raise Broken(f"memory has grown to {now // MIB} MiB, from {self._memory // MIB}")


def resident() -> int:
    """Bytes of this process's resident memory (proc(5), VmRSS)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
