"""One snapshot of a live server, of which any number of recipients take their clones.

The server keeps it consistent: it waits with its PAGE_COPY until all recipients have what we read of its files, and
then its changed pages and its redo are taken once, kept, and replayed to each. By then the server is free again.
"""

from __future__ import annotations

import enum
import logging
import os
import resource
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from innoclone.donor.description import Description
from innoclone.donor.elsewhere import absolute_names
from innoclone.donor.heldkeys import HeldKeys
from innoclone.donor.offer import Given, T, Taker, Wish
from innoclone.donor.plans import DataFile, FilePlan, Plan, StoredFile
from innoclone.donor.spool import Spool
from innoclone.donor.upstream import Upstream
from innoclone.errors import CloneError, Interrupted, NetworkError, ProtocolError, SnapshotGone, one_line
from innoclone.files.names import BUFFER_POOL
from innoclone.receive.session import DonorParameters
from innoclone.server.donorfiles import DonorFiles
from innoclone.stream.filetable import ClonedFile
from innoclone.transport.endpoint import Endpoint
from innoclone.wire.descriptors import StageNumber

__all__ = ["Phase", "Snapshot"]

log = logging.getLogger("innoclone.donor")
SNAPSHOTS = 1 << 63
LOOK = 0.2  # seconds between looks at the recipients
UNWANTED = 30.0  # seconds after which a snapshot ends that nobody takes
STALLED = 1800.0  # seconds without a byte or a step, after which a recipient holds it up no longer
OURS = ("version", "json_configs", "clone_donor_timeout_after_network_failure")  # of what recipients are told
DESCRIPTORS = 0.5  # of those that the process may have; the rest is opened when it is its turn


class Phase(enum.Enum):
    """Where it is."""

    BEGINS = "the server prepares it"
    OPEN = "its files are read, and recipients may come"
    TAKES = "the server sends changed pages and redo"
    KEPT = "the server is free, and recipients take what is kept"
    OVER = "it has failed, or is not needed any more"


