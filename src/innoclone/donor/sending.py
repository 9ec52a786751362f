"""The answer to COM_EXECUTE: one task sends its part of a clone, stage after stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from innoclone.donor.channel import Channel
from innoclone.donor.course import KEEP_ALIVE, MASTER, Course, Task
from innoclone.donor.offer import refuse_keys
from innoclone.donor.plans import Block, FilePlan
from innoclone.donor.reading import Reader
from innoclone.records.limits import Limits
from innoclone.wire.descriptors import (
    NO_FLAGS,
    DataDescriptor,
    Descriptor,
    StageNumber,
    StateDescriptor,
    StateFlag,
    TaskMetadata,
)
from innoclone.wire.rpc import Complete, DataDescription, ResponseCode

__all__ = ["Sender"]

DATA = bytes([ResponseCode.DATA])


class Sender:
    """One task's."""

    def __init__(
        self, channel: Channel, course: Course, task: Task, limits: Limits, reading: Limits, *, holes: bool
    ) -> None:
        """``reading`` is the limit of what is read of files. ``holes``: the recipient makes new files, in which what is
        not sent is a hole, too."""
        self._channel, self._course, self._task = channel, course, task
        self._holes = holes
        self._reader = Reader(course.given.open)
        self._limits, self._reading, self._patience = limits, reading, _Patience(self._look)
        self._said = time.monotonic()
        self._wire = 0  # bytes of the last block on the wire

    def run(self) -> None:
        """Everything up to COMPLETE. Raises `NetworkError`, or what the clone failed with."""
        course, task = self._course, self._task
        try:
            self._describe(TaskMetadata(task.number))
            if course.stage is StageNumber.INIT:
                self._end(StageNumber.INIT)
                self._next()
            elif task.starts:
                self._start()
            while (stage := course.stage) is not StageNumber.DONE:
                self._list(stage)
                while (chunk := course.take(task)) is not None:
                    self._chunk(stage, *chunk)
                self._end(stage)
                self._next()
            self._channel.say(Complete().serialize())
        finally:
            self._reader.close()

    # ---- stages --------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Wait for the others, and tell what comes."""
        stage = self._course.stage
        self._course.finish(self._task, self._keep_alive, lambda: self._channel.is_gone)
        if self._course.stage is StageNumber.DONE and self._task.number == MASTER:
            self._course.given.refuse_changed()
        refuse_keys(self._course.given, tls=self._channel.is_tls)  # a running server may tell of its keys only now
        self._task.starts = True
        self._task.lists = stage is StageNumber.INIT
        self._start()

    def _start(self) -> None:
        """The stage begins. What DDL changed is told before, by the master, and once more after a restart."""
        if self._task.number == MASTER and self._course.stage is not StageNumber.DONE:
            for file in self._course.plan(self._course.stage).changes:
                self._describe(file)
        self._describe(self._state(self._course.stage, StateFlag.START))

    def _end(self, stage: StageNumber) -> None:
        if self._course.needs_end(self._task):
            self._describe(self._state(stage, NO_FLAGS))

    def _list(self, stage: StageNumber) -> None:
        """The files of a stage. Workers may be ahead of the master in the redo log, so each tells of its files."""
        if stage is StageNumber.REDO_COPY or (self._task.lists and self._task.number == MASTER):
            for file in self._course.plan(stage).metadata():
                self._describe(file)

    def _state(self, stage: StageNumber, flags: StateFlag) -> StateDescriptor:
        number = self._task.number
        if stage in (StageNumber.INIT, StageNumber.DONE):
            return StateDescriptor(stage, number, flags=flags)
        plan = self._course.plan(stage)
        told = bool(flags & StateFlag.START) and number == MASTER
        on_disk = plan.on_disk if told and isinstance(plan, FilePlan) else 0
        return StateDescriptor(
            stage, number, plan.chunks, plan.count, plan.estimate if told else 0, on_disk, flags
        )  # fmt: skip

    def _keep_alive(self) -> None:
        self._describe(self._state(self._course.stage, StateFlag.ACK))

    # ---- data ----------------------------------------------------------------------------------------------

    def _chunk(self, stage: StageNumber, chunk: int, done: int) -> None:
        plan = self._course.plan(stage)
        for block in plan.blocks(chunk, done):
            self._course.check(self._task)
            if block.content is None:
                if self._reader.open(plan.files[block.index]) is None:
                    continue
                if self._holes and stage is StageNumber.FILE_COPY and self._reader.is_hole(block):
                    self._course.skip(block.length)
                    continue
                if self._reader.direct < 0 or not self._channel.sends_directly:
                    self._reader.prepare(block)
            self._block(stage, chunk, block)
            self._course.count(block.length, self._wire)
            self._pause(block.length, 0 if block.content is not None else block.length)

    def _block(self, stage: StageNumber, chunk: int, block: Block) -> None:
        head = DataDescription(
            DataDescriptor(
                stage, self._task.number, chunk, block.number, block.index, block.length, block.offset, block.file_size
            )
        ).serialize()
        sent = self._channel.sent
        if block.content is not None:
            self._channel.say_data(head, DATA, block.content)
        elif self._channel.sends_files:
            reader = self._reader
            self._channel.say_file(head, DATA, reader.fd, block.offset, block.length, direct=reader.direct)
        else:
            self._channel.say_data(head, DATA, self._reader.read(block))
        self._wire = self._channel.sent - sent
        self._said = time.monotonic()

    def _describe(self, descriptor: Descriptor) -> None:
        self._channel.say(DataDescription(descriptor).serialize())
        self._said = time.monotonic()

    def _pause(self, count: int, read: int) -> None:
        """Keep within the limits; a recipient that has to wait long hears from us meanwhile."""
        self._limits.pause(count, self._wire, self._patience)
        self._reading.pause(read, 0, self._patience)

    def _look(self) -> None:
        self._course.check(self._task)
        if time.monotonic() - self._said >= KEEP_ALIVE:
            self._keep_alive()


class _Patience(threading.Event):
    """What a limit waits on. It is never set, but each look at it is a chance to do something else."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self._look = look

    def is_set(self) -> bool:
        """False, or what the look raises."""
        self._look()
        return False
