"""One clone on its way: its stage, its tasks, which chunks are left; no I/O.

A task is a connection that takes part; number 0 is the master's. All of them go through the stages together: a stage is
over when each attached task has sent its end and the recipient has acknowledged it, and only then the next one begins
(a task that stays behind holds up all, as in a stock donor).

When one connection is lost, all are ended and the clone waits: the recipient comes back with COM_REINIT and says what
it has. That is all it takes, so that it may also come back to another process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from innoclone.donor.offer import Given
from innoclone.donor.plans import Plan
from innoclone.donor.takings import COMPLETED, FAILED, IN_PROGRESS, INTERRUPTED, Recipient, Taking
from innoclone.errors import CloneError, Interrupted, NetworkError, SnapshotGone
from innoclone.records.speed import Speed
from innoclone.wire.descriptors import BITMAP_WORD, ChunkInfo, Locator, StageNumber

__all__ = ["MASTER", "Course", "Task"]

MASTER = 0
MOST_TASKS = 128
KEEP_ALIVE = 5.0  # seconds, as a stock donor's
ATTACH_PATIENCE = 1800.0  # seconds that a worker waits to be let in, as in a stock donor
COMPARED = 5.0  # seconds for which one that compares is waited for: it would begin anew
SAMPLE = 0.25  # seconds between two samples of the speeds
LOOK = 1.0  # seconds after which who waits is looked at: it may be gone


@dataclass(eq=False)
class Task:
    """A connection's part in a clone. ``shut`` ends its connection from any thread.

    ``starts`` says whether its recipient is to be told that the stage begins in which it comes in, ``lists`` whether it
    is to be told of the files.
    """

    number: int
    shut: Callable[[], None]
    starts: bool = False
    lists: bool = False


class Course:
    """For use by many threads."""

    def __init__(
        self, clone_id: int, given: Given, patience: float, recipient: Recipient, *, compared: bool = False
    ) -> None:
        """Of what is ``given``. ``patience``: seconds that it waits for a recipient that lost its connections.
        ``compared``: the recipient compares the files with what it has, so that none of FILE_COPY is sent."""
        self.clone_id, self.given = clone_id, given
        self.patience = min(patience, COMPARED) if compared else patience
        self.recipient = recipient
        self.began = time.time()
        self.is_told = False  # whether its end was told
        self.stage = StageNumber.INIT
        self.sent = 0  # bytes of files and redo
        self.error: CloneError | None = None
        self.was_executed = False
        self.master = 0  # the number of the connection that is its master, or was
        self.is_past_files = False  # no byte of a file will be asked for any more
        self.is_dropped = False  # nobody knows it any more
        self._plans, self._compared = given.plans, compared
        self._changed = threading.Condition()
        self._tasks: dict[int, Task] = {}
        self._ended: set[int] = set()  # tasks that have sent the end of the stage
        self._acknowledged = StageNumber.NONE
        self._partial: list[tuple[int, int]] = []  # chunks to go on with, and how many of their blocks are there
        self._open = range(0)  # chunks that nobody has taken
        self._skipped: frozenset[int] = frozenset()  # of those: they are there already
        self._idle_since: float | None = None
        self._breaks = 0  # how often all connections were ended
        self._restarts = 0
        self.network = 0  # bytes on the wire
        self._done = 0  # bytes of the stages that are over, and of this one what is there
        self._speeds = Speed(), Speed()  # of `sent` and `network`
        self._sampled = 0.0

    # ---- coming and going ----------------------------------------------------------------------------------

    def begin(self, shut: Callable[[], None]) -> Task:
        """The master of a new clone."""
        with self._changed:
            return self._add(Task(MASTER, shut))

    def attach(self, shut: Callable[[], None], is_stopped: Callable[[], bool]) -> Task:
        """One more task, once there is a stage that is under way. Raises `SnapshotGone` if the clone is over,
        `NetworkError` if it waits for its recipient to come back, or what it failed with.

        A recipient comes back only when all of its workers have ended: one that comes first must not be let to wait
        for that. The stock plugin gives it 30 seconds.
        """
        end = time.monotonic() + ATTACH_PATIENCE
        with self._changed:
            breaks = self._breaks
            while not self._is_open():
                self._refuse_failed()
                if self._breaks != breaks:  # this one is lost, too, whether it knows or not: it must not count
                    raise NetworkError("another connection of the clone was lost")
                if self.stage is StageNumber.DONE:
                    raise SnapshotGone("the clone is done")
                if MASTER not in self._tasks:
                    raise NetworkError("the connection of the clone's master was lost")
                if is_stopped() or time.monotonic() > end:
                    raise SnapshotGone("the clone does not come to its next stage")
                self._changed.wait(LOOK)
            number = next(number for number in range(1, MOST_TASKS + 1) if number not in self._tasks)
            if number == MOST_TASKS:
                raise SnapshotGone(f"the clone has {MOST_TASKS} tasks already")
            return self._add(Task(number, shut))

    def join(self, shut: Callable[[], None]) -> Task:
        """One more task, where not we lead the clone through its stages but a server behind us."""
        with self._changed:
            self.was_executed = True
            return self._add(Task(next(n for n in range(MOST_TASKS + 2) if n not in self._tasks), shut))

    def follow(self, stage: StageNumber) -> None:
        """The server behind us has begun this stage."""
        with self._changed:
            self.stage = stage

    def restart(self, locator: Locator, shut: Callable[[], None]) -> Task:
        """The new master of a clone whose connections were lost; ``locator`` says what the recipient has.

        Raises `SnapshotGone` if it is over, or the recipient is at a stage that does not fit.
        """
        self.break_off()  # what is not yet known to be lost
        with self._changed:
            self._refuse_failed()
            behind = self.stage - locator.stage
            if StageNumber.FILE_COPY <= locator.stage < StageNumber.DONE and locator.stage not in self._plans:
                raise SnapshotGone(f"the recipient is at {locator.stage.name}, which has not begun")
            if behind not in (0, 1) and self._acknowledged is not StageNumber.NONE:
                raise SnapshotGone(f"the clone is at stage {self.stage.name}, the recipient at {locator.stage.name}")
            if behind == 1:
                self._fill(ChunkInfo())
            else:
                self.stage = locator.stage
                self._fill(locator.chunks or ChunkInfo())
            if self._acknowledged is self.stage:  # whatever it says: it has all of it
                self._partial, self._open = [], range(0)
            lists = self.stage is StageNumber.FILE_COPY and (behind == 1 or not locator.metadata_done)
            self.was_executed = True
            self._restarts += 1
            return self._add(Task(MASTER, shut, starts=behind == 1, lists=lists))

    def detach(self, task: Task) -> None:
        """A task is done, or has never begun."""
        with self._changed:
            if self._tasks.get(task.number) is task:
                del self._tasks[task.number]
                self._ended.discard(task.number)
                self._advance()
                self._changed.notify_all()
            if not self._tasks:
                self._idle_since = time.monotonic()

    def lost(self, task: Task) -> None:
        """The connection of a task is lost: all others end, too, and the clone waits for a restart."""
        with self._changed:
            if self._tasks.get(task.number) is not task:
                return
        self.break_off()

    def break_off(self) -> None:
        """End all connections; the recipient may come back."""
        with self._changed:
            tasks = list(self._tasks.values())
            self._breaks += 1
            self._tasks.clear()
            self._ended.clear()
            self._idle_since = time.monotonic()
            self._changed.notify_all()
        for task in tasks:
            task.shut()

    def fail(self, error: CloneError) -> None:
        """The clone is over: every task tells its recipient why. The first error is the one."""
        with self._changed:
            if self.error is None:
                self.error = error
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nobody will need it any more: it is done or has failed, or its recipient stayed away."""
        with self._changed:
            if self._tasks or self._idle_since is None:
                return False
            return self.error is not None or time.monotonic() - self._idle_since > self.patience

    def taking(self) -> Taking:
        """Who takes it, and how far."""
        with self._changed:
            error, state, ended = self.error, IN_PROGRESS, None
            if self.stage is StageNumber.DONE and (error is None or isinstance(error, Interrupted)):
                state, error = COMPLETED, None  # whoever has all needs nothing more; it may be wrong all the same
            elif error is not None:
                state = INTERRUPTED if isinstance(error, Interrupted) else FAILED
            if state is not IN_PROGRESS:
                ended = time.time()
            return Taking(
                self.recipient, self.stage, len(self._tasks), self._restarts, self._done,
                sum(plan.estimate for plan in self._plans.values()), self.network, self.began, ended, state,
                0 if error is None else error.code, "" if error is None else error.message, *self._sample(),
            )  # fmt: skip

    @property
    def tasks(self) -> int:
        """Connections that carry data."""
        return len(self._tasks)

    # ---- what a task does ----------------------------------------------------------------------------------

    def plan(self, stage: StageNumber) -> Plan:
        """What is sent in a stage."""
        return self._plans[stage]

    def take(self, task: Task) -> tuple[int, int] | None:
        """A chunk to send, and how many of its blocks are there already; None when there is none left in this stage.

        Raises as `check`.
        """
        with self._changed:
            self._check(task)
            if self._partial:
                return self._partial.pop()
            while self._open:
                chunk, self._open = self._open[0], self._open[1:]
                if chunk not in self._skipped:
                    return chunk, 0
            return None

    def refuse_failed(self) -> None:
        """Raise what the clone failed with."""
        with self._changed:
            self._refuse_failed()

    def check(self, task: Task) -> None:
        """Raise what the clone failed with, `NetworkError` if the task is no longer part of it."""
        with self._changed:
            self._check(task)

    def count(self, sent: int, network: int = 0) -> None:
        """So many bytes more were sent, which were so many on the wire."""
        with self._changed:
            self.sent += sent
            self._done += sent
            self.network += network
            if time.monotonic() - self._sampled > SAMPLE:
                self._sample()

    def skip(self, count: int) -> None:
        """So many bytes need not be sent."""
        with self._changed:
            self._done += count

    def needs_end(self, task: Task) -> bool:
        """Whether the recipient is still to be told of the stage's end: not if it acknowledged it before a restart."""
        with self._changed:
            return task.number != MASTER or self._acknowledged < self.stage

    def finish(self, task: Task, keep_alive: Callable[[], None], is_gone: Callable[[], bool]) -> None:
        """The task has sent the end of its stage; back when the next one has begun. Raises as `check`, and
        `NetworkError` if its recipient is gone."""
        with self._changed:
            stage = self.stage
            self._ended.add(task.number)
            self._advance()
        last = time.monotonic()
        while True:
            with self._changed:
                self._check(task)
                if self.stage is not stage:
                    return
                self._changed.wait(min(KEEP_ALIVE, LOOK))
                if self.stage is not stage:
                    continue
            if is_gone():
                raise NetworkError("the recipient is gone")
            if time.monotonic() - last >= KEEP_ALIVE:
                keep_alive()
                last = time.monotonic()

    def acknowledge(self, stage: StageNumber) -> None:
        """The recipient has all of a stage."""
        with self._changed:
            if stage is self.stage:
                self._acknowledged = stage
                self._advance()

    def look(self) -> None:
        """A plan has come that was missing."""
        with self._changed:
            self._advance()

    # ---- inside: the lock is held --------------------------------------------------------------------------

    def _sample(self) -> tuple[int, int]:
        """Bytes per second of data and on the wire, over the last seconds."""
        self._sampled = now = time.monotonic()
        data, network = self._speeds
        return round(data.add(now, self.sent)), round(network.add(now, self.network))

    def _add(self, task: Task) -> Task:
        self._tasks[task.number] = task
        self._idle_since = None
        return task

    def _is_open(self) -> bool:
        return (
            self.error is None and StageNumber.INIT < self.stage < StageNumber.DONE
            and MASTER in self._tasks and (not self._ended or self._awaits_plan())
        )  # fmt: skip

    def _awaits_plan(self) -> bool:
        """Whether the next stage can't begin yet, for no reason of the recipient's. Who comes meanwhile comes in."""
        following = StageNumber(self.stage + 1)
        return following is not StageNumber.DONE and following not in self._plans

    def _refuse_failed(self) -> None:
        if self.error is not None:
            raise self.error

    def _check(self, task: Task) -> None:
        if self.error is not None:
            raise self.error
        if self._tasks.get(task.number) is not task:
            raise NetworkError("another connection of the clone was lost")

    def _advance(self) -> None:
        """On to the next stage if all are ready for it."""
        if (
            self.stage is StageNumber.DONE or self._acknowledged is not self.stage
            or MASTER not in self._tasks or not self._tasks.keys() <= self._ended
        ):  # fmt: skip
            return
        self.is_past_files = self.is_past_files or self.stage is StageNumber.FILE_COPY
        if self._awaits_plan():
            return
        self.stage = StageNumber(self.stage + 1)
        self._ended.clear()
        self._fill(ChunkInfo())
        self._changed.notify_all()

    def _fill(self, there: ChunkInfo) -> None:
        """All chunks of the stage but those that are ``there``. What makes no sense there is as good as nothing."""
        plan = self._plans.get(self.stage)
        count = plan.chunks if plan is not None else 0
        if self._compared and self.stage is StageNumber.FILE_COPY:
            count = 0
        self._partial = [(chunk, max(0, done)) for chunk, done in there.incomplete if 1 <= chunk <= count]
        begun = {chunk for chunk, _ in self._partial}
        self._partial = list(dict(self._partial).items())
        words = there.bitmap[: -(-count // BITMAP_WORD)]
        begun |= {
            number * BITMAP_WORD + bit + 1
            for number, word in enumerate(words) if word
            for bit in range(BITMAP_WORD) if word >> bit & 1
        }  # fmt: skip
        self._skipped = frozenset(begun)
        self._open = range(1, count + 1)
        before = sum(plan.estimate for stage, plan in self._plans.items() if stage < self.stage)
        here = 0 if plan is None or not count else plan.estimate * len(begun) // count  # chunks are of one size, mostly
        self._done = before + here
