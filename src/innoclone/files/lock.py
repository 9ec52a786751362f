"""The lock on a clone directory, ``#innoclone/lock``, and in that file who holds it.

The kernel takes the lock from a process that dies, however it dies, so the lock alone says whether somebody works on a
directory. What the file says is for messages. It is a lock of the open file (F_OFD_SETLK, fcntl(2)): unlike one of
flock(2) it can be looked at without being taken for a moment.

Whoever wants the work to end writes that into the file, below. No signal is sent: the process may do other work as
well, and it may be on another host or in another container. The file belongs to the user who works, so nobody else but
root can write into it. A request names one holding of the lock: an old one never ends a later piece of work.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import struct
import time
from dataclasses import asdict, replace
from pathlib import Path

from innoclone.dataclass import dataclass
from innoclone.errors import TargetBusy
from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error

__all__ = ["LOCK", "Holder", "holder_at", "holder_of", "request_stop", "stop_is_wished", "take_lock"]

LOCK = "lock"
STOP = "stop"
LONGEST = 4096  # bytes of the file that are read
FLOCK = "hhqqi0q"  # struct flock of fcntl(2): type, whence, start, length, pid
THREADS, START_TIME = 20, 22  # fields of /proc/PID/stat, proc_pid_stat(5)


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock. ``pid`` is 0 where the file doesn't tell."""

    pid: int = 0
    ticks: int = 0  # when it was started, in clock ticks since the boot: with the pid, what no other process has
    started: float = 0.0  # the same in seconds since the epoch
    host: str = ""
    token: str = ""  # of this very holding of the lock: the same process may work on the directory again

    @classmethod
    def this_process(cls) -> Holder:
        """The one that asks."""
        ticks = _start_ticks(os.getpid())
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return cls(os.getpid(), ticks, round(time.time() - age, 3), socket.gethostname())

    @classmethod
    def parse(cls, text: str) -> Holder:
        """From the first line of a lock file; an empty one where that is not what `take_lock` writes."""
        try:
            found = json.loads(text.partition("\n")[0])
            return cls(
                int(found["pid"]), int(found["ticks"]), float(found["started"]), str(found["host"]),
                str(found.get("token", "")),
            )  # fmt: skip
        except (ValueError, TypeError, KeyError):
            return cls()

    @property
    def is_here(self) -> bool:
        """Whether its pid is that of this very process on this host, and not of a later one or another container's."""
        return self.ticks > 0 and self.host == socket.gethostname() and _start_ticks(self.pid) == self.ticks

    def __str__(self) -> str:
        """As in ``process 4711 (started 2026-11-23T11:08:51+0000)``."""
        if not self.pid:
            return "another process"
        host = "" if self.host == socket.gethostname() else f" on {self.host}"
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started))
        return f"process {self.pid}{host} (started {started})"


def take_lock(own: Path, directory: Path, *, name: str = LOCK) -> int:
    """The descriptor that locks ``own``, the folder of ours in ``directory``, against other innoclone processes.

    Raises `TargetBusy` with who holds it, OSError.
    """
    path = own / name
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
            if _is_at(descriptor, path):
                _sign(descriptor)
                if os.geteuid() == 0:  # the directory's owner is to be able to take it later
                    state = own.stat()
                    os.fchown(descriptor, state.st_uid, state.st_gid)
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise TargetBusy(
                f"{Holder.parse(_read(path))} is working on {directory}",
                hint=f"wait for it, or: innoclone stop {directory}",
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def holder_of(directory: Path) -> Holder | None:
    """Who works on a clone directory, None if nobody does. Raises a file error where that can't be seen."""
    return holder_at(directory / OWN_DIR / LOCK)


def holder_at(path: Path) -> Holder | None:
    """Who holds that lock file, None if nobody does. Raises a file error where that can't be seen."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise file_error(error, f"can't look at {path}") from error
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_RDLCK))
    finally:
        os.close(descriptor)
    return None if struct.unpack(FLOCK, found)[0] == fcntl.F_UNLCK else Holder.parse(_read(path))


def request_stop(own: Path, holder: Holder) -> bool:
    """Ask whoever holds the lock of a folder of ours to end that work; see `stop_is_wished`. False if the lock's file
    tells too little of it for that. Nothing comes of it where another one has the lock by now.

    Raises OSError: PermissionError for another user's.
    """
    if not holder.token:
        return False
    # Appended: whoever takes the lock meanwhile writes at the beginning.
    descriptor = os.open(own / LOCK, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not _is_stopped(descriptor, holder.token):
            os.write(descriptor, f"{STOP} {holder.token}\n".encode())
    finally:
        os.close(descriptor)
    return True


def stop_is_wished(descriptor: int) -> bool:
    """Whether somebody asked for the end of what is done under the lock of this descriptor. Raises OSError."""
    token = Holder.parse(os.pread(descriptor, LONGEST, 0).decode(errors="replace")).token
    return bool(token) and _is_stopped(descriptor, token)


def _is_stopped(descriptor: int, token: str) -> bool:
    return f"{STOP} {token}" in os.pread(descriptor, LONGEST, 0).decode(errors="replace").split("\n")[1:]


def _request(kind: int) -> bytes:
    """A struct flock for a whole file."""
    return struct.pack(FLOCK, kind, os.SEEK_SET, 0, 0, 0)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file that was locked still has that name: who held it before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock, over what an earlier one wrote; a reader in between sees a whole first line."""
    me = replace(Holder.this_process(), token=secrets.token_hex(8))
    text = (json.dumps(asdict(me)) + "\n").encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _start_ticks(pid: int) -> int:
    """When a process was started, in clock ticks since the boot; 0 if there is none of that number, or it has ended and
    nobody has asked how: in a container it may never be asked."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()  # the name in front may hold anything; state is field 3
    if fields[0] in "ZX" and int(fields[THREADS - 3]) <= 1:
        return 0
    return int(fields[START_TIME - 3])
