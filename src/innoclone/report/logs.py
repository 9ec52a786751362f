"""The log of what serves goes where a command's messages go: to stderr and the log file."""

from __future__ import annotations

import logging

from innoclone.report.output import Output

__all__ = ["log_to"]


class _ToOutput(logging.Handler):
    """Of one record a line, and more with a traceback."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        """One record on one line, whatever is in it, and behind it the traceback if it has one."""
        message, trace = record.getMessage(), self.format(record)
        for line in (message, *trace[len(message) :].splitlines()[1:]):
            (self._out.warn if record.levelno >= logging.WARNING else self._out.message)(line)


def log_to(out: Output) -> None:
    """From now on."""
    handler = _ToOutput(out)
    log = logging.getLogger("innoclone")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    web = logging.getLogger("waitress")
    web.setLevel(logging.ERROR)  # its warnings are of crowds, which a client can make
    web.addHandler(handler)
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # what a client may not ask is for the client to know
