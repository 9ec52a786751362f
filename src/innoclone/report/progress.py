"""From a `CloneStatus` that somebody else writes to something to look at.

`Watcher` reads the status from a thread of its own, a few times a second, and tells renderers what changed: stages
that began and ended, notes, and the rows of the moment. Renderers here: `PlainRenderer` for logs and pipes,
`JsonRenderer` for programs; `live.LiveRenderer` is the one for a terminal. The engine knows of none of them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple, Protocol, Self, TextIO

from innoclone.records.speed import Speed
from innoclone.records.status import COPY_STAGES, RATED_STAGES, CloneStatus, Decision, Stage, StageStatus, State
from innoclone.report.units import amount, duration, speed

__all__ = ["JsonRenderer", "PlainRenderer", "Renderer", "Row", "Watcher"]

# How often the status is read: no display refreshes more often than this, and no stage's end is shown later.
LOOK_EVERY = 1 / 8


class Row(NamedTuple):
    """One stage at one moment. Times in seconds, amounts in bytes, ``speed`` in bytes per second: at the moment, in the
    end the mean; None where it would say nothing."""

    stage: Stage
    state: State
    data: int
    network: int
    estimate: int
    threads: int
    speed: float | None
    seconds: float
    copies: bool = True  # its time may count for the speed of the whole (`StageStatus.copies`)

    @property
    def name(self) -> str:
        """The name as performance_schema.clone_progress has it."""
        return self.stage.value

    @property
    def connections(self) -> int:
        """Connections that carry its data, 0 for a stage of local work."""
        return self.threads if self.stage in COPY_STAGES else 0

    @property
    def fraction(self) -> float | None:
        """How much is done, 0-1, None while nothing is known of the amount. Estimates grow: never above 1."""
        if self.state is State.COMPLETED:
            return 1.0
        return min(self.data / self.estimate, 1.0) if self.estimate else None

    @property
    def left(self) -> float | None:
        """Seconds to the stage's end at the present speed, None if not known."""
        if self.state is not State.IN_PROGRESS or not self.speed or self.estimate <= self.data:
            return None
        return (self.estimate - self.data) / self.speed


class Renderer(Protocol):
    """What `Watcher` tells. All calls come from one thread at a time."""

    interval: float  # seconds between two calls of tick, at least

    def began(self, row: Row) -> None:
        """A stage began."""

    def ended(self, row: Row) -> None:
        """A stage completed or failed."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def decision(self, decision: Decision) -> None:
        """Another number of connections is active."""

    def tick(self, rows: Sequence[Row], seconds: float) -> None:
        """The rows of all stages that have begun, and how long the whole has taken (`CloneStatus.seconds`)."""

    def close(self) -> None:
        """Nothing more will come."""


class Watcher:
    """Reads ``status`` in a thread for as long as the ``with`` block runs, and once more at its end."""

    def __init__(
        self, status: CloneStatus, renderers: Iterable[Renderer], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``clock`` is for tests."""
        self._status = status
        self._clock = clock
        self._seen: dict[Stage, tuple[State, float | None]] = {}
        self._speeds = {stage: Speed() for stage in Stage}
        self._notes = self._decisions = 0
        self._ticked = {renderer: float("-inf") for renderer in renderers}  # when each was told last
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        """Start looking."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, look a last time, close the renderers."""
        self._stop.set()
        self._thread.join()
        self.look(last=True)
        self._tell(methodcaller("close"))

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY):
            self.look()

    def look(self, *, last: bool = False) -> None:
        """Read the status once and tell the renderers what is new."""
        now = self._clock()
        stages = [(status, status.state, status.begin) for status in self._status.stages.values()]
        stages.sort(key=lambda each: each[2] or 0.0)
        rows, told = [], []
        for status, state, begin in stages:
            row = self._row(status, state, now)
            if state is not State.NOT_STARTED:
                rows.append(row)
            told += self._changes(status, (state, begin), row)
        for _, call in sorted(told, key=itemgetter(0)):  # by the time of each, and else in the stages' order
            self._tell(call)
        for text in self._status.notes[self._notes :]:
            self._notes += 1
            self._tell(methodcaller("note", text))
        for decision in self._status.decisions[self._decisions :]:
            self._decisions += 1
            self._tell(methodcaller("decision", decision))
        for renderer, ticked in list(self._ticked.items()):
            if last or now - ticked >= renderer.interval:
                self._ticked[renderer] = now
                self._tell(methodcaller("tick", rows, self._status.seconds), [renderer])

    def _tell(self, call: Callable[[Renderer], None], renderers: Iterable[Renderer] | None = None) -> None:
        """Tell all of them, or some; who can't write any more (a terminal that has gone) is told nothing more."""
        for renderer in list(self._ticked if renderers is None else renderers):
            try:
                call(renderer)
            except OSError:
                del self._ticked[renderer]

    def _changes(
        self, status: StageStatus, present: tuple[State, float | None], row: Row
    ) -> list[tuple[float, Callable[[Renderer], None]]]:
        """A beginning and an end since the last look, with their times; a stage may begin again after it failed."""
        before = self._seen.get(status.stage, (State.NOT_STARTED, None))
        if present == before:
            return []
        self._seen[status.stage] = present
        state, begin = present
        found: list[tuple[float, Callable[[Renderer], None]]] = []
        # A beginning that moves while the stage ends is only its true time becoming known.
        if begin != before[1] and not (before[0] is State.IN_PROGRESS and state is State.COMPLETED):
            found.append((begin or 0.0, methodcaller("began", row)))
        if state in (State.COMPLETED, State.FAILED):
            found.append((status.end or 0.0, methodcaller("ended", row)))
        return found

    def _row(self, status: StageStatus, state: State, now: float) -> Row:
        data = status.data
        rate = status.rate
        if state is not State.IN_PROGRESS:
            self._speeds[status.stage].clear()
        elif status.stage in RATED_STAGES:
            rate = self._speeds[status.stage].add(now, data)
        return Row(
            stage=status.stage, state=state, data=data, network=status.network, estimate=status.estimate,
            threads=status.threads, speed=rate, seconds=status.seconds, copies=status.copies,
        )  # fmt: skip


