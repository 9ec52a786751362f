"""The text files in ``#clone/`` from which a booted server fills performance_schema.clone_status and clone_progress.

Their form is that of the clone plugin (clone_hton / clone_status.cc: #view_status, #view_progress), tested with a stock
server: without them a booted clone shows empty tables.
"""

from __future__ import annotations

from innoclone.records.status import CLONE_STAGES, CloneStatus, State

__all__ = ["view_files"]

_STATE_CODE = {State.NOT_STARTED: 0, State.IN_PROGRESS: 1, State.COMPLETED: 2, State.FAILED: 3}


def _microseconds(moment: float | None) -> int:
    return 0 if moment is None else int(moment * 1_000_000)


def view_files(status: CloneStatus, source: str, finished: float, *, clone_id: int = 1) -> dict[str, str]:
    """File names below ``#clone/`` and their content, for a clone from ``source`` (host:port) that was complete at
    ``finished``, in seconds since the epoch."""
    progress = [str(clone_id)]
    for row in (status.stages[stage] for stage in CLONE_STAGES):
        begin, end = _microseconds(row.begin), _microseconds(row.end)
        fields = (_STATE_CODE[row.state], row.threads, begin, end, row.estimate, row.data, row.network)
        progress.append(" ".join(map(str, fields)))
    begin, end = _microseconds(status.begin), _microseconds(finished)
    lines = [f"{_STATE_CODE[State.COMPLETED]} {clone_id}", f"{begin} {end}", source, "0", "", "", "0", ""]
    return {"#view_status": "\n".join(lines) + "\n", "#view_progress": "\n".join(progress) + "\n"}
