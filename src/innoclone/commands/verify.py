"""Is a clone whole, and is it the donor's?

First every page of every file is checked, against the manifest as far as that still holds: a clone that no server has
run on must be as it was copied; one that was only recovered has the same files, but undo tablespaces may have been
truncated and what a running DDL statement left is gone; once a server has been kept on it (it has a UUID then), files
come and go, and each is judged by its own first page.

Then, with ``against``, the tables are compared with those of a running server, and that takes one position for both:

* The clone is booted privately if it never was. If the donor stands where the clone does, a private server on the clone
  itself is compared with snapshots of the donor. It leaves nothing behind.
* If the donor has moved on, a copy of the clone replicates up to the GTID set of such snapshots and is compared instead
  (`innoclone.verification.follow`). First it follows without them, so that the donor holds its snapshots only for the
  last stretch and the comparison. The clone itself keeps its position.
* Where that can't be (no GTIDs, no REPLICATION SLAVE, no space for a copy, tablespaces outside), both are compared as
  they are: equal tables are equal, any other is *not compared*, because the donor may have changed it since.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, VerifyOptions
from innoclone.errors import CloneError, ConnectionLimit, Interrupted, SqlError, VerifyFailed
from innoclone.files.inuse import Purpose
from innoclone.files.keyring import read_keyring
from innoclone.files.manifest import MANIFEST, read_manifest
from innoclone.files.names import OWN_DIR
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.records.verdict import record_verdict
from innoclone.server import cloned
from innoclone.server.keyring import has_keyring
from innoclone.server.programs import find_programs
from innoclone.server.replication import as_source
from innoclone.server.snapshot import Snapshot, binlog_status, open_snapshots, plain
from innoclone.stream.pagecheck import PageReport
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import LARGE, Sql
from innoclone.verification import follow
from innoclone.verification.compare import (
    Outcome,
    Side,
    Table,
    TableResult,
    compare_objects,
    compare_tables,
    list_objects,
    list_tables,
    read_definitions,
)
from innoclone.verification.integrity import check_pages, expected_bytes

__all__ = ["VerifyReport", "verify"]

FOLLOWING = 3  # connections to the donor: the replica's, one that asks, one with a snapshot
NAMED = 5  # findings that an error message names


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    ``compared`` says whether there was a server to compare with. Without one ``tables`` and ``objects`` (views,
    routines, triggers, events, accounts) are empty. ``position`` is the GTID set, or file:offset, at which both were,
    empty where they stood at different ones.
    """

    pages: PageReport
    problems: tuple[str, ...]
    tables: tuple[TableResult, ...] = ()
    objects: tuple[TableResult, ...] = ()
    position: str = ""
    compared: bool = False

    def count(self, outcome: Outcome) -> int:
        """Tables with that outcome."""
        return sum(result.outcome is outcome for result in self.tables)

    def findings(self) -> list[str]:
        """A line for each thing that is wrong."""
        results = (*self.tables, *self.objects)
        return [*self.problems, *(str(result) for result in results if result.outcome is Outcome.DIFFERS)]

    def gaps(self) -> list[str]:
        """A line for each thing that could not be compared, or that a clone does not carry."""
        hidden = self.pages.encrypted
        pages = [f"{hidden} pages: encrypted, not decrypted (--keyring FILE does)"] if hidden else []
        if not self.compared:
            return [*pages, "tables: not compared (no server was named)"]
        results = (*self.tables, *self.objects)
        return pages + [
            str(result) for result in results if result.outcome in (Outcome.NOT_COMPARED, Outcome.NOT_CLONED)
        ]

    def __str__(self) -> str:
        """The verdict in one line."""
        text = f"{self.pages.pages} pages of {len(self.pages.files)} files"
        text += f", {len(self.problems)} problems" if self.problems else " sound"
        if not self.compared:
            return f"{text}; tables not compared"
        counts = [f"{self.count(Outcome.EQUAL)} tables equal", f"{self.count(Outcome.NOT_COMPARED)} not compared"]
        if cloned_not := self.count(Outcome.NOT_CLONED):
            counts.append(f"{cloned_not} not cloned")
        return f"{text}; {', '.join(counts)}, {self.count(Outcome.DIFFERS)} differ"


