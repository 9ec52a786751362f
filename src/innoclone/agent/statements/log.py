"""What the agent's log has of statements: who changed what, and what was refused."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from innoclone.agent.faults import StatementError
from innoclone.agent.sql import statements as st
from innoclone.errors import one_line

__all__ = ["logged"]

log = logging.getLogger("innoclone.agent")
READ_ONLY = (
    st.Show, st.ShowGrants, st.SetNames, st.Begin, st.Use, st.PrepareText, st.ExecuteText, st.Deallocate,
)  # fmt: skip


@contextlib.contextmanager
def logged(user: str, text: str, statement: st.Statement | None) -> Iterator[None]:
    """Log a statement that changes more than its own session, and of its refusal. None is a SELECT.

    ``text`` is what may be shown of it.
    """
    if statement is None or not _changes(statement):
        yield
        return
    user = one_line(user)
    log.info("%s: %s", user, one_line(text))
    try:
        yield
    except StatementError as error:  # how a clone failed was logged already
        log.warning("%s: ERROR %d (%s): %s", user, error.code, error.sqlstate, one_line(error.message))
        raise


def _changes(statement: st.Statement) -> bool:
    if isinstance(statement, st.SetVariables):
        return any(setting.scope not in ("session", "user") for setting in statement.settings)
    return not isinstance(statement, READ_ONLY)
