"""The servers on this host, as the agent sees them: one brought up after a crash, one asked for its binary log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from innoclone.agent.faults import StatementError
from innoclone.agent.priority import Launcher
from innoclone.agent.settings import AgentSettings
from innoclone.errors import CloneError, TargetBusy
from innoclone.records.managedserver import Managed
from innoclone.transport.sql import Sql, understood
from innoclone.wire.serverversion import version_number

__all__ = ["binary_log_status", "settle_in_background"]

log = logging.getLogger("innoclone.agent")
PATIENCE = 10.0  # seconds for an answer


def settle_in_background(
    managed: Managed, settled: threading.Event, launcher: Launcher, then: Callable[[str | None], None]
) -> None:
    """Bring the server up if a replacement was broken off when the last agent died. ``settled`` is set after that: a
    CLONE meanwhile must wait.

    ``then`` is told what was done, unless the server is down.
    """

    def settle() -> None:
        from innoclone.commands.replace import recover_replacement as run

        done = None
        try:
            done = run(managed)
        except TargetBusy as error:
            log.info("%s", error.message)
        except CloneError as error:
            log.error("the managed server is down after a broken off replacement: %s", error.message)
            return
        else:
            if done is not None:
                log.warning("%s", done)
        finally:
            settled.set()
        then(done)

    settled.clear()
    launcher.run(settle).add_done_callback(_tell)  # the server that it starts does not give way to anybody


def _tell(ended: Future[None]) -> None:
    if (error := ended.exception()) is not None:
        log.error("unexpected", exc_info=error)


def binary_log_status(settings: AgentSettings) -> list[tuple[str, int, str, str, str]]:
    """What the server on this host answers to SHOW BINARY LOG STATUS: the ``[server]``, else the ``[managed]`` one.

    No rows where neither is configured, as from a server without a binary log. Raises a `StatementError` where it can't
    be asked: an empty answer would say that it has none.
    """
    server = settings.server or (settings.managed.endpoint if settings.managed is not None else None)
    if server is None:
        return []
    try:
        with Sql(server, read_timeout=PATIENCE) as sql, understood("its binary log"):
            renamed = version_number(str(sql.value("SELECT @@version"))) >= 80200
            rows = sql.rows("SHOW BINARY LOG STATUS" if renamed else "SHOW MASTER STATUS")
            return [(str(row[0]), int(row[1]), str(row[2]), str(row[3]), str(row[4])) for row in rows]
    except CloneError as error:
        log.warning("%s can't be asked for its binary log: %s", server, error.message)
        raise StatementError(1105, f"{server} can't be asked for its binary log: {error.message}") from error
