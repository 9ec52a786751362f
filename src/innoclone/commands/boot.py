"""A mysqld on a finished clone: recovery, binary log position, and either a clean stop or a server that is kept.

Normally a *private* server recovers the clone (`innoclone.server.cloned`), which leaves the directory as the donor's,
recovered. A server that is kept is a real one: the donor's accounts and plugins, a binary log and a UUID of its own,
the donor's gtid_mode. Only what would change the data by itself is held back: replication and scheduled events.

A data directory without a manifest is booted too; then the settings are mysqld's defaults, and no position is noted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innoclone.commands.encryption import keyring_to_write
from innoclone.commands.options import BootOptions
from innoclone.errors import BootFailed, CloneError, Interrupted, TargetUnusable, UsageError
from innoclone.files.inuse import Purpose
from innoclone.files.keyring import ENCRYPTION
from innoclone.files.manifest import MANIFEST, read_manifest, timestamp, update_manifest
from innoclone.files.marks import make_directory
from innoclone.files.names import OWN_DIR
from innoclone.files.ownership import give
from innoclone.files.ownlife import PRIVATE_MARK
from innoclone.records.position import FROM_BOOT, FROM_COPY, ClonePosition, Positioned
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.server import cloned
from innoclone.server.channels import inheritance, read_channels
from innoclone.server.keyproof import encrypted_shared, prove_keyring, refuse_half_decrypted
from innoclone.server.mysqld import LONGEST_SOCKET_PATH, Server
from innoclone.server.programs import Programs, find_programs
from innoclone.server.systemcopy import OPTIONS, await_gtids, system_copy
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql

__all__ = ["BootResult", "boot"]

RUNTIME = "run"  # in #innoclone: pid file and temporary files of a server that is kept
GTID_VARIABLES = ("enforce_gtid_consistency", "gtid_mode")  # as the manifest names them: the donor's


@dataclass(frozen=True, kw_only=True)
class BootResult(Positioned):
    """A clone that a server came up on. Seconds; ``pid`` is 0 unless the server was kept."""

    directory: Path
    version: str
    position: ClonePosition
    restart_seconds: float
    recovery_seconds: float
    error_log: Path
    pid: int = 0
    socket: Path | None = None
    port: int = 0


def boot(
    options: BootOptions,
    *,
    status: CloneStatus | None = None,
    stopped: threading.Event | None = None,
    visit: cloned.Visit | None = None,
) -> BootResult:
    """Start a mysqld on a clone and wait for its recovery; see `BootOptions`. ``visit`` is for a private server.

    Raises `TargetUnusable` (unfinished, no data directory), `TargetBusy`, `ServerNotFound`, `VersionUnsupported`,
    `BootFailed`, `Interrupted` when ``stopped`` is set during recovery; what ``visit`` raises.
    """
    status = status if status is not None else CloneStatus()
    alone = status.state is State.NOT_STARTED  # else the boot is the last part of a clone
    if alone:
        status.destination, status.state, status.begin = str(options.directory), State.IN_PROGRESS, time.time()
    try:
        result = _Boot(options, status, stopped or threading.Event(), visit).run()
    except CloneError as error:
        status.fail(error.code, error.message)
        raise
    if alone:
        status.state, status.end = State.COMPLETED, time.time()
    return result


class _Boot:
    """State of one boot."""

    def __init__(
        self, options: BootOptions, status: CloneStatus, stopped: threading.Event, visit: cloned.Visit | None
    ) -> None:
        self.options, self.status, self.stopped, self.visit = options, status, stopped, visit
        self.directory = Path(os.path.realpath(options.directory))  # wherever `latest` will lead by then
        self.booted = self.directory  # where the server runs
        self.manifest: dict[str, Any] = {}
        self.first = False  # whether this boot is the one that recovers the clone

    def run(self) -> BootResult:
        cloned.check_bootable(self.directory, Purpose.LOOK if self.options.copy else Purpose.START)
        self.manifest = self._manifest()
        programs = find_programs(self.options.mysqld)
        donor_version = self.manifest.get("donor", {}).get("version", "")
        cloned.check_series(donor_version, programs)
        if donor_version and not donor_version.startswith(programs.version):
            self.status.notes.append(
                f"the donor is MySQL {donor_version}, the clone was booted with {programs.version}"
            )
        self.first = not cloned.is_recovered(self.directory)
        if self.options.copy:
            return self._on_copy(programs)
        self.status.start(Stage.RESTART)
        if self.options.keep or self.options.port is not None:
            return self._keep(programs)
        hidden = encrypted_shared(self.directory, self._outside()) if self.first and ENCRYPTION in self.manifest else []
        with cloned.private_server(
            programs, self.directory, self.manifest, visit=self.visit, keyring=self.options.keyring,
            timeout=self.options.timeout, waiting=self._waiting,
        ) as server:  # fmt: skip
            result = self._came_up(programs)
            if self.first and not (self.visit and self.visit.accounts):  # else nobody gets in without a password
                self._note_channels(server)
        refuse_half_decrypted(hidden)
        return result

    def _outside(self) -> list[Path]:
        """Tablespaces elsewhere."""
        paths = [Path(row["path"]) for row in self.manifest.get("files", ())]
        return [path for path in paths if path.is_absolute()]

    def _on_copy(self, programs: Programs) -> BootResult:
        """A look at where the clone stands, which leaves it as it is."""
        if self.options.keep or self.options.port is not None:
            raise UsageError("--copy is thrown away: it goes with neither --keep nor --port")
        if not self.first:
            raise TargetUnusable(
                f"{self.directory} was booted already, and tells itself where it stood",
                hint=f"innoclone status {self.directory}",
            )
        self.status.start(Stage.RESTART)
        with system_copy(self.directory, self.manifest) as self.booted:
            try:
                self._recover_copy(programs)
            except BootFailed as error:
                log = Path(OWN_DIR, cloned.BOOT_LOG)
                if (self.booted / log).exists():
                    shutil.copy2(self.booted / log, self.directory / log)
                message = error.message.replace(str(self.booted / log), str(self.directory / log))
                raise BootFailed(message.replace(str(self.booted), f"a copy of {self.directory}")) from error
            return self._came_up(programs)

    def _recover_copy(self, programs: Programs) -> None:
        timeout = self.options.timeout
        with cloned.private_server(
            programs, self.booted, self.manifest, options=OPTIONS, keyring=self.options.keyring, timeout=timeout,
            waiting=self._waiting,
        ) as server:  # fmt: skip
            await_gtids(self.booted, timeout, self._waiting)
            server.kill()  # in order it would have to look for users' tablespaces

    def _note_channels(self, server: Server) -> None:
        """What the clone has of its donor's replication, before any server could change that."""
        with Sql(Endpoint(socket=server.socket)) as sql:
            channels = read_channels(sql)
        if self.manifest:
            update_manifest(self.directory, channels=[channel.record() for channel in channels])
        if channels and (note := inheritance(channels)) not in self.status.notes:
            self.status.notes.append(note)

    def _manifest(self) -> dict[str, Any]:
        if (self.directory / OWN_DIR / MANIFEST).exists():
            return read_manifest(self.directory)
        self.status.notes.append(f"{self.directory} has no manifest: it is booted with mysqld's default settings")
        return {}

    def _waiting(self) -> None:
        """While the server comes up: show when recovery begins, and end if that is wished."""
        if self.stopped.is_set():
            raise Interrupted("stopped while the server was starting", hint="boot the clone again")
        restart = self.status.stages[Stage.RESTART]
        if self.first and restart.state is State.IN_PROGRESS and cloned.recovery_has_begun(self.booted):
            self.status.start(Stage.RECOVERY)

    def _keep(self, programs: Programs) -> BootResult:
        """A server that lives on."""
        donor = self.manifest.get("donor", {})
        gtids = [f"--{name.replace('_', '-')}={donor[name]}" for name in GTID_VARIABLES if name in donor]
        keyring = cloned.keyring_of(self.manifest, self.options.keyring, read_only=False)
        prove_keyring(self.directory, keyring, tables=not self.manifest)
        keyring = keyring_to_write(self.directory, self.manifest, keyring, self.status)
        log = self.directory / OWN_DIR / cloned.BOOT_LOG
        make_directory(log.parent)
        give(log.parent, self.directory)
        (log.parent / PRIVATE_MARK).unlink(missing_ok=True)  # what is there from now on is a real server's
        # All that it has is in its directory, so that nothing is left elsewhere when it ends; where sun_path allows it.
        socket = self.directory / "mysql.sock"
        fits = len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH
        with cloned.recovery_to_be_told(self.directory):
            server = Server.start(
                programs,
                self.directory,
                port=self.options.port,
                options=[
                    *cloned.settings(self.manifest or cloned.logs_of(self.directory, keyring)),
                    *cloned.no_replication(programs),
                    "--event-scheduler=OFF",
                    # Any number will do as long as the donor has another one: both may replicate from each other.
                    f"--server-id={secrets.randbelow(2**31) + 2**31}",
                    *gtids,
                ],
                error_log=log,
                user=cloned.run_as(self.directory, programs),
                socket=socket if fits else None,
                runtime=log.parent / RUNTIME if fits else None,
                timeout=self.options.timeout,
                waiting=self._waiting,
                keyring=keyring,
            )
        try:
            result = self._came_up(programs, server)
        except BaseException:
            server.stop()
            raise
        server.detach()
        return result

    def _came_up(self, programs: Programs, kept: Server | None = None) -> BootResult:
        """The server answers: close the stages with their true times, note the position."""
        recovery = cloned.read_recovery(self.booted)
        restart, row = self.status.stages[Stage.RESTART], self.status.stages[Stage.RECOVERY]
        if recovery is None or not self.first:
            self.status.finish(Stage.RESTART)
        else:
            if row.state is not State.IN_PROGRESS:
                self.status.start(Stage.RECOVERY)
            self.status.finish(Stage.RECOVERY)
            restart.end = row.begin = recovery.begin
            row.end = recovery.end
        self.status.position = ClonePosition.of_manifest(self._note(recovery, restart.seconds, row.seconds))
        return BootResult(
            directory=self.directory,
            version=programs.version,
            position=self.status.position,
            restart_seconds=restart.seconds,
            recovery_seconds=row.seconds,
            error_log=self.directory / OWN_DIR / cloned.BOOT_LOG,
            pid=kept.pid if kept else 0,
            socket=kept.socket if kept else None,
            port=kept.port if kept else 0,
        )

    def _note(
        self, recovery: cloned.Recovery | None, restart_seconds: float, recovery_seconds: float
    ) -> dict[str, Any]:
        """The position as the manifest has it: of the first boot, whatever happened to the directory since."""
        known: dict[str, Any] = self.manifest.get("position", {})
        if known and (recovery is None or known.get("from", FROM_BOOT) == FROM_BOOT):
            return {"from": FROM_BOOT} | known  # manifests of older versions have it from a boot only
        if recovery is None:
            self.status.notes.append(f"nothing in {self.directory} tells its binary log position any more")
            return {}
        position = {
            "binlog_file": recovery.position.binlog_file,
            "binlog_position": recovery.position.binlog_position,
            "gtid_executed": recovery.position.gtid_executed,
            "from": FROM_COPY if self.options.copy else FROM_BOOT,
            "recovered": timestamp(recovery.end),
            "restart_seconds": round(restart_seconds, 3),
            "recovery_seconds": round(recovery_seconds, 3),
        }
        if known and any(known[name] != position[name] for name in ("binlog_file", "binlog_position")):
            was = f"{known['binlog_file']}:{known['binlog_position']}"
            self.status.notes.append(f"the position that was read from the clone's pages, {was}, was wrong: report it")
        if self.manifest:
            update_manifest(self.directory, position=position)
        return position
