"""What a server on this host answers: SHOW BINARY LOG STATUS, and SHOW ENGINE INNODB STATUS.

Where no server answers the second one, it has the log positions of the newest clone.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from innoclone.agent.clones.manager import Clones
from innoclone.agent.faults import StatementError
from innoclone.agent.settings import AgentSettings
from innoclone.errors import CloneError
from innoclone.records.status import State
from innoclone.stream.pagecheck import check_redo
from innoclone.transport.sql import Sql, understood
from innoclone.wire.serverversion import version_number

__all__ = ["binary_log_status", "innodb_status"]

log = logging.getLogger("innoclone.agent")
ANSWER_TIMEOUT = 10.0  # seconds for the server to answer
SMALLEST_PAGE = 4096  # bytes; the size of the log's files is a multiple of the server's
_RULE = "=" * 37


def binary_log_status(settings: AgentSettings) -> list[tuple[str, int, str, str, str]]:
    """What the server on this host answers to SHOW BINARY LOG STATUS: the ``[server]``, else the ``[managed]`` one.

    No rows where neither is configured, as from a server without a binary log. Raises a `StatementError` where it can't
    be asked: an empty answer would say that it has none.
    """
    server = settings.server or (settings.managed.endpoint if settings.managed is not None else None)
    if server is None:
        return []
    try:
        with Sql(server, read_timeout=ANSWER_TIMEOUT) as sql, understood("its binary log"):
            renamed = version_number(str(sql.value("SELECT @@version"))) >= 80200
            rows = sql.rows("SHOW BINARY LOG STATUS" if renamed else "SHOW MASTER STATUS")
            return [(str(row[0]), int(row[1]), str(row[2]), str(row[3]), str(row[4])) for row in rows]
    except CloneError as error:
        log.warning("%s can't be asked for its binary log: %s", server, error.message)
        raise StatementError(1105, f"{server} can't be asked for its binary log: {error.message}") from error


def innodb_status(settings: AgentSettings, clones: Clones) -> str | None:
    """The column Status, from the managed server, else from the one that CLONE LOCAL copies.

    None where there is neither one that answers nor a finished clone.
    """
    server = settings.server if settings.managed is None else settings.managed.endpoint
    if server is not None:
        try:
            with Sql(server, read_timeout=ANSWER_TIMEOUT) as sql, understood("InnoDB"):
                return str(sql.rows("SHOW ENGINE INNODB STATUS")[0][2])
        except CloneError as error:
            log.warning("SHOW ENGINE INNODB STATUS: %s; showing the newest clone instead", error.message)
    for record in reversed(clones.records()):
        if record["state"] != State.COMPLETED.value or record.get("operation") == "replace":
            continue  # what was replaced is a server's own data, not a clone
        if (found := _of_clone(Path(str(record.get("destination") or "")))) is not None:
            return found
    return None


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
