"""Local clones in the tests: made, compared with their donor, booted on a copy so that the clone stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from clones import booted, check_tables, innochecksum, rows
from innoclone.commands.local import LocalResult, local
from innoclone.commands.options import LocalOptions
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus
from innoclone.sandbox.invariants import check_invariants
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from servers import PASSWORD, endpoint_of

MIB = 1 << 20


def local_clone(
    server: Server, directory: Path, *, status: CloneStatus | None = None, stopped: threading.Event | None = None,
    limits: Limits | None = None, **options: object,
) -> LocalResult:  # fmt: skip
    """Clone a test server by its files; ``options`` are fields of `LocalOptions`."""
    donor = endpoint_of(server, ssl_mode=SslMode.DISABLED)
    choice = LocalOptions(donor=donor, directory=directory, **options)  # type: ignore[arg-type]
    return local(choice, status=status, stopped=stopped, limits=limits)


def local_process(server: Server, directory: Path, *options: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
    """The same as a process of its own, which can be killed; ``prefix`` is a command that runs it."""
    command = [*prefix, sys.executable, "-m", "innoclone", "local", "-h127.0.0.1", f"-P{server.port}", "-uclone"]
    command += ["--ssl-mode=DISABLED", "--get-server-public-key", *options, str(directory)]
    environment = {"MYSQL_PWD": PASSWORD, "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@contextlib.contextmanager
def booted_copy(programs: Programs, directory: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server on a copy of the clone; the clone itself is not touched."""
    copy = _copy(directory)
    try:
        with booted(programs, copy, options) as server:
            yield server
    finally:
        shutil.rmtree(copy)


def assert_sound_copy(programs: Programs, directory: Path, options: Sequence[str] = ()) -> None:
    """Of a server under load: pages whole; a copy boots, invariants exact, tables sound."""
    assert innochecksum(programs, directory) == []
    with booted_copy(programs, directory, options) as clone:
        with clone.connect() as connection:
            assert check_invariants(connection) == []
        assert check_tables(clone) == []


def _copy(directory: Path) -> Path:
    copy = directory.with_name(directory.name + "-booted")
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", str(directory), str(copy)], check=True, timeout=120)
    return copy


def checksums(server: Server) -> dict[str, object]:
    """CHECKSUM TABLE of every InnoDB table that a clone carries, and the GTIDs that are in it."""
    names = rows(
        server,
        "SELECT CONCAT('`', TABLE_SCHEMA, '`.`', TABLE_NAME, '`') FROM information_schema.TABLES WHERE TABLE_TYPE ="
        " 'BASE TABLE' AND ENGINE = 'InnoDB' AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema')",
    )
    found: dict[str, object] = {str(name): rows(server, f"CHECKSUM TABLE {name}")[0][1] for (name,) in names}
    found["accounts"] = rows(server, "CHECKSUM TABLE mysql.user")[0][1]
    found["gtid_executed"] = rows(server, "SELECT @@global.gtid_executed")[0][0]
    assert len(found) > 2
    return found


def assert_equal(programs: Programs, directory: Path, expected: dict[str, object], options: Sequence[str] = ()) -> None:
    """A copy of the clone boots and has exactly these tables and transactions."""
    with booted_copy(programs, directory, options) as clone:
        found = checksums(clone)
    different = {name for name in found.keys() | expected if found.get(name) != expected.get(name)}
    assert not different, {name: (expected.get(name), found.get(name)) for name in different}


def refuses_to_boot(programs: Programs, directory: Path, options: Sequence[str] = ()) -> bool:
    """Whether a stock server refuses the directory because of the mark of an unfinished clone."""
    log = directory.with_suffix(".refused")
    with contextlib.suppress(Exception):
        server = Server.start(programs, directory, options=options, error_log=log, timeout=60)
        server.kill()
        return False
    return "clone" in log.read_text().lower()
