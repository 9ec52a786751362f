"""``./scripts/matrix``: a stock server takes what `innoclone serve` gives, and innoclone clones encrypted servers, in
every way that there is.

Each row is one CLONE statement: how it travels, how many tasks, into a directory or in the place of the server's own
data, and what happens meanwhile; or it is one kind of encryption and one way to clone. What came is booted, and every
table compared with the donor's.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import pymysql

from clones import booted, rows
from encryptedmatrix import EncryptedMatrix, EncryptedRow, encrypted_rows
from faults.proxy import Proxy
from innoclone.donor import course
from innoclone.donor.live import find_live
from innoclone.donor.offer import Source
from innoclone.donor.sending import Sender
from innoclone.donor.service import Donor
from innoclone.donor.stored import look
from innoclone.records.limits import Limits
from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, provide_programs
from innoclone.wire.descriptors import StageNumber
from local_clones import checksums
from servers import ServerFactory, endpoint_of
from serving import ServeProcess, serving, take

MIB = 1 << 20
SLOW = 25.0  # MiB/s, where something is to happen in the middle
PATIENCE = 120.0  # seconds
WAYS: dict[str, tuple[str, dict[str, int]]] = {
    "plain": ("REQUIRE NO SSL", {}), "TLS": ("REQUIRE SSL", {}),
    "compressed": ("REQUIRE NO SSL", {"clone_enable_compression": 1}),
    "TLS compressed": ("REQUIRE SSL", {"clone_enable_compression": 1}),
}  # fmt: skip
TASKS = ("1", "4", "16", "autotune")
PLACES = ("directory", "replace")
CUTS = (StageNumber.INIT, StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY)
DONOR_KILLED, RECIPIENT_KILLED, MIDDLE = "donor killed", "recipient killed", "cut in the middle"
CUT = tuple(f"cut behind {stage.name}" for stage in CUTS)
DISTURBED = (*CUT, MIDDLE, DONOR_KILLED, RECIPIENT_KILLED)


@dataclass(frozen=True)
class Row:
    """One CLONE statement."""

    way: str
    tasks: str
    place: str
    event: str = ""
    live: bool = False  # of a server that runs, not of its directory

    def __str__(self) -> str:
        """As it is printed, and as ``--only`` finds it."""
        known = ["live"] if self.live else []
        return ", ".join([*known, self.way, self.tasks, self.place, *([self.event] if self.event else [])])

    @property
    def settings(self) -> dict[str, int]:
        """Global variables of the recipient."""
        auto = self.tasks == "autotune"
        count = {"clone_autotune_concurrency": int(auto), "clone_max_concurrency": 16 if auto else int(self.tasks)}
        return count | WAYS[self.way][1]


def all_rows() -> list[Row]:
    """Every way undisturbed; disturbed every way but for the number of tasks with compression. Of a running server
    those that depend on where the data come from."""
    calm = [Row(*each) for each in product(WAYS, TASKS, PLACES)]
    rough = [Row(*each) for each in product(("plain", "TLS"), ("1", "4", "16"), PLACES, DISTURBED)]
    live = [Row(*each, live=True) for each in product(("plain", "TLS"), ("1", "4"), PLACES, ("", *CUT, MIDDLE))]
    return calm + rough + [Row("TLS compressed", "4", *each) for each in product(PLACES, DISTURBED)] + live


class Matrix:
    """A directory to be served, and recipients for it."""

    def __init__(self, programs: Programs, folder: Path, size: int) -> None:
        """``size`` in bytes of the donor's tables."""
        self._programs, self._folder = programs, folder
        self._factory = ServerFactory(programs, folder, folder / "templates")
        server = self._factory()
        fill(server.connect, size)
        self._expected = checksums(server)
        server.stop()
        self._directory = server.datadir
        self._running: Server | None = None

    def close(self) -> None:
        """End the servers."""
        self._factory.close()

    def play(self, row: Row) -> None:
        """Raises what went wrong."""
        recipient = self._factory()
        target = None if row.place == "replace" else self._folder / "taken"
        try:
            with self._donor(row, recipient) as port:
                self._take(row, recipient, port, target)
            recipient.kill()
            with booted(self._programs, target or recipient.datadir) as found:
                assert checksums(found) == self._expected, "other contents than the donor's"
                assert rows(found, "SELECT STATE FROM performance_schema.clone_status") == [("Completed",)]
        finally:
            self._rest()
            recipient.kill()
            shutil.rmtree(recipient.datadir, ignore_errors=True)
            shutil.rmtree(self._folder / "taken", ignore_errors=True)

    def _source(self, row: Row) -> Source:
        """What is given away; a server runs on the directory then, or none does."""
        if not row.live:
            return look(self._directory)
        options = [*DONOR_OPTIONS, "--server-id=99"]
        log = self._folder / "running.log"
        self._running = Server.start(self._programs, self._directory, port=0, options=options, error_log=log)
        return find_live(endpoint_of(self._running))

    def _rest(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None

    def _take(self, row: Row, recipient: Server, port: int, target: Path | None) -> None:
        if row.event == RECIPIENT_KILLED:
            self._killed(row, recipient, port, target)
            return
        try:
            take(recipient, port, target, WAYS[row.way][0], settings=row.settings)
        except pymysql.Error as error:
            if target is not None or error.args[0] != 3707:  # it can't start itself again: nobody watches over it
                raise

    def _killed(self, row: Row, recipient: Server, port: int, target: Path | None) -> None:
        """Another one is killed while it takes it; then this one takes it all the same."""
        victim = self._factory()
        place = None if target is None else self._folder / "never"
        thread = threading.Thread(target=_ignoring, args=(lambda: take(
            victim, port, place, WAYS[row.way][0], settings=row.settings),))  # fmt: skip
        thread.start()
        _wait(lambda: _copied(victim) > 2 * MIB)
        victim.kill()
        thread.join()
        shutil.rmtree(victim.datadir)
        shutil.rmtree(self._folder / "never", ignore_errors=True)
        self._take(Row(row.way, row.tasks, row.place), recipient, port, target)

    @contextlib.contextmanager
    def _donor(self, row: Row, recipient: Server) -> Iterator[int]:
        """The port of one that does to a recipient what the row says."""
        if row.event == DONOR_KILLED:
            with self._killed_donor(recipient) as port:
                yield port
            return
        limits = Limits(data=SLOW) if row.event in (MIDDLE, RECIPIENT_KILLED) else None
        with (
            serving(self._source(row), self._folder, limits=limits) as donor, Proxy(donor.port) as proxy,
            _cutting(row.event, donor, proxy),
        ):  # fmt: skip
            yield proxy.port

    @contextlib.contextmanager
    def _killed_donor(self, recipient: Server) -> Iterator[int]:
        first = ServeProcess(self._directory, f"--max-data-bandwidth={SLOW:g}")
        seconds: list[ServeProcess] = []

        def again() -> None:
            _wait(lambda: _copied(recipient) > 4 * MIB)
            first.kill()
            seconds.append(ServeProcess(self._directory, port=first.port))

        thread = threading.Thread(target=again)
        thread.start()
        try:
            yield first.port
            thread.join()
            seconds[0].stop()
            assert any("goes on with its clone" in line for line in seconds[0].said), "it was not gone on with"
        finally:
            thread.join()
            for one in (first, *seconds):
                one.__exit__()


@contextlib.contextmanager
def _cutting(event: str, donor: Donor, proxy: Proxy) -> Iterator[None]:
    """Cut all connections once: behind the end of a stage, before it is acknowledged, or in the middle of the files."""
    done = threading.Event()

    def cut() -> None:
        done.set()
        for wire in list(proxy._wires):
            wire.cut(reset=True)

    ends = Sender._end

    def end(sender: Sender, stage: StageNumber) -> None:
        ends(sender, stage)
        if event == f"cut behind {stage.name}" and not done.is_set():
            cut()

    def middle() -> None:
        _wait(lambda: any(one.sent > 8 * MIB for one in donor.courses) or done.is_set())
        cut()

    with mock.patch.object(Sender, "_end", end), mock.patch.object(course, "KEEP_ALIVE", 0.5):
        watch = threading.Thread(target=middle) if event == MIDDLE else None
        if watch is not None:
            watch.start()
        yield
        if watch is not None:
            watch.join()
        assert done.is_set() or not event.startswith("cut"), "nothing was cut"


def _ignoring(statement: Callable[[], Any]) -> None:
    with contextlib.suppress(pymysql.Error):
        statement()


def _copied(recipient: Server) -> int:
    """Bytes of the clone that it takes; 0 where it can't be asked, as while it replaces its data."""
    with contextlib.suppress(pymysql.Error):
        return int(str(rows(recipient, "SELECT SUM(DATA) FROM performance_schema.clone_progress")[0][0] or 0))
    return 0


def _wait(reached: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.02)


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="scripts/matrix", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--only", default="", help="rows in which this text is, as they are printed")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth of those")
    parser.add_argument("--size", type=int, default=40, metavar="MIB", help="of the donor's tables (default 40)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="parent of the work folder")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    chosen = [row for row in (*all_rows(), *encrypted_rows()) if options.only in str(row)][:: options.every]
    folder = Path(tempfile.mkdtemp(prefix="matrix-", dir=options.work)).resolve()
    (folder / "templates").mkdir()
    failed = 0
    try:
        programs = provide_programs(print)
        plain = [row for row in chosen if isinstance(row, Row)]
        if plain:
            with contextlib.closing(Matrix(programs, folder, options.size * MIB)) as matrix:
                failed += sum(not _told(partial(matrix.play, row), row) for row in plain)
        with contextlib.closing(EncryptedMatrix(programs, folder)) as encrypted:
            for row in chosen:
                if isinstance(row, EncryptedRow):
                    failed += not _told(partial(encrypted.play, row), row)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(chosen)} rows, {failed} failed")
    return 1 if failed else 0


def _told(play: Callable[[], None], row: object) -> bool:
    """Play a row and print what came of it; whether it went well."""
    began = time.monotonic()
    try:
        play()
    except Exception:  # noqa: BLE001  # whatever it is, the other rows are played
        print(f"FAILED  {row}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"equal   {row}  ({time.monotonic() - began:.1f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