class PlainRenderer:
    """Lines of text: stages as they begin and end, and now and then how far they are."""

    def __init__(self, write: Callable[[str], None], *, interval: float = 10.0, decisions: bool = True) -> None:
        """``write`` gets lines without newline, ``interval`` is in seconds; ``decisions``: tell of these, too."""
        self.interval = interval
        self._with_decisions = decisions
        self._write = write
        self._first = True

    def began(self, row: Row) -> None:
        """Say what begins and how much it will be."""
        size = f", {amount(row.estimate)}" if row.estimate else ""
        plural = "s" if row.connections > 1 else ""
        connections = f", {row.connections} connection{plural}" if row.connections else ""
        self._write(f"{row.name}: started{size}{connections}")

    def ended(self, row: Row) -> None:
        """Say what it came to."""
        data = f", {amount(row.data)}" if row.data else ""
        rate = "" if row.speed is None else f", {speed(row.speed)}"
        self._write(f"{row.name}: {row.state.value.lower()} in {row.seconds:.1f} s{data}{rate}")

    def note(self, text: str) -> None:
        """A note is a line."""
        self._write(text)

    def decision(self, decision: Decision) -> None:
        """A line, too."""
        if self._with_decisions:
            self._write(decision.reason)

    def tick(self, rows: Sequence[Row], seconds: float) -> None:
        """One line for each stage that runs; the first call comes too early to say anything."""
        if self._first:
            self._first = False
            return
        for row in rows:
            if row.state is State.IN_PROGRESS:
                percent = "" if row.fraction is None else f"{row.fraction * 100:.0f} %, "
                of = f" of {amount(row.estimate)}" if row.estimate else ""
                rate = "" if row.speed is None else f", {speed(row.speed)}"
                left = "" if row.left is None else f", {duration(row.left)} left"
                self._write(f"{row.name}: {percent}{amount(row.data)}{of}{rate}{left}")

    def close(self) -> None:
        """Nothing is kept."""


class JsonRenderer:
    """One JSON object per line. Times are seconds (``time`` since the epoch), amounts bytes."""

    interval = 1.0

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``; when it can't be written any more, go on in silence: `lost` says why."""
        self._stream: TextIO | None = stream
        self.lost: OSError | None = None

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write one event."""
        if self._stream is None:
            return
        try:
            self._stream.write(json.dumps({"event": event, "time": round(time.time(), 3), **fields}) + "\n")
            self._stream.flush()
        except OSError as error:
            self._stream, self.lost = None, error

    def began(self, row: Row) -> None:
        """Event ``stage_begin``."""
        self.emit("stage_begin", {"stage": row.name, "estimate": row.estimate, "threads": row.threads})

    def ended(self, row: Row) -> None:
        """Event ``stage_end``."""
        self.emit("stage_end", {"stage": row.name, "state": row.state.value, **_measures(row)})

    def note(self, text: str) -> None:
        """Event ``note``."""
        self.emit("note", {"text": text})

    def decision(self, decision: Decision) -> None:
        """Event ``connections``."""
        fields = {"connections": decision.connections, "bytes_per_second": round(decision.speed)}
        self.emit("connections", fields | {"text": decision.reason})

    def tick(self, rows: Sequence[Row], seconds: float) -> None:
        """Event ``progress`` for each stage that runs."""
        for row in rows:
            if row.state is State.IN_PROGRESS:
                left = None if row.left is None else round(row.left, 1)
                self.emit("progress", {"stage": row.name, **_measures(row), "threads": row.threads, "left": left})

    def close(self) -> None:
        """Nothing is kept."""


def _measures(row: Row) -> dict[str, Any]:
    return {
        "data": row.data,
        "network": row.network,
        "estimate": row.estimate,
        "seconds": round(row.seconds, 3),
        "bytes_per_second": None if row.speed is None else round(row.speed),
    }
