"""Clones of one donor, each compared with what its boot finds."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from clones import clone_server, rows
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.records.manifest import read_manifest
from innoclone.records.status import CloneStatus
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.load import Load
from innoclone.server import cloned
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.systemcopy import await_gtids
from local_clones import local_clone
from positions.trouble import Trouble
from positions.variants import Variant
from servers import ServerFactory

__all__ = ["Outcome", "Trial"]

_NO_AIO = "--innodb-use-native-aio=OFF"  # the system has not enough for many servers
# A server that is thrown away as soon as it has recovered.
_QUICK = (
    "--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=8M",
    "--innodb-doublewrite=OFF", "--innodb-flush-method=nosync", _NO_AIO,
)  # fmt: skip
_TOLD = 4  # whole lines of the record of a recovery, after which only the GTID set is missing
PAUSE = 0.002  # seconds of a connection between two transactions: the boots need some of the processor, too


class _RecoveredError(Exception):
    """The server has told what is asked of it."""


@dataclass(frozen=True)
class Outcome:
    """``read`` from the pages, None where that said that it can't, and ``why``; ``found`` by the boot. As file:offset,
    empty for no position."""

    read: str | None
    why: str
    found: str
    directory: Path

    @property
    def word(self) -> str:
        """What it is worth."""
        if self.read is None:
            return "unknown"
        return "equal" if self.read == self.found else "unequal"


class Trial:
    """A donor of one variant with its load, in ``folder``; ends with `close`."""

    def __init__(self, programs: Programs, make: ServerFactory, folder: Path, variant: Variant) -> None:
        self.variant = variant
        self._programs, self._folder = programs, folder
        self._count = 0
        self._running = ExitStack()
        try:
            self._start(make)
        except BaseException:
            self.close()
            raise

    def _start(self, make: ServerFactory) -> None:
        variant = self.variant
        self.donor = make(*variant.options, _NO_AIO, init=variant.init)
        busy = [self.donor]
        if variant.source is not None:
            source = make(*variant.source, _NO_AIO)
            with self.donor.connect() as connection, connection.cursor() as cursor:
                cursor.execute("DROP USER clone@'%'")  # the replica gets the source's
                cursor.execute("RESET BINARY LOGS AND GTIDS")
                cursor.execute(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%s, SOURCE_USER='root',"
                    " SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
                    (source.port,),
                )
                cursor.execute("START REPLICA")
            busy.append(source)
            self._await_account()
            self._running.enter_context(Load(source.connect, threads=3, pause=PAUSE))
            self._running.enter_context(Trouble(source.connect))
        if variant.load:
            self._running.enter_context(Load(self.donor.connect, threads=variant.load, pause=PAUSE))
        if variant.ddl:
            self._running.enter_context(DdlLoop(self.donor.connect, pause=0.05))
        if variant.trouble:
            self._running.enter_context(Trouble(self.donor.connect))

    def _await_account(self) -> None:
        deadline = time.monotonic() + 60
        while not rows(self.donor, "SELECT 1 FROM mysql.user WHERE user = 'clone'"):
            assert time.monotonic() < deadline, rows(self.donor, "SHOW REPLICA STATUS")
            time.sleep(0.1)

    def play(self, *, gtids: bool = False) -> Outcome:
        """One clone, by its files or by the protocol in turn; its directory stays unless the positions are equal.

        With ``gtids`` a server on a copy of its system tablespaces tells the GTID set, and that is compared, too."""
        self._count += 1
        directory = self._folder / f"clone-{self._count}"
        status = CloneStatus()
        if self._count % 4:
            local_clone(self.donor, directory, fsync=False, status=status)
        else:
            clone_server(self.donor, directory, fsync=False, status=status)
        position = read_manifest(directory).get("position")
        read = None if position is None else _shown(position["binlog_file"], position["binlog_position"])
        if gtids and read is not None:
            told = boot(BootOptions(directory, copy=True))
            assert _shown(told.binlog_file, told.binlog_position) == read
            read += f" {told.gtid_executed}"
        kept = directory.with_suffix(".kept")
        redo = directory / "#innodb_redo"
        shutil.copytree(redo, kept / redo.name)
        shutil.copy(directory / "ibdata1", kept)
        outcome = Outcome(read, status.position_unknown, self._booted(directory, gtids=gtids), directory)
        if outcome.word != "equal":
            for path in kept.iterdir():
                path.rename(directory / f"before-{path.name}")
        else:
            shutil.rmtree(directory)
        shutil.rmtree(kept)
        return outcome

    def _booted(self, directory: Path, *, gtids: bool) -> str:
        options = [*cloned.settings(read_manifest(directory)), *cloned.no_replication(self._programs)]
        log = directory.with_suffix(".log")

        def waiting() -> None:
            record = directory / "#clone" / "#status_recovery"
            if not gtids and record.exists() and record.read_text().count("\n") >= _TOLD:
                raise _RecoveredError

        with suppress(_RecoveredError):
            server = Server.start(
                self._programs, directory, options=[*options, *cloned.PRIVATE, *_QUICK], error_log=log,
                skip_grants=True, waiting=waiting,
            )  # fmt: skip
            try:
                await_gtids(directory, 60, lambda: None)
            finally:
                server.kill()
        log.unlink(missing_ok=True)
        recovery = cloned.read_recovery(directory)
        assert recovery is not None
        position = recovery.position
        found = _shown(position.binlog_file, position.binlog_position)
        return f"{found} {position.gtid_executed}" if gtids else found

    def close(self) -> None:
        """End the load; the servers are the factory's."""
        self._running.close()


def _shown(name: str, offset: int) -> str:
    return f"{name}:{offset}" if name else ""
