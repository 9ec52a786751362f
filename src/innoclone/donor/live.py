"""A live server as something to be served: snapshots of it, one after another."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from innoclone.donor.description import Description
from innoclone.donor.offer import Given, T, Wish, refuse_keys
from innoclone.donor.relay import RelayedServer
from innoclone.donor.snapshot import Phase, Snapshot
from innoclone.errors import (
    CloneRunning,
    ConnectionLimit,
    DonorFilesUnreadable,
    Interrupted,
    NetworkError,
)
from innoclone.server.donorfiles import DonorFiles
from innoclone.server.preflight import DonorFacts, check
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql

__all__ = ["LiveServer", "find_live"]

ER_USER_LIMIT_REACHED = 1226
CONNECTIONS = 4  # two, and the two that were replaced: a server keeps them for a while
CHUNKS = 1 << 20  # of 64 MiB: the most that a recipient may name when it comes back
PATIENCE = 240.0  # seconds that a recipient waits for the next snapshot; a stock one waits 300 beyond its DDL timeout
PASSED_ON = "what the server sends is passed on, to one recipient at a time"
KEPT = 8  # snapshots that recipients still take what is kept of
LOOK = 1.0  # seconds


@dataclass
class LiveServer:
    """A `Source`. One snapshot at a time is open to recipients; those before it are replayed to theirs."""

    server: Endpoint
    files: DonorFiles
    description: Description
    notes: tuple[str, ...]
    folder: Path  # for what doesn't fit into memory
    encrypted: bool = False  # whether anything there is, as far as the account may see it
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _snapshots: list[Snapshot] = field(default_factory=list)  # the newest last
    _is_closed: bool = False

    @property
    def version(self) -> str:
        """The server's."""
        return self.description.version

    @property
    def name(self) -> str:
        """The server, and where its files are."""
        return f"the running server {self.server}, files in {self.files.root}"

    @property
    def chunks(self) -> int:
        """More than there are."""
        return CHUNKS

    @property
    def snapshots(self) -> list[Snapshot]:
        """Those that are needed, the newest last."""
        with self._lock:
            return [one for one in self._snapshots if one.phase is not Phase.OVER]

    def begin(self, wish: Wish, make: Callable[[Given], T], is_gone: Callable[[], bool]) -> T:
        """A clone of the snapshot that is open, or of the next one. None is begun in vain: not for a recipient that
        won't be given the keys."""
        refuse_keys(self, tls=wish.tls)
        end = time.monotonic() + PATIENCE + wish.ddl_timeout
        while True:
            snapshot = self._newest(wish)
            is_ours = snapshot.phase is Phase.BEGINS
            while snapshot.phase is Phase.BEGINS and not is_gone() and time.monotonic() < end:
                snapshot.wait(LOOK)
            taker = snapshot.admit(wish, make)
            if taker is not None:
                return taker
            if is_ours and snapshot.error is not None:
                raise snapshot.error
            if is_gone():
                raise NetworkError("the recipient is gone")
            if time.monotonic() > end:
                raise CloneRunning(
                    "Too many concurrent clone operations. Maximum allowed - 1. Recipients that came earlier still take"
                    " the server's snapshot"
                )
            snapshot.wait(LOOK)

    def _newest(self, wish: Wish) -> Snapshot:
        """The snapshot to wait for; a new one if the last has left the server."""
        with self._lock:
            if self._is_closed:
                raise Interrupted("the donor was stopped")
            left = [one for one in self._snapshots if one.phase is not Phase.OVER]
            newest = self._snapshots[-1] if self._snapshots else None
            if newest is not None and newest.phase not in (Phase.KEPT, Phase.OVER):
                return newest
            if len(left) >= KEPT:
                raise CloneRunning(f"Too many concurrent clone operations. {KEPT} snapshots are still taken")
            newest = Snapshot(self.server, self.files, self.description, wish, self.folder, encrypted=self.encrypted)
            self._snapshots = [*left, newest]
            newest.start()
            return newest

    def revive(self, _fingerprint: int) -> Given | None:
        """No snapshot outlives the process."""
        return None

    def close(self) -> None:
        """End all snapshots."""
        with self._lock:
            self._is_closed = True
        for snapshot in self._snapshots:
            snapshot.stop()


def find_live(server: Endpoint, datadir: Path | None = None, *, relay: bool = False) -> LiveServer | RelayedServer:
    """Ask the server, and prove that its files can be read here: in ``datadir``, or where it says. If they can't, or
    with ``relay``, its stream is passed on. Raises what makes it unfit to be cloned."""
    facts = check(server, None)
    facts.verdict()
    if 0 < facts.connections < CONNECTIONS:
        raise ConnectionLimit(
            f"serving a running server takes {CONNECTIONS} connections at a time, the account may have"
            f" {facts.connections}",
            server_number=ER_USER_LIMIT_REACHED,
            hint=f"on the server: ALTER USER ... WITH MAX_USER_CONNECTIONS {CONNECTIONS}",
        )
    described, notes, encrypted = describe_live(facts), tuple(facts.notes), bool(facts.encrypted)
    if relay:
        return RelayedServer(server, replace(described, increments=False), notes, encrypted)
    try:
        with Sql(server, read_timeout=60.0) as sql:
            files = DonorFiles.find(sql, datadir)
    except DonorFilesUnreadable as error:
        described = replace(described, increments=False)
        return RelayedServer(server, described, (*notes, f"{error.message}: {PASSED_ON}"), encrypted)
    reached, folder = facts.reached(server), Path(tempfile.gettempdir())
    return LiveServer(reached, files, described, notes, folder, encrypted)


def describe_live(facts: DonorFacts) -> Description:
    """What the server's variables tell."""
    variables = facts.variables
    donor = {
        "lower_case_table_names": variables.get("lower_case_table_names", ""),
        "data_file_path": variables.get("innodb_data_file_path", ""),
        "gtid_mode": variables.get("gtid_mode", ""),
        "enforce_gtid_consistency": variables.get("enforce_gtid_consistency", ""),
        "log_bin": variables.get("log_bin", ""),
        "log_checksums": variables.get("innodb_log_checksums", ""),
    }
    page_size = variables.get("innodb_page_size", "16384")
    return Description(
        facts.version, "", int(page_size), {"innodb_page_size": page_size}, variables.get("server_uuid", ""),
        {"donor": donor},
    )  # fmt: skip
