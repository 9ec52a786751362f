"""``innoclone serve --stdio``: a donor for whoever started it through ssh, and the connections to it.

`innoclone.transport.ssh` is the other end. The first pipe, `Open`, is the donor's life: it listens on a Unix socket in
the user's state folder, and ends with the pipe. Where ssh's connection was lost while a clone is taken it waits for its
recipient, as it would without ssh; a second `Open` of the same session then takes the first one's place. Every other
pipe, `Join`, is a process that passes bytes to that socket and back, by splice(2) where it can. Who may come in is for
ssh to decide, and what may be read for the user as whom it runs here; a directory that was named here is all that may
be asked for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from innoclone.commands.options import ServeOptions
from innoclone.errors import CloneError, FileError, ProtocolError, SnapshotGone, TargetUnusable
from innoclone.files.system import file_error
from innoclone.records.folders import state_directory
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.listening import Listener
from innoclone.transport.ssh import STDIO_USER
from innoclone.version import __version__
from innoclone.wire.stdio import (
    GOODBYE,
    LONGEST_LINE,
    PROTOCOL,
    Answer,
    Hello,
    Join,
    Open,
    Ready,
    Refused,
    Waiting,
    parse_request,
    serialize,
)

if TYPE_CHECKING:
    from innoclone.donor.service import Donor

__all__ = ["Allowed", "serve_stdio"]

STILL_HERE = 5.0  # seconds between two words to who waits
PIPE_SIZE = 1 << 20  # the largest that an ordinary user may ask for (fs.pipe-max-size)
PIECE = 1 << 20
YOUNG = 60.0  # seconds
LIFE = ".life"  # behind the name of a session's socket
CLOSES_WITHIN = 1.0  # seconds between the halves of a pipe to a connection that is lost
LOOK = 0.5  # seconds


@dataclass(frozen=True)
class Allowed:
    """What may be asked for. ``directory``: that and all below it, None: any that this user can read; ``server`` makes
    an endpoint of a DSN, or raises a `CloneError`. ``options`` makes `ServeOptions` of what is asked for."""

    directory: Path | None
    server: Callable[[str], Endpoint]
    options: Callable[..., ServeOptions]


class _Pipe:
    """What stdin and stdout were; nothing else that runs in this process reads or writes there from now on."""

    def __init__(self) -> None:
        self.reading, self.writing = os.dup(0), os.dup(1)
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._lock = threading.Lock()
        self._answered = False

    def line(self) -> bytes:
        """One line, and no byte behind it; shorter where the other end has gone."""
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < LONGEST_LINE and (piece := os.read(self.reading, 1)):
            line += piece
        return bytes(line)

    def say(self, data: bytes) -> None:
        """Raises OSError where nobody reads."""
        while data:
            data = data[os.write(self.writing, data) :]

    def answer(self, answer: Answer) -> None:
        """The last word before the clone protocol, unless it was said. Raises OSError where nobody reads."""
        with self._lock:
            if not self._answered:
                self._answered = not isinstance(answer, Waiting)
                self.say(serialize(answer))

    def ends_well(self) -> bool:
        """Wait for the end; whether that was the other end's will, and not a connection that was lost. It says goodbye;
        where it was killed, only its half is closed, for ssh is still there."""
        said = b""
        with contextlib.suppress(OSError):
            while not said.endswith(GOODBYE) and (piece := os.read(self.reading, len(GOODBYE))):
                said = (said + piece)[-len(GOODBYE) :]
        if said.endswith(GOODBYE):
            return True
        poll = select.poll()
        poll.register(self.writing, 0)
        return not poll.poll(1000 * CLOSES_WITHIN)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Say now and then that it takes time."""
        done = threading.Event()

        def tell() -> None:
            with contextlib.suppress(OSError):
                while not done.wait(STILL_HERE):
                    self.answer(Waiting())

        threading.Thread(target=tell, name="innoclone-waiting", daemon=True).start()
        try:
            yield
        finally:
            done.set()


def serve_stdio(allowed: Allowed) -> int:
    """Greet, be told what is wanted, and do it until the other end goes.

    What comes back is an exit status: errors are told to the other end."""
    pipe = _Pipe()
    try:
        pipe.say(Hello(PROTOCOL, __version__).serialize())
        try:
            request = parse_request(pipe.line())
            if isinstance(request, Join):
                _join(pipe, request)
            else:
                _serve(pipe, request, allowed)
        except CloneError as error:
            pipe.answer(Refused.of(error))
            return error.exit_status
    except BrokenPipeError:
        return ProtocolError.exit_status
    return 0


# ---- the donor -------------------------------------------------------------------------------------------------


def _serve(pipe: _Pipe, request: Open, allowed: Allowed) -> None:
    """Until the pipe ends, or nobody has come back after it was lost. Raises a `CloneError` where what is wanted can't
    be served."""
    from innoclone.commands.serve import serve  # most that come here only join, and each is a new process

    directory = _permitted(Path(request.directory), allowed.directory) if request.directory else None
    server = allowed.server(request.server) if request.server else None
    with _socket_of(request.session) as path:
        if _keep_alive(pipe, path.with_name(path.name + LIFE)):
            return
        _tidy(path.parent)
        with _Life(pipe, path.with_name(path.name + LIFE)) as life, pipe.waiting():

            def ready(donor: Donor) -> None:
                life.donor = donor
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, lambda *_: donor.stop())
                pipe.answer(Ready())

            wanted = {"directory": directory, "live": server, "user": STDIO_USER, "password": request.secret}
            serve(allowed.options(**wanted, socket=path), ready=ready)


