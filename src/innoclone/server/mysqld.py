"""A mysqld that we start on a data directory and stop again: for a sandbox, to boot a clone, in tests.

It listens on a Unix socket and, where a port is asked for, on the loopback interface; it reads no option files. Socket,
pid file and temporary files live in a private directory outside the data directory, so the data directory holds only
what the server itself keeps there, and the socket's path is short (sun_path has 108 bytes, unix(7)).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket as sockets
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql
from pymysql.connections import Connection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from innoclone import errors
from innoclone.files.marks import FILE_MODE
from innoclone.server.keyring import Keyring
from innoclone.server.programs import Programs
from innoclone.transport.sql import own_server
from innoclone.transport.timings import LOGIN_PROBE_TIMEOUT

LONGEST_SOCKET_PATH = 107
_RUNTIME = "innoclone-"  # how the private directories begin
# Nobody has this account, so asking for it never counts as a failed login of a real one.
_PROBE_USER = "innoclone.probe"


class Server:
    """A running mysqld; made by `start`, ended by `stop`, `kill` or the end of a ``with`` block."""

    def __init__(
        self, process: subprocess.Popen[bytes], datadir: Path, runtime: Path, socket: Path, port: int, error_log: Path
    ) -> None:
        self._process = process
        self._runtime: Path | None = runtime
        self.datadir = datadir
        self.socket = socket
        self.port = port
        """The TCP port on 127.0.0.1, 0 where the server only has its socket."""
        self.error_log = error_log

    # ---- starting --------------------------------------------------------------------------------------

    @staticmethod
    def initialize(programs: Programs, datadir: Path, options: Sequence[str] = ()) -> None:
        """Make a fresh data directory, root without password; raises `errors.BootFailed`."""
        datadir = datadir.absolute()
        datadir.mkdir(parents=True, exist_ok=True)
        command = [*_command(programs, datadir), *options, "--initialize-insecure"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            reason = complaint(done.stderr.decode(errors="replace"))
            raise errors.BootFailed(f"mysqld could not initialize {datadir}: {reason}", hint="")

    @classmethod
    def start(
        cls,
        programs: Programs,
        datadir: Path,
        *,
        options: Sequence[str] = (),
        port: int | None = None,
        socket: Path | None = None,
        error_log: Path | None = None,
        skip_grants: bool = False,
        user: tuple[int, int] | None = None,
        runtime: Path | None = None,
        timeout: float = 300.0,
        waiting: Callable[[], None] = lambda: None,
        keyring: Keyring | None = None,
    ) -> Self:
        """Start mysqld on ``datadir`` and return once it answers; raises `errors.BootFailed`.

        ``port``: None = only the socket, 0 = any free port. ``options`` come last and win over ours. ``skip_grants``
        lets anybody in without a password, over the socket alone: for a look into a clone whose accounts are the
        donor's. ``timeout`` (seconds) includes crash recovery. Without ``error_log`` the log is thrown away by a
        clean stop and kept where the start fails. ``user`` (user and group id) is whom mysqld runs as where we are
        root. ``runtime`` is where pid file and temporary files go, made where it isn't there, instead of a directory
        among the system's temporary files. ``waiting`` is called again and again until the server answers; what it
        raises ends the server. ``keyring`` is for data that is encrypted at rest.
        """
        if skip_grants and port is not None:
            raise ValueError("a server without passwords gets no port")
        runtime = _runtime_directory() if runtime is None else _own_directory(runtime)
        socket = (socket or runtime / "mysql.sock").absolute()
        if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
            shutil.rmtree(runtime)
            raise errors.UsageError(f"the socket's path is longer than {LONGEST_SOCKET_PATH} bytes: {socket}")
        datadir = datadir.absolute()
        log = (error_log or runtime / "error.log").absolute()
        number = _free_port() if port == 0 else port or 0
        if keyring is not None:
            programs = keyring.programs(programs, runtime)
        command = [
            *_command(programs, datadir, user),
            f"--socket={socket}",
            f"--pid-file={runtime / 'mysqld.pid'}",
            f"--tmpdir={runtime}",
            f"--log-error={log}",
            "--mysqlx=OFF",
            *([f"--port={number}", "--bind-address=127.0.0.1"] if number else ["--skip-networking"]),
            # Channels of the data get their relay logs whether they are started or not.
            *(["--skip-grant-tables", f"--relay-log={runtime / 'relay'}"] if skip_grants else []),
            *options,
        ]
        seen = log.stat().st_size if log.exists() else 0
        process = _launch(command, log, runtime, user)
        server = cls(process, datadir, runtime, socket, number, log)
        try:
            server._await_answer(timeout, seen, waiting)
        except errors.BootFailed:
            if log.parent == runtime:  # the message names the log
                server._runtime = None
            server._clean()
            raise
        except BaseException:
            server.kill()
            raise
        return server

    def _await_answer(self, timeout: float, log_offset: int, waiting: Callable[[], None]) -> None:
        deadline = time.monotonic() + timeout
        while not self._answers():
            waiting()
            if self._process.poll() is not None:
                reason = f"it ended with status {self._process.returncode}"
            elif time.monotonic() > deadline:
                self.kill(keep_log=True)
                reason = f"no answer within {timeout:g} s"
            else:
                time.sleep(0.05)
                continue
            text = self.error_log.read_bytes()[log_offset:].decode(errors="replace")
            said = complaint(text)
            raise errors.BootFailed(
                f"mysqld did not come up on {self.datadir}: {said or reason} (error log: {self.error_log})"
            )

    def _answers(self) -> bool:
        return self.socket.exists() and answers(unix_socket=str(self.socket))

    # ---- using -----------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process id of mysqld."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def connect(
        self, user: str = "root", password: str = "", database: str | None = None, *, autocommit: bool = True
    ) -> Connection[Cursor]:
        """A connection over the socket; raises `pymysql.err.MySQLError`."""
        return own_server(self.socket, user, password, database, autocommit=autocommit)

    # ---- ending ----------------------------------------------------------------------------------------

    def stop(self, timeout: float = 300.0) -> None:
        """A clean shutdown (SIGTERM); nothing to do where it ended before. Raises `errors.BootFailed` if it does not
        end within ``timeout`` seconds (it is killed then) or ends with an error."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill(keep_log=True)
                raise errors.BootFailed(
                    f"mysqld on {self.datadir} did not stop within {timeout:g} s and was killed "
                    f"(error log: {self.error_log})"
                ) from None
            if self._process.returncode:
                raise errors.BootFailed(
                    f"mysqld on {self.datadir} ended with status {self._process.returncode} "
                    f"instead of stopping cleanly (error log: {self.error_log})"
                )
        self._clean()

    def kill(self, *, keep_log: bool = False) -> None:
        """End it at once (SIGKILL), like a crash."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if not keep_log:
            self._clean()

    def detach(self) -> Path:
        """Let it live on after this process: `stop` is for others now. Returns its private directory, which whoever
        stops the server removes."""
        assert self._runtime is not None, "a running server has its private directory"
        runtime, self._runtime = self._runtime, None
        self._process.returncode = 0  # keeps Popen from warning about a child that is meant to run on
        return runtime

    def _clean(self) -> None:
        if self._runtime is not None:
            shutil.rmtree(self._runtime, ignore_errors=True)
            self._runtime = None

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, unless it was detached."""
        if self._runtime is not None:
            self.stop()


