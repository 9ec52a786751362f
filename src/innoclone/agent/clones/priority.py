"""The agent's threads give way to clones: a flood of connections may take the agent's time, not that of a clone.

In Linux a thread has a nice value of its own, which new threads and processes inherit from the one that starts them
(sched(7)), and only root may lower it again. So what is to have its full share is started by a thread that never gave
way.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Launcher", "lower_priority"]

LATER = 10  # added to the nice value: about a tenth of the weight (sched_prio_to_weight)
T = TypeVar("T")


def lower_priority() -> None:
    """From now on this thread, and what it starts, comes after others that want the processor."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + LATER, 19))


class Launcher:
    """Runs functions in threads of the priority of whoever made it."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="innoclone-launcher", daemon=True).start()

    def run(self, function: Callable[[], T]) -> Future[T]:
        """Begin at once; the result tells of its end."""
        future: Future[T] = Future()
        self._waiting.put((future, function))
        return future

    def _serve(self) -> None:
        while True:
            future, function = self._waiting.get()
            threading.Thread(target=_run, args=(future, function), name="innoclone-launched", daemon=True).start()


def _run(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001  # whoever waits for the result gets it
        future.set_exception(error)
