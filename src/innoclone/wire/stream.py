"""What may follow what in a donor's answer to COM_EXECUTE, as a table; an illegal move is a missing key.

One table serves the recipient, which checks a donor with it, and a donor, which checks itself.
"""

from __future__ import annotations

import enum

from innoclone.errors import ProtocolError
from innoclone.wire.descriptors import (
    DataDescriptor,
    Descriptor,
    FileMetadata,
    StageNumber,
    StateDescriptor,
    TaskMetadata,
)

__all__ = ["Event", "Phase", "Stream"]


class Phase(enum.Enum):
    """Where a connection stands: in a stage, or behind its END and before the next START."""

    __hash__ = object.__hash__  # by identity: looked up for each block, and an Enum's own is of its name, in Python

    OPENED = "opened"
    INIT = "INIT"
    INIT_ENDED = "INIT ended"
    FILE_COPY = "FILE_COPY"
    FILE_ENDED = "FILE_COPY ended"
    PAGE_COPY = "PAGE_COPY"
    PAGE_ENDED = "PAGE_COPY ended"
    REDO_COPY = "REDO_COPY"
    REDO_ENDED = "REDO_COPY ended"
    DONE = "DONE"
    COMPLETE = "complete"


class Event(enum.Enum):
    """What a donor can send; START and END are of the stage in the pair that `Stream` makes."""

    __hash__ = object.__hash__  # as that of `Phase`

    TASK = "TASK_METADATA"
    START = "STATE START"
    END = "STATE END"
    FILE = "FILE_METADATA"
    DATA = "DATA"
    COMPLETE = "COMPLETE"


