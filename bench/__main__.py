"""``./bench/compare``: measure, print, draw.

On the disk, and with donor and clones in memory (tmpfs), where no disk hides what the programs cost. A publication
insists on a machine where nothing else runs (`bench.others` knows): a disturbed run is run anew, and one that stays
disturbed ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import ssl
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.chart import draw
from bench.measure import CommandFailed, Meter, Sample, compile_ours, forget_files
from bench.methods import METHODS, Method, NotAvailable
from bench.openssl import python_of, version_of
from bench.others import refuse_company, undisturbed
from bench.publishing import ROOT, publish
from bench.report import Results, aligned, as_json, summary, table, targets
from bench.servers import Servers
from innoclone.files.keyring import keyring_home
from innoclone.sandbox.load import Load
from innoclone.server.mysqld import Server
from innoclone.server.programs import provide_programs

LOAD_THREADS, LOAD_PAUSE = 2, 0.01  # at most 200 transactions per second: what it gets less, the clone took
SETTLE = 1.0  # seconds between the sync and a run
LEAST_ROUNDS, LEAST_SIZE = 7, 2 << 30  # of what is published
ROOM = 3  # times the data: donor, clone, and what the servers keep beside


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.publish:
        refuse_company()
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    found = {}
    for place in options.places:
        found[place] = _measure(place, options)
        print(f"\n{place}: median (least-greatest); ratios to the row of the same kind, medians of the rounds'")
        print(aligned(table(found[place])) + "\n\n" + "\n".join(map(str, targets(found[place]))) + "\n", flush=True)
        draw(found[place], options.out / f"compare-{place}.png")
        print(options.out / f"compare-{place}.png")
    done = {place: as_json(results) for place, results in found.items()}
    (options.out / "compare.json").write_text(json.dumps(done, indent=1) + "\n")
    print(options.out / "compare.json")
    if options.publish:
        pictures = [options.out / f"compare-{place}.png" for place in found]
        publish("bench", summary(list(found.values())), pictures)
    failed = [
        method.key for results in found.values() for method in METHODS
        if method.family != "other" and method.key in results.missing
    ]  # fmt: skip
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/compare", description=__doc__)
    parser.add_argument("--size", type=_bytes, default=_bytes("2G"), help="data on the donor (default 2G)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--slow-rounds", type=int, default=2, help="rounds with dumps and compression (default 2)")
    parser.add_argument("--rows", help="only these, comma-separated: " + ", ".join(method.key for method in METHODS))
    parser.add_argument(
        "--places", type=lambda text: text.split(","), default=["disk", "tmpfs"],
        help="where donor and clones are: disk, tmpfs or both (the default), comma-separated",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder for JSON and PNG")
    parser.add_argument("--work", type=Path, help="folder on the disk to measure (default: that of --out)")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="folder in memory (default /dev/shm)")  # noqa: S108
    parser.add_argument("--publish", action="store_true", help="renew docs/bench.md and its pictures")
    options = parser.parse_args()
    unknown = set((options.rows or "").split(",")) - {method.key for method in METHODS} - {""}
    if unknown:
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    if set(options.places) - {"disk", "tmpfs"}:
        parser.error("places are disk and tmpfs")
    few = options.rounds < LEAST_ROUNDS or options.size < LEAST_SIZE or options.rows or len(options.places) < 2
    if options.publish and few:
        parser.error(
            f"--publish takes all rows, both places, at least {LEAST_ROUNDS} rounds and {LEAST_SIZE >> 30}G of data"
        )
    return options


def _bytes(text: str) -> int:
    units = {"M": 2**20, "G": 2**30}
    if not text[:-1].isdigit() or text[-1] not in units:
        raise argparse.ArgumentTypeError("a size is a number with M or G")
    return int(text[:-1]) * units[text[-1]]


def _measure(place: str, options: argparse.Namespace) -> Results:
    """All rounds at one place; nothing is left there."""
    wanted = set(options.rows.split(",")) if options.rows else {method.key for method in METHODS}
    methods = [method for method in METHODS if method.key in wanted and (place == "disk" or method.on_tmpfs)]
    folder = options.work or options.out if place == "disk" else options.tmpfs
    encrypted = any(method.encrypted for method in methods)
    needed = (ROOM + encrypted) * options.size
    if (free := shutil.disk_usage(folder).free) < needed:
        raise SystemExit(f"{folder} has {free >> 20:,} MiB free; {needed >> 20:,} are needed")
    # Absolute, because mysqld takes a relative path from its own data directory.
    work = Path(tempfile.mkdtemp(prefix="innoclone-compare-", dir=folder)).resolve()
    try:
        with Servers(provide_programs(print), work, options.size, print, encrypted=encrypted) as servers:
            results = Results(place, _facts(options, servers))
            with _load(servers.donor) as load:
                for number in range(1, options.rounds + 1):
                    _round(number, options, methods, servers, load, results)
            _refuse_errors(load)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return results


def _round(
    number: int, options: argparse.Namespace, methods: list[Method], servers: Servers, load: Load, results: Results
) -> None:
    results.loads[number] = os.getloadavg()[0]
    results.idle_tps[number], between = undisturbed(lambda: _idle(load), insist=options.publish)
    print(
        f"round {number} of {options.rounds}: load average {results.loads[number]:.2f}, others had {between};"
        f" {results.idle_tps[number]:.0f} transactions/s without any clone",
        flush=True,
    )
    for method in methods if number % 2 else reversed(methods):
        if method.key in results.missing or (method.slow and number > options.slow_rounds):
            continue
        try:
            sample, others = undisturbed(partial(_run, method, servers, load), insist=options.publish)
        except (NotAvailable, CommandFailed) as error:
            results.missing[method.key] = str(error)
            results.samples.pop(method.key, None)
            print(f"  {method.label:45} not available: {error}", flush=True)
            continue
        results.samples.setdefault(method.key, {})[number] = replace(sample, others=others)
        disturbed = f"   others: {others}" if others.disturbs else ""
        print(f"  {method.label:45} {sample.wall:8.2f} s {sample.tps:6.0f} transactions/s{disturbed}", flush=True)


def _run(method: Method, servers: Servers, load: Load) -> Sample:
    """One row once: prepared, measured, removed."""
    target = servers.work / "target"
    with contextlib.ExitStack() as stack:
        donor = servers.donor
        if method.encrypted:
            assert servers.encrypted is not None, "it is started where there is such a row"
            donor = servers.encrypted
            stack.enter_context(load.resting())
            load = stack.enter_context(_load(donor))
        os.sync()
        forget_files([donor.datadir])
        time.sleep(SETTLE)
        try:
            sample = method.run(servers, target, Meter(donor, load))
            _refuse_errors(load)
            return sample
        finally:
            for left in (target, keyring_home(target)):
                shutil.rmtree(left, ignore_errors=True)


def _refuse_errors(load: Load) -> None:
    if load.errors:
        raise SystemExit(f"the load broke off, so the numbers are worthless: {load.errors[0]}")


def _load(server: Server) -> Load:
    return Load(server.connect, threads=LOAD_THREADS, pause=LOAD_PAUSE)


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
        "OpenSSL": _openssl(servers),
        "load on the donor": f"{LOAD_THREADS} connections, at most {LOAD_THREADS / LOAD_PAUSE:.0f} transactions/s",
    }


def _openssl(servers: Servers) -> str:
    """Of Python, and the server's own, if it has one."""
    python = python_of(servers.programs)
    theirs = "not the server's own" if python is None else version_of(python)
    return f"{ssl.OPENSSL_VERSION} (Python), {theirs} (server)"


def _file_system(path: Path) -> str:
    """The type of the file system that ``path`` is on: the longest mount point that is above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(len(point), kind) for point, kind in mounts if path.is_relative_to(point)]
    return max(above)[1] if above else "unknown file system"


if __name__ == "__main__":
    sys.exit(main())
