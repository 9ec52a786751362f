"""What an operation tells about itself: the stages of performance_schema.clone_progress, as a live record.

The engine writes, anybody reads. Counters are kept per connection, each written by one thread only, so that the hot
path takes no lock; a reader sums them. Names, states and columns are those of the real tables (manual, "Monitoring
Cloning Operations").
"""

from __future__ import annotations

import enum
import time
from dataclasses import field
from typing import NamedTuple

from innoclone.dataclass import dataclass
from innoclone.records.position import UNKNOWN, ClonePosition, Positioned

__all__ = [
    "CLONE_STAGES", "COPY_STAGES", "LEAST", "RATED_STAGES", "CloneStatus", "Counter", "Decision", "Stage",
    "StageStatus", "State",
]  # fmt: skip


class Stage(enum.Enum):
    """Rows of performance_schema.clone_progress, in order, and after them (`CLONE_STAGES`) what only we do."""

    DROP_DATA = "DROP DATA"
    FILE_COPY = "FILE COPY"
    PAGE_COPY = "PAGE COPY"
    REDO_COPY = "REDO COPY"
    FILE_SYNC = "FILE SYNC"
    RESTART = "RESTART"
    RECOVERY = "RECOVERY"
    TRIAL = "TRIAL"
    PAGE_CHECK = "PAGE CHECK"
    CATCH_UP = "CATCH UP"
    COMPARE = "COMPARE"


CLONE_STAGES = tuple(Stage)[:7]
"""The stages of a clone, as a server counts them."""

COPY_STAGES = (Stage.FILE_COPY, Stage.PAGE_COPY, Stage.REDO_COPY)
"""The stages in which data comes from the donor; FILE SYNC counts the same bytes once more."""

RATED_STAGES = (*COPY_STAGES, Stage.PAGE_CHECK, Stage.COMPARE)
"""Stages whose amount takes the time that they take. FILE SYNC's doesn't: most of it was on the disk before."""

LEAST = 100 * 1024
"""Bytes; less says nothing of a speed: its time is that of a few messages."""


class State(enum.Enum):
    """Values of the STATE columns."""

    NOT_STARTED = "Not Started"
    IN_PROGRESS = "In Progress"
    COMPLETED = "Completed"
    FAILED = "Failed"


@dataclass
class Counter:
    """Bytes that one connection moved in one stage: ``data`` payload, ``network`` on the wire (packet payloads)."""

    data: int = 0
    network: int = 0
    written: int = 0  # what was really written, as against received or read


@dataclass
class StageStatus:
    """One row of clone_progress. Times are seconds since the epoch, amounts bytes."""

    stage: Stage
    state: State = State.NOT_STARTED
    begin: float | None = None
    end: float | None = None
    threads: int = 0
    estimate: int = 0
    counters: list[Counter] = field(default_factory=list)
    measured: bool = True  # False: its time tells no speed, as where another process began it, or blocks were shared

    @property
    def data(self) -> int:
        """Payload bytes so far."""
        return sum(counter.data for counter in self.counters)

    @property
    def network(self) -> int:
        """Bytes on the wire so far."""
        return sum(counter.network for counter in self.counters)

    @property
    def written(self) -> int:
        """Bytes that a local copy wrote so far."""
        return sum(counter.written for counter in self.counters)

    @property
    def seconds(self) -> float:
        """How long the stage took, or has been running."""
        if self.begin is None:
            return 0.0
        return (time.time() if self.end is None else self.end) - self.begin

    @property
    def copies(self) -> bool:
        """Whether its time was spent with copying in one go, so that it counts for the speed of the whole."""
        return self.stage in (*COPY_STAGES, Stage.FILE_SYNC) and self.measured

    @property
    def rate(self) -> float | None:
        """Mean of the payload bytes per second, None where that would say nothing."""
        data, seconds = self.data, self.seconds
        if self.stage not in RATED_STAGES or not self.measured or data < LEAST or seconds <= 0:
            return None
        return data / seconds

    def counter(self) -> Counter:
        """A new counter for one connection."""
        counter = Counter()
        self.counters.append(counter)
        return counter


class Decision(NamedTuple):
    """A number of connections was chosen; ``speed`` is that of the moment before, in bytes per second."""

    connections: int
    speed: float
    reason: str


