"""The clones that the agent makes: one at a time, through the same operations as the command line; and the rows of
performance_schema.clone_status and clone_progress, from the one that runs and from the history."""

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

from innoclone.agent.clonefaults import Failure, in_answer
from innoclone.agent.cloneprocess import REFUSED, CloneProcess, Job, LastWords, Words
from innoclone.agent.clonerows import past_row, present_row, stage_row
from innoclone.agent.clonerun import CloneRun
from innoclone.agent.donorlist import is_listed
from innoclone.agent.faults import StatementError
from innoclone.agent.managed import settle_in_background
from innoclone.agent.priority import Launcher
from innoclone.agent.recall import Pending, fill
from innoclone.agent.sql.statements import CloneInstance, CloneLocal
from innoclone.agent.sql.types import Value
from innoclone.agent.variables import Variables, bandwidth
from innoclone.commands.destination import LONGEST_PATH, check_place
from innoclone.commands.options import MAX_THREADS, CloneOptions, LocalOptions, ReplaceOptions
from innoclone.commands.runrecord import begin, record_died
from innoclone.errors import CloneError, Interrupted, TargetMisplaced, escaped
from innoclone.files.names import STATUS
from innoclone.records.history import RESTORE, read_history
from innoclone.records.managedserver import Managed
from innoclone.records.status import CLONE_STAGES, CloneStatus, State
from innoclone.records.statusfile import status_in
from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = ["Clones", "Failure"]

log = logging.getLogger("innoclone.agent")
OPERATIONS = {CloneOptions: "clone", LocalOptions: "local", ReplaceOptions: "replace"}  # as the history has them
FLUSHED = "flushed.json"
POLL = 0.1  # seconds
COPYING = LocalOptions.threads  # files at a time: more don't help on one disk


