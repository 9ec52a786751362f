"""Private MySQL servers for trying things out: stock mysqlds that live on after the command that started them.

A sandbox is a folder below the user's state folder: ``data/`` is its data directory, ``sandbox.json`` says how it runs,
``client.cnf`` lets MySQL's clients and innoclone in as the account ``clone``. Root has no password and comes in over
the Unix socket alone, which lies in a directory that only this user can enter.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from innoclone import errors
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.records import folders
from innoclone.server.mysqld import Server, remove_runtime
from innoclone.server.programs import Programs, provide_programs
from innoclone.transport.sql import own_server

__all__ = [
    "ACCOUNT", "DONOR_OPTIONS", "Sandbox",
    "find", "list_sandboxes", "prepare_donor", "remove", "start", "state_directory", "stop",
]  # fmt: skip

ACCOUNT = "clone"
# A donor with a binary log, so that a clone has a position; the log itself is on by default since 8.0.
DONOR_OPTIONS = ("--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
_BEGUN = "first-start"  # a file that is there until the first start has come to its end
# BACKUP_ADMIN is what COM_CLONE asks for; the others are for preflight, verify --against and replicate.
_PRIVILEGES = "SELECT, RELOAD, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT, BACKUP_ADMIN"


@dataclass(frozen=True)
class Sandbox:
    """One sandbox as its ``sandbox.json`` has it; ``pid`` 0 = stopped."""

    name: str
    directory: Path
    version: str
    options: tuple[str, ...]
    password: str
    """The password of the account ``clone``."""
    pid: int
    port: int
    socket: Path

    @property
    def datadir(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def option_file(self) -> Path:
        """An option file with the account ``clone``, for --defaults-file."""
        return self.directory / "client.cnf"

    @property
    def dsn(self) -> str:
        """The account ``clone`` over TCP, with its password."""
        return f"mysql://{ACCOUNT}:{self.password}@127.0.0.1:{self.port}"

    def running(self) -> bool:
        """Whether its mysqld is alive; a process that got the number later has another command line."""
        try:
            arguments = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"--datadir={self.datadir}".encode() in arguments

    def connect(self, database: str | None = None) -> Connection[Cursor]:
        """Root over the socket; raises `errors.ConnectFailed`."""
        try:
            return own_server(self.socket, database=database)
        except pymysql.MySQLError as error:
            raise errors.ConnectFailed(f"sandbox {self.name}: {error.args[-1]}") from error


def state_directory() -> Path:
    """Where the sandboxes are: ``sandbox`` in the state folder."""
    return folders.state_directory() / "sandbox"


def start(
    name: str,
    *,
    port: int = 0,
    options: Sequence[str] = (),
    password: str | None = None,
    programs: Programs | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Sandbox:
    """Start a sandbox, made first where it is new; ``port`` 0 = the one it had, else any free one.

    ``options`` (mysqld's, also used to initialize) and ``password`` are remembered. Raises `errors.UsageError` where
    it runs already, `errors.TargetUnusable`, `errors.ServerNotFound`, `errors.BootFailed`.
    """
    known = _load(name)
    if known and known.running():
        raise errors.UsageError(f"sandbox {name} runs already (pid {known.pid}, port {known.port})", hint="")
    programs = programs or provide_programs(report)
    directory = state_directory() / name
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise errors.TargetUnusable(f"can't create {directory}: {error.strerror}") from error
    sandbox = Sandbox(
        name=name,
        directory=directory.absolute(),
        version=programs.version,
        options=tuple(options) or (known.options if known else ()),
        password=password or (known.password if known else secrets.token_urlsafe(12)),
        pid=0,
        port=port,
        socket=Path(),
    )
    if not known:
        report(f"initializing MySQL {programs.version} in {sandbox.datadir}")
        _begin(sandbox)
        Server.initialize(programs, sandbox.datadir, sandbox.options)
    report(f"starting MySQL {programs.version}")
    server = Server.start(
        programs,
        sandbox.datadir,
        port=port or _still_free(known.port if known else 0),
        options=[*DONOR_OPTIONS, *sandbox.options],
        error_log=sandbox.directory / "error.log",
    )
    return _keep(replace(sandbox, pid=server.pid, port=server.port, socket=server.socket), server)


def _keep(sandbox: Sandbox, server: Server) -> Sandbox:
    """Make the server a donor, and let it live on; it is stopped where that fails."""
    try:
        with server.connect() as connection:
            prepare_donor(connection, sandbox.password)
        _save(sandbox)
        (sandbox.directory / _BEGUN).unlink(missing_ok=True)
    except BaseException:
        server.stop()
        raise
    server.detach()
    return sandbox


def _begin(sandbox: Sandbox) -> None:
    """Remove what a first start left that was broken off, as its mark proves. Raises `errors.TargetExists` for any
    other data, `errors.TargetBusy` where a server runs on it."""
    mark = sandbox.directory / _BEGUN
    if sandbox.datadir.is_dir() and any(sandbox.datadir.iterdir()):
        refuse_in_use(sandbox.datadir, Purpose.REMOVE)
        if not mark.exists():
            raise errors.TargetExists(
                f"{sandbox.datadir} holds data, but there is no sandbox.json to tell what it is",
                hint="move it elsewhere, or choose another name",
            )
        shutil.rmtree(sandbox.datadir)
    mark.touch()


def _still_free(port: int) -> int:
    """The port, or 0 where another process has taken it."""
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return port
    return 0


def prepare_donor(connection: Connection[Cursor], password: str) -> None:
    """Load the clone plugin and make the account ``clone``, without a trace in the binary log."""
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = 0")
        if not cursor.execute("SELECT 1 FROM information_schema.plugins WHERE plugin_name = 'clone'"):
            cursor.execute("INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
        # Two of them, because an anonymous user@localhost would come before clone@'%'.
        for host in ("%", "localhost"):
            cursor.execute(f"CREATE USER IF NOT EXISTS {ACCOUNT}@%s", (host,))
            cursor.execute(f"ALTER USER {ACCOUNT}@%s IDENTIFIED BY %s", (host, password))
            cursor.execute(f"GRANT {_PRIVILEGES} ON *.* TO {ACCOUNT}@%s", (host,))
        cursor.execute("SET SESSION sql_log_bin = 1")


def find(name: str, *, running: bool = True) -> Sandbox:
    """The sandbox of that name; raises `errors.UsageError` where there is none, or none that runs."""
    sandbox = _load(name)
    if sandbox is None:
        raise errors.UsageError(f"there is no sandbox {name}", hint=f"innoclone sandbox start {name}")
    if running and not sandbox.running():
        raise errors.UsageError(f"sandbox {name} does not run", hint=f"innoclone sandbox start {name}")
    return sandbox


def list_sandboxes() -> list[Sandbox]:
    """All sandboxes by name, running or not."""
    names = sorted(path.parent.name for path in state_directory().glob("*/sandbox.json"))
    return [sandbox for name in names if (sandbox := _load(name))]


def stop(name: str, *, timeout: float = 300.0) -> None:
    """Shut a sandbox down cleanly; nothing to do where it does not run. Raises `errors.BootFailed` after ``timeout``
    seconds."""
    sandbox = find(name, running=False)
    if sandbox.running():
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(sandbox.pid)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                # A pidfd becomes readable when its process ends (pidfd_open(2)), whoever the parent is.
                if not select.select([descriptor], [], [], timeout)[0]:
                    raise errors.BootFailed(f"sandbox {name} did not stop within {timeout:g} s (pid {sandbox.pid})")
            finally:
                os.close(descriptor)
    if sandbox.pid:
        remove_runtime(sandbox.socket.parent)
        _save(replace(sandbox, pid=0, socket=Path()))


def remove(name: str) -> None:
    """Stop a sandbox and delete everything of it. Raises `errors.TargetBusy` where somebody still uses it."""
    stop(name)
    refuse_in_use(state_directory() / name, Purpose.REMOVE)
    shutil.rmtree(state_directory() / name)


def _load(name: str) -> Sandbox | None:
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise errors.UsageError(f"{name!r} is no name for a sandbox", hint="use letters, digits, '-', '_' and '.'")
    directory = (state_directory() / name).absolute()
    try:
        values: dict[str, Any] = json.loads((directory / "sandbox.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Sandbox(
        **values | {"directory": directory, "options": tuple(values["options"]), "socket": Path(values["socket"])}
    )


def _save(sandbox: Sandbox) -> None:
    values = asdict(sandbox) | {"socket": str(sandbox.socket)}
    del values["directory"]
    _write_private(sandbox.directory / "sandbox.json", json.dumps(values, indent=2) + "\n")
    _write_private(
        sandbox.option_file,
        f'[client]\nprotocol=TCP\nhost=127.0.0.1\nport={sandbox.port}\nuser={ACCOUNT}\npassword="{sandbox.password}"\n',
    )


def _write_private(path: Path, text: str) -> None:
    """Replace a file whole; nobody else may read it."""
    beside = path.with_name(path.name + ".new")
    with open(beside, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    beside.replace(path)
