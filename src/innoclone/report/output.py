"""Where a command's words go.

Messages, warnings, progress and errors go to stderr, as with mysqlbackup and xtrabackup; stdout is for data that
somebody may want to pipe: JSON events, SQL statements, a report. So the last line of success, which scripts look for
(``completed OK!``), is on stderr, also with ``--quiet`` and ``--json``.

A stdout whose reader has gone is of no importance to the work; one that can't be written (a full disk) is an error at
the end of it, in place of the last line of success.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from innoclone.errors import CloneError, UsageError, escaped
from innoclone.native.library import library, missing
from innoclone.records.status import CloneStatus
from innoclone.report.progress import JsonRenderer, PlainRenderer, Renderer, Watcher

__all__ = ["COMPLETED", "Output", "stdout_error"]

PROGRAM = "innoclone"
COMPLETED = "completed OK!"


class Output:
    """One command's way out."""

    current: ClassVar[Output | None] = None  # the one in use, so that a late error still reaches the log file

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        json_events: bool = False,
        log_file: Path | None = None,
        announced: bool = True,
    ) -> None:
        """``announced``: the log file says that a command was started. Raises UsageError if it can't be written."""
        self._quiet, self._verbose, self._log_file = quiet, verbose, log_file
        self._json = JsonRenderer(sys.stdout) if json_events else None
        self._lost: OSError | None = None  # why stdout could not be written
        try:
            if announced:
                self._append("started")
        except OSError as error:
            raise UsageError(f"log file {log_file} can't be written: {error.strerror}") from None
        Output.current = self

    def message(self, text: str) -> None:
        """What the user may like to know."""
        if not self._quiet and self._json is None:
            self._err(text)
        self._log(text)

    def detail(self, text: str) -> None:
        """What only ``--verbose`` asks for."""
        if self._verbose:
            self.message(text)

    def warn(self, text: str) -> None:
        """What the user must know; ``--quiet`` does not hide it."""
        self._err(f"warning: {text}")
        self._log(f"warning: {text}")
        if self._json is not None:
            self._json.emit("warning", {"text": text})

    def data(self, text: str) -> None:
        """What the command was asked for, to stdout; not with ``--json``, whose events say the same."""
        if self._json is None and self._lost is None:
            try:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
            except OSError as error:
                self._lost = error

    def event(self, event: str, fields: Mapping[str, Any]) -> None:
        """An event of ``--json``."""
        if self._json is not None:
            self._json.emit(event, fields)

    def result(self, fields: Mapping[str, Any]) -> None:
        """The event ``result`` of ``--json``: the last one of every success."""
        self.event("result", fields)

    def completed(self) -> None:
        """The last line of success. Raises a file error if what belongs to stdout is not there."""
        self.check()
        self._err(COMPLETED)
        self._log(COMPLETED)

    def check(self) -> None:
        """Raises a file error if stdout could not be written."""
        lost = self._lost if self._json is None else self._json.lost
        if lost is not None and not isinstance(lost, BrokenPipeError):
            raise stdout_error(lost)

    def error(self, error: CloneError, exit_status: int) -> None:
        """The last lines of failure."""
        problems = [_fields(problem) for problem in getattr(error, "problems", ())]
        self.event(
            "error", _fields(error) | {"exit_status": exit_status} | ({"problems": problems} if problems else {})
        )
        for number, line in enumerate(error.lines):
            self._err(line, "" if number else "31")
            self._log(line)

    def without_library(self) -> None:
        """Say, where it is so, that Python looks at the pages by itself."""
        if library is None:
            self.message(f"no native library ({missing}): pages are checked and compared in Python, slower")

    def watch(self, status: CloneStatus, *, pages: bool = True) -> Watcher:
        """Show ``status`` for as long as the ``with`` block runs; ``pages``: it looks at many."""
        if pages:
            self.without_library()
        renderers: list[Renderer] = []
        if self._json is not None:
            renderers.append(self._json)
        elif not self._quiet:
            renderers.append(self._display())
        if self._log_file is not None:
            renderers.append(PlainRenderer(self._log))
        return Watcher(status, renderers)

    def _display(self) -> Renderer:
        """For people: live on a terminal, lines elsewhere."""
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console

            from innoclone.report.live import LiveRenderer

            return LiveRenderer(Console(stderr=True), decisions=self._verbose)
        return PlainRenderer(self._err, interval=1.0 if self._verbose else 10.0, decisions=self._verbose)

    def _err(self, text: str, colour: str = "") -> None:
        """One line to stderr; who closed it does not want to hear more."""
        line = f"{PROGRAM}: {escaped(text)}"
        if colour and sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
            line = f"\x1b[{colour}m{line}\x1b[0m"
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except OSError:  # nobody reads, or the disk is full: there is no other place to say so
            pass

    def _log(self, text: str) -> None:
        """One line to the log file; a log that can't be written any more does not stop the work."""
        try:
            self._append(text)
        except OSError as error:
            self._log_file = None
            self.warn(f"the log file can't be written any more: {error.strerror}")

    def _append(self, text: str) -> None:
        if self._log_file is not None:
            with self._log_file.open("a", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {PROGRAM}: {escaped(text)}\n")


def stdout_error(error: OSError) -> CloneError:
    """What is wrong with stdout, as one of our errors."""
    from innoclone.files.system import file_error

    found = file_error(error, "can't write to stdout")
    found.advice = "what was to be done is done, only its output is missing"
    return found


def _fields(error: CloneError) -> dict[str, Any]:
    return {
        "number": error.code, "symbol": error.symbol, "sqlstate": error.sqlstate, "message": error.message,
        "hint": error.advice, "retryable": error.retryable,
    }  # fmt: skip
