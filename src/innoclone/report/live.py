"""The display of a running clone on a terminal: a line per stage, redrawn in place.

The only user of rich; import it where it is needed only, it costs a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from innoclone.errors import escaped
from innoclone.records.status import COPY_STAGES, Decision, State
from innoclone.report.progress import LOOK_EVERY, Row
from innoclone.report.units import amount, duration, speed

__all__ = ["LiveRenderer"]

STATE_STYLE = {State.IN_PROGRESS: "bold", State.COMPLETED: "green", State.FAILED: "red"}

# Below this width the bar is left out: numbers say more than a stub of a bar.
BAR_MIN_COLUMNS = 100


class LiveRenderer:
    """Draws to ``console``. Notes scroll by above; the last picture stays on the screen."""

    interval = LOOK_EVERY

    def __init__(self, console: Console, *, decisions: bool = False) -> None:
        """The display appears with the first stage. ``decisions``: print these above it, like notes."""
        self._console = console
        self._with_decisions = decisions
        # No thread of rich's own: the watcher's calls are the only refreshes, so there is no second clock to flicker.
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def began(self, row: Row) -> None:
        """Show the display."""
        self._live.start()

    def ended(self, row: Row) -> None:
        """The next tick draws it."""

    def note(self, text: str) -> None:
        """Print above the display."""
        self._console.print(f"innoclone: {escaped(text)}", markup=False, highlight=False, soft_wrap=True)

    def decision(self, decision: Decision) -> None:
        """Print above the display, if asked for."""
        if self._with_decisions:
            self.note(decision.reason)

    def tick(self, rows: Sequence[Row], seconds: float) -> None:
        """Draw all rows anew."""
        if rows:
            self._live.update(self._table(rows, seconds), refresh=True)

    def close(self) -> None:
        """Leave the last picture."""
        self._live.stop()

    def _table(self, rows: Sequence[Row], seconds: float) -> Table:
        bars = self._console.width >= BAR_MIN_COLUMNS
        table = Table.grid(padding=(0, 2 if bars else 1))
        table.add_column(no_wrap=True)
        if bars:
            table.add_column(width=24)
        for _ in range(6):
            table.add_column(justify="right", no_wrap=True)
        for row in rows:
            cells: list[Text | ProgressBar] = [Text(row.name, style=STATE_STYLE[row.state])]
            if bars:
                cells.append(_bar(row))
            table.add_row(*cells, *(Text(cell) for cell in _cells(row)))
        if len(rows) > 1:
            blank = [Text("")] if bars else []
            table.add_row(
                Text("total", style="dim"), *blank, *(Text(cell, style="dim") for cell in _total(rows, seconds))
            )
        return table


def _bar(row: Row) -> ProgressBar:
    if row.fraction is None:
        return ProgressBar(total=None, width=24, pulse=row.state is State.IN_PROGRESS)
    return ProgressBar(total=1.0, completed=row.fraction, width=24)


def _cells(row: Row) -> list[str]:
    """Percent, bytes, speed, connections, time left, elapsed."""
    running = row.state is State.IN_PROGRESS
    size = f"{amount(row.data)} / {amount(row.estimate)}" if running and row.estimate else amount(row.data)
    return [
        "" if row.fraction is None else f"{row.fraction * 100:.0f} %",
        size if row.data or row.estimate else "",
        "" if row.speed is None or not row.data else speed(row.speed),
        f"{row.connections} conn" if running and row.connections else "",
        "" if row.left is None else f"{duration(row.left)} left",
        duration(row.seconds),
    ]


def _total(rows: Sequence[Row], seconds: float) -> list[str]:
    data = sum(row.data for row in rows if row.stage in COPY_STAGES)
    is_speed = data and seconds > 0 and all(row.copies for row in rows)
    return ["", amount(data) if data else "", speed(data / seconds) if is_speed else "", "", "", duration(seconds)]