class Clones:
    """Runs clones and tells of them."""

    def __init__(
        self,
        folder: Path,
        variables: Variables,
        local: Endpoint | None,
        managed: Managed | None = None,
        words: Words = Words(),  # noqa: B008  # frozen
    ) -> None:
        """``local`` is the server that CLONE LOCAL copies, ``managed`` the one whose data CLONE INSTANCE replaces. The
        last agent's last clone is remembered; if it runs on, it is taken up, if it was cut off, it is put into the
        history."""
        self._folder, self._variables, self._local, self._managed = folder, variables, local, managed
        self._words = words
        self._lock = threading.Lock()
        self._run: CloneRun | None = None  # the last one
        self._closing = False
        self.outcomes: Counter[str] = Counter()  # of the clones since the agent was started, by their states
        self.launcher = Launcher()
        self.settled = threading.Event()  # what a replacement that was broken off needs, see `settle_in_background`
        self.settled.set()
        self._pending = Pending(folder)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, CloneError):
            if (last := status_in(folder)) is not None:
                self._take_up(last)

    def _take_up(self, last: Mapping[str, Any]) -> None:
        """The clone of a status file that an earlier agent left. Raises what a damaged file and its history do."""
        process = CloneProcess.find(self._folder)
        run = CloneRun(0, self._folder, CloneStatus(number=last["id"]), process, operation=last["operation"])
        fill(run.status, last, lives=process is not None)
        if process is None:
            record_died(last, CloneStatus())
            run.ended.set()
        else:
            log.info("clone %d goes on in process %d", run.number, process.pid)
            threading.Thread(target=self._follow, args=(run, process), name="innoclone-follow", daemon=True).start()
        self._run = run

    def _follow(self, run: CloneRun, process: CloneProcess) -> None:
        """To the end of a clone that another agent began."""
        process.wait(run.look, time.sleep)
        fields = status_in(self._folder) or {}
        state = str(fields.get("state"))
        if state == State.IN_PROGRESS.value:  # killed
            state = State.FAILED.value
            with contextlib.suppress(KeyError, TypeError, CloneError):
                record_died(fields, CloneStatus())
            self._settle(run)
        log.info("clone %d, which an earlier agent began: %s", run.number, state.lower())
        self._end(run, state)

    def _end(self, run: CloneRun, outcome: str) -> None:
        if outcome != REFUSED:
            self.outcomes[outcome] += 1
        if not self._closing:  # else it is for the next agent
            self._pending.forget()
        run.end()

    @property
    def latest(self) -> CloneStatus | None:
        """Of the clone that runs, or of the last one; always the same object for one clone."""
        run = self._run
        if run is None:
            return None
        run.look()
        return run.status

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
        options = self._local_options(statement) if isinstance(statement, CloneLocal) else self._options(statement)
        copy = options.clone if isinstance(options, ReplaceOptions) else options
        run = CloneRun(session, self._folder, stopped=stopped, operation=OPERATIONS[type(options)])
        run.limits = copy.max_data_bandwidth, getattr(copy, "max_network_bandwidth", 0)
        with self._lock:
            if self._closing:
                raise StatementError(1053)
            if self._run is not None and not self._run.ended.is_set():
                raise StatementError(3874)
            begin(options.donor, options.directory, run.status)
            run.began = run.status.begin or 0.0
            before, self._run = self._run, run
            kept = _read_bytes(self._folder / STATUS)
        outcome = State.FAILED.value
        try:
            if self._variables["clone_resume_on_start"]:
                self._pending.keep(statement)
            words = self._operate(options, run)
            outcome = words.outcome
            if outcome == REFUSED:
                self._take_back(before, kept)
        except CloneError as error:
            if not isinstance(error, Failure):
                run.status.fail(error.code, error.message)
                error = in_answer(error, options.directory, guide=self._guide)
            raise error
        finally:
            self._end(run, outcome)
        if words.number:
            raise Failure(words.number, words.sqlstate, words.message)
        return words.notes

    def _operate(self, options: CloneOptions | LocalOptions | ReplaceOptions, run: CloneRun) -> LastWords:
        """In a process of its own, to its end. Raises `Failure` where that was killed, `Interrupted`, a file error."""
        while isinstance(options, ReplaceOptions) and not self.settled.wait(POLL):
            if run.stopped.is_set():
                raise Interrupted("stopped while an earlier replacement was completed or undone")
        buffer = self._variables.number("clone_buffer_size")
        job = Job(options, run.operation, run.number, buffer, self._folder, self._guide, self._words)
        process = run.process = self.launcher.run(functools.partial(CloneProcess.start, job)).result()
        told = False

        def each() -> None:
            nonlocal told
            run.look()
            if run.stopped.is_set() and not told:
                told = True
                run.order()

        words = process.wait(each, time.sleep)
        if words is not None:
            return words
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

    def _take_back(self, before: CloneRun | None, kept: bytes | None) -> None:
        """A clone was refused: what the tables tell of, and another agent finds, is the one before it."""
        with self._lock:
            self._run = before
            with contextlib.suppress(OSError):
                if kept is None:
                    (self._folder / STATUS).unlink(missing_ok=True)
                else:
                    beside = self._folder / f"{STATUS}.new"
                    beside.write_bytes(kept)
                    beside.replace(self._folder / STATUS)

    def resume(self, settled: str | None = None) -> None:
        """With ``clone_resume_on_start``, go on with the clone that was cut off with the last agent.

        ``settled`` is what was done about the managed server: a replacement may have come to its end.
        """
        from innoclone.commands.replace import COMPLETED

        statement = self._pending.take()
        if statement is None:
            return
        run = self._run
        if run is not None and not run.ended.is_set():
            return  # it goes on without that, and what is kept is forgotten at its end
        if run is not None and run.status.state is State.COMPLETED:
            self._pending.forget()
            return
        wanted = self._variables["clone_resume_on_start"] and self._variables.installed
        in_place = isinstance(statement, CloneInstance) and statement.directory is None
        if not wanted or (in_place and settled == COMPLETED):
            self._pending.forget()
            return
        threading.Thread(target=self._resume, args=(statement,), name="innoclone-resume", daemon=True).start()

    def _resume(self, statement: CloneLocal | CloneInstance) -> None:
        log.info("going on with the clone that the last agent's end cut off")
        try:
            self.run(statement, 0, threading.Event())
        except StatementError as error:  # refused; another error was told of
            log.error("it can't go on: ERROR %d (%s): %s", error.code, error.sqlstate, error.message)
            if not self._closing:
                self._pending.forget()
        except CloneError:
            pass

    def stop(self) -> bool:
        """CLONE INSTANCE STOP: end the clone that runs and wait for that; False if none does. Raises a file error."""
        run = self._run
        if run is None or run.ended.is_set():
            return False
        run.stopped.set()
        run.order()
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
            run.order()
        if not run.ended.wait(seconds):
            log.warning("clone %d did not end in %g s: it goes on without an agent", run.number, seconds)

    def changed(self, name: str) -> None:
        """A variable was set: bandwidths count at once, for the clone that runs too. Raises a file error."""
        run = self._run
        if name == "clone_resume_on_start" and not self._variables[name]:
            self._pending.forget()
        if run is not None and not run.ended.is_set():
            run.limits = (
                bandwidth(self._variables["clone_max_data_bandwidth"]),
                bandwidth(self._variables["clone_max_network_bandwidth"]),
            )
            run.order()

    def flush(self) -> None:
        """FLUSH LOGS: finished clones are shown no more."""
        with self._lock:
            (self._folder / FLUSHED).write_text(json.dumps({"until": time.time()}))
            if self._run is not None and self._run.ended.is_set():
                self._run = None
                (self._folder / STATUS).unlink(missing_ok=True)

    # ---- options -------------------------------------------------------------------------------------------

    def _directory(self, text: str) -> Path:
        if not text.startswith("/") or not text.isprintable():
            raise StatementError(1525, "path", escaped(text))
        if len(text.encode("utf-8", "surrogateescape")) > LONGEST_PATH:
            raise StatementError(1680, "DATA DIRECTORY")
        try:
            check_place(Path(text), taken=[self._folder])
        except TargetMisplaced as error:
            raise StatementError(3632, text) from error
        except CloneError as error:
            raise in_answer(error, Path(text), guide=self._guide) from error
        return Path(text)

    def _options(self, statement: CloneInstance) -> CloneOptions | ReplaceOptions:
        variables = self._variables
        host = statement.host.lower()
        address = f"[{host}]:{statement.port}" if ":" in host else f"{host}:{statement.port}"
        allowed = variables.text("clone_valid_donor_list")
        if not is_listed(host, statement.port, allowed):
            raise StatementError(3869, f"{address} is not found in clone_valid_donor_list: {allowed}")
        managed = self._managed if statement.directory is None else None
        if statement.directory is not None:
            directory = self._directory(statement.directory)
        elif managed is not None:
            directory = managed.datadir
        else:
            raise StatementError(
                3869, "this agent manages no server whose data could be replaced: name a DATA DIRECTORY"
            )
        paths = {name: Path(text) for name in ("ca", "cert", "key") if (text := variables.text(f"clone_ssl_{name}"))}
        mode = SslMode.VERIFY_CA if "ca" in paths else SslMode.REQUIRED
        key = variables.text("clone_server_public_key_path")
        donor = Endpoint(
            host, statement.port, statement.user, statement.password,
            ssl_mode=SslMode.DISABLED if statement.ssl is False else mode,
            ssl_ca=paths.get("ca"), ssl_cert=paths.get("cert"), ssl_key=paths.get("key"),
            server_public_key_path=Path(key) if key else None,
            get_server_public_key=bool(variables["clone_get_server_public_key"]),
        )  # fmt: skip
        options = CloneOptions(
            donor, directory,
            threads=None if variables["clone_autotune_concurrency"] else variables.number("clone_max_concurrency"),
            max_concurrency=variables.number("clone_max_concurrency"),
            compression=Compression("zstd" if variables["clone_enable_compression"] else "off"),
            max_network_bandwidth=bandwidth(variables["clone_max_network_bandwidth"]),
            max_data_bandwidth=bandwidth(variables["clone_max_data_bandwidth"]),
            block_ddl=bool(variables["clone_block_ddl"]), ddl_timeout=variables.number("clone_ddl_timeout"),
            write_changed_only=True, discard_changes=bool(variables["clone_discard_changes"]),
            boot=bool(variables["clone_boot"]),
            retry_for=60.0 * variables.number("clone_donor_timeout_after_network_failure"),
        )  # fmt: skip
        if managed is None:
            return options
        return ReplaceOptions(options, managed, keep_old_data=bool(variables["clone_keep_old_data"]))

    def _local_options(self, statement: CloneLocal) -> LocalOptions:
        variables = self._variables
        directory = self._directory(statement.directory)
        if self._local is None:
            raise StatementError(3869, "this agent knows of no server on this host: name one in its configuration")
        most = COPYING if variables["clone_autotune_concurrency"] else MAX_THREADS
        return LocalOptions(
            self._local, directory, threads=min(most, variables.number("clone_max_concurrency")),
            max_data_bandwidth=bandwidth(variables["clone_max_data_bandwidth"]),
            block_ddl=bool(variables["clone_block_ddl"]), ddl_timeout=variables.number("clone_ddl_timeout"),
            boot=bool(variables["clone_boot"]), discard_changes=bool(variables["clone_discard_changes"]),
            retry_for=60.0 * variables.number("clone_donor_timeout_after_network_failure"),
        )  # fmt: skip

    @property
    def _guide(self) -> bool:
        return self._variables["clone_error_numbering"] == "guide"

    # ---- tables --------------------------------------------------------------------------------------------

    def records(self) -> list[dict[str, Any]]:
        """The history in the order of its numbers, but for what was flushed."""
        try:
            until = float(json.loads((self._folder / FLUSHED).read_bytes())["until"])
        except (OSError, ValueError, KeyError, TypeError):
            until = 0.0
        try:
            records = read_history()
        except CloneError:
            return []
        clones = [record for record in records if record.get("operation") != RESTORE]
        kept = [record for record in clones if (record.get("ended") or 0) > until]
        return sorted(kept, key=lambda record: record["id"])

    def status_rows(self) -> list[tuple[Value, ...]]:
        """Rows of clone_status, oldest first."""
        run = self._run
        if run is not None:
            run.look()
        records = self.records()
        if run is None or run.ended.is_set():
            return [past_row(record, guide=self._guide) for record in records]
        rows = [past_row(record, guide=self._guide) for record in records if record["id"] != run.number]
        return sorted([*rows, present_row(run)], key=lambda row: int(str(row[0])))

    def progress_rows(self) -> list[tuple[Value, ...]]:
        """Rows of clone_progress: of the clone that runs, or of the last one."""
        run = self._run
        if run is None:
            return []
        run.look()
        return [stage_row(run, run.status.stages[stage], guide=self._guide) for stage in CLONE_STAGES]


def _read_bytes(path: Path) -> bytes | None:
    """What is in a file, None where there is none."""
    try:
        return path.read_bytes()
    except OSError:
        return None
