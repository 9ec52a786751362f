"""``./bench/compare``: measure, print, draw."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.chart import draw
from bench.measure import CommandFailed, Meter, forget_files
from bench.methods import METHODS, Method, NotAvailable
from bench.report import Results, aligned, as_json, summary, table, targets
from bench.servers import Servers
from innoclone.sandbox.load import Load
from innoclone.server.programs import provide_programs

ROOT = Path(__file__).resolve().parent.parent
LOAD_THREADS, LOAD_PAUSE = 2, 0.01  # at most 200 transactions per second: what it gets less, the clone took
SETTLE = 1.0  # seconds between the sync and a run


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    # Absolute, because mysqld takes a relative path from its own data directory.
    work = Path(tempfile.mkdtemp(prefix="compare-", dir=options.work or options.out)).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    try:
        results = _measure(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = aligned(table(results)) + "\n\n" + "\n".join(map(str, targets(results)))
    print(f"\nmedian (least-greatest); ratios to the stock row of the same kind, median of the rounds' ratios\n{text}")
    (options.out / "compare.json").write_text(json.dumps(as_json(results), indent=1) + "\n")
    draw(results, options.out / "compare.png")
    print(f"\n{options.out / 'compare.json'}\n{options.out / 'compare.png'}")
    if options.publish:
        images = ROOT / "docs" / "images"
        images.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(options.out / "compare.png", images / "compare.png")
        (ROOT / "docs" / "bench.md").write_text(summary(results))
    failed = [method.key for method in METHODS if method.family != "other" and method.key in results.missing]
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/compare", description=__doc__)
    parser.add_argument("--size", type=_bytes, default=_bytes("1G"), help="data on the donor (default 1G)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--slow-rounds", type=int, default=2, help="rounds with the dumps (default 2)")
    parser.add_argument("--rows", help="only these, comma-separated: " + ", ".join(method.key for method in METHODS))
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder for JSON and PNG")
    parser.add_argument("--work", type=Path, help="folder on the disk to measure (default: that of --out)")
    parser.add_argument("--publish", action="store_true", help="renew docs/bench.md and its picture")
    options = parser.parse_args()
    unknown = set((options.rows or "").split(",")) - {method.key for method in METHODS} - {""}
    if unknown:
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    return options


def _bytes(text: str) -> int:
    units = {"M": 2**20, "G": 2**30}
    if not text[:-1].isdigit() or text[-1] not in units:
        raise argparse.ArgumentTypeError("a size is a number with M or G")
    return int(text[:-1]) * units[text[-1]]


def _measure(options: argparse.Namespace, work: Path) -> Results:
    wanted = set(options.rows.split(",")) if options.rows else {method.key for method in METHODS}
    methods = [method for method in METHODS if method.key in wanted]
    programs = provide_programs(print)
    with Servers(programs, work, options.size, print) as servers:
        results = Results(_facts(options, servers))
        with Load(servers.donor.connect, threads=LOAD_THREADS, pause=LOAD_PAUSE) as load:
            for number in range(1, options.rounds + 1):
                _round(number, options, methods, servers, load, results)
        if load.errors:
            raise SystemExit(f"the load broke off, so the numbers are worthless: {load.errors[0]}")
    return results


def _round(
    number: int, options: argparse.Namespace, methods: list[Method], servers: Servers, load: Load, results: Results
) -> None:
    results.loads[number] = os.getloadavg()[0]
    results.idle_tps[number] = _idle(load)
    print(
        f"round {number} of {options.rounds}: load average {results.loads[number]:.2f}, "
        f"{results.idle_tps[number]:.0f} transactions/s without any clone",
        flush=True,
    )
    for method in methods if number % 2 else reversed(methods):
        if method.key in results.missing or (method.slow and number > options.slow_rounds):
            continue
        target = servers.work / "target"
        os.sync()
        forget_files([servers.donor.datadir])
        time.sleep(SETTLE)
        try:
            sample = method.run(servers, target, Meter(servers.donor, load))
        except (NotAvailable, CommandFailed) as error:
            results.missing[method.key] = str(error)
            results.samples.pop(method.key, None)
            print(f"  {method.label:45} not available: {error}", flush=True)
            continue
        finally:
            shutil.rmtree(target, ignore_errors=True)
        results.samples.setdefault(method.key, {})[number] = sample
        print(f"  {method.label:45} {sample.wall:8.2f} s {sample.tps:6.0f} transactions/s", flush=True)


def _idle(load: Load, seconds: float = 3.0) -> float:
    before, begin = load.transactions, time.monotonic()
    time.sleep(seconds)
    return (load.transactions - before) / (time.monotonic() - begin)


def _facts(options: argparse.Namespace, servers: Servers) -> dict[str, str | int | float]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "data": f"{options.size / 2**20:,.0f} MiB",
        "rounds": options.rounds,
        "MySQL": servers.programs.version,
        "machine": f"{os.cpu_count()} processors, {memory / 2**30:.0f} GiB memory, {platform.machine()}",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}, {_file_system(servers.work)}",
        "load on the donor": f"{LOAD_THREADS} connections, at most {LOAD_THREADS / LOAD_PAUSE:.0f} transactions/s",
    }


def _file_system(path: Path) -> str:
    """The type of the file system that ``path`` is on: the longest mount point that is above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if path.is_relative_to(point)]
    return max(above)[1] if above else "unknown file system"


if __name__ == "__main__":
    sys.exit(main())
