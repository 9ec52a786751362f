"""The log of what serves goes where a command's messages go: to stderr and the log file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from innoclone.report.output import Output

__all__ = ["log_to"]


class _ToOutput(logging.Handler):
    """Of one record a line, and more with a traceback."""

    def __init__(self, out: Output, say: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._out, self._say = out, say

    def emit(self, record: logging.LogRecord) -> None:
        """One record on one line, whatever is in it, and behind it the traceback if it has one."""
        message, trace = record.getMessage(), self.format(record)
        for line in (message, *trace[len(message) :].splitlines()[1:]):
            self._say(partial(self._out.warn if record.levelno >= logging.WARNING else self._out.message, line))


def _at_once(words: Callable[[], None]) -> None:
    words()


def log_to(out: Output, say: Callable[[Callable[[], None]], None] = _at_once) -> None:
    """From now on. ``say`` calls what it is given, now or soon (`innoclone.report.aside`)."""
    handler = _ToOutput(out, say)
    log = logging.getLogger("innoclone")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    web = logging.getLogger("waitress")
    web.setLevel(logging.ERROR)  # its warnings are of crowds, which a client can make
    web.addHandler(handler)
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # what a client may not ask is for the client to know
