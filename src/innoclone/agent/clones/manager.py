"""The clones that the agent makes: one at a time, through the same operations as the command line."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innoclone.agent.clones.errors import Failure, in_answer
from innoclone.agent.clones.managed import settle_in_background
from innoclone.agent.clones.options import OptionsBuilder, bandwidths
from innoclone.agent.clones.priority import Launcher
from innoclone.agent.clones.process import REFUSED, CloneProcess, Job, LogOptions, Outcome
from innoclone.agent.clones.resuming import ResumeFile, restore_status
from innoclone.agent.clones.run import CloneRun
from innoclone.agent.faults import StatementError
from innoclone.agent.sql.statements import CloneInstance, CloneLocal
from innoclone.agent.variables.globals import Variables
from innoclone.commands.options import CloneOptions, LocalOptions, ReplaceOptions
from innoclone.commands.runrecord import begin, record_died
from innoclone.errors import CloneError, Interrupted
from innoclone.files.names import STATUS
from innoclone.files.replacefile import replace_file
from innoclone.records.history import is_clone, read_history
from innoclone.records.managedserver import Managed
from innoclone.records.status import CloneStatus, State
from innoclone.records.statusfile import status_in
from innoclone.transport.endpoint import Endpoint

__all__ = ["Clones", "Failure"]

log = logging.getLogger("innoclone.agent")
OPERATIONS = {CloneOptions: "clone", LocalOptions: "local", ReplaceOptions: "replace"}  # as the history has them
FLUSHED = "flushed.json"
POLL = 0.1  # seconds


class Clones:
    """Runs clones and tells of them."""

    def __init__(
        self,
        folder: Path,
        variables: Variables,
        local: Endpoint | None,
        managed: Managed | None = None,
        log_options: LogOptions = LogOptions(),  # noqa: B008  # frozen
    ) -> None:
        """``local`` is the server that CLONE LOCAL copies, ``managed`` the one whose data CLONE INSTANCE replaces. The
        last agent's last clone is remembered; if it runs on, it is taken up, if it was cut off, it is put into the
        history."""
        self._folder, self._variables, self._managed = folder, variables, managed
        self._options = OptionsBuilder(folder, variables, local, managed)
        self._log_options = log_options
        self._lock = threading.Lock()
        self._run: CloneRun | None = None  # the clone that runs, or the last one
        self._closing = False
        self.outcomes: Counter[str] = Counter()  # of the clones since the agent was started, by their states
        self.launcher = Launcher()
        self.settled = threading.Event()  # what a replacement that was broken off needs, see `settle_in_background`
        self.settled.set()
        self._resume_file = ResumeFile(folder)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, CloneError):
            if (last := status_in(folder)) is not None:
                self._take_up(last)

    def _take_up(self, last: Mapping[str, Any]) -> None:
        """The clone of a status file that an earlier agent left. Raises what a damaged file and its history do."""
        process = CloneProcess.find(self._folder)
        run = CloneRun(0, self._folder, CloneStatus(number=last["id"]), process, operation=last["operation"])
        restore_status(run.status, last, lives=process is not None)
        if process is None:
            record_died(last, CloneStatus())
            run.ended.set()
        else:
            log.info("clone %d goes on in process %d", run.number, process.pid)
            threading.Thread(target=self._follow, args=(run, process), name="innoclone-follow", daemon=True).start()
        self._run = run

    def _follow(self, run: CloneRun, process: CloneProcess) -> None:
        """To the end of a clone that another agent began."""
        process.wait(run.refresh, time.sleep)
        fields = status_in(self._folder) or {}
        state = str(fields.get("state"))
        if state == State.IN_PROGRESS.value:  # killed
            state = State.FAILED.value
            with contextlib.suppress(KeyError, TypeError, CloneError):
                record_died(fields, CloneStatus())
            self._settle(run)
        log.info("clone %d, which an earlier agent began: %s", run.number, state.lower())
        self._finish(run, state)

    def _finish(self, run: CloneRun, outcome: str) -> None:
        if outcome != REFUSED:
            self.outcomes[outcome] += 1
        if not self._closing:  # else it is for the next agent
            self._resume_file.remove()
        run.finish()

    @property
    def last_run(self) -> CloneRun | None:
        """The clone that runs, or the last one, as it is now."""
        run = self._run
        if run is not None:
            run.refresh()
        return run

    @property
    def guide_numbers(self) -> bool:
        """Whether errors have the guide's own numbers."""
        return self._variables.guide_numbers

    @property
    def shows_history(self) -> bool:
        """Whether the tables have all clones, each with a number of its own; or the last one alone, as number 1."""
        return self._variables.shows_history

    @property
    def latest(self) -> CloneStatus | None:
        """Of the clone that runs, or of the last one; always the same object for one clone."""
        run = self.last_run
        return None if run is None else run.status

    @property
    def began(self) -> float:
        """When the statement for `latest` was given, seconds since the epoch; 0 if to an earlier agent."""
        return 0.0 if self._run is None else self._run.began

    @property
    def is_running(self) -> bool:
        """Whether `latest` runs."""
        run = self._run
        return run is not None and not run.ended.is_set()

    # ---- statements ----------------------------------------------------------------------------------------

    def run(self, statement: CloneLocal | CloneInstance, session: int, stopped: threading.Event) -> list[str]:
        """Clone, to its end; ``stopped`` ends it. The clone's notes. Raises a `StatementError`, `Failure`."""
        options = self._options.of(statement)
        run = CloneRun(session, self._folder, stopped=stopped, operation=OPERATIONS[type(options)])
        run.limits = bandwidths(self._variables)
        with self._lock:
            if self._closing:
                raise StatementError(1053)
            if self._run is not None and not self._run.ended.is_set():
                raise StatementError(3874)
            begin(options.donor, options.directory, run.status)
            run.began = run.status.begin or 0.0
            before, self._run = self._run, run
            status_before = _read_bytes(self._folder / STATUS)
        outcome = State.FAILED.value
        try:
            if self._variables["clone_resume_on_start"]:
                self._resume_file.write(statement)
            ended = self._operate(options, run)
            outcome = ended.state
            if outcome == REFUSED:
                self._take_back(before, status_before)
        except CloneError as error:
            if not isinstance(error, Failure):
                run.status.fail(error.code, error.message)
                error = in_answer(error, options.directory, guide=self.guide_numbers)
            raise error
        finally:
            self._finish(run, outcome)
        if ended.error_number:
            raise Failure(ended.error_number, ended.sqlstate, ended.message)
        return ended.notes

    def _operate(self, options: CloneOptions | LocalOptions | ReplaceOptions, run: CloneRun) -> Outcome:
        """In a process of its own, to its end. Raises `Failure` where that was killed, `Interrupted`, a file error."""
        while isinstance(options, ReplaceOptions) and not self.settled.wait(POLL):
            if run.stopped.is_set():
                raise Interrupted("stopped while an earlier replacement was completed or undone")
        buffer = self._variables.number("clone_buffer_size")
        job = Job(
            options=options, operation=run.operation, number=run.number, buffer=buffer, folder=self._folder,
            guide=self.guide_numbers, log_options=self._log_options,
        )  # fmt: skip
        process = run.process = self.launcher.run(functools.partial(CloneProcess.start, job)).result()
        stop_sent = False

        def each() -> None:
            nonlocal stop_sent
            run.refresh()
            if run.stopped.is_set() and not stop_sent:
                stop_sent = True
                run.send_control()

        ended = process.wait(each, time.sleep)
        if ended is not None:
            return ended
        failure = process.killed()
        log.error("clone %d: %s", run.number, failure.message)
        with contextlib.suppress(KeyError, TypeError, CloneError):
            last = status_in(self._folder)
            if last is not None and last["id"] == run.number:
                record_died(last, CloneStatus())
        run.status.fail(failure.code, failure.message)
        self._settle(run)
        raise failure

    def _settle(self, run: CloneRun) -> None:
        """What a replacement that was killed in its middle needs: the managed server may be down."""
        if run.operation == "replace" and self._managed is not None:
            settle_in_background(self._managed, self.settled, self.launcher, then=lambda _: None)
            self.settled.wait()

    def _take_back(self, before: CloneRun | None, status_before: bytes | None) -> None:
        """A clone was refused: what the tables tell of, and another agent finds, is the one before it."""
        with self._lock:
            self._run = before
            with contextlib.suppress(OSError, CloneError):
                if status_before is None:
                    (self._folder / STATUS).unlink(missing_ok=True)
                else:
                    replace_file(self._folder / STATUS, status_before, durable=False)

    def resume(self, settled: str | None = None) -> None:
        """With ``clone_resume_on_start``, go on with the clone that was cut off with the last agent.

        ``settled`` is what was done about the managed server: a replacement may have come to its end.
        """
        from innoclone.commands.replace import COMPLETED

        statement = self._resume_file.read()
        if statement is None:
            return
        run = self._run
        if run is not None and not run.ended.is_set():
            return  # it goes on without that, and what is kept is forgotten at its end
        if run is not None and run.status.state is State.COMPLETED:
            self._resume_file.remove()
            return
        wanted = self._variables["clone_resume_on_start"] and self._variables.installed
        in_place = isinstance(statement, CloneInstance) and statement.directory is None
        if not wanted or (in_place and settled == COMPLETED):
            self._resume_file.remove()
            return
        threading.Thread(target=self._resume, args=(statement,), name="innoclone-resume", daemon=True).start()

    def _resume(self, statement: CloneLocal | CloneInstance) -> None:
        log.info("going on with the clone that the last agent's end cut off")
        try:
            self.run(statement, 0, threading.Event())
        except StatementError as error:  # refused; another error was logged
            log.error("it can't go on: ERROR %d (%s): %s", error.code, error.sqlstate, error.message)
            if not self._closing:
                self._resume_file.remove()
        except CloneError:
            pass

    def stop(self) -> bool:
        """CLONE INSTANCE STOP: end the clone that runs and wait for that; False if none does. Raises a file error."""
        run = self._run
        if run is None or run.ended.is_set():
            return False
        run.stopped.set()
        run.send_control()
        run.ended.wait()
        return True

    def close(self, seconds: float) -> None:
        """Begin no more; end the one that runs, in order, and wait so long for it."""
        with self._lock:
            self._closing = True
            run = self._run
        if run is None or run.ended.is_set():
            return
        run.stopped.set()
        with contextlib.suppress(CloneError):
            run.send_control()
        if not run.ended.wait(seconds):
            log.warning("clone %d did not end in %g s: it goes on without an agent", run.number, seconds)

    def variable_changed(self, name: str) -> None:
        """A variable was set: bandwidths count at once, for the clone that runs too. Raises a file error."""
        run = self._run
        if name == "clone_resume_on_start" and not self._variables[name]:
            self._resume_file.remove()
        if run is not None and not run.ended.is_set():
            run.limits = bandwidths(self._variables)
            run.send_control()

    def flush(self) -> None:
        """FLUSH LOGS: finished clones are shown no more."""
        with self._lock:
            (self._folder / FLUSHED).write_text(json.dumps({"until": time.time()}))
            if self._run is not None and self._run.ended.is_set():
                self._run = None
                (self._folder / STATUS).unlink(missing_ok=True)

    # ---- what there was --------------------------------------------------------------------------------------------

    def records(self, *, every: bool = False) -> list[dict[str, Any]]:
        """The history in the order of its numbers, but for what was flushed; ``every``: with what is no clone that was
        made here of a server, such as backups, restores, and clones that others took."""
        try:
            until = float(json.loads((self._folder / FLUSHED).read_bytes())["until"])
        except (OSError, ValueError, KeyError, TypeError):
            until = 0.0
        try:
            records = read_history()
        except CloneError:
            return []
        mine = [one for one in records if every or is_clone(one)]
        shown = [record for record in mine if (record.get("ended") or 0) > until]
        return sorted(shown, key=lambda record: record["id"])


def _read_bytes(path: Path) -> bytes | None:
    """What is in a file, None where there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return None
