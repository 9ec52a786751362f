"""Writing on a thread of its own: while one block goes to the disk, the next one comes from the network.

Where there are few connections, network and disk would otherwise wait for each other in turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from innoclone.files.memory import aligned_memory

__all__ = ["WriteBehind"]

BUFFERS = 3  # one is received, one is written, one waits


class WriteBehind:
    """Runs jobs in the order in which they were put, one after the other. For one thread that puts them."""

    def __init__(self, size: int, name: str) -> None:
        """``size``: bytes of a buffer; ``name`` is the thread's, which starts with the first job."""
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(aligned_memory(size))
        # A job and its buffer, or a place in the queue that somebody waits for; None is the end.
        self._jobs: SimpleQueue[tuple[Callable[[], None], memoryview | None] | threading.Event | None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def buffer(self) -> memoryview:
        """A buffer that no job uses; waits for one. Raises what a job raised."""
        found = self._free.get()
        if self._failure is not None:
            self._free.put(found)
            raise self._failure
        return found

    def put(self, job: Callable[[], None], buffer: memoryview | None = None) -> None:
        """Have ``job`` run, which frees ``buffer``. After a job that failed, no other is run."""
        if self._thread.ident is None:
            self._thread.start()
        self._jobs.put((job, buffer))

    def drain(self) -> None:
        """Wait until all jobs are done. Raises what one of them raised."""
        if self._thread.ident is not None:
            reached = threading.Event()
            self._jobs.put(reached)
            reached.wait()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Forget the jobs that were not begun, and wait for the one that was."""
        self._closed = True
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while (found := self._jobs.get()) is not None:
            if isinstance(found, threading.Event):
                found.set()
                continue
            job, buffer = found
            if self._failure is None and not self._closed:
                try:
                    job()
                except BaseException as error:  # noqa: BLE001 - raised again where the jobs come from
                    self._failure = error
            if buffer is not None:
                self._free.put(buffer)
