"""SHOW ENGINE INNODB STATUS: the managed server's own answer; without one, the log positions of the newest clone."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from innoclone.errors import CloneError
from innoclone.records.status import State
from innoclone.stream.pagecheck import check_redo
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql, understood

if TYPE_CHECKING:
    from innoclone.agent.daemon import Agent

__all__ = ["innodb_status"]

log = logging.getLogger("innoclone.agent")
PATIENCE = 10.0  # seconds for the server to answer
SMALLEST_PAGE = 4096  # bytes; the size of the log's files is a multiple of the server's
_RULE = "=" * 37


def innodb_status(agent: Agent) -> str | None:
    """The column Status; None where there is neither a server that answers nor a finished clone."""
    server = _server(agent)
    if server is not None:
        try:
            with Sql(server, read_timeout=PATIENCE) as sql, understood("InnoDB"):
                return str(sql.rows("SHOW ENGINE INNODB STATUS")[0][2])
        except CloneError as error:
            log.warning("SHOW ENGINE INNODB STATUS: %s; showing the newest clone instead", error.message)
    for row in reversed(agent.clones.status_rows()):
        if row[2] == State.COMPLETED.value and (found := _of_clone(Path(str(row[6])))) is not None:
            return found
    return None


def _server(agent: Agent) -> Endpoint | None:
    """The server that is asked: the managed one, else the one that CLONE LOCAL copies."""
    managed = agent.settings.managed
    return agent.settings.server if managed is None else managed.endpoint


def _of_clone(directory: Path) -> str | None:
    """The log of a clone ends where the clone does; recovery begins at its checkpoint."""
    try:
        redo = check_redo(directory, SMALLEST_PAGE)
    except (CloneError, OSError):
        return None
    if redo.end_lsn is None or redo.checkpoint_lsn is None:
        return None
    lines = [
        f"\n{_RULE}", f"{time.strftime('%Y-%m-%d %H:%M:%S')} the clone in {directory}, not a running server", _RULE,
        "---", "LOG", "---",
        f"Log sequence number          {redo.end_lsn}", f"Log flushed up to            {redo.end_lsn}",
        f"Pages flushed up to          {redo.checkpoint_lsn}", f"Last checkpoint at           {redo.checkpoint_lsn}",
        "----------------------------", "END OF INNODB MONITOR OUTPUT", "============================\n",
    ]  # fmt: skip
    return "\n".join(lines)
