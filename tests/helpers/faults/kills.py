"""The program is killed at any moment, in any stage, and the same command goes on."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from pathlib import Path

from faults.attempt import Attempt, Broken, Ended
from faults.proxy import Proxy
from faults.rounds import Round, Scenario
from innoclone.errors import CloneRunning, Interrupted

__all__ = ["SIZE", "Kills", "allocated", "operations"]

MIB = 1 << 20
SIZE = 110 * MIB  # about what a clone of the small donor takes
MOMENTS = ("arrives", "sent", "answered", "known")  # of an acknowledgement, see Proxy
ACKS = 4  # that a clone sends: INIT, FILE COPY, PAGE COPY, REDO COPY
STAGES = ("FILE COPY", "PAGE COPY", "REDO COPY", "FILE SYNC")
RATES = (0, 0, 100, 40)  # MiB/s

# Runs the program and stops it before its operation number AT on a file below the target: with SIGKILL, or with an
# error number that this operation and LASTING later ones fail with. Without AT it only counts.
OPERATIONS = """
import atexit, itertools, os, signal, sys, threading
target, at, number, lasting, report = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
sys.argv[1:6] = []
counter, seen = itertools.count(1), [0]
descriptors = threading.local()
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.link"}
def strike():
    seen[0] = count = next(counter)
    if at <= count < at + lasting:
        if not number:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(number, os.strerror(number))
def hook(event, arguments):
    if event in WATCHED and str(arguments[0]).startswith(target):
        if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            strike()
def watched(name):
    real = getattr(os, name)
    def call(*arguments, **options):
        strike()
        return real(*arguments, **options)
    setattr(os, name, call)
for name in ("fsync", "fdatasync", "ftruncate", "pwrite"):
    watched(name)
sys.addaudithook(hook)
if report:
    atexit.register(lambda: open(report, "w").write(str(seen[0])))
from innoclone.cli import main
main()
"""


class Kills(Scenario):
    """SIGKILL mostly, also SIGINT and SIGTERM; ``kinds`` say what the moment is chosen by."""

    name = "kill"
    kinds = ("time", "bytes", "stage", "acknowledgement", "file operation")
    _operations = 0

    def play(self, round_: Round, kind: str) -> None:
        """One to three kills, then until it is done."""
        with round_.perhaps_loaded():
            for _ in range(round_.dice.randint(1, 3)):
                if self._run(round_, kind).status == 0 or round_.is_complete():
                    break
                round_.assert_refused()
            round_.complete()
        round_.assert_exact()

    def _run(self, round_: Round, kind: str) -> Ended:
        dice = round_.dice
        options = round_.options(rates=RATES) + round_.compression()
        number = dice.choice([signal.SIGKILL] * 4 + [signal.SIGINT, signal.SIGTERM])
        if kind == "file operation":
            count = self.count_operations(round_)
            at = dice.choice(
                [dice.randint(1, count), dice.randint(1, count), dice.randint(1, 20), count - dice.randrange(40)]
            )
            round_.tell(f"SIGKILL before file operation {at}")
            launcher = operations(round_.target, at)
            with round_.start(options, launcher=launcher) as attempt:
                return self._end(round_, attempt)
        if kind == "acknowledgement":
            return self._run_until_acknowledgement(round_, options, number)
        with round_.start(options) as attempt:
            if kind == "time":
                with contextlib.suppress(Exception):
                    attempt.process.wait(dice.uniform(0.1, 3))
            elif kind == "bytes":
                wanted = dice.randrange(SIZE)
                attempt.wait(lambda: allocated(round_.target) >= wanted)
            else:
                stage = dice.choice(STAGES)
                attempt.wait(lambda: attempt.reached(stage))
                time.sleep(dice.uniform(0, 0.2))
            self._signal(round_, attempt, number)
            return self._end(round_, attempt)

    def _run_until_acknowledgement(self, round_: Round, options: list[str], number: signal.Signals) -> Ended:
        which, when = round_.dice.randint(1, ACKS), round_.dice.choice(MOMENTS)
        running: list[Attempt] = []

        def on_ack(count: int, moment: str) -> None:
            if (count, moment) == (which, when) and running:
                running[0].signal(number)
                if number == signal.SIGKILL:
                    running[0].process.wait()

        round_.tell(f"{number.name} when acknowledgement {which} {when}")
        with (
            Proxy(self.donor.port, on_ack=on_ack) as proxy,
            round_.start(options, dsn=self.donor.dsn(port=proxy.port)) as attempt,
        ):
            running.append(attempt)
            return self._end(round_, attempt)

    def _signal(self, round_: Round, attempt: Attempt, number: signal.Signals) -> None:
        events = [event for event in attempt.events() if event["event"] == "stage_begin"]
        if attempt.process.poll() is None:
            stage = str(events[-1]["stage"]) if events else "the first stage"
            round_.counts[f"{number.name} in {stage}" if events else f"{number.name} before {stage}"] += 1
        if number != signal.SIGKILL:
            attempt.wait(attempt.started)  # before that it is Python that says something
        attempt.signal(number)

    def _end(self, round_: Round, attempt: Attempt) -> Ended:
        ended = round_.end(attempt, {Interrupted, CloneRunning})
        for reason in (name for name in round_.counts if name.startswith("began anew: ")):
            if not reason.endswith(("nothing had been copied yet", "it left no journal")):
                raise Broken(f"the donor has kept the snapshot, but it {reason}")
        return ended

    def count_operations(self, round_: Round) -> int:
        """How many operations on files a clone takes."""
        if not self._operations:
            report, spare = round_.folder / "operations", round_.folder / "spare"
            launcher = operations(spare, 0, report=str(report))
            with round_.start(["--retry-for=0"], target=spare, launcher=launcher) as attempt:
                attempt.end(60)
            self._operations = int(report.read_text())
        return self._operations


def operations(target: Path, at: int, number: int = 0, lasting: int = 1, report: str = "") -> list[str]:
    """What to let Python run for a kill, or the error ``number``, before operation ``at`` on a file of ``target``."""
    return ["-c", OPERATIONS, str(target), str(at), str(number), str(lasting or sys.maxsize), report]


def allocated(directory: Path) -> int:
    """Bytes on disk below a directory in which files come and go."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total
