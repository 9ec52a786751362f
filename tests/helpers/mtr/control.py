"""What the tests talk to while they run: who starts a donor of ours for a server, and who asks an agent."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self, TextIO

import pymysql

from mtr.include import PASSWORD, RESTARTED, USER
from mtr.root import SUITE

STATES = {1227: "42000", 1305: "42000"}  # SQL states, which PyMySQL doesn't tell
FORGOTTEN = "SET GLOBAL clone_ssl_ca = '', GLOBAL clone_ssl_cert = '', GLOBAL clone_ssl_key = ''"
NO_DONOR = 1  # a port on which nothing listens


class Control:
    """A port on which a test says a line, and gets an answer. Use it with ``with``."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.end()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, contextlib.suppress(OSError, ValueError):
                    sock.sendall(self.answer(sock.makefile().readline().strip()).encode())

    def answer(self, line: str) -> str:
        """What goes back."""
        raise NotImplementedError

    def end(self) -> None:
        """All is over."""


class Recipient(Control):
    """The line is a statement for an agent, the answer what mysqltest would show."""

    def __init__(self, socket_path: Path, root: Path) -> None:
        """``root`` is the tests' root directory, in which the files lie that they name."""
        super().__init__()
        self._socket, self._root = socket_path, root
        self.answer("UNINSTALL PLUGIN clone")  # as on the suite's servers

    def answer(self, line: str) -> str:
        """The statement, and its rows or its error."""
        if line == RESTARTED:
            line = FORGOTTEN
        shown = "" if line == FORGOTTEN else f"{line};\n"
        with pymysql.connect(unix_socket=str(self._socket), user="root") as connection, connection.cursor() as cursor:
            try:
                cursor.execute(line.replace(f"'/{SUITE}/", f"'{self._root / SUITE}/"))
            except pymysql.MySQLError as error:
                return f"{shown}ERROR {STATES.get(error.args[0], 'HY000')}: {error.args[1]}\n"
            if line.startswith("INSTALL"):  # the plugin's table has the last clone alone
                cursor.execute("SET GLOBAL clone_status_history = OFF")
            if cursor.description:
                rows = [[column[0] for column in cursor.description], *cursor.fetchall()]
                shown += "".join("\t".join(map(str, row)) + "\n" for row in rows)
        return shown


class Donor(Control):
    """The line is the port of a server, the answer the port of our donor of it."""

    def __init__(self, work: Path, keys: Path) -> None:
        """``keys`` has the suite's certificates."""
        super().__init__()
        self.said: list[str] = []  # by donors that did not start
        self._state, self._keys = work / "state", keys
        self._donor: subprocess.Popen[str] | None = None

    def answer(self, line: str) -> str:
        """For mysqltest."""
        return f"let $INNOCLONE_PORT = {self._start(int(line))};\n"

    def _start(self, port: int) -> int:
        self.end()
        options = [
            f"--live=mysql://root@127.0.0.1:{port}?ssl-mode=REQUIRED", f"--user={USER}", "--port=0", "--json",
            f"--ssl-cert={self._keys / 'server-cert.pem'}", f"--ssl-key={self._keys / 'server-key.pem'}",
        ]  # fmt: skip
        self._donor = subprocess.Popen(
            [sys.executable, "-m", "innoclone", "serve", "--no-defaults", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"MYSQL_PWD": PASSWORD, "XDG_STATE_HOME": str(self._state)},
        )  # fmt: skip
        assert self._donor.stdout is not None
        assert self._donor.stderr is not None
        threading.Thread(target=self._listen, args=(self._donor.stderr,), daemon=True).start()
        for line in self._donor.stdout:
            event = json.loads(line)
            if event.get("event") == "listening":
                return int(event["port"])
        return NO_DONOR

    def _listen(self, stream: TextIO) -> None:
        self.said += [line.strip() for line in stream if "ERROR" in line]

    def end(self) -> None:
        """End the donor."""
        if self._donor is not None:
            self._donor.terminate()
            self._donor.wait()
