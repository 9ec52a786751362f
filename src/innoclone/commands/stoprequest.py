"""A request from outside this process to end a clone (`innoclone stop`) counts like one from within."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from innoclone.files.lock import stop_is_wished

__all__ = ["stop_on_request"]

EVERY = 0.2  # seconds


@contextlib.contextmanager
def stop_on_request(lock: int, stopped: threading.Event) -> Iterator[None]:
    """Meanwhile ``stopped`` is set when somebody asks for the end of what is done under that lock, a descriptor."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            with contextlib.suppress(OSError):  # a file system that fails ends the clone by itself
                if stop_is_wished(lock):
                    stopped.set()
                    return

    watcher = threading.Thread(target=watch, name="innoclone-stop-request", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()  # the descriptor is closed next, and its number may be another file's then
