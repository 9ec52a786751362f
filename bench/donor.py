"""``./bench/donor``: innoclone as the donor, of stock recipients and of its own increments; tables and a plot.

Recipients: stock servers take clones from ``innoclone serve`` and from a stock donor. Increments: see
`bench.increments`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bench.increments import PARTS, Link, measure_increments
from bench.measure import compile_ours
from bench.others import refuse_company
from bench.publishing import ROOT, publish
from bench.recipients import KINDS, Comparison, compare_donors
from bench.report import aligned

HEADER = ["", "ours s", "stock s", "ratio", "to reach", "ours CPU s", "stock CPU s", "ratio", "to reach"]
COLOURS = (("innoclone", "#1b7f5c"), ("page scan", "#4a6fa5"), ("rsync", "#8a8f98"), ("full clone", "#c8792b"))
LEAST_ROUNDS, LEAST_SIZE, LEAST_BASE = 5, 2.0, 5.0  # of what is published


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    if options.publish:
        refuse_company()
    options.out.mkdir(parents=True, exist_ok=True)
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    rows: list[Comparison] = []
    links: list[Link] = []
    with tempfile.TemporaryDirectory(prefix="donor-", dir=options.work or options.out) as folder:
        if options.only != "increments":
            kinds = options.kinds.split(",") if options.kinds else KINDS
            rows = compare_donors(Path(folder).resolve(), int(options.size * 2**30), options.rounds, kinds,
                                  insist=options.publish)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="donor-", dir=options.work or options.out) as folder:
        if options.only != "recipients":
            links = measure_increments(Path(folder).resolve(), options.base, options.rate, options.link,
                                       options.parts, insist=options.publish)  # fmt: skip
    tables = [[HEADER, *(row.cells for row in rows)]] if rows else []
    tables += [link.table for link in links]
    print("\n" + "\n\n".join(map(aligned, tables)))
    print(f"load average {os.getloadavg()[0]:.2f}")
    results = {"recipients": [asdict(row) for row in rows], "increments": [asdict(link) for link in links]}
    (options.out / "donor.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(rows, links, options.out / "donor.png")
    print(f"\n{options.out / 'donor.json'}\n{options.out / 'donor.png'}")
    if options.publish:
        publish("bench-donor", _page(tables, options, max(link.others for link in links)), [options.out / "donor.png"])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/donor", description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="GiB that stock recipients take (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="of the recipients (default 5)")
    parser.add_argument("--kinds", help="these recipients alone, comma-separated: " + ", ".join(KINDS))
    parser.add_argument("--base", type=float, default=5.0, help="GiB of the earlier clone of increments (default 5)")
    parser.add_argument("--rate", type=float, default=100.0, help="of the shaped link, Mbit/s (default 100)")
    parser.add_argument("--only", choices=["recipients", "increments"], help="one half")
    parser.add_argument("--link", choices=["loopback", "shaped"], help="increments over this one alone")
    parser.add_argument(
        "--parts", type=lambda text: [float(word) for word in text.split(",")], default=list(PARTS),
        help="of the base's pages that are changed, one after the other (default 0,0.001,0.01,0.1)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where servers and clones go (default: --out)")
    parser.add_argument("--publish", action="store_true", help="renew docs/bench-donor.md and its picture")
    options = parser.parse_args()
    if options.kinds and (unknown := set(options.kinds.split(",")) - set(KINDS)):
        parser.error(f"no such recipients: {', '.join(sorted(unknown))}")
    if options.publish:
        few = options.only or options.kinds or options.link or len(options.parts) < len(PARTS)
        if few or options.rounds < LEAST_ROUNDS:
            parser.error(f"--publish takes both halves, both links, at least {LEAST_ROUNDS} rounds")
        if options.size < LEAST_SIZE or options.base < LEAST_BASE:
            parser.error(f"--publish takes at least {LEAST_SIZE:g} GiB and a base of {LEAST_BASE:g}")
    return options


def _page(tables: list[list[list[str]]], options: argparse.Namespace, others: float) -> str:
    """The page of the documentation."""
    lines = [
        "# Benchmark: innoclone as the donor", "", "<!-- generated by ./bench/donor --publish -->", "",
        "![donor](images/donor.png)", "",
        f"Stock recipients take {options.size:g} GiB from `innoclone serve` and from a stock donor with the same data:",
        f"medians of {options.rounds} rounds, ratios of the rounds'. Cold: the donor's files were dropped from the",
        "page cache; warm: read into it. The stock donor reads with O_DIRECT. CPU is the donor's. Nothing else ran on",
        "the machine.", "",
    ]  # fmt: skip
    for number, table in enumerate(tables):
        if number == 1:
            lines += [
                f"An earlier clone of {options.base:g} GiB is brought up to date over a network, once for each amount.",
                "Bytes on the wire are the network device's, in both directions with all headers. Page scan: a program",
                "of this benchmark that reads all of the donor's pages and sends those with a newer LSN, as backup",
                "programs do that keep no hashes; it can't tell two histories apart. Others had at most",
                f"{others:.1%} of the processors' time during one run.", "",
            ]  # fmt: skip
        lines += ["| " + " | ".join(row) + " |" for row in table]
        lines.insert(len(lines) - len(table) + 1, "|---|" + "---:|" * (len(table[0]) - 1))
        lines.append("")
    return "\n".join(lines)


def _draw(rows: list[Comparison], links: list[Link], path: Path) -> None:
    figure, panels = plt.subplots(1, 4, figsize=(24, 6), layout="constrained")
    for panel, what, title in ((panels[0], "wall", "stock recipients, s"), (panels[1], "cpu", "donor's CPU, s")):
        for shift, side, colour in ((-0.2, "ours", "#1b7f5c"), (0.2, "stock", "#c8792b")):
            values = [median(getattr(run, what) for run in getattr(row, side)) for row in rows]
            panel.barh([place + shift for place in range(len(rows))], values, height=0.38, color=colour, label=side)
        panel.set_yticks(range(len(rows)), [row.label.split(";")[0] for row in rows] if panel is panels[0] else [])
        panel.set_title(title)
        panel.legend(frameon=False)
    for panel, what, title in (
        (panels[2], "seconds", "increments, s"),
        (panels[3], "wire", "increments, MB on the wire"),
    ):
        for link, style in zip(links, ("-", "--"), strict=False):
            for name, colour in COLOURS:
                found = [row for row in link.rows if row.program == name]
                scale = 1e6 if what == "wire" else 1
                values = [getattr(row, what) / scale for row in found]
                if name == "full clone":
                    panel.axhline(values[0], color=colour, linestyle=style, label=f"{name}, {link.name}")
                else:
                    panel.plot([f"{row.part:.1%}" for row in found], values, marker="o", color=colour, linestyle=style,
                               label=f"{name}, {link.name}")  # fmt: skip
        panel.set_title(title)
        if links:
            panel.set_yscale("log")
            panel.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
