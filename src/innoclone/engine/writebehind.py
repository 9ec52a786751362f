"""Writing on a thread of its own: while one block goes to the disk, the next one comes from the network.

Where there are few connections, network and disk would otherwise wait for each other in turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from innoclone.files.memory import aligned_memory

__all__ = ["WriteBehind"]

BUFFERS = 3  # one is received, one is written, one waits


class WriteBehind:
    """Runs jobs in the order in which they were put, one after the other. For one thread that puts them."""

    def __init__(self, size: int, name: str) -> None:
        """``size``: bytes of a buffer; ``name`` is the thread's, which starts with the first job."""
        self._free = deque(aligned_memory(size) for _ in range(BUFFERS))
        self._jobs: deque[tuple[Callable[[], None], memoryview | None]] = deque()
        self._changed = threading.Condition()
        self._busy = self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def buffer(self) -> memoryview:
        """A buffer that no job uses; waits for one. Raises what a job raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._failure is not None)
            self._check()
            return self._free.popleft()

    def put(self, job: Callable[[], None], buffer: memoryview | None = None) -> None:
        """Have ``job`` run, which frees ``buffer``. After a job that failed, no other is run."""
        if self._thread.ident is None:
            self._thread.start()
        with self._changed:
            self._jobs.append((job, buffer))
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all jobs are done. Raises what one of them raised."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._jobs or self._busy) or self._failure is not None)
            self._check()

    def close(self) -> None:
        """Forget the jobs that were not begun, and wait for the one that was."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                job, buffer = self._jobs.popleft()
                self._busy = True
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - raised again where the jobs come from
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._busy = False
                self._free.extend([] if buffer is None else [buffer])
                self._changed.notify_all()