@dataclass
class CloneStatus(Positioned):
    """The whole clone: a row of clone_status and the seven rows of clone_progress."""

    source: str = ""
    destination: str = ""
    state: State = State.NOT_STARTED
    begin: float | None = None
    end: float | None = None
    error_number: int = 0
    error_message: str = ""
    position: ClonePosition = UNKNOWN  # replaced as a whole: who reads it sees one moment's
    position_unknown: str = ""  # why a clone that was copied to its end has none yet
    donor_version: str = ""
    connections: int = 0
    restarts: int = 0  # times that the connection to the donor broke and was made anew
    stages: dict[Stage, StageStatus] = field(default_factory=lambda: {stage: StageStatus(stage) for stage in Stage})
    notes: list[str] = field(default_factory=list)  # what the user should know, in order (warnings, DDL followed)
    decisions: list[Decision] = field(default_factory=list)  # about the number of connections, in order
    number: int = 0  # its ID in the history, 0 before it has one

    def start(self, stage: Stage, *, estimate: int = 0, threads: int = 1) -> StageStatus:
        """Mark ``stage`` as running and every earlier running one as completed."""
        now = time.time()
        for row in self.stages.values():
            if row.state is State.IN_PROGRESS and row.stage is not stage:
                row.state, row.end = State.COMPLETED, now
        row = self.stages[stage]
        row.estimate, row.threads = estimate, threads  # before the state: who sees that it began reads these
        row.state, row.begin, row.end = State.IN_PROGRESS, now, None
        return row

    def begin_anew(self) -> None:
        """Forget all stages: what was copied counts for nothing."""
        for stage in self.stages:
            self.stages[stage] = StageStatus(stage)

    def finish(self, stage: Stage) -> None:
        """Mark ``stage`` as completed."""
        row = self.stages[stage]
        row.state, row.end = State.COMPLETED, time.time()

    def fail(self, number: int, message: str) -> None:
        """Mark the clone, and the stage it was in, as failed."""
        self.state, self.end = State.FAILED, time.time()
        self.error_number, self.error_message = number, message
        for row in self.stages.values():
            if row.state is State.IN_PROGRESS:
                row.state, row.end = State.FAILED, self.end

    @property
    def seconds(self) -> float:
        """From its beginning to its end or to now; where that is not known, the sum of the stages."""
        if self.begin is None:
            return sum(row.seconds for row in self.begun)
        return (time.time() if self.end is None else self.end) - self.begin

    @property
    def data(self) -> int:
        """Payload bytes of all stages, once: FILE SYNC, and PAGE CHECK after a copy, count the same bytes once more."""
        again = {Stage.FILE_SYNC}
        if self.stages[Stage.FILE_COPY].state is not State.NOT_STARTED:
            again.add(Stage.PAGE_CHECK)
        return sum(row.data for row in self.begun if row.stage not in again)

    @property
    def rate(self) -> float | None:
        """Mean of the payload bytes per second, None where the time has something else in it, as a boot or a pause."""
        seconds, data = self.seconds, self.data
        return data / seconds if data and seconds > 0 and all(row.copies for row in self.begun) else None

    @property
    def copy_rows(self) -> list[StageStatus]:
        """The stages in which data comes from the donor."""
        return [self.stages[stage] for stage in COPY_STAGES]

    @property
    def copied(self) -> int:
        """Payload bytes that came from the donor."""
        return sum(row.data for row in self.copy_rows)

    @property
    def copy_estimate(self) -> int:
        """Payload bytes that will have come from the donor, as far as it has told."""
        return sum(max(row.estimate, row.data) for row in self.copy_rows)

    @property
    def copied_network(self) -> int:
        """The same on the wire."""
        return sum(row.network for row in self.copy_rows)

    @property
    def begun(self) -> list[StageStatus]:
        """The stages that have begun, in the order in which they did."""
        rows = [row for row in self.stages.values() if row.state is not State.NOT_STARTED]
        return sorted(rows, key=lambda row: row.begin or 0.0)

    @property
    def current(self) -> StageStatus | None:
        """The stage that runs now, if one does."""
        for row in self.stages.values():
            if row.state is State.IN_PROGRESS:
                return row
        return None