class Snapshot:
    """A `Given`. Its own thread talks with the server."""

    def __init__(
        self, server: Endpoint, files: DonorFiles, described: Description, wish: Wish, folder: Path, *,
        encrypted: bool = False,
    ) -> None:  # fmt: skip
        """``described``: what is known of the server so far, ``encrypted`` whether anything there is, as far as that is
        known. ``folder`` is for what doesn't fit into memory."""
        self.description = described
        self.fingerprint = secrets.randbelow(SNAPSHOTS - 1) + 1
        self.wish = wish
        self.phase = Phase.BEGINS
        self.error: CloneError | None = None
        self.began = time.time()
        self._server, self._files, self._folder = server, files, folder
        self._keys, self._is_encrypted = HeldKeys(), encrypted
        self._plans: dict[StageNumber, Plan] = {}
        self._upstream: Upstream
        self._table: list[ClonedFile] = []
        self._indexes: dict[Path, int] = {}
        self._open: dict[int, int] = {}  # descriptors by the files' numbers
        self._takers: list[Taker] = []
        self._progress: dict[int, tuple[tuple[int, int], float]] = {}  # of takers by id: what was seen, and when
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="innoclone-snapshot", daemon=True)

    @property
    def plans(self) -> Mapping[StageNumber, Plan]:
        """FILE_COPY at first, the others when they are there."""
        return self._plans

    @property
    def encrypted(self) -> bool:
        """Whether anything encrypted came so far: that its redo log is, the server may tell last."""
        return self._is_encrypted or self._keys.any

    @property
    def outside(self) -> list[Path]:
        """Absolute names of the server's files."""
        return absolute_names((file.metadata.name, file.metadata.space_id) for file in self._table)

    @property
    def is_at_rest(self) -> bool:
        """The server writes to its files."""
        return False

    def start(self) -> None:
        """Have the server begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the server and of everything."""
        self._stopped.set()
        self._thread.join()

    # ---- recipients ----------------------------------------------------------------------------------------

    def admits(self, wish: Wish) -> bool:
        """Whether one more may come: as long as nobody has read all files yet, who would have to wait for it."""
        return (
            self.phase is Phase.OPEN
            and not any(taker.is_past_files for taker in self._takers)
            and (self.wish.block_ddl or not wish.block_ddl)
        )

    def admit(self, wish: Wish, make: Callable[[Given], T]) -> T | None:
        """One more clone of it; None if it is too late for that."""
        with self._changed:
            if not self.admits(wish):
                return None
            taker = make(self)
            self._takers.append(taker)
            self._changed.notify_all()
            return taker

    def wait(self, seconds: float) -> None:
        """Until something has changed, or so long."""
        with self._changed:
            self._changed.wait(seconds)

    def open(self, file: StoredFile) -> int | None:
        """A new descriptor of a file; None if it is gone: then the server has to say that it was dropped."""
        index = self._indexes[file.path]
        with self._changed:
            if (kept := self._open.get(index)) is not None:
                return os.dup(kept)
        found = self._files.open(self._table[index].metadata)
        if found is None:
            self._upstream.expect_drop(index)
        return found

    def refuse_changed(self) -> None:
        """It changes all the time, and that is taken care of."""

    # ---- its life ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        spool = Spool(self._folder)
        try:
            self._take(spool)
            self._become(Phase.KEPT)
            while not all(map(_is_done, self._takers)):
                if self._stopped.is_set():
                    raise Interrupted("the donor was stopped")
                self._stopped.wait(LOOK)
        except CloneError as error:
            self._fail(error)
        except Exception as error:
            log.exception("the snapshot failed")
            self._fail(CloneError(f"unexpected {type(error).__name__}: {error}"))
        finally:
            self._close_files()
            self._become(Phase.OVER)
            spool.close()

    def _take(self, spool: Spool) -> None:
        """Everything that the server has to do for it."""
        self._upstream = upstream = Upstream(self._server, self.wish, self._stopped, self._keys)
        try:
            upstream.begin()
            self.description = _described(self.description, upstream.parameters)
            self._list()
            upstream.claim()
            self._become(Phase.OPEN)
            log.info("snapshot %d: %d files", self.fingerprint, len(self._table))
            while not self._are_all_past():
                upstream.hold()
            plans = upstream.follow(spool)
        except BaseException as error:
            upstream.abandon(error if isinstance(error, CloneError) else Interrupted("stopped"))
            raise
        upstream.leave()
        self._close_files()
        with self._changed:
            self._plans |= plans
            takers = list(self._takers)
        for taker in takers:
            taker.look()

    def _list(self) -> None:
        """Open the files, before DDL gets at them, and plan what to send of them."""
        self._table = list(self._upstream.files)
        room = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * DESCRIPTORS)
        planned = []
        for index, file in enumerate(self._table):
            fd = self._files.open(file.metadata) if len(self._open) < room else None
            if fd is not None:
                self._open[index] = fd
            planned.append(_data_file(file, fd))
            self._indexes[planned[-1].stored.path] = index
            if self._stopped.is_set():
                raise Interrupted("stopped")
        self._plans[StageNumber.FILE_COPY] = FilePlan(planned)

    def _are_all_past(self) -> bool:
        """Whether nobody reads files any more; waits a moment. Nobody is admitted from then on."""
        with self._changed:
            self._changed.wait(LOOK)
            self._refuse_unwanted()
            now = time.monotonic()
            left = [taker for taker in self._takers if not taker.is_past_files and not _is_lost(taker)]
            for taker in left:
                seen = (taker.sent, taker.stage)
                before, since = self._progress.get(id(taker), (None, now))
                self._progress[id(taker)] = seen, since if before == seen else now
                if before == seen and now - since > STALLED:
                    taker.fail(SnapshotGone("the recipient took nothing for too long, and others waited"))
            if left or not self._takers:
                return False
            self._become(Phase.TAKES)
            for taker in self._takers:
                if not taker.is_past_files:  # what it would still read is too new from now on
                    taker.fail(SnapshotGone("the snapshot has ended without this recipient"))
            return True

    def _refuse_unwanted(self) -> None:
        """Raise `Interrupted` if nobody is here and nobody comes, or all have gone."""
        if self._stopped.is_set():
            raise Interrupted("the donor was stopped")
        if not self._takers and time.time() - self.began > UNWANTED:
            raise Interrupted("nobody took the snapshot")
        if self._takers and all(map(_is_lost, self._takers)):
            raise Interrupted("all recipients of the snapshot have gone")

    def _become(self, phase: Phase) -> None:
        with self._changed:
            self.phase = phase
            self._changed.notify_all()

    def _fail(self, error: CloneError) -> None:
        """Everybody who needs it is told why it is over. What broke is not their connection."""
        if isinstance(error, NetworkError | ProtocolError):
            error = SnapshotGone(f"the server was lost: {error.message}")
        log.warning("snapshot %d: %s", self.fingerprint, one_line(error.message))
        with self._changed:
            self.error = error
            takers = list(self._takers)
            self._become(Phase.OVER)
        for taker in takers:
            if taker.stage is not StageNumber.DONE:
                taker.fail(error)

    def _close_files(self) -> None:
        with self._changed:
            for fd in self._open.values():
                os.close(fd)
            self._open.clear()


def _described(described: Description, told: DonorParameters) -> Description:
    """With what the server says of itself at the begin of a clone."""
    config = {name: value for name, value in told.config.items() if name not in OURS}
    return replace(
        described, version=told.version, maturity=told.maturity, configuration=config, plugins=told.plugins,
        collations=tuple(told.collations),
    )  # fmt: skip


def _data_file(file: ClonedFile, fd: int | None) -> DataFile:
    """What is sent of a file. The buffer pool's dump may be another by now, of another size."""
    told = file.metadata
    size = os.fstat(fd).st_size if fd is not None and told.name == BUFFER_POOL else told.size
    stored = StoredFile(Path(told.name), size, told.allocated, told.block_size, 0, 0, 0)
    return DataFile(stored, told.name, told.space_id, told.fsp_flags, told)


def _is_lost(taker: Taker) -> bool:
    return taker.error is not None or taker.is_dropped or taker.is_over


def _is_done(taker: Taker) -> bool:
    return taker.stage is StageNumber.DONE or _is_lost(taker)
