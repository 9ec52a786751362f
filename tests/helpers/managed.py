"""A stock server in the place of one that an agent manages: started as the configuration says, not by the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection

from innoclone.commands.options import CloneOptions, ReplaceOptions
from innoclone.files.base import server_process
from innoclone.files.replacing import Places
from innoclone.records.managedserver import Managed
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.servercontrol import Control
from innoclone.transport.endpoint import Endpoint
from servers import endpoint_of

OPTIONS = (
    "--log-bin=recbin", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--server-id=77", "--mysqlx=OFF",
    "--secure-file-priv=NULL",
)  # fmt: skip
PATIENCE = 120.0  # seconds


class ManagedServer:
    """A recipient with some data, beside which everything happens. ``folder`` is short: its socket is in it."""

    def __init__(self, programs: Programs, template: Path, folder: Path, *more: str, **settings: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.data = folder / "data"
        shutil.copytree(template, self.data)
        self.socket = folder / "s"
        endpoint = Endpoint(socket=self.socket, user="root")
        options = (
            *OPTIONS, "--skip-networking", f"--socket={self.socket}", f"--pid-file={folder / 'pid'}",
            f"--log-error={folder / 'error.log'}", *more,
        )  # fmt: skip
        # An empty option file: none of this machine's own.
        (folder / "my.cnf").touch()
        values: dict[str, Any] = {
            "mysqld": None, "defaults_file": folder / "my.cnf", "options": options, "start_timeout": PATIENCE,
            "stop_timeout": PATIENCE,
        }  # fmt: skip
        self.managed = Managed(self.data, endpoint, **values | settings)
        self.places = Places(self.data)
        self.control = Control(self.managed, self.data, folder / "start.log")

    def begin(self) -> None:
        """Start it, with a schema ``mine`` in it."""
        self.control.start()
        self.run("CREATE DATABASE mine", "CREATE TABLE mine.t (a INT PRIMARY KEY)", "INSERT INTO mine.t VALUES (1)")

    def connect(self) -> Connection[Any]:
        """As root."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last one."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def schemas(self) -> set[str]:
        """Those of users."""
        found = {str(row[0]) for row in self.run("SHOW DATABASES")}
        return found - {"information_schema", "performance_schema", "mysql", "sys"}

    def options(self, donor: Server, *, keep: bool = False, **changes: Any) -> ReplaceOptions:
        """To replace its data by a donor's."""
        return ReplaceOptions(CloneOptions(endpoint_of(donor), self.data, **changes), self.managed, keep_old_data=keep)

    def command(self, program: str) -> None:
        """From now on it is stopped and started by a program, with that word as its argument."""
        self.managed = replace(self.managed, start=(program, "start"), stop=(program, "stop"))

    def toml(self) -> str:
        """Its table in the agent's configuration."""
        managed = self.managed
        lines = [f'[managed]\ndatadir = "{self.data}"', f'socket = "{self.socket}"', 'user = "root"']
        for name in ("start", "stop", "options"):
            if words := getattr(managed, name):
                lines.append(f"{name} = {list(words)!r}")
        if managed.mysqld is not None:
            lines.append(f'mysqld = "{managed.mysqld}"')
        lines += [f'defaults_file = "{managed.defaults_file}"', f"trial = {str(managed.trial).lower()}"]
        return "\n".join(lines) + "\n"

    def end(self) -> None:
        """Kill it, and throw everything away."""
        end = time.monotonic() + PATIENCE
        while self.data.exists() and (process := server_process(self.data)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            self.control.running()
            assert time.monotonic() < end
            time.sleep(0.02)
        for folder in (self.data, self.places.folder):
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


MakeManaged = Callable[..., ManagedServer]


def assert_old(server: ManagedServer) -> None:
    """It serves its old data, and nothing is left to be done."""
    assert server.schemas() == {"mine"}
    assert server.run("SELECT * FROM mine.t") == [(1,)]
    assert server.places.read() is None


def assert_new(server: ManagedServer) -> None:
    """It serves the donor's data, all of it."""
    assert server.schemas() == {"theirs"}
    assert server.run("SELECT COUNT(*), SUM(LENGTH(b)) FROM theirs.t") == [(1000, 8_000_000)]
    assert server.run("CHECK TABLE theirs.t EXTENDED")[0][3] == "OK"
    assert server.places.read() is None
