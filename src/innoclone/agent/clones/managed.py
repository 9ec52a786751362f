"""Bringing the managed server up after a replacement that was broken off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from innoclone.agent.clones.priority import Launcher
from innoclone.errors import CloneError, TargetBusy
from innoclone.records.managedserver import Managed

__all__ = ["settle_in_background"]

log = logging.getLogger("innoclone.agent")


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
    launcher.run(settle).add_done_callback(_log_failure)  # the server that it starts does not give way to anybody


def _log_failure(ended: Future[None]) -> None:
    if (error := ended.exception()) is not None:
        log.error("unexpected", exc_info=error)