_Move = tuple[Phase, Event, StageNumber]
_S = StageNumber
_COMMON: dict[_Move, Phase] = {
    (Phase.FILE_COPY, Event.FILE, _S.FILE_COPY): Phase.FILE_COPY,
    (Phase.FILE_COPY, Event.DATA, _S.FILE_COPY): Phase.FILE_COPY,
    (Phase.FILE_COPY, Event.END, _S.FILE_COPY): Phase.FILE_ENDED,
    (Phase.FILE_ENDED, Event.START, _S.PAGE_COPY): Phase.PAGE_COPY,
    (Phase.FILE_ENDED, Event.START, _S.REDO_COPY): Phase.REDO_COPY,  # a donor without changed pages may skip a stage
    (Phase.PAGE_COPY, Event.FILE, _S.PAGE_COPY): Phase.PAGE_COPY,
    (Phase.PAGE_COPY, Event.DATA, _S.PAGE_COPY): Phase.PAGE_COPY,
    (Phase.PAGE_COPY, Event.END, _S.PAGE_COPY): Phase.PAGE_ENDED,
    (Phase.PAGE_ENDED, Event.START, _S.REDO_COPY): Phase.REDO_COPY,
    (Phase.REDO_COPY, Event.FILE, _S.REDO_COPY): Phase.REDO_COPY,
    (Phase.REDO_COPY, Event.DATA, _S.REDO_COPY): Phase.REDO_COPY,
    (Phase.REDO_COPY, Event.END, _S.REDO_COPY): Phase.REDO_ENDED,
    (Phase.REDO_ENDED, Event.START, _S.DONE): Phase.DONE,
    (Phase.DONE, Event.COMPLETE, _S.NONE): Phase.COMPLETE,
}
MASTER: dict[_Move, Phase] = _COMMON | {
    (Phase.OPENED, Event.TASK, _S.NONE): Phase.INIT,
    (Phase.INIT, Event.END, _S.INIT): Phase.INIT_ENDED,
    (Phase.INIT_ENDED, Event.START, _S.FILE_COPY): Phase.FILE_COPY,
    (Phase.FILE_ENDED, Event.FILE, _S.PAGE_COPY): Phase.FILE_ENDED,  # changes by DDL, for the next stage
    (Phase.PAGE_ENDED, Event.FILE, _S.REDO_COPY): Phase.PAGE_ENDED,
}
# After COM_REINIT the master goes on in the stage that its locator named. Where the donor has had the acknowledgement
# of that stage already, it doesn't repeat the END.
_RESUMED: dict[StageNumber, dict[_Move, Phase]] = {
    stage: MASTER
    | {
        (Phase.OPENED, Event.TASK, _S.NONE): inside,
        (inside, Event.FILE, following): ended,
        (inside, Event.START, following): after,
    }
    for stage, inside, ended, following, after in (
        (_S.FILE_COPY, Phase.FILE_COPY, Phase.FILE_ENDED, _S.PAGE_COPY, Phase.PAGE_COPY),
        (_S.PAGE_COPY, Phase.PAGE_COPY, Phase.PAGE_ENDED, _S.REDO_COPY, Phase.REDO_COPY),
        (_S.REDO_COPY, Phase.REDO_COPY, Phase.REDO_ENDED, _S.DONE, Phase.DONE),
    )
}
WORKER: dict[_Move, Phase] = _COMMON | {
    (Phase.OPENED, Event.TASK, _S.NONE): Phase.INIT,
    # A worker joins in the middle of a stage: no START comes, the first thing is data or already the END.
    (Phase.INIT, Event.DATA, _S.FILE_COPY): Phase.FILE_COPY,
    (Phase.INIT, Event.DATA, _S.PAGE_COPY): Phase.PAGE_COPY,
    (Phase.INIT, Event.DATA, _S.REDO_COPY): Phase.REDO_COPY,
    (Phase.INIT, Event.FILE, _S.FILE_COPY): Phase.FILE_COPY,
    (Phase.INIT, Event.FILE, _S.PAGE_COPY): Phase.PAGE_COPY,
    (Phase.INIT, Event.FILE, _S.REDO_COPY): Phase.REDO_COPY,
    (Phase.INIT, Event.END, _S.FILE_COPY): Phase.FILE_ENDED,
    (Phase.INIT, Event.END, _S.PAGE_COPY): Phase.PAGE_ENDED,
    (Phase.INIT, Event.END, _S.REDO_COPY): Phase.REDO_ENDED,
    (Phase.INIT, Event.START, _S.FILE_COPY): Phase.FILE_COPY,
    (Phase.INIT, Event.START, _S.PAGE_COPY): Phase.PAGE_COPY,
    (Phase.INIT, Event.START, _S.REDO_COPY): Phase.REDO_COPY,
    (Phase.INIT, Event.START, _S.DONE): Phase.DONE,
    (Phase.INIT, Event.COMPLETE, _S.NONE): Phase.COMPLETE,  # attached when all was over (seen with 128 connections)
}


class Stream:
    """Follows one connection through its stages and refuses what is out of order."""

    def __init__(self, *, master: bool, resumed: StageNumber | None = None) -> None:
        """``resumed``: the stage that COM_REINIT named, which is FILE_COPY, PAGE_COPY or REDO_COPY."""
        self._moves = MASTER if master else WORKER
        if master and resumed is not None:
            self._moves = _RESUMED[resumed]
        self.phase = Phase.OPENED

    def check(self, descriptor: Descriptor) -> None:
        """Move on by a descriptor that is no keep-alive. Raises `ProtocolError` if it is out of order."""
        if isinstance(descriptor, DataDescriptor):
            self._move(Event.DATA, descriptor.stage)
        elif isinstance(descriptor, TaskMetadata):
            self._move(Event.TASK, StageNumber.NONE)
        elif isinstance(descriptor, StateDescriptor):
            self._move(Event.START if descriptor.is_start else Event.END, descriptor.stage)
        elif isinstance(descriptor, FileMetadata):
            self._move(Event.FILE, descriptor.stage)
        else:
            raise ProtocolError("a LOCATOR descriptor in the data stream")

    def complete(self) -> None:
        """Move on by COMPLETE."""
        self._move(Event.COMPLETE, StageNumber.NONE)

    def _move(self, event: Event, stage: StageNumber) -> None:
        following = self._moves.get((self.phase, event, stage))
        if following is None:
            raise ProtocolError(f"{event.value} of {stage.name} is not allowed in {self.phase.value}")
        self.phase = following
