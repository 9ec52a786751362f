"""What the agent's log has of a clone: its stages, how far it is, how it ended and what to do about it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from innoclone.agent.clones.errors import in_statements
from innoclone.errors import CloneError, Interrupted
from innoclone.records.status import CloneStatus
from innoclone.report.progress import PlainRenderer, Watcher

__all__ = ["logged"]

log = logging.getLogger("innoclone.agent")
LOG_EVERY = 60.0  # seconds between two lines about a stage that runs


@contextlib.contextmanager
def logged(status: CloneStatus) -> Iterator[None]:
    """Log a clone for as long as the ``with`` block runs, and how it ended."""
    log.info("clone %d: %s into %s", status.number, status.source, status.destination)
    renderer = PlainRenderer(lambda text: log.info("clone %d: %s", status.number, text), interval=LOG_EVERY)
    try:
        with Watcher(status, [renderer]):
            yield
    except Interrupted as error:
        log.warning("clone %d: %s; the same statement goes on with it", status.number, error.message)
        raise
    except CloneError as error:
        for line in error.lines:
            log.error("clone %d: %s", status.number, in_statements(line) if line.startswith("hint: ") else line)
        raise
    log.info("clone %d: completed", status.number)
