"""A clone's process of its own, as the agent sees it: started, told what to do, watched, and found again.

What clients do to the agent, and the agent's own end, don't reach a clone: it goes on without the agent, and the next
one takes it up. In the agent's folder are

    status.json    how far the clone is, several times a second (`innoclone.records.statusfile`)
    clone.lock     held by the process for as long as it lives
    orders.json    what it shall do: limits that were changed, and whether it shall stop; it looks at them all the time

The operation's options, with the donor's password, go to the process through a pipe, and how it ended comes back
through another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from innoclone.agent.clones.errors import Failure
from innoclone.commands.options import CloneOptions, LocalOptions, ReplaceOptions
from innoclone.errors import CloneError, Interrupted
from innoclone.files.lock import holder_at
from innoclone.files.replacefile import replace_file
from innoclone.files.system import file_error

__all__ = ["LOCK", "CloneProcess", "Control", "Job", "LogOptions", "Outcome", "REFUSED"]

LOCK = "clone.lock"
CONTROL = "orders.json"
POLL = 0.1  # seconds between two looks at the process
LONGEST_OUTCOME = 1 << 20  # bytes of an outcome
REFUSED = "Refused"  # an outcome beside the states: no clone began


@dataclass(frozen=True)
class LogOptions:
    """Where the agent's log goes besides stderr."""

    log_file: Path | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Job:
    """What a clone's process is given."""

    options: CloneOptions | LocalOptions | ReplaceOptions
    operation: str  # as the history has it
    number: int
    buffer: int  # bytes: clone_buffer_size
    folder: Path  # the agent's
    guide: bool  # whether errors have the guide's numbers
    log_options: LogOptions


@dataclass(frozen=True)
class Control:
    """``orders.json``, for the clone of that number only. Limits as in `innoclone.records.limits.Limits`."""

    number: int
    data: float
    network: float
    stop: bool = False

    def write(self, folder: Path) -> None:
        """In one step; not durable, since the process reads it at once. Raises a file error."""
        replace_file(folder / CONTROL, json.dumps(asdict(self)), durable=False)

    @classmethod
    def read(cls, folder: Path) -> Control | None:
        """None where there are none, or none that can be read."""
        try:
            return cls(**json.loads((folder / CONTROL).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Outcome:
    """How it ended: a state or `REFUSED`; a number above 0 is the error that the client sees."""

    state: str
    error_number: int = 0
    sqlstate: str = ""
    message: str = ""
    notes: list[str] = field(default_factory=list)


class CloneProcess:
    """One that lives, or has lived."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None, pid: int) -> None:
        self._folder, self._process, self.pid = folder, process, pid

    @classmethod
    def start(cls, job: Job) -> CloneProcess:
        """A process that makes the clone of ``job``. Raises a file error where none can be made."""
        with contextlib.suppress(FileNotFoundError):
            (job.folder / CONTROL).unlink()  # of an earlier clone
        # It is of a session of its own, so that Ctrl-C in a terminal ends the agent only, which ends it in order.
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "innoclone.agent.clones.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=environment, cwd="/",
            )  # fmt: skip
        except OSError as error:
            raise file_error(error, "can't start a process for the clone") from error
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:  # what ends at once says why in its outcome
            pickle.dump(job, process.stdin)
        return cls(job.folder, process, process.pid)

    @classmethod
    def find(cls, folder: Path) -> CloneProcess | None:
        """The one that an earlier agent started, if it lives. Raises a file error."""
        holder = holder_at(folder / LOCK)
        return None if holder is None else cls(folder, None, holder.pid)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        if self._process is not None:
            return self._process.poll() is None
        with contextlib.suppress(CloneError):
            return holder_at(self._folder / LOCK) is not None
        return True  # nothing says that it has ended

    def wait(self, each: Callable[[], Any], pause: Callable[[float], Any]) -> Outcome | None:
        """Until it has ended; ``each`` is called all the time, ``pause`` waits for some seconds. How it ended, None if
        it was killed, or nobody can know any more."""
        while self.is_alive:
            each()
            pause(POLL)
        return self._outcome()

    def _outcome(self) -> Outcome | None:
        if self._process is None or self._process.stdout is None:
            return None
        with self._process.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)  # a mysqld that it left behind may hold the other end
            answer = pipe.read(LONGEST_OUTCOME) or b""
        try:
            return Outcome(**json.loads(answer))
        except (ValueError, TypeError):
            return None

    def killed(self) -> Failure:
        """The error of one that ended without a word."""
        status = None if self._process is None else self._process.returncode
        how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
        return Failure(
            Interrupted.number, Interrupted.sqlstate,
            f"the clone's process ended {how}; the same statement goes on with the clone",
        )  # fmt: skip
