"""The clones that the agent makes: one at a time, through the same operations as the command line; and the rows of
performance_schema.clone_status and clone_progress, from the one that runs and from the history."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    CloneError,
    ConnectFailed,
    DonorError,
    Interrupted,
    NetworkError,
    NotMySQL,
    PluginMissing,
    PrivilegeMissing,
    TargetExists,
    TlsFailed,
)
from innoclone.files.replacing import Places
from innoclone.front.agent.faults import StatementError
from innoclone.front.agent.sql.statements import CloneInstance, CloneLocal
from innoclone.front.agent.sql.types import Value
from innoclone.front.agent.tables import MESSAGE_LENGTH
from innoclone.front.agent.variables import Variables, bandwidth
from innoclone.operation.options import MAX_THREADS, CloneOptions, LocalOptions, ReplaceOptions
from innoclone.operation.run import record_dead
from innoclone.ops.history import DIED, append_history, read_history
from innoclone.ops.limits import Limits
from innoclone.ops.managed import Managed
from innoclone.ops.status import CLONE_STAGES, CloneStatus, StageStatus, State
from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = ["Clones", "Failure"]

OPERATIONS = {CloneOptions: "clone", LocalOptions: "local", ReplaceOptions: "replace"}  # as the history has them
RUNNING, FLUSHED = "running.json", "flushed.json"
COPYING = LocalOptions.threads  # files at a time: more don't help on one disk
LARGEST_INT = (1 << 31) - 1
CONNECTING = (ConnectFailed, TlsFailed, NotMySQL, AuthPluginUnsupported, AccessDenied)
OF_THE_DONOR = (*CONNECTING, NetworkError, DonorError, PrivilegeMissing, PluginMissing)
WRAPPED = {kind.number for kind in (*CONNECTING, NetworkError, PrivilegeMissing, PluginMissing)}
DONOR = 3862  # ER_CLONE_DONOR
GUIDE = {1317: 3862, 1158: 3868, 2003: 3868, 3873: 3870, 1021: 3870, 1227: 3875, 1045: 3875}
"""The guide's own numbers: interrupted, network, disk space, privileges."""


class Failure(CloneError):
    """A clone failed: with the number that the recipient's user sees."""

    def __init__(self, number: int, state: str, message: str) -> None:
        """``number`` and ``state`` go to the client."""
        super().__init__(message, hint="")
        self.shown = number
        self.sqlstate = state  # type: ignore[misc]  # one class for all of them

    @property
    def code(self) -> int:
        """The number."""
        return self.shown


@dataclass
class _Run:
    """The clone that runs, or the last one that did."""

    session: int
    directory: Path
    limits: Limits
    status: CloneStatus = field(default_factory=CloneStatus)
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    number: int = 0  # ID in the tables
    operation: str = "clone"