def verify(
    options: VerifyOptions, *, status: CloneStatus | None = None, stopped: threading.Event | None = None
) -> VerifyReport:
    """Check a clone; see `VerifyOptions`. What could not be compared is in the report; what is wrong, in the notes of
    ``status``.

    Raises `VerifyFailed` where something is damaged or differs; `TargetUnusable`,
    `TargetBusy`, `Interrupted`, or what a boot or the other server's connection raises.
    """
    status = status if status is not None else CloneStatus()
    stopped = stopped if stopped is not None else threading.Event()
    options = replace(options, directory=Path(os.path.realpath(options.directory)))  # as `latest` leads now
    status.destination, status.state, status.begin = str(options.directory), State.IN_PROGRESS, time.time()
    try:
        if options.against is not None:
            Sql(options.against).close()  # who can't log in is to know before all pages are read
        report = _pages(options, status, stopped)
        if options.against is not None and not report.findings():
            status.source = str(options.against)
            report = _Comparison(options, options.against, report, status, stopped).run()
        _record(options, report, status)
        if findings := report.findings():
            status.notes += findings
            more = f" and {len(findings) - NAMED} more" if len(findings) > NAMED else ""
            left = "" if report.compared else "; tables were not compared"
            raise VerifyFailed(f"{'; '.join(findings[:NAMED])}{more}{left}")
    except CloneError as error:
        status.fail(error.code, error.message)
        raise
    status.state, status.end = State.COMPLETED, time.time()
    return report


def _record(options: VerifyOptions, report: VerifyReport, status: CloneStatus) -> None:
    """Let the clone's manifest say what was found, for `innoclone list`."""
    if not (manifest := _manifest(options.directory)):
        return
    details: dict[str, object] = {"pages": report.pages.pages, "bytes": report.pages.bytes}
    if report.tables:
        details |= {"against": str(options.against), "position": report.position}
        details |= {"not_compared": report.count(Outcome.NOT_COMPARED), "differ": report.count(Outcome.DIFFERS)}
    why = record_verdict(
        options.directory, manifest, time.time(), str(report), problems=report.findings(),
        tables=report.count(Outcome.EQUAL) if report.tables else None, details=details,
    )  # fmt: skip
    if why:
        status.notes.append(f"the verdict isn't noted in the clone: {why}")


def _manifest(directory: Path) -> dict[str, Any]:
    """The manifest, or an empty one for any other data directory."""
    return read_manifest(directory) if (directory / OWN_DIR / MANIFEST).exists() else {}


def _pages(options: VerifyOptions, status: CloneStatus, stopped: threading.Event) -> VerifyReport:
    cloned.check_bootable(options.directory, Purpose.LOOK)
    row = status.start(Stage.PAGE_CHECK, estimate=expected_bytes(options.directory), threads=options.threads)
    counter = row.counter()
    lock = threading.Lock()

    def progress(count: int) -> None:
        with lock:
            counter.data += count

    masters = None if options.keyring is None else read_keyring(options.keyring)
    pages, problems = check_pages(
        options.directory, _manifest(options.directory), threads=options.threads, progress=progress, cancel=stopped,
        masters=masters,
    )  # fmt: skip
    status.finish(Stage.PAGE_CHECK)
    return VerifyReport(pages, tuple(problems))


