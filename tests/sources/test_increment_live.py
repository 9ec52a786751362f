"""Increments over the network: an earlier clone, and a donor of ours that sends only what differs from it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from innoclone.commands.clone import CloneResult, clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.live import find_live
from innoclone.files.base import space_of, tablespaces
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from local_clones import assert_sound_copy, booted_copy, checksums, local_clone
from servers import ServerFactory, endpoint_of
from serving import assert_taken, endpoint, served, serving

PAGE = 16384
MIB = 1 << 20


def increment(port: int, directory: Path, **options: object) -> CloneResult:
    """What `innoclone clone` does where an earlier clone is."""
    return clone(CloneOptions(donor=endpoint(port), directory=directory, **options))  # type: ignore[arg-type]


def copied(clone: Path, directory: Path) -> Path:
    """A copy of a clone that may be written to."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(clone), str(directory)], check=True)
    return directory


@pytest.fixture(scope="module")
def changed(
    make_module_server: ServerFactory, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict[str, object]]:
    """A clone of a server, the server's data after changes of all kinds, and what CHECKSUM TABLE said then."""
    folder = tmp_path_factory.mktemp("changed")
    server = make_module_server()
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in BEFORE:
            cursor.execute(statement)
        local_clone(server, folder / "before")
        for statement in AFTER:
            cursor.execute(statement)
    expected = checksums(server)
    server.stop()
    return folder / "before", server.datadir, expected


def pages_that_differ(before: Path, after: Path) -> int:
    """Bytes of pages that a recipient of ``after`` does not find at the same place in ``before``."""
    older = {_space(path): path.read_bytes() for path in tablespaces(before)}
    total = 0
    for path in tablespaces(after):
        new, old = path.read_bytes(), older.get(_space(path), b"")
        total += sum(
            PAGE for at in range(0, len(new), PAGE)
            if (page := new[at : at + PAGE]) != old[at : at + PAGE].ljust(len(page), b"\0")
        )  # fmt: skip
    return total


def _space(path: Path) -> int:
    header = space_of(path)
    assert header is not None
    return header.space_id


NUMBERS = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1500) SELECT i"
BEFORE = (
    "SET SESSION cte_max_recursion_depth = 100000",
    "CREATE DATABASE one",
    "CREATE DATABASE two",
    *(
        f"CREATE TABLE one.{name} (a INT PRIMARY KEY, b BLOB)"
        for name in ("still", "little", "dropped", "moved", "emptied")
    ),
    *(
        f"INSERT INTO one.{name} {NUMBERS}, REPEAT(CHAR(65 + i % 26), 4000) FROM n"
        for name in ("still", "little", "dropped", "moved", "emptied")
    ),
    "CREATE TABLE one.small (a INT PRIMARY KEY, b BLOB) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
    f"INSERT INTO one.small {NUMBERS}, REPEAT('x', 2000) FROM n",
    "CREATE TABLE one.punched (a INT PRIMARY KEY, b BLOB) COMPRESSION='zlib'",
    f"INSERT INTO one.punched {NUMBERS}, REPEAT('y', 2000) FROM n",
)
AFTER = (
    "UPDATE one.little SET b = REPEAT('z', 4000) WHERE a % 300 = 0",
    "UPDATE one.small SET b = REPEAT('z', 2000) WHERE a % 300 = 0",
    "UPDATE one.punched SET b = REPEAT('z', 2000) WHERE a % 300 = 0",
    "DROP TABLE one.dropped",
    "RENAME TABLE one.moved TO two.arrived",
    "TRUNCATE TABLE one.emptied",
    "CREATE TABLE two.fresh (a INT PRIMARY KEY, b BLOB)",
    f"INSERT INTO two.fresh {NUMBERS}, REPEAT('n', 4000) FROM n",
)


def test_only_what_differs_travels(
    programs: Programs, changed: tuple[Path, Path, dict[str, object]], tmp_path: Path
) -> None:
    before, after, expected = changed
    base = copied(before, tmp_path / "base")
    with served(after, tmp_path) as donor:
        result = increment(donor.port, base)
        assert_taken(donor.source, base)
        differ = pages_that_differ(before, after)
        assert result.network < 1.3 * differ + 0.001 * donor.source.size + 100_000
    with booted_copy(programs, base) as server:
        assert checksums(server) == expected


def test_generations_of_a_live_server(programs: Programs, make_server: ServerFactory, tmp_path: Path) -> None:
    """Under load and DDL each boots sound; of the last, quiet one every table is the donor's.

    INNOCLONE_GENERATIONS says how many; all of them are compared then.
    """
    generations = int(os.environ.get("INNOCLONE_GENERATIONS", "0"))
    server = make_server()
    fill(server.connect, 20 * MIB)
    target = tmp_path / "clone"
    local_clone(server, target)
    with serving(find_live(endpoint_of(server)), tmp_path) as donor:
        for _ in range(generations or 3):
            with Load(server.connect, threads=2) as load, DdlLoop(server.connect) as ddl:
                while sum(ddl.done.values()) < 8:
                    time.sleep(0.05)
                increment(donor.port, target, incremental="require")
            assert (load.errors, ddl.errors) == ([], [])
            assert_sound_copy(programs, target)
            if generations:
                assert_equal_at_rest(programs, server, donor.port, target)
        assert_equal_at_rest(programs, server, donor.port, target)


def assert_equal_at_rest(programs: Programs, server: Server, port: int, target: Path) -> None:
    """One more increment while nothing is written: every table is the donor's."""
    increment(port, target, incremental="require")
    with booted_copy(programs, target) as clone:
        assert checksums(clone) == checksums(server)
