"""``./bench/startup``: what a command spends before it does anything, and which modules take it.

Medians of fresh processes, as wall clock and as CPU time, which other work on the machine disturbs less, and the least
CPU time of all. The steps are run by turns. The last one's wall clock ends when a listener in the donor's place sees
the connection of `innoclone clone`; its CPU time is of all, also of how it ends when that hangs up. Bytecode is there,
as after any first run, even where the environment (PYTHONDONTWRITEBYTECODE) keeps Python from writing it: else the
compiler would be measured.

With ``--modules`` also the modules that take most by themselves, by ``python -X importtime``: the least of all runs, so
that chance counts little; that option makes each of them slower, so compare, don't add.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from subprocess import DEVNULL

_COMMAND_LINE = """
from innoclone.cli import collect_less
collect_less()
from innoclone.cli.app import program
program("clone")
"""
_CLONE = """
import os, sys
from innoclone.cli import main
donor = f"mysql://nobody@127.0.0.1:{os.environ.get('BENCH_DONOR', 1)}"
sys.argv[1:] = ["clone", "--no-defaults", "--retry-for=0", donor, os.environ["XDG_STATE_HOME"] + "/clone"]
main()
"""
NETWORK_ERROR = 3  # the exit status of that clone
_VERSION = """
import sys
from innoclone.cli import main
sys.argv[1:] = ["version"]
main()
"""
CONNECTS = "until clone connects"
STEPS = {
    "python": "pass",
    "innoclone version": _VERSION,
    "clone's command line": _COMMAND_LINE,
    "and its modules": f"{_COMMAND_LINE}import innoclone.commands.clone",
    CONNECTS: _CLONE,
}
"""What a process runs, the last three each with all of the one before."""

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def environment_in(folder: str) -> dict[str, str]:
    """An environment for processes that keep their bytecode and history in ``folder``."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return ours | {"PYTHONPYCACHEPREFIX": folder, "XDG_STATE_HOME": folder}


def run(code: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU time for a process that runs ``code``; of the clone, until it connects."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if code == _CLONE:
        wall = _until_connected(code, environment)
    else:
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=DEVNULL, stderr=DEVNULL)
        wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _until_connected(code: str, environment: dict[str, str]) -> float:
    with socket.create_server(("127.0.0.1", 0)) as donor:
        donor.settimeout(30)
        environment = environment | {"BENCH_DONOR": str(donor.getsockname()[1])}
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=DEVNULL, stderr=DEVNULL) as clone:
            donor.accept()[0].close()
            wall = time.perf_counter() - began
    if clone.returncode != NETWORK_ERROR:
        raise SystemExit(f"the clone ended otherwise than expected: {clone.returncode}")
    return wall


def measure(runs: int, environment: dict[str, str]) -> dict[str, list[tuple[float, float]]]:
    """Every step so many times, after one that fills the caches."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STEPS}
    for code in STEPS.values():
        run(code, environment)
    for _ in range(runs):
        for name, code in STEPS.items():
            found[name].append(run(code, environment))
    return found


def own_times(code: str, runs: int, environment: dict[str, str]) -> dict[str, int]:
    """Microseconds that each module takes by itself: the least of the runs."""
    found: dict[str, int] = {}
    for _ in range(runs):
        command = [sys.executable, "-X", "importtime", "-c", code]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode not in (0, NETWORK_ERROR):
            raise SystemExit(done.stderr)
        for took, name in _LINE.findall(done.stderr):
            found[name] = min(int(took), found.get(name, int(took)))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench/startup", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="processes for each step (default: %(default)s)")
    parser.add_argument("--modules", type=int, default=0, metavar="N", help="also name the N costliest modules")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        environment = environment_in(folder)
        show(measure(options.runs, environment))
        if options.modules:
            show_modules(own_times(STEPS[CONNECTS], options.runs, environment), options.modules)


def show(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print what `measure` found."""
    runs = len(found["python"])
    print(f"{'ms, median of ' + str(runs):<22} {'wall':>7} {'CPU':>7} {'least CPU':>10}")
    for name, samples in found.items():
        walls, cpus = zip(*samples, strict=True)
        print(f"{name:<22} {1000 * median(walls):>7.0f} {1000 * median(cpus):>7.0f} {1000 * min(cpus):>10.0f}")


def show_modules(times: dict[str, int], most: int) -> None:
    """Print the costliest of what `own_times` found."""
    print(f"\nof {len(times)} modules, {sum(times.values()) / 1000:.0f} ms:")
    for name, took in sorted(times.items(), key=lambda item: -item[1])[:most]:
        print(f"{took / 1000:>7.1f}  {name}")


if __name__ == "__main__":
    main()