class _Comparison:
    """One comparison of a clone with a running server."""

    def __init__(
        self,
        options: VerifyOptions,
        donor: Endpoint,
        report: VerifyReport,
        status: CloneStatus,
        stopped: threading.Event,
    ) -> None:
        self.options, self.donor, self.report = options, donor, report
        self.status, self.stopped = status, stopped
        self.directory = options.directory
        self.programs = find_programs(options.mysqld)
        self.manifest: dict[str, Any] = {}
        self.gtids = False  # whether positions are GTID sets, else file:offset in the binary log
        self.position = ""  # of the clone

    def run(self) -> VerifyReport:
        """The report with the outcomes."""
        if not cloned.is_recovered(self.directory):
            options = BootOptions(self.directory, mysqld=self.options.mysqld, keyring=self.options.keyring)
            boot(options, status=self.status, stopped=self.stopped)
        self.manifest = _manifest(self.directory)
        cloned.check_series(self.manifest.get("donor", {}).get("version", ""), self.programs)
        with Sql(self.donor, most=LARGE) as sql:
            self.gtids = sql.value("SELECT @@GLOBAL.gtid_mode") == "ON"
            with self._private_server() as clone:
                if self._stands(sql) == self.position:
                    with self._snapshots(sql) as (snapshot, donor):
                        if snapshot.label == self.position:
                            return self._compare(sql, donor, clone, self.position)
            why = self._reason_not_to_follow(sql)
            if not why:
                try:
                    report, why = self._follow(sql)
                except ConnectionLimit as error:  # the replica takes one, too
                    report, why = self.report, error.message
                if not why:
                    return report
            self.status.notes.append(f"the donor has moved on, and the clone can't follow it: {why}")
            with self._private_server() as clone, self._snapshots(sql) as (_, donor):
                return self._compare(sql, donor, clone, "")

    def _stands(self, sql: Sql) -> str:
        """Where the donor is now, in the form of ``position``."""
        if self.gtids:
            return plain(sql.value("SELECT @@GLOBAL.gtid_executed"))
        try:
            return binlog_status(sql)
        except SqlError:
            return ""

    @contextmanager
    def _private_server(self) -> Iterator[Endpoint]:
        """A private server on the clone itself; finds ``position``."""
        kept = cloned.was_kept(self.directory)  # asked now: a private server has a UUID too while it runs
        with cloned.private_server(
            self.programs, self.directory, self.manifest, keyring=self.options.keyring, waiting=self._waiting
        ) as server:
            endpoint = Endpoint(socket=server.socket)
            if self.gtids:
                with Sql(endpoint) as sql:
                    self.position = plain(sql.value("SELECT @@GLOBAL.gtid_executed"))
            elif (known := self.manifest.get("position")) and not kept:
                self.position = f"{known['binlog_file']}:{known['binlog_position']}"
            yield endpoint

    def _waiting(self) -> None:
        if self.stopped.is_set():
            raise Interrupted("stopped while a server was starting")

    def _reason_not_to_follow(self, sql: Sql) -> str:
        """Empty where a copy of the clone may follow. Raises `VerifyFailed` where it has what the donor lacks."""
        if not self.gtids:
            return "the donor has no GTIDs"
        if 0 < int(sql.value("SELECT @@SESSION.max_user_connections")) < FOLLOWING:
            return f"that takes {FOLLOWING} connections at a time, the account may have fewer (max_user_connections)"
        extra = plain(sql.value("SELECT GTID_SUBTRACT(%s, @@GLOBAL.gtid_executed)", (self.position,)))
        if extra:
            raise VerifyFailed(
                f"the clone has transactions that {self.donor.address} has not: {extra}",
                hint="it was written to, or compared with a server that is no (up to date) relative of it",
            )
        return follow.reason_against_copy(self.directory, self.manifest)

    def _follow(self, sql: Sql) -> tuple[VerifyReport, str]:
        """Compare a copy that followed the donor; with the report comes why it could not be done."""
        self.status.notes.append(f"the donor has moved on: a copy of the clone in {self.directory.parent} follows it")
        row = self.status.start(Stage.CATCH_UP)
        with (
            follow.copy_beside(self.directory) as copy,
            follow.following_server(
                self.programs, copy, self.manifest, self.options.keyring, encrypts=has_keyring(sql)
            ) as clone,
            Sql(clone) as replica,
        ):
            source = as_source(self.donor, sql)
            not_cloned = [table for table in list_tables(sql).values() if not table.is_cloned]
            why = follow.follow(replica, source, self._stands(sql), not_cloned=not_cloned, stopped=self.stopped)
            if why:
                return self.report, why
            with self._snapshots(sql) as (snapshot, donor):
                if snapshot.label is None:
                    return self.report, "it changes too fast for a snapshot of a known GTID set"
                why = follow.follow(replica, source, snapshot.label, not_cloned=not_cloned, stopped=self.stopped)
                reached = plain(replica.value("SELECT @@GLOBAL.gtid_executed"))
                if why or reached != snapshot.label:
                    return self.report, why or f"it stands at {reached} instead of {snapshot.label}"
                self.status.finish(row.stage)
                return self._compare(sql, donor, clone, snapshot.label), ""

    @contextmanager
    def _snapshots(self, sql: Sql) -> Iterator[tuple[Snapshot, Side]]:
        """Snapshots of the donor, with what it had before them."""
        tables = list_tables(sql)
        donor = Side(
            connections=(), tables=tables, definitions=read_definitions(sql, tables), objects=list_objects(sql)
        )
        with open_snapshots(self.donor, self.options.threads, gtids=self.gtids) as snapshot:
            if snapshot.refusal:
                note = f"comparing over fewer connections: {snapshot.refusal}"
                self.status.notes += [note] * (note not in self.status.notes)
            yield snapshot, replace(donor, connections=snapshot.connections)

    def _compare(self, sql: Sql, donor: Side, clone: Endpoint, position: str) -> VerifyReport:
        """The report with the outcomes; without a ``position`` that both are at, differences are in doubt."""
        with ExitStack() as opened:
            connections = [opened.enter_context(Sql(clone, most=LARGE)) for _ in donor.connections]
            asked = connections[0]
            here = Side(connections=connections, tables=list_tables(asked), definitions={}, objects=list_objects(asked))
            sizes = {**donor.tables, **here.tables}.values()
            row = self.status.start(
                Stage.COMPARE, estimate=sum(table.size for table in sizes if table.is_cloned), threads=len(connections)
            )
            counter = row.counter()

            def progress(table: Table) -> None:
                counter.data += table.size

            results = compare_tables(donor, here, stopped=self.stopped, progress=progress)
            self.status.finish(Stage.COMPARE)
            objects = compare_objects(sql, donor.objects, here.objects, ours=f"{follow.ACCOUNT}@localhost")
            if not position:
                results, objects = [_in_doubt(result) for result in results], [_in_doubt(result) for result in objects]
            return replace(self.report, tables=tuple(results), objects=tuple(objects), position=position, compared=True)


def _in_doubt(result: TableResult) -> TableResult:
    """What the comparison of two different positions is worth."""
    if result.outcome is not Outcome.DIFFERS:
        return result
    return replace(result, outcome=Outcome.NOT_COMPARED, reason=f"{result.reason}; the donor has moved on since")