def answers(**where: Any) -> bool:
    """Whether a server accepts logins; being turned away is an answer too. ``where`` is for `pymysql.connect`."""
    try:
        pymysql.connect(
            **where, user=_PROBE_USER, connect_timeout=LOGIN_PROBE_TIMEOUT, read_timeout=LOGIN_PROBE_TIMEOUT
        ).close()
    except pymysql.err.MySQLError as error:
        number = error.args[0] if error.args else None
        by_server = isinstance(number, int) and number >= 1000 and not 2000 <= number < 3000  # those are the client's
        return by_server and number != ER.SERVER_SHUTDOWN
    except Exception:  # noqa: BLE001 - what PyMySQL makes of the answers of something else
        return False
    return True


def _launch(command: Sequence[str], log: Path, runtime: Path, user: tuple[int, int] | None) -> subprocess.Popen[bytes]:
    """Start mysqld; where that can't be done ``runtime`` is gone again. Raises `errors.ServerNotFound`, OSError."""
    # The log's mode is that of mysqld's own files. Its own session: Ctrl-C in our terminal is for us, and we stop the
    # server in order.
    with open(log, "ab", opener=lambda name, flags: os.open(name, flags, FILE_MODE)) as output:
        if user is not None and os.geteuid() == 0:
            for path in (runtime, log):
                os.chown(path, *user)
        try:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            shutil.rmtree(runtime)
            raise errors.ServerNotFound(f"{command[0]} can't be started: {error.strerror}") from error


def _command(programs: Programs, datadir: Path, user: tuple[int, int] | None = None) -> list[str]:
    """What every start of mysqld has in common."""
    return [
        *programs.mysqld,
        "--no-defaults",
        *programs.server_options,
        # mysqld refuses to run as root unless told so; it takes a number for a name (get_user_info of sql/mysqld.cc).
        *([f"--user={user[0] if user else 'root'}"] if os.geteuid() == 0 else []),
        f"--datadir={datadir}",
        # A packaged default names a directory that is missing where nothing is installed; NULL allows no file access.
        "--secure-file-priv=NULL",
    ]


def _runtime_directory() -> Path:
    """A private directory with a path short enough for a socket, whatever TMPDIR says."""
    folder = tempfile.mkdtemp(prefix=_RUNTIME)
    if len(os.fsencode(folder)) + len("/mysql.sock") > LONGEST_SOCKET_PATH:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix=_RUNTIME, dir="/tmp")
    return Path(folder).absolute()


def _own_directory(folder: Path) -> Path:
    """``folder``, for the server alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder.absolute()


def remove_runtime(folder: Path) -> None:
    """Remove the private directory of a server that has ended, which a `Server.detach` left; nothing but such a one."""
    if folder.name.startswith(_RUNTIME) and folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def complaint(log: str) -> str:
    """The errors in an error log's text in short form, without time stamps; the last line where none is marked."""
    lines = [line.partition("[ERROR] ")[2] for line in log.splitlines() if "[ERROR]" in line]
    return "; ".join(lines[:5] or log.strip().splitlines()[-1:])
