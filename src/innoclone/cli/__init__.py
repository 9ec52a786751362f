"""The command ``innoclone``; each command has a module of its own."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import resource
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

__all__ = ["collect_less", "keep_no_core", "main"]

YOUNG = (
    100_000  # objects; a command loads about 60,000 before it begins, and a clone makes few that refer to each other
)


def main() -> NoReturn:
    """Run the program; nothing is imported before."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # else it is ignored
            signal.signal(number, _ended_early)
    collect_less()
    keep_no_core()
    from innoclone.cli.app import main as run

    try:
        run()
    except SystemExit as end:
        _leave(end)


def keep_no_core() -> None:
    """Let a crash leave no image of this process, nor of those that it starts: it would have passwords and keys in it.

    The hard limit stays: a server that is to write one (``core-file``) sets its own.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def collect_less() -> None:
    """Let no garbage be looked for during the imports: all that they make stays. Later it is, but more rarely."""
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])


def _leave(end: SystemExit) -> NoReturn:
    """End the process as ``end`` says, all of its output written, without taking the interpreter apart first.

    That would be one more look at every object (docs/design.md, Starting). It is done only where it may matter to
    somebody: to a thread that isn't ready yet, or to a profiler that waits for the end of the program.
    """
    import threading  # it is there by now

    at_work = [each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    if at_work or sys.getprofile() is not None or not isinstance(end.code, int):
        raise end
    atexit._run_exitfuncs()  # what the interpreter itself calls: coverage, logging
    for stream in (sys.stdout, sys.stderr):  # what is lost of the command's own output has been told by now
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(end.code & 0xFF)


def _ended_early(number: int, _frame: FrameType | None) -> NoReturn:
    """During the imports: what `innoclone.errors.Interrupted` says, which may be half imported itself."""
    status = 128 + number
    event = (
        f'{{"event": "error", "time": {time.time():.3f}, "number": 1317, "symbol": "ER_QUERY_INTERRUPTED",'
        ' "sqlstate": "70100", "message": "interrupted", "hint": "run the same command again", "retryable": true,'
        f' "exit_status": {status}}}\n'
    )
    lines = "innoclone: ERROR 1317 (70100): interrupted\ninnoclone: hint: run the same command again\n"
    for stream, text in ((1, event if "--json" in sys.argv else ""), (2, lines)):
        with contextlib.suppress(OSError):  # nobody reads
            os.write(stream, text.encode())
    os._exit(status)