class _Life:
    """When a donor is to end: with the pipe that it was started through, or with a later one in its place. Where the
    connection was lost there may be a later one, and the donor waits for it as long as a clone is taken."""

    def __init__(self, pipe: _Pipe, path: Path) -> None:
        """``path`` is of a socket to which `_keep_alive` connects. Raises a file error."""
        self.donor: Donor | None = None
        self._pipe = pipe
        self._lock = threading.Lock()
        self._pipes = 1  # that are there
        self._listener = Listener(host=None, port=0, path=path)
        self._accepting = threading.Thread(target=self._later, name="innoclone-life", daemon=True)

    def __enter__(self) -> _Life:
        """Begin to watch."""
        threading.Thread(target=self._first, name="innoclone-pipe", daemon=True).start()
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        """No later one may come."""
        self._listener.wake()
        self._accepting.join()
        self._listener.close()

    def _first(self) -> None:
        self._ended(well=self._pipe.ends_well())

    def _later(self) -> None:
        for sock in self._listener.accept():
            with self._lock:
                self._pipes += 1
            threading.Thread(target=self._watch, args=(sock,), name="innoclone-pipe", daemon=True).start()

    def _watch(self, sock: socket.socket) -> None:
        said = b""
        with sock, contextlib.suppress(OSError):
            while piece := sock.recv(len(GOODBYE)):
                said = (said + piece)[-len(GOODBYE) :]
        self._ended(well=said == GOODBYE)

    def _ended(self, *, well: bool) -> None:
        """One pipe has ended; ``well``: by the other end's will."""
        with self._lock:
            self._pipes -= 1
        donor = self.donor
        if donor is None:
            os.kill(os.getpid(), signal.SIGTERM)  # it is still looking: that ends as by Ctrl-C
        elif well:
            donor.stop()
        else:
            self._wait_for_more(donor)

    def _wait_for_more(self, donor: Donor) -> None:
        """As long as there are connections, or a recipient may come back for the rest of its clone; how long that is
        waited for is the donor's to know."""
        while not self._pipes:
            if not (donor.conversations or donor.taken):
                donor.stop()
                return
            time.sleep(LOOK)


def _keep_alive(pipe: _Pipe, path: Path) -> bool:
    """Whether the session has a donor already; then it lives with this pipe, too, and this was until its end."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        pipe.answer(Ready())
        if pipe.ends_well():
            with contextlib.suppress(OSError):
                sock.sendall(GOODBYE)
    return True


def _permitted(directory: Path, allowed: Path | None) -> Path:
    """The directory, without symbolic links. Raises `TargetUnusable`."""
    real = Path(os.path.realpath(directory))
    if allowed is not None and not real.is_relative_to(os.path.realpath(allowed)):
        raise TargetUnusable(
            f"{directory} is not what may be cloned from there",
            hint=f"innoclone serve --stdio was started for {allowed}",
        )
    return real


# ---- where both meet -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _socket_of(session: str) -> Iterator[Path]:
    """The path of a session's socket, short enough for an address as long as the ``with`` block runs. Raises a file
    error."""
    folder = state_directory() / "stdio"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise file_error(error, f"can't use {folder}") from error
    try:
        mode = os.fstat(opened)
        if mode.st_uid != os.geteuid() or stat.S_IMODE(mode.st_mode) & 0o077:
            raise FileError(f"{folder} is not this user's alone", hint=f"chmod 700 {folder}, or remove it")
        yield Path(f"/proc/self/fd/{opened}") / session
    finally:
        os.close(opened)


def _tidy(folder: Path) -> None:
    """Remove sockets that processes which were killed left: nobody listens there, and not only not yet."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            found = path.lstat()
            if not stat.S_ISSOCK(found.st_mode) or time.time() - found.st_mtime < YOUNG:
                continue
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()


def _join(pipe: _Pipe, request: Join) -> None:
    """Be a connection to the session's donor. Raises `SnapshotGone` where there is none."""
    with _socket_of(request.session) as path, socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError as error:
            raise SnapshotGone("the donor that was started through ssh has ended") from error
        pipe.answer(Ready())
        _pass(pipe, sock)


def _pass(pipe: _Pipe, sock: socket.socket) -> None:
    """Bytes both ways, until the donor closes its end or nobody reads ours."""

    def up() -> None:
        with contextlib.suppress(OSError):
            _copy(pipe.reading, sock.fileno())
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    threading.Thread(target=up, name="innoclone-up", daemon=True).start()
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    with contextlib.suppress(OSError):  # it is gone
        _copy(sock.fileno(), pipe.writing)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _copy(source: int, target: int) -> None:
    """Until the source ends. Raises OSError."""
    coming, going = select.poll(), select.poll()
    coming.register(source, select.POLLIN)
    going.register(target, select.POLLOUT)
    splices = any(stat.S_ISFIFO(os.fstat(one).st_mode) for one in (source, target))
    while splices:
        # A splice that waited would keep the pipe locked, also for who reads it.
        coming.poll()
        try:
            if not os.splice(source, target, PIECE, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK):
                return
        except BlockingIOError:
            going.poll()
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            splices = False
    while data := os.read(source, PIECE):
        while data:
            data = data[os.write(target, data) :]
