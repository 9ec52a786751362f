"""The way to a donor through ssh, without a daemon: ``innoclone serve --stdio`` is started over there by the system's
ssh, with its keys and its configuration.

The first ssh process keeps the donor over there alive, and each connection is an ssh process of its own, whose stdin
and stdout are one end of a pair of sockets: the other end is what a TCP connection is elsewhere. So each connection has
its own TCP window and its own processor for the encryption, and none waits for another; unless somebody had to type
(`innoclone.transport.sshlogin`). Here nothing is decided about host keys, identities or algorithms.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from innoclone.errors import (
    AccessDenied,
    CloneError,
    ConnectionLimit,
    InnocloneMissing,
    InnocloneVersion,
    Interrupted,
    NetworkError,
    NotInnoclone,
    SnapshotGone,
    SshFailed,
    SshMissing,
    TooManyOpenFiles,
    one_line,
)
from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.transport.sshlogin import SshLogins
from innoclone.version import __version__
from innoclone.wire.stdio import (
    GOODBYE,
    LONGEST_LINE,
    PROTOCOL,
    Hello,
    Join,
    Open,
    Refused,
    Request,
    Waiting,
    are_of_one_series,
    parse_answer,
    serialize,
)

__all__ = ["STDIO_USER", "SshRoute", "SshWay"]

STDIO_USER = "innoclone"  # of the account that lives as long as the donor over there
GREETS_WITHIN = 60.0  # seconds, for the login by keys and the start of a program
TYPED_WITHIN = 300.0  # seconds, where somebody may have to type
ANSWERS_WITHIN = 60.0  # seconds between two lines; who needs longer says so every few seconds
AT_ONCE = 4  # logins; sshd begins to refuse some of more than 10 (MaxStartups)
ENDS_WITHIN = 5.0  # seconds, for ssh after its pipe was closed
LOOK = 0.2  # seconds
TERMINAL = "/dev/tty"
NOISE = 1 << 11  # bytes of what was said instead of a greeting
MOST_LINES, LONGEST_SAID = 20, 1000  # of stderr
FAILED, NOT_FOUND, NOT_EXECUTABLE = 255, 127, 126  # exit statuses: ssh's own failure; a shell's
NO_MORE = "refused by peer"  # ssh's mux.c, where sshd has as many sessions of one login as it takes (MaxSessions)
MORE = "a key that needs no typing gives each a login of its own; or raise MaxSessions in sshd_config over there"
KEYS = "ssh needs a key without a passphrase or an agent here: try 'ssh HOST true' as the user who runs innoclone"


@dataclass(frozen=True)
class SshRoute:
    """A host as ssh knows it: a name of its configuration or an address. ``program``: innoclone over there."""

    host: str
    user: str | None = None
    port: int | None = None
    program: str = "innoclone"

    def __str__(self) -> str:
        """``ssh://user@host:port``."""
        login = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{login}{host}" + (f":{self.port}" if self.port else "")

    @property
    def words(self) -> list[str]:
        """What names the host to ssh."""
        port, user = [f"-p{self.port}"] if self.port else [], [f"-l{self.user}"] if self.user else []
        return [*port, *user, "--", self.host]

    def command(self, login: Sequence[str] = ()) -> list[str]:
        """ssh with its arguments. Only the program's name is read by the shell over there, quoted."""
        options = ["-T", "-oClearAllForwardings=yes", *login]  # forwarded ports could be had by one of several only
        home, rest = ("~/", self.program[2:]) if self.program.startswith("~/") else ("", self.program)
        return ["ssh", *options, *self.words, f"{home}{shlex.quote(rest)} serve --stdio"]


class _Ended(Exception):
    """The pipe was closed; the argument is what came before."""


