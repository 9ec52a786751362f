"""A server that is not ours but that we may stop and start: how that is done, and what it says of itself.

Whether it runs is seen by the locks on its files, not by asking it: after its data was replaced its accounts are the
donor's. For the same reason it counts as up as soon as it answers a login, even with a refusal.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from innoclone.errors import (
    AccessDenied,
    BootFailed,
    CloneError,
    ConnectFailed,
    PrivilegeMissing,
    ServerNotFound,
    TargetUnusable,
    one_line,
)
from innoclone.files.inuse import server_on
from innoclone.files.system import file_error
from innoclone.records.managedserver import Managed
from innoclone.server.managedfacts import PLACES, ServerFacts, account_words, ask
from innoclone.server.mysqld import answers, complaint
from innoclone.server.programs import find_programs
from innoclone.transport.timings import (
    SERVER_APPEARS_TIMEOUT,
    SERVER_KILLED_TIMEOUT,
    SERVER_STEADY_TIME,
    STOP_COMMAND_GRACE,
    VALIDATE_CONFIG_TIMEOUT,
)

__all__ = ["Control"]

POLL = 0.1  # seconds
# Of the environment: what systemd listens to is our unit's; mysqld takes the other for its tmpdir, and its user may not
# be able to write there.
OURS = ("NOTIFY_SOCKET", "TMPDIR")
WORDS = 400  # characters of a command's output in a message


class Control:
    """Asks, stops and starts one server. ``log`` takes what our commands say."""

    def __init__(self, managed: Managed, data: Path, log: Path) -> None:
        """``data`` is the data directory with symbolic links followed."""
        self.managed, self.data = managed, data
        self.logs = [log]
        self._child: subprocess.Popen[bytes] | None = None

    # ---- asking --------------------------------------------------------------------------------------------

    def facts(self) -> ServerFacts:
        """Raises `TargetUnusable` where it can't be asked, is another server, or has data where we don't handle it."""
        try:
            facts = ask(self.managed.endpoint)
        except CloneError as error:
            raise self._unanswered(error) from error
        if Path(os.path.realpath(facts.variables["datadir"])) != self.data:
            raise TargetUnusable(
                f"the server at {self.managed.endpoint.address} has the data directory {facts.variables['datadir']},"
                f" not {self.data}",
                hint="name the same server twice in the configuration",
            )
        self._refuse_namesake(facts.variables)
        self._refuse_outside(facts.outside, facts.variables)
        if (name := facts.variables.get("log_error", "stderr")) != "stderr":
            self.logs[1:] = [self.data / name]
        return facts

    def _unanswered(self, error: CloneError) -> TargetUnusable:
        """Why the server could not be asked; errors of accounts are otherwise the donor's."""
        managed = self.managed.endpoint
        if isinstance(error, AccessDenied):
            return TargetUnusable(
                f"the managed server {managed} refuses its account in the configuration: {error.message}",
                hint="after a replacement a server has the accounts of the donor; create this one there, and on the"
                f" server itself: {account_words(managed)}",
            )
        if isinstance(error, PrivilegeMissing):
            return TargetUnusable(
                f"the account of the managed server {managed} lacks a privilege: {error.message}",
                hint=f"on that server: {account_words(managed)}",
            )
        message = f"the managed server {managed} can't be asked: {error.message}"
        if isinstance(error, ConnectFailed) and self.running():
            return TargetUnusable(
                f"{message}; a server runs on {self.data}", hint="check socket, or host and port, in the configuration"
            )
        if isinstance(error, ConnectFailed):
            return TargetUnusable(f"{message}; no server runs on {self.data}", hint="start it")
        return TargetUnusable(message, hint="see what it answers to a client with the account of the configuration")

    def _refuse_namesake(self, variables: Mapping[str, str]) -> None:
        """A server in a container may call a directory by the same name that is another one here."""
        uuid = variables["server_uuid"]
        with suppress(OSError):
            text = (self.data / "auto.cnf").read_text(errors="replace")
            found = re.search(r"^\s*server[-_]uuid\s*=\s*(\S+)", text, re.MULTILINE)
            if found is not None and found[1].lower() != uuid.lower():
                raise TargetUnusable(
                    f"the server at {self.managed.endpoint.address} is {uuid}, and {self.data} is the data of"
                    f" {found[1]}",
                    hint="name the same server twice in the configuration",
                )
        if not self.running():
            raise TargetUnusable(
                f"the server at {self.managed.endpoint.address} has no files open in {self.data}",
                hint="it may be in a container that has another directory by that name",
            )

    def _refuse_outside(self, files: Sequence[str], variables: Mapping[str, str]) -> None:
        """What is elsewhere can't be exchanged with the directory."""
        for name in PLACES:
            value = variables.get(name, "")
            place = value if name.startswith("innodb") else Path(value).parent
            if value and Path(os.path.realpath(self.data / place)) != self.data:
                raise TargetUnusable(
                    f"the managed server has {name}={value}, which is not its data directory",
                    hint="only a server that keeps its data and binary logs in one directory can be replaced",
                )
        for path in files:
            if not Path(os.path.realpath(self.data / path)).is_relative_to(self.data):
                raise TargetUnusable(
                    f"the managed server has a tablespace outside its data directory: {path}",
                    hint="move it into the data directory, or drop it",
                )

    def running(self) -> bool:
        """Whether a server has the data open. Raises a file error."""
        self._reap()
        return server_on(self.data) is not None

    def _answers(self) -> bool:
        to = self.managed.endpoint
        if to.socket is not None:
            return answers(unix_socket=str(to.socket))
        return answers(host=to.host, port=to.port)

    # ---- stopping ------------------------------------------------------------------------------------------

    def stop(self, waiting: Callable[[], None] = lambda: None, *, force: bool = False) -> None:
        """A clean shutdown; nothing to do where none runs. With ``force``, for data that is given up, a server that
        does not stop is killed. Raises `BootFailed`, a file error, what ``waiting`` raises."""
        process = server_on(self.data)
        if process is None and self._child is not None and self._child.poll() is None:
            process = self._child.pid  # it was only just started, and has nothing open yet
        if process is None and not force:
            return
        descriptor = -1
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process) if process else -1
        try:
            self._stop(descriptor, waiting)
        except BootFailed:
            if not force:
                raise
            self._kill(descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _stop(self, process: int, waiting: Callable[[], None]) -> None:
        """With ``process``, a pidfd or -1."""
        deadline = time.monotonic() + self.managed.stop_timeout
        if self.managed.stop:
            self._command(self.managed.stop, deadline)
        elif process >= 0:
            _signal(process, signal.SIGTERM, self.data)
        while self.running() or not _has_ended(process):
            if process < 0 and not self.managed.stop:
                raise BootFailed(f"the server on {self.data} can't be seen from here", hint="configure how to stop it")
            if time.monotonic() > deadline:
                raise BootFailed(f"the server on {self.data} did not stop in {self.managed.stop_timeout:g} s")
            waiting()
            time.sleep(POLL)

    def _kill(self, process: int) -> None:
        """At once. Raises `BootFailed` where that is not possible."""
        if process >= 0:
            _signal(process, signal.SIGKILL, self.data)
        deadline = time.monotonic() + SERVER_KILLED_TIMEOUT
        while self.running() or not _has_ended(process):
            if time.monotonic() > deadline:
                raise BootFailed(f"the server on {self.data} can't be stopped")
            time.sleep(POLL)

    # ---- starting ------------------------------------------------------------------------------------------

    def validate_options(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Let mysqld look at the options that we would start it with (--validate-config), while the server still runs.

        Raises `TargetUnusable` where it refuses them, `ServerNotFound`, a file error, what ``waiting`` raises.
        """
        if self.managed.start:
            return
        try:
            self._command([*self._mysqld(), "--validate-config"], time.monotonic() + VALIDATE_CONFIG_TIMEOUT, waiting)
        except BootFailed as error:
            raise TargetUnusable(
                f"mysqld refuses the options that it would be started with: {error.message}",
                hint="say in the configuration how the server is started: start, or defaults_file and options",
            ) from error

    def start(self, waiting: Callable[[], None] = lambda: None) -> None:
        """Start the server unless it runs, and return once it answers. Raises `BootFailed`, `ServerNotFound`, a file
        error, what ``waiting`` raises."""
        deadline = time.monotonic() + self.managed.start_timeout
        launched = answered = 0.0
        process = None
        said = self._log_sizes()
        while True:
            if process != (process := server_on(self.data)):
                answered = 0.0
            if self.running():
                answered = (answered or time.monotonic()) if self._answers() else 0.0
                # One that was just started may fail a moment later, one that we found may have been told to stop.
                if answered and time.monotonic() > answered + SERVER_STEADY_TIME:
                    return
            elif not launched:
                self._launch(deadline, waiting)
                launched = time.monotonic()
            elif self._is_hopeless(launched):
                raise BootFailed(f"the server did not come up on {self.data}{self._why(said)}")
            if time.monotonic() > deadline:
                raise BootFailed(
                    f"the server on {self.data} does not answer at {self.managed.endpoint.address} after"
                    f" {self.managed.start_timeout:g} s{self._why(said)}"
                )
            waiting()
            time.sleep(POLL)

    def _is_hopeless(self, launched: float) -> bool:
        """Whether there is no hope: our own mysqld has ended, or another one has not appeared in time."""
        if self._child is not None and not self.managed.start:
            return self._child.poll() is not None
        return time.monotonic() > launched + SERVER_APPEARS_TIMEOUT

    def _launch(self, deadline: float, waiting: Callable[[], None]) -> None:
        if self.managed.start:
            self._command(self.managed.start, deadline, waiting, lambda: self.running() and self._answers())
            return
        self._child = self._popen(self._mysqld())

    def _mysqld(self) -> list[str]:
        """The command for a server of the directory's owner."""
        managed = self.managed
        programs = find_programs(managed.mysqld)
        first = [] if managed.defaults_file is None else [f"--defaults-file={managed.defaults_file}"]
        user = [f"--user={self.data.stat().st_uid or 'root'}"] if os.geteuid() == 0 else []
        own = [*programs.server_options, *user, f"--datadir={self.managed.datadir}"]
        return [*programs.mysqld, *first, *own, *managed.options]

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program of a session of its own: it outlives us, and Ctrl-C in our terminal is not for it."""
        environment = {name: value for name, value in os.environ.items() if name not in OURS}
        try:
            with self.logs[0].open("ab") as log:
                return subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                    env=environment,
                )  # fmt: skip
        except FileNotFoundError as error:
            raise ServerNotFound(f"{command[0]} can't be started: {error.strerror}") from error
        except OSError as error:
            raise file_error(error, f"can't start {command[0]}") from error

    def _command(
        self,
        command: Sequence[str],
        deadline: float,
        waiting: Callable[[], None] = lambda: None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run one of the user's commands to its end, or until ``enough``: a server may run in its foreground.

        Raises `BootFailed` if it fails, what ``waiting`` raises. No message shows its arguments: there may be a
        password among them.
        """
        said = self._log_sizes()
        process = self._popen(command)
        try:
            while process.poll() is None:
                if enough():
                    return
                if time.monotonic() > deadline:
                    raise BootFailed(f"{command[0]} did not end in time{self._why(said)}")
                waiting()
                time.sleep(POLL)
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_COMMAND_GRACE)
            process.kill()
            process.wait()
            raise
        if process.returncode:
            raise BootFailed(f"{command[0]} ended with status {process.returncode}{self._why(said)}")

    def _log_sizes(self) -> list[int]:
        return [log.stat().st_size if log.exists() else 0 for log in self.logs]

    def _why(self, said: Sequence[int]) -> str:
        """What was written to the logs since, shortened; and where they are."""
        text = ""
        for log, before in zip(self.logs, said, strict=True):
            with suppress(OSError):
                text += log.read_bytes()[before:].decode(errors="replace")
        where = " and ".join(map(str, self.logs))
        return f": {one_line(complaint(text))[:WORDS] or 'nothing was said'} (logs: {where})"

    def _reap(self) -> None:
        if self._child is not None:
            self._child.poll()


def _signal(process: int, number: signal.Signals, data: Path) -> None:
    """To a pidfd; one that has ended is fine. Raises `BootFailed`."""
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise BootFailed(f"the server on {data} is another user's", hint="run as root, or as that user") from error


def _has_ended(process: int) -> bool:
    """Whether the process of a pidfd has: it becomes readable then (pidfd_open(2)). Nothing is known of -1."""
    return process < 0 or bool(select.select([process], [], [], 0)[0])
