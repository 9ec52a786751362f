"""A server whose files can't be read here: its stream is passed on."""

from __future__ import annotations

import threading
from pathlib import Path

import pymysql
import pytest

from clones import rows
from innoclone.donor.live import find_live
from innoclone.donor.relay import RelayedServer
from innoclone.donor.service import Donor
from innoclone.donor.takings import COMPLETED, Taking
from innoclone.records.limits import Limits
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import booted_copy, checksums
from servers import endpoint_of
from serving import ALONE, serving, take

FOUR = {"clone_autotune_concurrency": 0, "clone_max_concurrency": 4}


@pytest.mark.parametrize(
    ("settings", "clause"),
    [(ALONE, "REQUIRE NO SSL"), (FOUR, "REQUIRE SSL"), (FOUR | {"clone_enable_compression": 1}, "REQUIRE NO SSL")],
    ids=["plain", "4-tls", "4-compressed"],
)
def test_it_boots_equal(
    settings: dict[str, int], clause: str, programs: Programs, small_donor: Server, recipient: Server, tmp_path: Path
) -> None:
    expected = checksums(small_donor)
    with serving(find_live(endpoint_of(small_donor), relay=True), tmp_path) as donor:
        take(recipient, donor.port, tmp_path / "taken", clause, settings=settings)
        (course,) = donor.courses
        taking: Taking = course.taking()
    assert taking.state == COMPLETED
    assert taking.data >= taking.estimate > 1 << 20
    with booted_copy(programs, tmp_path / "taken") as server:
        assert checksums(server) == expected


def test_it_is_what_is_done_where_the_files_cannot_be_read(small_donor: Server, tmp_path: Path) -> None:
    found = find_live(endpoint_of(small_donor), tmp_path)
    assert isinstance(found, RelayedServer)
    assert "what the server sends is passed on, to one recipient at a time" in found.notes[-1]


def test_killed_at_the_recipient(small_donor: Server, recipient: Server, tmp_path: Path) -> None:
    """The server is free for the next at once."""
    source = find_live(endpoint_of(small_donor), relay=True)
    with serving(source, tmp_path, limits=Limits(data=1)) as donor:
        failed: list[pymysql.Error] = []

        def run() -> None:
            try:
                take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
            except pymysql.Error as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        wait_for_data(donor)
        rows(recipient, "KILL CONNECTION " + str(rows(recipient, RUNNING)[0][0]))
        thread.join()
        assert failed
        assert not rows(small_donor, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'clone'")


RUNNING = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'CLONE INSTANCE%'"


def wait_for_data(donor: Donor) -> None:
    while not any(course.sent for course in donor.courses):
        threading.Event().wait(0.01)
