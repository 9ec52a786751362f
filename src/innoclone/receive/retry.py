"""What helps against a fault, as a table; and how often, and for how long.

Two more waits are for what ends by itself, not for faults: `innoclone.receive.session` asks again a donor that has not
noticed yet that an earlier recipient is gone, or that still counts connections which were just closed.
"""

from __future__ import annotations

import enum
import random
import threading
import time

from innoclone.errors import (
    CloneError,
    ConnectFailed,
    DonorError,
    Interrupted,
    NetworkError,
    NotMySQL,
    PageUnfit,
    SnapshotGone,
    TlsFailed,
)
from innoclone.records.status import CloneStatus
from innoclone.transport.timings import DONOR_KEEPS_SNAPSHOT

__all__ = ["DEEDS", "Deed", "Fault", "Retries", "When", "fault_of", "serves_next_run"]

FIRST, LONGEST = 0.25, 20.0  # seconds between tries
GROWTH = 2.0
MOST_NOTES = 20  # of lost connections; a line that breaks all the time has thousands
BEFORE_ANEW = 1.0  # seconds before a new clone is begun in place of one that was lost
MOST_ANEW = 3  # times in one run that a clone is begun anew
# What a donor says that is starting, stopping, or has no connection left (mysqld_ername.h).
BUSY = {1040, 1053, 1129, 1203}


class Fault(enum.Enum):
    """What went wrong."""

    LOST = "the connection broke, or could not be made"
    NO_SERVER = "TLS failed, or what answers is no MySQL server: a donor that starts or stops, a proxy without one"
    BUSY = "the donor is starting, stopping, or has no connection left"
    GONE = "the donor doesn't keep the snapshot any more, or what is there doesn't fit it"
    UNFIT = "the donor found a page in its own memory that it would not send, and gave the snapshot up"
    OTHER = "anything else: the same would happen again"


class When(enum.Enum):
    """How far the clone was."""

    BEGINNING = "the donor has begun none"
    LISTING = "the list of files isn't complete, so that nothing is there to go on with"
    COPYING = "the donor is asked with COM_REINIT to go on"
    UNJOURNALED = "there is no journal, so that it can't be gone on with"
    LOCAL = "files are copied on the donor's host: what is there is compared, not continued"
    AWAITED = "a donor that was lost is asked whether it is back"


class Deed(enum.Enum):
    """What is done about it."""

    RECONNECT = "go on with a new connection, as long as time without progress is within --retry-for"
    ANEW = "begin a new clone, up to three times"
    ANEW_ONCE = "begin a new clone, once"
    GIVE_UP = "the error is the run's"


_R, _A, _1, _G = Deed.RECONNECT, Deed.ANEW, Deed.ANEW_ONCE, Deed.GIVE_UP
_ROWS: dict[Fault, tuple[Deed, ...]] = {
    # in the order of `When`: BEGINNING, LISTING, COPYING, UNJOURNALED, LOCAL, AWAITED
    Fault.LOST: (_A, _A, _R, _G, _A, _R),
    Fault.NO_SERVER: (_G, _G, _R, _G, _A, _R),
    Fault.BUSY: (_G, _G, _R, _G, _G, _R),
    Fault.GONE: (_A, _A, _A, _A, _A, _G),
    Fault.UNFIT: (_1, _1, _1, _1, _A, _G),
    Fault.OTHER: (_G, _G, _G, _G, _G, _G),
}
DEEDS = {(fault, when): deed for fault, row in _ROWS.items() for when, deed in zip(When, row, strict=True)}


def fault_of(error: CloneError) -> Fault:
    """Which kind of fault an error tells of."""
    if isinstance(error, PageUnfit):
        return Fault.UNFIT
    if isinstance(error, SnapshotGone):
        return Fault.GONE
    if isinstance(error, DonorError) and error.donor_number in BUSY:
        return Fault.BUSY
    if isinstance(error, NetworkError | ConnectFailed):
        return Fault.LOST
    if isinstance(error, TlsFailed | NotMySQL):
        return Fault.NO_SERVER
    return Fault.OTHER


def serves_next_run(error: BaseException) -> bool:
    """Whether what a local clone has copied by then is worth being kept: the next run may compare with it."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return True
    return isinstance(error, CloneError) and DEEDS[fault_of(error), When.LOCAL] is Deed.ANEW


class Retries:
    """Of one run: what the table says, within its bounds. Waits grow, with jitter; progress makes them short again."""

    def __init__(self, retry_for: float | None, status: CloneStatus) -> None:
        """``retry_for``: seconds without progress after which the last error counts, 0 = no retries; None: as long as a
        donor keeps its snapshot."""
        self._retry_for, self._status = retry_for, status
        self._begun_anew = self._unfit = 0
        self.begun(DONOR_KEEPS_SNAPSHOT)

    def begun(self, donor_keeps: float) -> None:
        """A clone was begun, whose donor keeps the snapshot for so many seconds without a connection."""
        self._seconds = donor_keeps if self._retry_for is None else self._retry_for
        self._wait = FIRST
        self._since: float | None = None
        self._reached: object = None

    def deed(self, error: CloneError, when: When, *, reached: object = None, left: bool = False) -> Deed:
        """What to do about ``error``: RECONNECT, ANEW or GIVE_UP.

        ``reached`` is another value than last time if there was progress. ``left``: the clone is one that an earlier
        process left; a new one in its place is begun even without retries.
        """
        fault = fault_of(error)
        deed = DEEDS[fault, when]
        in_time = deed is Deed.RECONNECT or (fault is Fault.LOST and when is When.LISTING)
        if deed is Deed.GIVE_UP or (in_time and not self._is_in_time(error, reached)):
            return Deed.GIVE_UP
        if deed is Deed.RECONNECT:
            return deed
        self._wait = BEFORE_ANEW
        self._begun_anew += 1
        self._unfit += fault is Fault.UNFIT
        once_more = self._begun_anew <= MOST_ANEW and (deed is Deed.ANEW or self._unfit == 1)
        return Deed.ANEW if once_more and (left or self._retry_for != 0) else Deed.GIVE_UP

    def _is_in_time(self, error: CloneError, reached: object) -> bool:
        if not self._seconds:
            return False
        now = time.monotonic()
        if reached != self._reached or self._since is None:
            self._reached, self._since, self._wait = reached, now, FIRST
            if self._status.restarts < MOST_NOTES:
                self._status.notes.append(f"{error.message}: trying to go on, for {self._seconds:.0f} seconds at most")
        return now - self._since < self._seconds

    def wait(self, stopped: threading.Event) -> None:
        """Sleep a while. Raises `Interrupted`."""
        seconds = self._wait * random.uniform(0.5, 1.0)  # noqa: S311 - so that many clones don't come back at once
        self._wait = min(self._wait * GROWTH, LONGEST)
        if stopped.wait(seconds):
            raise Interrupted("stopped while waiting for the donor")
