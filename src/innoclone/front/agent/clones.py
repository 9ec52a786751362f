"""The clones that the agent makes: one at a time, through the same operations as the command line; and the rows of
performance_schema.clone_status and clone_progress, from the one that runs and from the history."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from innoclone.errors import CloneError, Interrupted
from innoclone.files.names import STATUS
from innoclone.front.agent.clonefaults import Failure, in_answer, in_table
from innoclone.front.agent.diary import told
from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.recall import Pending, status_of
from innoclone.front.agent.sql.statements import CloneInstance, CloneLocal
from innoclone.front.agent.sql.types import Value
from innoclone.front.agent.variables import Variables, bandwidth
from innoclone.operation.options import MAX_THREADS, CloneOptions, LocalOptions, ReplaceOptions
from innoclone.operation.run import begin, record_died
from innoclone.ops.history import RESTORE, read_history
from innoclone.ops.limits import Limits
from innoclone.ops.managed import Managed
from innoclone.ops.status import CLONE_STAGES, CloneStatus, StageStatus, State
from innoclone.ops.statusfile import INTERRUPTED, StatusFile, status_in
from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = ["Clones", "Failure"]

log = logging.getLogger("innoclone.agent")
OPERATIONS = {CloneOptions: "clone", LocalOptions: "local", ReplaceOptions: "replace"}  # as the history has them
FLUSHED = "flushed.json"
COPYING = LocalOptions.threads  # files at a time: more don't help on one disk
LARGEST_INT = (1 << 31) - 1


@dataclass
class _Run:
    """The clone that runs, or the last one that did."""

    session: int
    directory: Path
    limits: Limits
    status: CloneStatus = field(default_factory=CloneStatus)
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    operation: str = "clone"
    began: float = 0.0  # when the statement was given; a clone that goes on began earlier

    @property
    def number(self) -> int:
        """ID in the tables."""
        return self.status.number


class Clones:
    """Runs clones and tells of them."""

    def __init__(
        self, folder: Path, variables: Variables, local: Endpoint | None, managed: Managed | None = None
    ) -> None:
        """``local`` is the server that CLONE LOCAL copies, ``managed`` the one whose data CLONE INSTANCE replaces. The
        last agent's last clone is remembered; if it was cut off with that agent, it is put into the history."""
        self._folder, self._variables, self._local, self._managed = folder, variables, local, managed
        self._lock = threading.Lock()
        self._run: _Run | None = None  # the last one
        self._closing = False
        self.outcomes: Counter[str] = Counter()  # of the clones since the agent was started, by their states
        self._pending = Pending(folder)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, CloneError):
            if (last := status_in(folder)) is not None:
                record_died(last, CloneStatus())
                self._run = _Run(0, Path(last["destination"]), Limits(), status_of(last))
                self._run.ended.set()

    @property
    def latest(self) -> CloneStatus | None:
        """Of the clone that runs, or of the last one."""
        return None if self._run is None else self._run.status

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
        limits = Limits(
            data=copy.max_data_bandwidth, network=getattr(copy, "max_network_bandwidth", 0),
            buffer=self._variables.number("clone_buffer_size"),
        )  # fmt: skip
        run = _Run(session, options.directory, limits, stopped=stopped)
        with self._lock:
            if self._closing:
                raise StatementError(1053)
            if self._run is not None and not self._run.ended.is_set():
                raise StatementError(3874)
            begin(options.donor, options.directory, run.status)
            run.began = run.status.begin or 0.0
            run.operation = OPERATIONS[type(options)]
            self._run = run
        outcome = State.FAILED.value
        try:
            if self._variables["clone_resume_on_start"]:
                self._pending.keep(statement)
            with told(run.status), StatusFile(self._folder, run.status, operation=run.operation):
                self._operate(options, run)
            outcome = State.COMPLETED.value
        except CloneError as error:
            if run.status.state is not State.FAILED:
                run.status.fail(error.code, error.message)
            if isinstance(error, Interrupted):
                outcome = INTERRUPTED
            raise in_answer(error, options.directory, guide=self._guide) from error
        except OSError as error:
            run.status.fail(CloneError.number, str(error))
            raise Failure(CloneError.number, CloneError.sqlstate, str(error)) from error
        finally:
            self.outcomes[outcome] += 1
            if not self._closing:  # else it is for the next agent
                self._pending.forget()
            run.ended.set()
        return list(run.status.notes)

    def resume(self, settled: str | None = None) -> None:
        """With ``clone_resume_on_start``, go on with the clone that was cut off with the last agent.

        ``settled`` is what was done about the managed server: a replacement may have come to its end.
        """
        from innoclone.operation.replace import COMPLETED

        statement = self._pending.take()
        if statement is None:
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

    def _operate(self, options: CloneOptions | LocalOptions | ReplaceOptions, run: _Run) -> None:
        from innoclone.operation.clone import clone
        from innoclone.operation.local import local
        from innoclone.operation.replace import replace_data

        if isinstance(options, ReplaceOptions):
            replace_data(options, status=run.status, stopped=run.stopped, limits=run.limits)
        elif isinstance(options, LocalOptions):
            local(options, status=run.status, stopped=run.stopped, limits=run.limits)
        else:
            clone(options, status=run.status, stopped=run.stopped, limits=run.limits)

    def stop(self) -> bool:
        """CLONE INSTANCE STOP: end the clone that runs and wait for that; False if none does."""
        run = self._run
        if run is None or run.ended.is_set():
            return False
        run.stopped.set()
        run.ended.wait()
        return True

    def close(self, seconds: float) -> None:
        """Begin no more; end the one that runs, in order, and wait so long for it."""
        with self._lock:
            self._closing = True
            run = self._run
        if run is not None:
            run.stopped.set()
            run.ended.wait(seconds)

    def changed(self, name: str) -> None:
        """A variable was set: bandwidths count at once, for the clone that runs too."""
        run = self._run
        if name == "clone_resume_on_start" and not self._variables[name]:
            self._pending.forget()
        if run is not None:
            run.limits.data = bandwidth(self._variables["clone_max_data_bandwidth"])
            run.limits.network = bandwidth(self._variables["clone_max_network_bandwidth"])

    def flush(self) -> None:
        """FLUSH LOGS: finished clones are shown no more."""
        with self._lock:
            (self._folder / FLUSHED).write_text(json.dumps({"until": time.time()}))
            if self._run is not None and self._run.ended.is_set():
                self._run = None
                (self._folder / STATUS).unlink(missing_ok=True)

    # ---- options -------------------------------------------------------------------------------------------

    def _directory(self, text: str) -> Path:
        if not text.startswith("/") or "\0" in text:
            raise StatementError(1525, "path", text)
        return Path(text)

    def _options(self, statement: CloneInstance) -> CloneOptions | ReplaceOptions:
        variables = self._variables
        host = statement.host
        address = f"[{host}]:{statement.port}" if ":" in host else f"{host}:{statement.port}"
        allowed = variables.text("clone_valid_donor_list")
        if address not in allowed.split(","):
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
        donor = Endpoint(
            host, statement.port, statement.user, statement.password,
            ssl_mode=SslMode.DISABLED if statement.ssl is False else mode,
            ssl_ca=paths.get("ca"), ssl_cert=paths.get("cert"), ssl_key=paths.get("key"),
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
        records = self.records()
        if run is None or run.ended.is_set():
            return [self._past(record) for record in records]
        rows = [self._past(record) for record in records if record["id"] != run.number]
        return sorted([*rows, self._present(run)], key=lambda row: int(str(row[0])))

    def _past(self, record: Mapping[str, Any]) -> tuple[Value, ...]:
        state, code = record["state"], record.get("error_number") or 0
        message = str(record.get("error_message") or "")
        if state not in (State.COMPLETED.value, State.FAILED.value):  # interrupted, died
            code, message = code or Interrupted.number, message or f"the clone was cut off ({state.lower()})"
            state = State.FAILED.value
        code, message = in_table(code, message, guide=self._guide)
        return (
            record["id"], 0, state, _moment(record.get("began"), 3), _moment(record.get("ended"), 3),
            _source(record.get("operation"), str(record.get("source") or "")),
            _directory(record.get("operation"), str(record.get("destination") or "")), code, message,
            str(record.get("binlog_file") or ""), int(record.get("binlog_position") or 0),
            str(record.get("gtid_executed") or ""), None,
        )  # fmt: skip

    def _present(self, run: _Run) -> tuple[Value, ...]:
        status = run.status
        current = status.current
        return (
            run.number, run.session, State.IN_PROGRESS.value, _moment(status.begin, 3), None,
            _source(run.operation, status.source), _directory(run.operation, status.destination), 0, "",
            status.binlog_file, status.binlog_position, status.gtid_executed,
            current.stage.value if current is not None else None,
        )  # fmt: skip

    def progress_rows(self) -> list[tuple[Value, ...]]:
        """Rows of clone_progress: of the clone that runs, or of the last one."""
        run = self._run
        return [] if run is None else [self._stage(run, run.status.stages[stage]) for stage in CLONE_STAGES]

    def _stage(self, run: _Run, row: StageStatus) -> tuple[Value, ...]:
        message = ""
        if row.state is State.FAILED:
            _, message = in_table(run.status.error_number, run.status.error_message, guide=self._guide)
        data, network, seconds = row.data, row.network, row.seconds
        estimate = data if row.state is State.COMPLETED else max(row.estimate, data)  # then it is known
        speeds = [min(int(amount / seconds), LARGEST_INT) if seconds > 0 else 0 for amount in (data, network)]
        return (
            run.number, row.stage.value, row.state.value, _moment(row.begin, 6), _moment(row.end, 6), row.threads,
            estimate, data, network, *speeds, message,
        )  # fmt: skip

    def position(self) -> tuple[str, int, str] | None:
        """Binary log file, position and GTID set of the newest clone that has them."""
        for row in reversed(self.status_rows()):
            if row[9]:
                return str(row[9]), int(str(row[10])), str(row[11])
        return None


def _source(operation: str | None, source: str) -> str:
    """As the plugin writes it."""
    return "LOCAL INSTANCE" if operation == "local" else source


def _directory(operation: str | None, destination: str) -> str:
    """With a slash at its end, as the plugin writes it; a server's own data has a name of its own."""
    if operation == "replace":
        return "LOCAL INSTANCE"
    return destination if not destination or destination.endswith("/") else destination + "/"


def _moment(seconds: float | None, decimals: int) -> datetime | None:
    """Seconds since the epoch as the local time."""
    return None if seconds is None else datetime.fromtimestamp(round(seconds, decimals))
