"""Cloning and booting in the tests: what many of them do, in one place."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from innoclone.commands.clone import CloneResult, clone
from innoclone.commands.options import CloneOptions
from innoclone.records.status import CloneStatus
from innoclone.sandbox.invariants import check_invariants
from innoclone.server.keyring import Keyring
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from servers import ServerFactory, endpoint_of


def clone_server(
    server: Server, directory: Path, *, ssl_mode: SslMode = SslMode.DISABLED, status: CloneStatus | None = None,
    **options: object,
) -> CloneResult:  # fmt: skip
    """Clone a test server; ``options`` are fields of `CloneOptions`."""
    donor = endpoint_of(server, ssl_mode=ssl_mode)
    return clone(CloneOptions(donor=donor, directory=directory, **options), status=status)  # type: ignore[arg-type]


@contextlib.contextmanager
def booted(
    programs: Programs, directory: Path, options: Sequence[str] = (), *, keyring: Keyring | None = None
) -> Iterator[Server]:
    """A stock server on a clone, stopped in order afterwards."""
    log = directory.with_suffix(".err")
    server = Server.start(programs, directory, options=options, error_log=log, timeout=120, keyring=keyring)
    try:
        yield server
        server.stop()
    finally:
        server.kill()


def rows(server: Server, statement: str) -> list[tuple[object, ...]]:
    """All rows of a statement, as root."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def flush(server: Server) -> None:
    """Wait until no page of the buffer pool differs from the disk."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_max_dirty_pages_pct = 0, GLOBAL innodb_max_dirty_pages_pct_lwm = 0")
        deadline = time.monotonic() + 60
        while True:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
            dirty = int(cursor.fetchall()[0][1])
            if dirty == 0:
                return
            assert time.monotonic() < deadline, f"{dirty} pages are still dirty"
            time.sleep(0.1)


def check_tables(server: Server) -> list[str]:
    """CHECK TABLE of every table; the complaints."""
    found = []
    names = rows(
        server,
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
        " AND TABLE_SCHEMA NOT IN ('performance_schema', 'information_schema')",
    )
    with server.connect() as connection, connection.cursor() as cursor:
        for schema, name in names:
            cursor.execute(f"CHECK TABLE `{schema}`.`{name}` EXTENDED")
            for row in cursor.fetchall():
                if row[3] != "OK" and "doesn't support check" not in str(row[3]):
                    found.append(f"{schema}.{name}: {row[2]} {row[3]}")
    assert names
    return found


def innochecksum(programs: Programs, directory: Path) -> list[str]:
    """What MySQL's own page checker says about the tablespaces of a directory; empty is good."""
    files = [
        path
        for pattern in ("ibdata*", "undo_*", "*.ibu", "**/*.ibd")
        for path in directory.glob(pattern)
        if path.is_file()
    ]
    assert files
    assert programs.innochecksum is not None
    command = programs.innochecksum
    if not (first := _complaint(command, files)):  # it ends at the first file that is bad
        return []
    return [complaint for path in files if (complaint := _complaint(command, [path]))] or [first]


def _complaint(command: Sequence[str], files: Sequence[Path]) -> str:
    done = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return f"{files[0].name}: {done.stdout} {done.stderr}".strip()[:300] if done.returncode else ""


def assert_sound(programs: Programs, directory: Path, options: Sequence[str] = ()) -> None:
    """A clone of a server under load: pages whole, boots, invariants exact, tables sound; pages whole again after."""
    assert innochecksum(programs, directory) == []
    with booted(programs, directory, options) as server:
        with server.connect() as connection:
            assert check_invariants(connection) == []
        assert check_tables(server) == []
    assert innochecksum(programs, directory) == []


def outside_donor(make_server: ServerFactory, tmp_path: Path) -> tuple[Server, Path]:
    """A donor with undo, a general tablespace and tables outside its data directory."""
    outside = tmp_path / "outside"
    for name in ("undo", "tables", "general"):
        (outside / name).mkdir(parents=True)
    server = make_server(
        f"--innodb-directories={outside / 'tables'};{outside / 'general'};{outside / 'undo'}",
        init=[f"--innodb-undo-directory={outside / 'undo'}"],
    )
    rows(server, "CREATE DATABASE away")
    rows(server, f"CREATE TABLE away.t (id INT PRIMARY KEY, v INT) DATA DIRECTORY='{outside / 'tables'}'")
    rows(
        server,
        f"CREATE TABLE away.p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION a VALUES LESS THAN (10)"
        f" DATA DIRECTORY='{outside / 'tables'}', PARTITION b VALUES LESS THAN (20))",
    )
    rows(server, f"CREATE TABLESPACE g ADD DATAFILE '{outside / 'general' / 'g.ibd'}'")
    rows(server, "CREATE TABLE away.g (id INT PRIMARY KEY, v INT) TABLESPACE g")
    for statement in ("t VALUES (1, 10), (2, 20)", "p VALUES (1), (11)", "g VALUES (3, 30)"):
        rows(server, f"INSERT INTO away.{statement}")
    return server, outside
