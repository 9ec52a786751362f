"""A live server is served: recipients share its snapshot, and what they get is consistent."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clones import rows
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.live import find_live
from innoclone.records.limits import Limits
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import assert_sound_copy, booted_copy, checksums
from servers import ServerFactory, endpoint_of
from serving import ALONE, endpoint, serving, take

MIB = 1 << 20
POSITION = "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status"
FOUR = {"clone_autotune_concurrency": 0, "clone_max_concurrency": 4}


@pytest.fixture(scope="module")
def busy(make_module_server: ServerFactory) -> Server:
    """With tables of every kind, and room for a load."""
    server = make_module_server()
    fill(server.connect, 20 * MIB)
    return server


@pytest.mark.parametrize(("settings", "clause"), [(ALONE, "REQUIRE NO SSL"), (FOUR, "REQUIRE SSL")])
def test_it_boots_equal_and_tells_the_position(
    settings: dict[str, int], clause: str, programs: Programs, small_donor: Server, recipient: Server, tmp_path: Path
) -> None:
    expected = checksums(small_donor)
    log = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    target = tmp_path / "taken"
    with serving(find_live(endpoint_of(small_donor)), tmp_path) as donor:
        take(recipient, donor.port, target, clause, settings=settings)
    with booted_copy(programs, target) as server:
        assert checksums(server) == expected
        assert rows(server, POSITION)[0] == (log[0], log[1], log[4])


def test_three_share_a_snapshot_under_load_and_ddl(
    programs: Programs, busy: Server, recipient: Server, tmp_path: Path
) -> None:
    targets = [tmp_path / f"taken-{number}" for number in range(3)]
    live = find_live(endpoint_of(busy))
    with (
        Load(busy.connect, threads=2) as load,
        DdlLoop(busy.connect) as ddl,
        serving(live, tmp_path, limits=Limits(data=64)) as donor,
    ):
        threads = [
            threading.Thread(target=take, args=(recipient, donor.port, targets[0]), kwargs={"settings": FOUR}),
            threading.Thread(target=clone, args=(CloneOptions(endpoint(donor.port), targets[1], threads=1),)),
            threading.Thread(target=clone, args=(CloneOptions(endpoint(donor.port), targets[2], threads=3),)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        states = {course.given.fingerprint for course in donor.courses}
        assert len(donor.courses) == 3
        assert len(states) == 1
    assert (load.errors, ddl.errors) == ([], [])
    for target in targets:
        assert_sound_copy(programs, target)
