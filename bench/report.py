"""Medians, ratios to the stock rows, targets, and the texts and JSON made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.measure import Sample
from bench.methods import METHODS, Method
from bench.publishing import other_pages

__all__ = [
    "Results", "Spread", "Target",
    "aligned", "as_json", "ratio", "recipient_cpu", "spread", "summary", "table", "targets", "wall",
]  # fmt: skip

Measure = Callable[[Sample], float | None]


@dataclass
class Results:
    """All samples of a comparison: row key -> round -> sample; ``missing`` says why a row has none."""

    place: str
    """disk or tmpfs"""
    facts: dict[str, str | int | float]
    samples: dict[str, dict[int, Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    idle_tps: dict[int, float] = field(default_factory=dict)
    loads: dict[int, float] = field(default_factory=dict)
    """Round -> the machine's load average (1 minute) when it began."""

    def rows(self) -> Iterator[tuple[Method, list[Sample]]]:
        """The rows that have samples, in their fixed order."""
        for method in METHODS:
            if self.samples.get(method.key):
                yield method, list(self.samples[method.key].values())


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of a measure."""

    median: float
    low: float
    high: float


def spread(samples: Sequence[Sample], measure: Measure) -> Spread | None:
    """The spread of ``measure``, None where the row does not have it."""
    values = [value for sample in samples if (value := measure(sample)) is not None]
    return Spread(median(values), min(values), max(values)) if values else None


def ratio(results: Results, key: str, reference: str, measure: Measure) -> float | None:
    """The median of the ratios of two rows round by round, since what disturbs one round disturbs both."""
    mine, theirs = results.samples.get(key, {}), results.samples.get(reference, {})
    ratios = []
    for number in mine.keys() & theirs.keys():
        above, below = measure(mine[number]), measure(theirs[number])
        if above is not None and below:
            ratios.append(above / below)
    return median(ratios) if ratios else None


def wall(sample: Sample) -> float:
    """Seconds from the start of the program or statement to its end."""
    return sample.wall


def recipient_cpu(sample: Sample) -> float | None:
    """CPU seconds of the recipient."""
    return sample.recipient_cpu


@dataclass(frozen=True)
class Target:
    """What is to be reached, and what was."""

    text: str
    limit: float
    at_least: bool
    value: float | None

    @property
    def verdict(self) -> str:
        """``met``, ``NOT met`` or ``not measured``."""
        if self.value is None:
            return "not measured"
        return "met" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "NOT met"

    def __str__(self) -> str:
        """One line."""
        value = "-" if self.value is None else f"{self.value:.2f}"
        return f"{self.verdict:12} {self.text}: {value} (to reach: {'>=' if self.at_least else '<='} {self.limit:g})"


def targets(results: Results) -> list[Target]:
    """The project's targets; all but memory are ratios round by round."""
    found = []
    for n in (1, 4):
        many = f"{n} connection{'s' if n > 1 else ''}"
        for kind, stock, name, cpu in (
            ("plain", "plain", "plain", 1.2),
            ("tls", "tls", "TLS", 1.1),
            ("openssl", "tls", "TLS by the same OpenSSL", 1.1),
        ):
            pair = (f"ours-{kind}-{n}", f"stock-{stock}-{n}")
            limit = 0.9 if results.place == "tmpfs" and kind == "plain" else 1.0
            found += [
                Target(f"time / stock clone's, {name}, {many}", limit, False, ratio(results, *pair, wall)),
                Target(f"recipient CPU / stock's, {name}, {many}", cpu, False, ratio(results, *pair, recipient_cpu)),
            ]
        unchecked = ratio(results, f"ours-unchecked-{n}", f"stock-plain-{n}", recipient_cpu)
        found.append(Target(f"recipient CPU / stock's, plain, no page checks, {many}", 0.8, False, unchecked))
    greatest = [
        sample.memory for method, samples in results.rows() if method.family == "ours"
        for sample in samples if sample.memory is not None
    ]  # fmt: skip
    found.append(
        Target("peak memory of any clone of ours, MiB", 64, False, max(greatest) / 2**20 if greatest else None)
    )
    return found + (_targets_beside_disks(results) if results.place == "disk" else [])


def _targets_beside_disks(results: Results) -> list[Target]:
    """Those of rows that are measured on the disk alone."""
    found = []
    for n in (1, 4):
        many = f"{n} connection{'s' if n > 1 else ''}"
        zstd = ratio(results, f"ours-zstd-{n}", f"stock-zlib-{n}", wall)
        journal = ratio(results, f"ours-plain-{n}", f"ours-unjournaled-{n}", wall)
        found += [
            Target(f"time with zstd / stock compressed clone's, {many}", 0.5, False, zstd),
            Target(f"time with the journal / without it, plain, {many}", 1.03, False, journal),
        ]
    encrypted = ratio(results, "ours-encrypted-4", "ours-tls-4", wall)
    found.append(Target("time of an encrypted donor / of a plain one, TLS, 4 connections", 1.05, False, encrypted))
    dump = ratio(results, "mysqldump", "ours-plain-4", wall)
    return [*found, Target("times faster than mysqldump + load, plain, 4 connections", 20, True, dump)]