class _Ssh:
    """One ssh process and our end of its pipe."""

    def __init__(self, route: SshRoute, login: Sequence[str], *, say: Callable[[str], None]) -> None:
        """``login``: options. Raises `SshMissing`, `TooManyOpenFiles`."""
        self._route, self._say = route, say
        self._held: list[str] | None = []  # what ssh says is held back until it is known whether it tells of an error
        self._lock = threading.Lock()
        self.sock, theirs = socket.socketpair()
        command = route.command(login)
        try:
            with theirs, _interrupts_held():
                pipe = theirs.fileno()
                self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.PIPE, bufsize=0)
        except FileNotFoundError as error:
            self.sock.close()
            raise SshMissing("there is no ssh on PATH") from error
        except OSError as error:
            self.sock.close()
            raise TooManyOpenFiles(f"can't start ssh: {error.strerror}") from error
        self._listener = threading.Thread(target=self._listen, name="innoclone-ssh", daemon=True)
        self._listener.start()

    # ---- what ssh says -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Read stderr until ssh has ended; a connection that outlives it (ControlPersist) keeps stderr open."""
        stream = self.process.stderr
        assert stream is not None, "it is a pipe"
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        rest = b""
        ended = False
        while not ended:
            ended = self.process.poll() is not None
            while poll.poll(0 if ended else 1000 * LOOK) and (piece := os.read(stream.fileno(), 1 << 12)):
                *lines, rest = (rest + piece).split(b"\n")
                rest = rest[:LONGEST_SAID]
                self._heard(lines)
            if not ended and poll.poll(0):  # closed before its end
                self.process.wait()
        self._heard([rest])
        stream.close()

    def _heard(self, lines: list[bytes]) -> None:
        for line in lines:
            text = one_line(line[:LONGEST_SAID].decode("utf-8", "replace").strip())
            if not text:
                continue
            with self._lock:
                if self._held is not None:
                    self._held = [*self._held, text][-MOST_LINES:]
                    continue
            self._say(text)

    def _release(self) -> None:
        """All is well: what was held back is said, and the rest as it comes."""
        with self._lock:
            held, self._held = self._held or [], None
        for text in held:
            self._say(text)

    # ---- before the clone protocol -------------------------------------------------------------------------

    def begin(self, request: Request, greets_within: float) -> None:
        """Compare versions, and ask. Raises a `CloneError`; then all is over."""
        try:
            self._greeted(greets_within)
            self.sock.sendall(serialize(request))
            while isinstance(answer := parse_answer(self._line(ANSWERS_WITHIN)), Waiting):
                pass
            if isinstance(answer, Refused):
                raise answer.error(self._route.host)
        except _Ended as ended:
            error = self._why(bytes(ended.args[0]))
            self.kill()
            raise error from None
        except OSError as error:
            self.kill()
            raise SshFailed(f"ssh to {self._route.host} broke: {error.strerror or error}") from error
        except BaseException:
            self.kill()
            raise
        self._release()

    def _greeted(self, within: float) -> None:
        host = self._route.host
        line = self._line(within)
        hello = Hello.parse(line)
        if hello is None:
            raise self._noise(line + self._more())
        if hello.protocol != PROTOCOL or not are_of_one_series(__version__, hello.version):
            raise InnocloneVersion(f"innoclone {__version__} here and {hello.version} on {host} don't fit together")

    def _line(self, within: float) -> bytes:
        """One line, and no byte behind it. Raises `_Ended`, a `CloneError`."""
        line = bytearray()
        end = time.monotonic() + within
        while not line.endswith(b"\n"):
            self.sock.settimeout(max(0.001, end - time.monotonic()))
            try:
                piece = self.sock.recv(1)
            except TimeoutError:
                if line:
                    raise self._noise(bytes(line)) from None
                raise SshFailed(f"{self._route.host} did not answer through ssh within {within:g} s") from None
            if not piece:
                raise _Ended(bytes(line))
            line += piece
            if len(line) > LONGEST_LINE:
                raise self._noise(bytes(line))
        return bytes(line)

    def _more(self) -> bytes:
        """What else comes at once."""
        self.sock.settimeout(LOOK)
        with contextlib.suppress(OSError):
            return self.sock.recv(NOISE)
        return b""

    def _noise(self, said: bytes) -> CloneError:
        text = one_line(said[:NOISE].decode("utf-8", "replace").strip())[:200]
        return NotInnoclone(f"{self._route.host} says something else before innoclone greets: {text}")

    def _why(self, before: bytes) -> CloneError:
        """The error for a pipe that was closed, by ssh's exit status and what it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDS_WITHIN)
        self._listener.join(ENDS_WITHIN)
        status, host, program = self.process.poll(), self._route.host, self._route.program
        with self._lock:
            said = "; ".join(self._held or [])
        told = f": {said}" if said else ""
        if status == NOT_FOUND:
            return InnocloneMissing(f"there is no {program} on {host} (status {status}){told}")
        if status == NOT_EXECUTABLE:
            return InnocloneMissing(f"{program} on {host} can't be run (status {status}){told}")
        if status == FAILED and "Permission denied" in said:
            return AccessDenied(f"ssh to {host} ended with status {status}{told}", hint=KEYS)
        if status is None or status == FAILED or status < 0:
            return SshFailed(f"ssh to {host} ended" + (f" with status {status}" if status is not None else "") + told)
        if before.strip():
            return self._noise(before)
        return NotInnoclone(
            f"{program} on {host} ended with status {status} before it greeted{told}",
            hint=f"it may be too old for --stdio: ssh {host} {program} version",
        )

    # ---- end -----------------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """Whether nothing says that the other end is gone; for a pipe on which nothing comes any more."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return self.process.poll() is None and not poll.poll(0)

    def kill(self) -> None:
        """At once."""
        self.sock.close()
        self.process.kill()
        self.process.wait()


