"""The lock on a clone directory: flock(2) on ``#innoclone/lock``, and in that file who holds it.

The kernel takes the lock from a process that dies, however it dies, so the lock alone says whether somebody works on a
directory. What the file says is for messages, and for whoever wants to send that process a signal.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from innoclone.errors import TargetBusy
from innoclone.files.names import OWN_DIR
from innoclone.files.system import file_error

__all__ = ["LOCK", "Holder", "holder_of", "take_lock"]

LOCK = "lock"
ATTEMPTS, PAUSE = 10, 0.02  # seconds; whoever only looks holds the lock for microseconds
START_TIME = 22  # field of /proc/PID/stat, proc_pid_stat(5)


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock. ``pid`` is 0 where the file doesn't tell."""

    pid: int = 0
    ticks: int = 0  # when it was started, in clock ticks since the boot: with the pid, what no other process has
    started: float = 0.0  # the same in seconds since the epoch
    host: str = ""

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
            return cls(int(found["pid"]), int(found["ticks"]), float(found["started"]), str(found["host"]))
        except (ValueError, TypeError, KeyError):
            return cls()

    @property
    def is_here(self) -> bool:
        """Whether its pid is that of this very process on this host, and not of a later one or another container's."""
        return self.pid > 0 and self.host == socket.gethostname() and _start_ticks(self.pid) == self.ticks

    def __str__(self) -> str:
        """As in ``process 4711 (started 2026-11-23T11:08:51+0000)``."""
        if not self.pid:
            return "another process"
        host = "" if self.host == socket.gethostname() else f" on {self.host}"
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.started))
        return f"process {self.pid}{host} (started {started})"


def take_lock(own: Path, directory: Path) -> int:
    """The descriptor that locks ``own``, the folder of ours in ``directory``, against other innoclone processes.

    Raises `TargetBusy` with who holds it, OSError.
    """
    path = own / LOCK
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE if attempt else 0)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise TargetBusy(
        f"{Holder.parse(_read(path))} is working on {directory}", hint=f"wait for it, or: innoclone stop {directory}"
    )


def holder_of(directory: Path) -> Holder | None:
    """Who works on a clone directory, None if nobody does. Raises a file error where that can't be seen."""
    path = directory / OWN_DIR / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise file_error(error, f"can't look at {path}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder.parse(_read(path))
    finally:
        os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file that was locked still has that name: who held it before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock; a reader in between sees a whole first line."""
    text = (json.dumps(asdict(Holder.this_process())) + "\n").encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _start_ticks(pid: int) -> int:
    """When a process was started, in clock ticks since the boot; 0 if there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[START_TIME - 3])  # the name in front may hold anything; state is field 3
