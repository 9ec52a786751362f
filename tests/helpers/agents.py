"""An agent for the tests: the program itself, in a folder of its own, and the ways to talk to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql
from pymysql.connections import Connection

from innoclone.files.lock import holder_at
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import PASSWORD
from serving import PASSWORD as TAKERS_PASSWORD
from serving import USER

PATIENCE = 30  # seconds for what takes far less
WAIT = 60.0  # seconds for what a recipient does
_QUOTED = TAKERS_PASSWORD.replace("\\", "\\\\").replace("'", "''")
GRANTED = f"CREATE USER {USER} IDENTIFIED BY '{_QUOTED}'; GRANT BACKUP_ADMIN ON *.* TO {USER}"
LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


def wait_for(reached: Callable[[], object]) -> None:
    """Until it is true."""
    end = time.monotonic() + WAIT
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def beside(server: Server, folder: Path) -> str:
    """The option that tells an agent of the server on its host; its file goes into ``folder``."""
    config = folder / "agent.toml"
    config.write_text(
        f'[server]\nhost = "127.0.0.1"\nport = {server.port}\nuser = "{ACCOUNT}"\npassword = "{PASSWORD}"\n'
    )
    return f"--config={config}"


class RunningAgent:
    """``innoclone agent`` as a process. ``state`` is its state folder, where the history is too."""

    def __init__(self, programs: Programs, state: Path, *options: str) -> None:
        self._programs = programs
        self.folder = state / "agent"
        self.socket = state / "s"  # short: a socket's path may have 107 bytes
        self.log = state / "agent.log"
        state.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "innoclone", "agent", f"--folder={self.folder}", f"--socket={self.socket}"]
        with self.log.open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                [*command, "--port=0", *options], stdout=log, stderr=log,
                env=os.environ | {"XDG_STATE_HOME": str(state)},
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while (found := LISTENING.search(self.log.read_text()[before:])) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        self.port = int(found[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()

    def kill(self) -> None:
        """The agent alone, at once."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def kill_all(self) -> None:
        """With the clone that it makes."""
        self.kill()
        if (clone := self.clone_process()) is not None:
            os.kill(clone, signal.SIGKILL)
            end = time.monotonic() + PATIENCE
            while self.clone_process() is not None:
                assert time.monotonic() < end
                time.sleep(0.01)

    def clone_process(self) -> int | None:
        """The process of the clone that is made, None if none is."""
        holder = holder_at(self.folder / "clone.lock")
        return None if holder is None else holder.pid

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def mysql(self, query: str, *options: str) -> subprocess.CompletedProcess[str]:
        """A query through the real client, as root on the Unix socket unless options say otherwise."""
        assert self._programs.mysql is not None
        where = options or (f"--socket={self.socket}", "--user=root")
        return subprocess.run(
            [*self._programs.mysql, "--no-defaults", *where, "-e", query],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def tcp(self, user: str, password: str, *more: str) -> tuple[str, ...]:
        """Options for `mysql` to come over TCP."""
        return ("--host=127.0.0.1", f"--port={self.port}", f"--user={user}", f"--password={password}", *more)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """A query as root on the Unix socket."""
        with self.root() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def root(self) -> Connection[Any]:
        """PyMySQL as root on the Unix socket."""
        return pymysql.connect(unix_socket=str(self.socket), user="root")

    def connect(self, user: str, password: str, **more: Any) -> Connection[Any]:
        """PyMySQL over TCP."""
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, password=password, **more)

    def raw(self) -> socket.socket:
        """A plain TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
