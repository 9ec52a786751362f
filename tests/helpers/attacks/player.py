"""One attack in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import queue
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

from attacks.logins import LOGINS
from attacks.peers import PEERS
from attacks.statements import STATEMENTS
from attacks.target import Attack, Breach, Target

__all__ = ["ATTACKS", "Player"]

ATTACKS: dict[str, Attack] = LOGINS | STATEMENTS | PEERS
END_WITHIN = 30.0  # seconds for an attack after it was told to end


class Player:
    """One attack in a process of its own, of low priority: an attacker has a machine of his own."""

    def __init__(self, name: str, target: Target) -> None:
        context = multiprocessing.get_context("spawn")
        self.stop: Event = context.Event()
        self._said: Queue[tuple[bool, str]] = context.Queue()
        self.process = context.Process(target=_attack, args=(name, target, self.stop, self._said), daemon=True)
        self.process.start()

    def end(self) -> tuple[bool, str]:
        """Whether it got nothing, and what came of it."""
        self.stop.set()
        try:
            return self._said.get(timeout=END_WITHIN)
        except queue.Empty:
            self.process.kill()
            return False, "the attack hung"
        finally:
            self.process.join(1)


def _attack(name: str, target: Target, stop: Event, said: Queue[tuple[bool, str]]) -> None:
    os.nice(19)
    try:
        said.put((True, ATTACKS[name](target, stop)))
    except Breach as error:
        said.put((False, f"BREACH: {error}"))
    except Exception as error:  # noqa: BLE001  # told, and a failure
        said.put((False, f"{type(error).__name__}: {error}"))
