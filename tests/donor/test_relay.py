"""A server whose files can't be read here: its stream is passed on."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from clones import rows
from innoclone.donor.live import find_live
from innoclone.donor.relay import RelayedServer
from innoclone.donor.takings import COMPLETED, Taking
from innoclone.errors import NetworkError
from innoclone.receive.session import Access, begin, call
from innoclone.receive.transfer import Transfer
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.connection import COM_QUERY
from innoclone.wire.rpc import Execute, Exit
from local_clones import booted_copy, checksums
from servers import endpoint_of
from serving import endpoint, serving, take

FOUR = {"clone_autotune_concurrency": 0, "clone_max_concurrency": 4}


@pytest.mark.parametrize(
    ("settings", "clause"),
    [(FOUR, "REQUIRE SSL"), (FOUR | {"clone_enable_compression": 1}, "REQUIRE NO SSL")],
    ids=["tls", "compressed"],
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


def test_killed_at_the_recipient(small_donor: Server, tmp_path: Path) -> None:
    """As a stock recipient does it: over the other connection, out of clone mode. The server is free at once."""
    with serving(find_live(endpoint_of(small_donor), relay=True), tmp_path) as donor:
        access = Access(endpoint(donor.port), Transfer(), 0, threading.Event())
        _, master = begin(access)
        with master, access.connect() as other:
            master.write_packet(Execute().serialize())
            call(other, Exit())
            other.command(bytes([COM_QUERY]) + f"KILL CONNECTION {master.greeting.connection_id}".encode())
            with contextlib.suppress(NetworkError):
                while master.read_packet():
                    pass
        end = time.monotonic() + 30
        while rows(small_donor, "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND = 'clone'"):
            assert time.monotonic() < end
