"""A donor that was lost in the middle of a clone is asked again until it answers, or until that makes no sense."""

from __future__ import annotations

import threading

from innoclone.commands.options import CopyOptions
from innoclone.errors import CloneError
from innoclone.receive.retry import Deed, Retries, When
from innoclone.records.status import CloneStatus
from innoclone.server.preflight import DonorFacts, check

__all__ = ["await_donor"]


def await_donor(options: CopyOptions, status: CloneStatus, stopped: threading.Event) -> DonorFacts:
    """Until it answers again. Raises the error why it doesn't, or doesn't fit any more; or `Interrupted`."""
    retries = Retries(options.retry_for, status)
    while True:
        retries.wait(stopped)
        try:
            facts = check(options.donor, None, stall_timeout=options.stall_timeout)
            break
        except CloneError as error:
            if retries.deed(error, When.AWAITED) is not Deed.RECONNECT:
                raise
    facts.verdict()
    return facts
