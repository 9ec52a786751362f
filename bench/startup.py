"""``./bench/startup``: what a command spends before it does anything, and which modules take it.

Medians of fresh processes, as wall clock and as CPU time, which other work on the machine disturbs less. The steps are
run by turns. With ``--modules`` also the modules that take most by themselves, by ``python -X importtime``: the least
of all runs, so that chance counts little; that option makes each of them slower, so compare, don't add.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

STEPS = {
    "python": "pass",
    "the command line": "from innoclone.cli.app import program; program('clone')",
    "innoclone clone": "from innoclone.cli.app import program; program('clone'); import innoclone.commands.clone",
}
"""What a process runs, each with all of the step before."""

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def run(code: str) -> tuple[float, float]:
    """Seconds of wall clock and of CPU time for a process that runs ``code``."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def measure(runs: int) -> dict[str, list[tuple[float, float]]]:
    """Every step so many times, after one that fills the caches."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STEPS}
    for code in STEPS.values():
        run(code)
    for _ in range(runs):
        for name, code in STEPS.items():
            found[name].append(run(code))
    return found


def own_times(code: str, runs: int) -> dict[str, int]:
    """Microseconds that each module takes by itself: the least of the runs."""
    found: dict[str, int] = {}
    for _ in range(runs):
        command = [sys.executable, "-X", "importtime", "-c", code]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        for took, name in _LINE.findall(text):
            found[name] = min(int(took), found.get(name, int(took)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench/startup", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="processes for each step (default: %(default)s)")
    parser.add_argument("--modules", type=int, default=0, metavar="N", help="also name the N costliest modules")
    options = parser.parse_args(arguments)
    print(f"{'ms, median of ' + str(options.runs):<22} {'wall':>7} {'CPU':>7}")
    for name, samples in measure(options.runs).items():
        wall, cpu = (median(column) for column in zip(*samples, strict=True))
        print(f"{name:<22} {1000 * wall:>7.0f} {1000 * cpu:>7.0f}")
    if options.modules:
        times = own_times(STEPS["innoclone clone"], options.runs)
        print(f"\nof {len(times)} modules, {sum(times.values()) / 1000:.0f} ms:")
        for name, took in sorted(times.items(), key=lambda item: -item[1])[: options.modules]:
            print(f"{took / 1000:>7.1f}  {name}")


if __name__ == "__main__":
    main()