class SshWay:
    """A donor behind ssh, as long as the ``with`` block runs; `connect` may be called from any thread."""

    def __init__(
        self, route: SshRoute, *, directory: str = "", server: str = "", say: Callable[[str], None] = lambda _: None
    ) -> None:
        """What is wanted is either a ``directory`` over there or a running ``server``, by its DSN there. ``say`` is
        told what ssh says, each line once."""
        self._route, self._directory, self._server, self._say = route, directory, server, say
        self._session, self._secret = secrets.token_hex(8), secrets.token_urlsafe(24)
        self._asks = _has_terminal()
        self._logins = SshLogins(route.words, asks=self._asks)
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._closed = False
        self._keeper: _Ssh | None = None
        self._others: list[_Ssh] = []
        self._telling = threading.Lock()
        self._said: set[str] = set()

    def __str__(self) -> str:
        """``ssh://host/directory``, or the server and where it is; a DSN that says nothing is left out."""
        if self._server:
            return str(self._route) if self._server.endswith("://") else f"{self._server} on {self._route}"
        return f"{self._route}{'' if self._directory.startswith('/') else '/./'}{self._directory}"

    @property
    def endpoint(self) -> Endpoint:
        """The donor. Its password was made for this one run and is known to both ends."""
        return Endpoint(
            host=self._route.host, user=STDIO_USER, password=self._secret, ssl_mode=SslMode.DISABLED, via=self
        )

    def __enter__(self) -> SshWay:
        """Start the donor over there. Raises a `CloneError` that says what of ssh, innoclone or the directory is
        wrong."""
        try:
            self._keep()
        except BaseException:
            self._logins.close()
            raise
        if self._logins.one_at_a_time:
            self._turns = threading.BoundedSemaphore(1)
        return self

    def connect(self) -> socket.socket:
        """One more connection. Where the donor over there has gone another one is started."""
        with self._turns:
            keeper = self._keep()
            try:
                return self._join()
            except SnapshotGone:  # the donor over there has ended, whatever its pipe looks like from here
                self._let_go(keeper)
            self._keep()
            try:
                return self._join()
            except SnapshotGone as error:
                raise NetworkError(error.message) from error

    def _keep(self) -> _Ssh:
        """The pipe that keeps a donor over there alive; a new one where it is gone."""
        with self._lock:
            if self._closed:
                raise Interrupted("stopped")
            if self._keeper is not None and not self._keeper.is_alive:
                self._keeper.kill()
                self._keeper = None
            if self._keeper is None:
                request, began = Open(self._session, self._secret, self._directory, self._server), time.monotonic()
                self._keeper = self._begun(request, self._logins.first())
                self._logins.first_took(time.monotonic() - began)
            return self._keeper

    def _let_go(self, keeper: _Ssh) -> None:
        with self._lock:
            if self._keeper is keeper:
                keeper.kill()
                self._keeper = None

    def _join(self) -> socket.socket:
        request, shared = Join(self._session), self._logins.is_shared
        try:
            started = self._begun(request, self._logins.other())
        except AccessDenied:
            if shared or not self._logins.share():
                raise
            started = self._begun(request, self._logins.other())
        except SshFailed as error:
            if not (shared and NO_MORE in error.message):
                raise
            raise ConnectionLimit(
                f"{self._route.host} takes no more sessions in one login through ssh", hint=MORE
            ) from error
        with self._lock:
            self._others = [one for one in self._others if one.process.poll() is None] + [started]
        return started.sock

    def _begun(self, request: Request, login: Sequence[str]) -> _Ssh:
        started = _Ssh(self._route, login, say=self._tell)
        started.begin(request, TYPED_WITHIN if self._asks else GREETS_WITHIN)
        return started

    def _tell(self, text: str) -> None:
        with self._telling:
            if text in self._said or len(self._said) >= MOST_LINES:
                return
            self._said.add(text)
        self._say(f"{self._route.host}: {text}")

    def __exit__(self, *_: object) -> None:
        """All is over: the donor ends, and every ssh."""
        with self._lock:
            keeper, others, self._closed = self._keeper, self._others, True
            self._keeper, self._others = None, []
        for one in others:
            one.sock.close()
        if keeper is not None:
            with contextlib.suppress(OSError):
                keeper.sock.sendall(GOODBYE)
            keeper.sock.close()
            others.append(keeper)
        end = time.monotonic() + ENDS_WITHIN
        for one in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(max(0.0, end - time.monotonic()))
            one.process.kill()  # nothing where it has ended
            one.process.wait()
        self._logins.close()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """What is started meanwhile never gets a Ctrl-C: it ends with its pipe, after we have told why."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _has_terminal() -> bool:
    """Whether ssh could ask somebody."""
    try:
        os.close(os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
