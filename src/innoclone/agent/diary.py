"""What the agent's log tells: who changed what, how clones went and why they ended, and what to do about it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import statements as st
from innoclone.errors import CloneError, Interrupted, one_line
from innoclone.records.status import CloneStatus
from innoclone.report.progress import PlainRenderer, Watcher

__all__ = ["noted", "told"]

log = logging.getLogger("innoclone.agent")
EVERY = 60.0  # seconds between two lines about a stage that runs
READING = (
    st.Show, st.ShowGrants, st.SetNames, st.Begin, st.Use, st.PrepareText, st.ExecuteText, st.Deallocate,
)  # fmt: skip


@contextlib.contextmanager
def noted(user: str, text: str, statement: st.Statement | None) -> Iterator[None]:
    """Tell of a statement that changes more than its own session, and of its refusal. None is a SELECT.

    ``text`` is what may be shown of it.
    """
    if statement is None or not _changes(statement):
        yield
        return
    user = one_line(user)
    log.info("%s: %s", user, one_line(text))
    try:
        yield
    except StatementError as error:  # how a clone failed was told already
        log.warning("%s: ERROR %d (%s): %s", user, error.code, error.sqlstate, one_line(error.message))
        raise


def _changes(statement: st.Statement) -> bool:
    if isinstance(statement, st.SetVariables):
        return any(setting.scope not in ("session", "user") for setting in statement.settings)
    return not isinstance(statement, READING)


@contextlib.contextmanager
def told(status: CloneStatus) -> Iterator[None]:
    """Tell of a clone for as long as the ``with`` block runs, and how it ended."""
    log.info("clone %d: %s into %s", status.number, status.source, status.destination)
    renderer = PlainRenderer(lambda text: log.info("clone %d: %s", status.number, text), interval=EVERY)
    try:
        with Watcher(status, [renderer]):
            yield
    except Interrupted as error:
        log.warning("clone %d: %s; the same statement goes on with it", status.number, error.message)
        raise
    except CloneError as error:
        for line in error.lines:
            log.error("clone %d: %s", status.number, line)
        raise
    log.info("clone %d: completed", status.number)
