"""A clock and a renderer for the tests of what is shown of a clone."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from innoclone.records.status import CloneStatus
from innoclone.report.live import LiveRenderer
from innoclone.report.progress import Row


class Clock:
    """Time that stands still until told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A renderer that remembers."""

    def __init__(self, interval: float = 0.0) -> None:
        self.interval = interval
        self.calls: list[tuple[str, object]] = []

    def began(self, row: Row) -> None:
        self.calls.append(("began", row.stage))

    def ended(self, row: Row) -> None:
        self.calls.append(("ended", (row.stage, row.state)))

    def note(self, text: str) -> None:
        self.calls.append(("note", text))

    def tick(self, rows, seconds) -> None:
        self.calls.append(("tick", list(rows)))

    def close(self) -> None:
        self.calls.append(("close", None))

    @property
    def told(self) -> list[tuple[str, object]]:
        return [call for call in self.calls if call[0] != "tick"]

    @property
    def rows(self) -> list[Row]:
        ticks = [call[1] for call in self.calls if call[0] == "tick"]
        return ticks[-1]  # type: ignore[return-value]


@pytest.fixture
def status():
    return CloneStatus(source="root@db1:3306", destination="/data/clone")


def screen(width: int, rows: list[Row]) -> str:
    """The last picture that a terminal of ``width`` columns shows."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    renderer = LiveRenderer(console)
    renderer.began(rows[0])
    renderer.tick(rows, 62.0)
    renderer.close()
    return stream.getvalue()
