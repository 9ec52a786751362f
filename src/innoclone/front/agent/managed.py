"""The managed server, as the agent sees it: brought up after a crash, and asked where its binary log is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from innoclone.engine.session import version_number
from innoclone.errors import CloneError, TargetBusy
from innoclone.ops.managed import Managed
from innoclone.transport.sql import Sql, understood

__all__ = ["binary_log_status", "settle_in_background"]

log = logging.getLogger("innoclone.agent")
PATIENCE = 10.0  # seconds for an answer


def settle_in_background(managed: Managed, then: Callable[[str | None], None]) -> threading.Thread:
    """Bring the server up if a replacement was broken off when the last agent died; a CLONE meanwhile must wait.

    ``then`` is told what was done, unless the server is down.
    """

    def settle() -> None:
        from innoclone.operation.replace import settle as run

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
        then(done)

    thread = threading.Thread(target=settle, name="innoclone-settle", daemon=True)
    thread.start()
    return thread


def binary_log_status(managed: Managed) -> list[tuple[str, int, str, str, str]] | None:
    """What the server answers to SHOW BINARY LOG STATUS; None where it can't be asked."""
    try:
        with Sql(managed.endpoint, read_timeout=PATIENCE) as sql, understood("its binary log"):
            renamed = version_number(str(sql.value("SELECT @@version"))) >= 80200
            rows = sql.rows("SHOW BINARY LOG STATUS" if renamed else "SHOW MASTER STATUS")
            return [(str(row[0]), int(row[1]), str(row[2]), str(row[3]), str(row[4])) for row in rows]
    except CloneError as error:
        log.warning("the managed server can't be asked for its binary log: %s", error.message)
        return None
