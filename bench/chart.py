"""The comparison as a picture: a panel of horizontal bars per measure, medians with whiskers from least to greatest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bench.report import Measure, Results, Spread, recipient_cpu, spread, wall

__all__ = ["draw"]

_COLOURS = {"ours": "#1b7f5c", "stock": "#c8792b", "other": "#8a8f98"}
_LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
_NAMES = {"ours": "innoclone", "stock": "stock MySQL", "other": "others"}
_PANELS: list[tuple[str, Measure, float, str]] = [
    ("wall time, s", wall, 1, ".2f"),
    ("recipient CPU, s", recipient_cpu, 1, ".2f"),
    ("donor CPU, s", lambda sample: sample.donor_cpu, 1, ".2f"),
    ("recipient's peak memory, MiB", lambda sample: sample.memory, 2**20, ".0f"),
    ("donor's transactions/s meanwhile", lambda sample: sample.tps, 1, ".0f"),
]


def draw(results: Results, path: Path) -> None:
    """Write the PNG. Bars far longer than the usual clones' are cut off and carry their number."""
    rows = list(results.rows())
    figure, axes = plt.subplots(
        1, len(_PANELS), figsize=(21, 1.8 + 0.42 * len(rows)), sharey=True, layout="constrained"
    )
    for panel, (title, measure, unit, digits) in zip(axes, _PANELS, strict=True):
        spreads = [spread(samples, measure) for _, samples in rows]
        families = [method.family for method, _ in rows]
        # Dumps and zlib take many times longer: their bars are cut off, so that the others can be told apart.
        usual = [found for (method, _), found in zip(rows, spreads, strict=True) if not method.slow]
        _bars(panel, spreads, families, unit, digits, _end(usual if any(usual) else spreads) / unit)
        panel.set_title(title, fontsize=11)
    if results.idle_tps:
        idle = median(results.idle_tps.values())
        axes[-1].axvline(idle, color="black", linestyle=":", linewidth=1)
        axes[-1].set_xlabel(f"dotted: {idle:.0f} without any clone", fontsize=9)
    axes[0].set_yticks(range(len(rows)), [method.label for method, _ in rows])
    axes[0].invert_yaxis()
    handles = [Patch(color=_COLOURS[family]) for family in _NAMES]
    figure.legend(handles, list(_NAMES.values()), loc="outside lower center", ncols=3, frameon=False)
    facts = results.facts
    figure.suptitle(
        f"A running MySQL {facts['MySQL']} with {facts['data']} copied on one machine, "
        f"{'on a disk' if results.place == 'disk' else 'in memory'}: "
        f"medians of {facts['rounds']}, whiskers from least to greatest",
        fontsize=13,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _end(shown: Sequence[Spread | None]) -> float:
    """Where the axis ends, in the measure's own unit: room for the longest of these and its number."""
    return 1.35 * max((found.median for found in shown if found), default=1.0)


def _bars(panel: Axes, spreads: list[Spread | None], families: list[str], unit: float, digits: str, end: float) -> None:
    for at, (found, family) in enumerate(zip(spreads, families, strict=True)):
        if found is None:
            panel.text(end * 0.01, at, "-", va="center", fontsize=9, color="#555555")
            continue
        middle, low, high = (value / unit for value in (found.median, found.low, found.high))
        label = f"{middle:{digits}}"
        panel.barh(at, min(middle, end), color=_COLOURS[family], height=0.72)
        if middle > end:
            panel.text(end * 0.985, at, f"{label} →", va="center", ha="right", fontsize=9, color="white", weight="bold")
            continue
        panel.plot([low, high], [at, at], color="black", linewidth=1, marker="|", markersize=6)
        panel.text(min(high, end * 0.87) + end * 0.015, at, label, va="center", fontsize=9, bbox=_LABEL)
    panel.set_xlim(0, end)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", alpha=0.25)