_COLUMNS: list[tuple[str, Measure, float, int]] = [
    # title, measure, unit, digits
    ("wall s", wall, 1, 2),
    ("recipient CPU s", recipient_cpu, 1, 2),
    ("donor CPU s", lambda sample: sample.donor_cpu, 1, 2),
    ("machine CPU s", lambda sample: sample.machine_cpu, 1, 2),
    ("disk busy %", lambda sample: sample.disk, 0.01, 0),
    ("peak MiB", lambda sample: sample.memory, 2**20, 0),
    ("donor tps", lambda sample: sample.tps, 1, 0),
]


def table(results: Results) -> list[list[str]]:
    """Header and rows: medians (least-greatest), then the ratios to the stock row of the same kind."""
    rows = [["", "runs", *(title for title, *_ in _COLUMNS), "wall ratio", "CPU ratio"]]
    idle = list(results.idle_tps.values())
    if idle:
        blank = [""] * (len(_COLUMNS) - 1)
        tps = _cell(Spread(median(idle), min(idle), max(idle)), 1, 0)
        rows.append(["donor without any clone", str(len(idle)), *blank, tps, "", ""])
    for method, samples in results.rows():
        cells = [_cell(spread(samples, measure), unit, digits) for _, measure, unit, digits in _COLUMNS]
        ratios = [_ratio(ratio(results, method.key, method.reference, measure)) for measure in (wall, recipient_cpu)]
        rows.append([method.label, str(len(samples)), *cells, *ratios])
    for method in METHODS:
        if method.key in results.missing:
            rows.append([method.label, "0", f"not available: {results.missing[method.key]}"])
    return rows


def _cell(found: Spread | None, unit: float, digits: int) -> str:
    if found is None:
        return "-"
    middle, low, high = (f"{value / unit:.{digits}f}" for value in (found.median, found.low, found.high))
    return f"{middle} ({low}-{high})"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def aligned(rows: list[list[str]]) -> str:
    """The table for a terminal."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in full) for column in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if n == 0 else cell.rjust(width)
                 for n, (cell, width) in enumerate(zip(row, widths, strict=False))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_json(results: Results) -> dict[str, Any]:
    """Everything that was measured, and the targets."""
    return {
        "facts": results.facts,
        "load_average": results.loads,
        "idle_tps": results.idle_tps,
        "rows": {
            method.key: {"label": method.label, "runs": {n: asdict(s) for n, s in results.samples[method.key].items()}}
            for method, _ in results.rows()
        },
        "not_available": results.missing,
        "targets": [asdict(target) | {"verdict": target.verdict} for target in targets(results)],
    }


def summary(found: Sequence[Results]) -> str:
    """The page of the documentation."""
    return "\n".join([
        "# Benchmark", "",
        "<!-- generated by ./bench/compare --publish -->", "",
        *NOTES, "",
        *(["Other benchmarks:", "", *others, ""] if (others := other_pages()) else []),
        *(line for results in found for line in _chapter(results)),
    ])  # fmt: skip


def _chapter(results: Results) -> list[str]:
    rows = table(results)
    rows = [row + [""] * (len(rows[0]) - len(row)) for row in rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---|" + "---:|" * (len(rows[0]) - 1))
    loads = ", ".join(f"{value:.2f}" for value in results.loads.values())
    works = [sample.others for _, samples in results.rows() for sample in samples if sample.others]
    most = max(works, key=lambda work: work.cpu + work.steal, default=None)
    return [
        {"disk": "## On a disk", "tmpfs": "## In memory (tmpfs)"}[results.place], "",
        f"![comparison](images/compare-{results.place}.png)", "",
        *(f"* {name}: {value}" for name, value in results.facts.items()),
        f"* load average when each round began: {loads}",
        f"* the most that others had during a run: {most}", "",
        "Median (least-greatest) of the runs:", "",
        *lines, "",
        "What is to be reached; ratios are medians of the ratios round by round:", "",
        *(f"* {target}" for target in targets(results)), "",
    ]  # fmt: skip


NOTES = [
    "Each round runs every row once on the same donor and disk, every other round backwards; dumps and compressed",
    "clones run in fewer rounds. Before each run everything is synced and the donor's files are dropped from the page",
    "cache. All clones end with their files fsynced. The donor and the stock recipient have MySQL's defaults. The time",
    "of a program includes its start; the time of a dump does not include the start of the server that it is loaded",
    "into.",
    "mysqldump writes straight into the loading client. mydumper leaves out the schemas whose names are not ASCII,",
    "which Debian's version can't read.",
    "",
    "The donor's CPU includes the constant write load that it serves all the time. The machine's CPU includes",
    "everything, also the load's client and the kernel's own threads that write to disk. Peak memory is what the",
    "receiving processes have resident, of a server with its buffer pool as far as it was touched. Ratios compare",
    "with the stock row of the same kind and number of connections, compressed with compressed; the encrypted donor's",
    "with innoclone's own of a plain donor. That donor has the same tables, everything in it is encrypted, and the",
    "load moves to it while it is cloned.",
    "",
    "Donor and recipient share one disk, and each byte is read and written. How long that takes without a server and",
    "without a network is a row of its own; how busy the disk was is a column. In memory nothing waits for a disk:",
    "what is left is the program, and the donor's part, on the same processors.",
    "",
    "TLS is taken off by the OpenSSL of Python, which is the machine's, and by the server's own. A row of ours runs",
    "Python with the server's, so that both have the same; the versions are in the list.",
    "",
    "Nothing else ran on the machine: before and during each run the CPU time and the I/O of all processes but our own",
    "are taken from /proc, and the time that the host takes away; a run during which others had more than 2 % of the",
    "processors or 1 MiB/s is run anew.",
]
