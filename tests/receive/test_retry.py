"""What helps against a fault: the table, and its bounds."""

from __future__ import annotations

import threading

import pytest

from innoclone.errors import (
    AccessDenied,
    BadPage,
    CloneError,
    ConnectFailed,
    DiskFull,
    DonorError,
    Interrupted,
    NetworkError,
    NotMySQL,
    PageUnfit,
    ProtocolError,
    SnapshotGone,
    TlsFailed,
)
from innoclone.receive.retry import DEEDS, MOST_ANEW, Deed, Fault, Retries, When, fault_of, serves_next_run
from innoclone.records.status import CloneStatus

LOST = NetworkError("it broke")
GONE = SnapshotGone("the donor was restarted")
UNFIT = PageUnfit("a corrupt page")

# Beside the table in retry.py: what each of them has to be, cell by cell.
EXPECTED = """
           BEGINNING  LISTING    COPYING    UNJOURNALED  LOCAL    AWAITED
LOST       ANEW       ANEW       RECONNECT  GIVE_UP      ANEW     RECONNECT
NO_SERVER  GIVE_UP    GIVE_UP    RECONNECT  GIVE_UP      ANEW     RECONNECT
BUSY       GIVE_UP    GIVE_UP    RECONNECT  GIVE_UP      GIVE_UP  RECONNECT
GONE       ANEW       ANEW       ANEW       ANEW         ANEW     GIVE_UP
UNFIT      ANEW_ONCE  ANEW_ONCE  ANEW_ONCE  ANEW_ONCE    ANEW     GIVE_UP
OTHER      GIVE_UP    GIVE_UP    GIVE_UP    GIVE_UP      GIVE_UP  GIVE_UP
"""


def test_the_table() -> None:
    head, *rows = [line.split() for line in EXPECTED.strip().splitlines()]
    expected = {
        (Fault[row[0]], When[when]): Deed[deed] for row in rows for when, deed in zip(head, row[1:], strict=True)
    }
    assert expected == DEEDS
    assert {when for _, when in DEEDS} == set(When)
    assert {fault for fault, _ in DEEDS} == set(Fault)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (LOST, Fault.LOST),
        (ConnectFailed("refused"), Fault.LOST),
        (TlsFailed("broke"), Fault.NO_SERVER),
        (NotMySQL("a proxy"), Fault.NO_SERVER),
        *((DonorError("busy", donor_number=number), Fault.BUSY) for number in (1040, 1053, 1129, 1203)),
        (DonorError("no", donor_number=1227), Fault.OTHER),
        (GONE, Fault.GONE),
        (UNFIT, Fault.UNFIT),
        *((kind("x"), Fault.OTHER) for kind in (DiskFull, BadPage, ProtocolError, AccessDenied, Interrupted)),
    ],
)
def test_every_error_is_one_kind_of_fault(error: CloneError, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_time_without_progress_counts_not_time() -> None:
    status = CloneStatus()
    retries = Retries(0.05, status)
    for reached in range(5):
        assert retries.deed(LOST, When.COPYING, reached=reached) is Deed.RECONNECT
        threading.Event().wait(0.03)
    threading.Event().wait(0.06)
    assert retries.deed(LOST, When.COPYING, reached=4) is Deed.GIVE_UP
    assert len(status.notes) == 5


def test_without_retries_nothing_is_tried_but_in_the_place_of_what_was_left() -> None:
    for error in (LOST, GONE, UNFIT):
        for when in When:
            assert Retries(0.0, CloneStatus()).deed(error, when) is Deed.GIVE_UP
    assert Retries(0.0, CloneStatus()).deed(GONE, When.BEGINNING, left=True) is Deed.ANEW
    assert Retries(0.0, CloneStatus()).deed(LOST, When.COPYING, left=True) is Deed.GIVE_UP


def test_a_clone_is_begun_anew_so_often_and_no_more() -> None:
    for error, when, times in ((LOST, When.LOCAL, MOST_ANEW), (UNFIT, When.LOCAL, MOST_ANEW), (UNFIT, When.COPYING, 1)):
        retries = Retries(None, CloneStatus())
        for _ in range(times):
            assert retries.deed(error, when) is Deed.ANEW
            retries.begun(300.0)  # the next one counts with those before
        assert retries.deed(error, when) is Deed.GIVE_UP


def test_a_donor_that_keeps_nothing_is_not_waited_for() -> None:
    retries = Retries(None, CloneStatus())
    retries.begun(0.0)
    assert retries.deed(LOST, When.COPYING) is Deed.GIVE_UP
    assert retries.deed(LOST, When.LISTING) is Deed.GIVE_UP


def test_waiting_ends_at_once_when_the_clone_is_stopped() -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Interrupted):
        Retries(None, CloneStatus()).wait(stopped)


def test_what_a_local_clone_leaves_serves_the_next_run_where_the_donor_was_lost() -> None:
    for error in (LOST, GONE, UNFIT, TlsFailed("x"), NotMySQL("x"), Interrupted("x"), KeyboardInterrupt()):
        assert serves_next_run(error)
    for other in (DiskFull("x"), BadPage("x"), DonorError("x", donor_number=1040), ValueError("x")):
        assert not serves_next_run(other)
