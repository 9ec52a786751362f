"""A stock server that replaces its own data by what we serve."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest

from clones import booted, rows
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import checksums
from servers import ServerFactory
from serving import served, take


@pytest.mark.parametrize("autotune", [0, 1], ids=["4-tasks-clone", "autotune-at-rest"])
def test_its_own_data_go(
    autotune: int, programs: Programs, make_server: ServerFactory, small_clone: Path, small_donor: Server,
    at_rest: tuple[Path, dict[str, object]], tmp_path: Path,
) -> None:  # fmt: skip
    """What it had is gone, also from its doublewrite files; a server that nobody watches over ends with 3707."""
    directory, expected = at_rest if autotune else (small_clone, checksums(small_donor))
    server = make_server()
    rows(server, "CREATE DATABASE theirs")
    rows(server, "CREATE TABLE theirs.t (a INT PRIMARY KEY)")
    rows(server, "INSERT INTO theirs.t VALUES (1)")
    settings = {"clone_autotune_concurrency": autotune, "clone_max_concurrency": 4}
    with served(directory, tmp_path) as donor, pytest.raises(pymysql.Error, match="3707"):
        take(server, donor.port, None, settings=settings)
    server.kill()
    with booted(programs, server.datadir) as replaced:
        assert checksums(replaced) == expected
        assert rows(replaced, "SELECT STATE, ERROR_NO FROM performance_schema.clone_status") == [("Completed", 0)]
        position = rows(replaced, "SELECT BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status")[0]
    assert position[0] == "binlog.000001"
    assert int(str(position[1])) > 1000
