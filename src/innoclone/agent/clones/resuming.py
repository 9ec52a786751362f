"""What an agent leaves to the next one: how far its last clone came, and the statement of one that it was cut off in.

The statement has the donor's password. ``clone_resume_on_start`` has it kept, in a file for the agent's user only, from
the beginning of a clone until its end: nothing else can log in to the donor while nobody is there to ask.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from innoclone.agent.sql.statements import CloneInstance, CloneLocal
from innoclone.errors import Interrupted
from innoclone.files.replacefile import replace_file
from innoclone.records.position import ClonePosition
from innoclone.records.status import CloneStatus, Counter, Stage, StageStatus, State

__all__ = ["ResumeFile", "restore_status"]

log = logging.getLogger("innoclone.agent")
NAME = "resume.json"
CUT_OFF = "the clone was cut off: its process ended"


class ResumeFile:
    """``resume.json`` of the agent's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def write(self, statement: CloneLocal | CloneInstance) -> None:
        """Of the clone that begins. Raises a file error."""
        fields = {"local": isinstance(statement, CloneLocal), "statement": asdict(statement)}
        replace_file(self._path, json.dumps(fields))

    def remove(self) -> None:
        """The clone came to an end."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def read(self) -> CloneLocal | CloneInstance | None:
        """What the last agent was cut off in, if anything. The file stays."""
        try:
            found = json.loads(self._path.read_bytes())
            return (CloneLocal if found["local"] else CloneInstance)(**found["statement"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:  # torn, or of another version
            log.warning("%s can't be used: no clone goes on by itself (%s)", self._path, type(error).__name__)
            self.remove()
            return None


def restore_status(status: CloneStatus, fields: Mapping[str, Any], *, lives: bool) -> None:
    """Let ``status`` say what a status file does; a clone that was cut off, and ``lives`` no more, has failed.

    Raises KeyError, TypeError, ValueError.
    """
    copied = (
        "source", "destination", "error_number", "error_message", "connections", "restarts", "donor_version",
    )  # fmt: skip
    position = ClonePosition(**{name: fields[name] for name in ("binlog_file", "binlog_position", "gtid_executed")})
    stages = [_stage(row, fields["updated"], lives=lives) for row in fields["stages"]]
    values = {name: fields[name] for name in copied}
    status.number, status.begin, status.notes = fields["id"], fields["began"], list(fields["notes"])
    status.position = position
    for name, value in values.items():
        setattr(status, name, value)
    status.stages |= {stage: StageStatus(stage) for stage in Stage} | {row.stage: row for row in stages}
    if lives and fields["state"] == State.IN_PROGRESS.value:
        status.state, status.end = State.IN_PROGRESS, None
        return
    status.end = fields["updated"]
    status.state = State.COMPLETED if fields["state"] == State.COMPLETED.value else State.FAILED
    if fields["state"] == State.IN_PROGRESS.value:
        status.error_number, status.error_message = Interrupted.number, CUT_OFF


def _stage(row: Mapping[str, Any], updated: float, *, lives: bool) -> StageStatus:
    state, end = State(row["state"]), row["end"]
    if state is State.IN_PROGRESS and not lives:
        state, end = State.FAILED, updated
    return StageStatus(
        Stage(row["stage"]),
        state=state,
        begin=row["begin"],
        end=end,
        threads=row["threads"],
        estimate=row["estimate"],
        counters=[Counter(row["data"], row["network"])],
        measured=bool(row.get("measured", True)),
    )
