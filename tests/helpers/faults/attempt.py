"""One run of the program under a fault: started, watched from outside, ended within its time, judged by its words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from innoclone.errors import CloneError, Interrupted, LocalFault, RemoteFault, registry

__all__ = ["Attempt", "Broken", "Ended", "SLACK"]

SLACK = 45.0  # seconds beyond the stall time and the copy itself: two busy cores are slow
POLL = 0.005  # seconds between two looks at a run

BASES = (CloneError, LocalFault, RemoteFault)
DOCUMENTED = {(kind.number, kind.exit_status): kind for kind in reversed(registry()) if kind not in BASES}


class Broken(AssertionError):
    """A round that did not end as it must."""


@dataclass(frozen=True)
class Ended:
    """How a run ended. ``kind`` is the documented error that it reported, None for success and for SIGKILL."""

    status: int
    words: str
    kind: type[CloneError] | None
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """In one or two words."""
        if self.status < 0:
            return signal.Signals(-self.status).name
        return self.kind.__name__ if self.kind else "success"


class Attempt:
    """The program in the background. Use it with ``with``: it never outlives the block."""

    def __init__(
        self, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, number: int,
        launcher: Sequence[str] = ("-m", "innoclone"), before: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """``launcher`` is what Python runs, ``before`` a command that runs Python; words go to files in ``folder``."""
        self._out, self._err = folder / f"{number}.out", folder / f"{number}.err"
        self.command = [*before, sys.executable, *launcher, "clone", "--json", "--debug", *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                self.command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip

    # ---- watching ------------------------------------------------------------------------------------------

    def events(self) -> list[dict[str, object]]:
        """What ``--json`` told so far; an unfinished line is left out."""
        lines = self._out.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def started(self) -> bool:
        """Whether the program has said anything; the first thing is a warning about MYSQL_PWD."""
        return self._err.stat().st_size > 0

    def reached(self, stage: str) -> bool:
        """Whether a stage has begun."""
        return any(event["event"] == "stage_begin" and event["stage"] == stage for event in self.events())

    def wait(self, reached: Callable[[], bool], limit: float = SLACK) -> bool:
        """Until something happens (True), or the run ends before that, or ``limit`` seconds are over."""
        deadline = time.monotonic() + limit
        while self.process.poll() is None and time.monotonic() < deadline:
            if reached():
                return True
            time.sleep(POLL)
        return False

    def signal(self, number: int) -> None:
        """Send a signal; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.kill(self.process.pid, number)

    # ---- ending --------------------------------------------------------------------------------------------

    def end(self, limit: float) -> Ended:
        """Wait for its end. Raises `Broken` if it hangs, or ends with something that is not documented."""
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGABRT)  # faulthandler writes where every thread is
            self.process.wait()
            raise Broken(f"it hangs: no end within {limit:.0f} s\n{self._err.read_text()[-6000:]}") from None
        status, words = self.process.returncode, self._err.read_text(errors="replace")
        if "Traceback" in words or "Fatal Python error" in words:
            raise Broken(f"a traceback\n{words[-6000:]}")
        notes = tuple(str(event["text"]) for event in self.events() if event["event"] == "note")
        return Ended(status, words, self._judge(status, words), notes)

    def _judge(self, status: int, words: str) -> type[CloneError] | None:
        done = "completed OK!" in words
        if status == -signal.SIGKILL or (status == 0 and done):
            return None
        if status in (-signal.SIGINT, -signal.SIGTERM) and (done or not words):
            return None  # Python itself was starting or ending
        found = re.findall(r"ERROR (\d+) \(", words)
        if len(found) != 1 or done:
            raise Broken(f"exit status {status} with the words\n{words}")
        if "hint: " not in words:
            raise Broken(f"no hint\n{words}")
        if status > 128:
            status = Interrupted.exit_status
        kind = DOCUMENTED.get((int(found[0]), status))
        if kind is None:
            raise Broken(f"exit status {status} and number {found[0]} are not documented\n{words}")
        return kind

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def names(kinds: Iterable[type[CloneError]]) -> str:
    """Errors, for a message."""
    return ", ".join(sorted(kind.__name__ for kind in kinds))