class Clones:
    """Runs clones and tells of them."""

    def __init__(
        self, folder: Path, variables: Variables, local: Endpoint | None, managed: Managed | None = None
    ) -> None:
        """``local`` is the server that CLONE LOCAL copies, ``managed`` the one whose data CLONE INSTANCE replaces. A
        clone that was cut off with the last agent is put into the history."""
        self._folder, self._variables, self._local, self._managed = folder, variables, local, managed
        self._lock = threading.Lock()
        self._run: _Run | None = None  # the last one
        self._closing = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, CloneError):
            _record_cut_off(json.loads((folder / RUNNING).read_bytes()))
        (folder / RUNNING).unlink(missing_ok=True)

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
            run.number = self._count() + 1
            run.status.state, run.status.begin = State.IN_PROGRESS, time.time()
            run.status.source, run.status.destination = str(options.donor), str(options.directory)
            run.operation = OPERATIONS[type(options)]
            self._run = run
        try:
            note = {
                "operation": run.operation, "began": run.status.begin,
                "source": run.status.source, "destination": run.status.destination,
            }  # fmt: skip
            (self._folder / RUNNING).write_text(json.dumps(note))
            self._operate(options, run)
        except CloneError as error:
            if run.status.state is not State.FAILED:
                run.status.fail(error.code, error.message)
            raise self._shown(error, options.directory) from error
        except OSError as error:
            run.status.fail(CloneError.number, str(error))
            raise Failure(CloneError.number, CloneError.sqlstate, str(error)) from error
        finally:
            (self._folder / RUNNING).unlink(missing_ok=True)
            run.ended.set()
        return list(run.status.notes)

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

    def limits_changed(self) -> None:
        """Bandwidths count at once, for the clone that runs too."""
        run = self._run
        if run is not None:
            run.limits.data = bandwidth(self._variables["clone_max_data_bandwidth"])
            run.limits.network = bandwidth(self._variables["clone_max_network_bandwidth"])

    def flush(self) -> None:
        """FLUSH LOGS: finished clones are shown no more."""
        with self._lock:
            (self._folder / FLUSHED).write_text(json.dumps({"until": time.time()}))
            if self._run is not None and self._run.ended.is_set():
                self._run = None

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
            write_changed_only=True, boot=bool(variables["clone_boot"]),
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
            boot=bool(variables["clone_boot"]),
        )  # fmt: skip

    # ---- errors --------------------------------------------------------------------------------------------

    def _shown(self, error: CloneError, directory: Path) -> CloneError:
        """As the client sees it: a donor's and the network's errors in ER_CLONE_DONOR, as in a stock recipient."""
        if isinstance(error, StatementError):
            return error
        number, message = error.code, error.message
        if isinstance(error, TargetExists):
            message = f"Can't create database '{directory}'; database exists ({message})"
        elif isinstance(error, Interrupted):
            message = "Query execution was interrupted"
        elif isinstance(error, CONNECTING):
            message = f"Connect failed: {number} : {message}"
        elif isinstance(error, OF_THE_DONOR):
            message = f"{getattr(error, 'donor_number', 0) or number} : {message}"
        shown = self._numbered(number)
        if isinstance(error, OF_THE_DONOR):
            shown, message = (DONOR if shown == number else shown), f"Clone Donor Error: {message}."
        return Failure(shown, error.sqlstate if shown != DONOR else CloneError.sqlstate, message)

    def _numbered(self, number: int) -> int:
        guide = self._variables["clone_error_numbering"] == "guide"
        return GUIDE.get(number, number) if guide else number

    # ---- tables --------------------------------------------------------------------------------------------

    def _records(self) -> list[tuple[int, dict[str, Any]]]:
        """The history with its numbers, but for what was flushed."""
        try:
            until = float(json.loads((self._folder / FLUSHED).read_bytes())["until"])
        except (OSError, ValueError, KeyError, TypeError):
            until = 0.0
        try:
            records = read_history()
        except CloneError:
            return []
        return [(n, record) for n, record in enumerate(records, 1) if (record.get("ended") or 0) > until]

    def _count(self) -> int:
        try:
            return len(read_history())
        except CloneError:
            return 0

    def status_rows(self) -> list[tuple[Value, ...]]:
        """Rows of clone_status, oldest first."""
        run = self._run
        running = run is not None and not run.ended.is_set()
        rows = [self._past(number, record) for number, record in self._records() if not running or number != run.number]  # type: ignore[union-attr]
        if run is not None and running:
            rows.append(self._present(run))
        return rows

    def _past(self, number: int, record: Mapping[str, Any]) -> tuple[Value, ...]:
        state, code = record["state"], record.get("error_number") or 0
        message = str(record.get("error_message") or "")
        if state not in (State.COMPLETED.value, State.FAILED.value):  # interrupted, died
            code, message = code or Interrupted.number, message or f"the clone was cut off ({state.lower()})"
            state = State.FAILED.value
        code, message = self._table_error(code, message)
        return (
            number, 0, state, _moment(record.get("began"), 3), _moment(record.get("ended"), 3),
            _source(record.get("operation"), str(record.get("source") or "")),
            _directory(record.get("operation"), str(record.get("destination") or "")), code, message,
            str(record.get("binlog_file") or ""), int(record.get("binlog_position") or 0),
            str(record.get("gtid_executed") or ""), None,
        )  # fmt: skip

    def _table_error(self, code: int, message: str) -> tuple[int, str]:
        """As in the statement's own error."""
        shown = self._numbered(code)
        if code in WRAPPED:
            shown, message = DONOR if shown == code else shown, f"Clone Donor Error: {code} : {message}."
        return shown, " ".join(message.split())[:MESSAGE_LENGTH]

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
        """Rows of clone_progress: of the clone that runs, or of this agent's last one."""
        run = self._run
        return [] if run is None else [self._stage(run, run.status.stages[stage]) for stage in CLONE_STAGES]

    def _stage(self, run: _Run, row: StageStatus) -> tuple[Value, ...]:
        message = ""
        if row.state is State.FAILED:
            _, message = self._table_error(run.status.error_number, run.status.error_message)
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


def _record_cut_off(note: Mapping[str, Any]) -> None:
    """Put the clone that an agent was killed in into the history, unless it is there: its own status says more, but is
    not written before it has a directory."""
    directory, began = Path(note["destination"]), float(note["began"])
    for place in (directory, Places(directory).new):
        record_dead(place, CloneStatus())
    ours = [record for record in read_history() if record.get("destination") == str(directory)]
    if not any((record.get("ended") or 0) >= began for record in ours):
        append_history({**note, "state": DIED, "ended": began, "seconds": 0.0})


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
