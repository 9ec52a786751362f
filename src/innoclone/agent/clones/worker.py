"""What a clone's process does: ``python -m innoclone.agent.clones.worker``, started by the agent only.

It takes its job from stdin, makes the clone, reports it in the agent's folder and log, and says on stdout how it
ended. It never waits for the agent, which may be gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import signal
import sys
import threading
from dataclasses import asdict

from innoclone.agent.clones.errors import in_answer
from innoclone.agent.clones.log import logged
from innoclone.agent.clones.process import LOCK, REFUSED, Control, Job, Outcome
from innoclone.commands.options import CloneOptions, LocalOptions, ReplaceOptions
from innoclone.commands.runrecord import begin, is_refusal
from innoclone.errors import CloneError, Interrupted, TargetBusy
from innoclone.files.lock import take_lock
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus, State
from innoclone.records.statusfile import INTERRUPTED, StatusFile
from innoclone.report.logs import log_to
from innoclone.report.output import Output

__all__ = ["main"]

log = logging.getLogger("innoclone.agent")
STATUS_EVERY = 0.25  # seconds between two writings of the status
CONTROL_EVERY = 0.1  # seconds between two looks at the control file
NOTES = 50  # the newest ones of a clone
NOTE_LENGTH = 500  # characters of each


def main() -> None:
    """Read the job, do it, and say how it ended."""
    job = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the agent, through a pipe that nobody else has
    assert isinstance(job, Job)
    log_to(Output(log_file=job.log_options.log_file, quiet=job.log_options.quiet, announced=False))
    try:
        lock = take_lock(job.folder, job.folder, name=LOCK)
    except TargetBusy as error:  # a clone that an earlier agent began, and this one could not see
        ended = Outcome(State.FAILED.value, error.code, error.sqlstate, error.message)
    else:
        try:
            ended = _run(job)
        finally:
            os.close(lock)
    with contextlib.suppress(OSError):  # nobody is left to listen
        sys.stdout.write(json.dumps(asdict(ended)))
        sys.stdout.flush()


def _run(job: Job) -> Outcome:
    options = job.options
    copy = options.clone if isinstance(options, ReplaceOptions) else options
    limits = Limits(
        data=copy.max_data_bandwidth, network=getattr(copy, "max_network_bandwidth", 0), buffer=job.buffer
    )  # fmt: skip
    status, stopped = CloneStatus(number=job.number), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    threading.Thread(target=_follow_control, args=(job, limits, stopped), name="innoclone-control", daemon=True).start()
    state = State.FAILED.value
    begin(options.donor, options.directory, status)
    try:
        with logged(status), StatusFile(job.folder, status, operation=job.operation, every=STATUS_EVERY):
            _operate(options, status, stopped, limits)
    except CloneError as error:
        if isinstance(error, Interrupted):
            state = INTERRUPTED
        elif is_refusal(error, status):
            state = REFUSED
        seen = in_answer(error, options.directory, guide=job.guide)
        return Outcome(state, seen.code, seen.sqlstate, seen.message)
    except Exception as error:
        log.exception("clone %d: unexpected", job.number)
        return Outcome(state, CloneError.number, CloneError.sqlstate, f"{type(error).__name__}: see the agent's log")
    return Outcome(State.COMPLETED.value, notes=[note[:NOTE_LENGTH] for note in status.notes[-NOTES:]])


def _follow_control(job: Job, limits: Limits, stopped: threading.Event) -> None:
    """Look at the control file until the end."""
    while not stopped.wait(CONTROL_EVERY):
        control = Control.read(job.folder)
        if control is None or control.number != job.number:
            continue
        if (limits.data, limits.network) != (control.data, control.network):
            limits.data, limits.network = control.data, control.network
        if control.stop:
            stopped.set()


def _operate(
    options: CloneOptions | LocalOptions | ReplaceOptions, status: CloneStatus, stopped: threading.Event, limits: Limits
) -> None:
    from innoclone.commands.clone import clone
    from innoclone.commands.local import local
    from innoclone.commands.replace import replace_data

    if isinstance(options, ReplaceOptions):
        replace_data(options, status=status, stopped=stopped, limits=limits)
    elif isinstance(options, LocalOptions):
        local(options, status=status, stopped=stopped, limits=limits)
    else:
        clone(options, status=status, stopped=stopped, limits=limits)


if __name__ == "__main__":
    main()
