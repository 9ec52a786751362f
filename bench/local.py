"""``./bench/local``: clones on the donor's own host, full and incremental, beside CLONE LOCAL and cp; table and plot.

Full: for each donor (O_DIRECT or buffered), file system (the work folder's; XFS on a loop device where this user may
mount one) and state of the page cache. Incremental: rows spread over the pages of one big table are changed, flushed,
and an earlier clone is brought up to date, with the donor's files and the clone's in the page cache. Verify: the pages
of a finished clone are checked, from the disk and from the page cache, beside reading the same files and no more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from pymysql.cursors import Cursor

from bench.measure import compile_ours, prepare_files
from bench.others import refuse_company
from bench.publishing import ROOT, publish
from bench.servers import ROWS_PER_PAGE, fill_pages
from bench.trying import FAILURES, Failures, ratio_of, save
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server.mysqld import Server
from innoclone.server.programs import provide_programs
from innoclone.stream.pagecheck import find_tablespaces

CHANGED = (0.0, 0.001, 0.01, 0.1, 1.0)
# Ratios to CLONE LOCAL that are to be reached: (donor, cache) -> at most.
TARGETS = {("O_DIRECT", "cold"): 0.9, ("O_DIRECT", "warm"): 0.5, ("fsync", "warm"): 1.0}
REFLINK_TARGET = 0.2
INCREMENTAL_TARGET = 0.3  # of the full clone's time, with 1 % of the pages changed
VERIFY_TARGET = 3.0  # GB/s, or what the disk gives
PARTS = ("full", "incremental", "verify")
LEAST_ROUNDS, LEAST_SIZE = 5, 2.0  # of what is published


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="bench/local", description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="GiB of data on the donor (default 2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where servers and clones go (default: --out)")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--publish", action="store_true", help="renew docs/bench-local.md and its picture")
    options = parser.parse_args()
    if options.publish:
        if options.only or options.rounds < LEAST_ROUNDS or options.size < LEAST_SIZE:
            parser.error(f"--publish takes all parts, at least {LEAST_ROUNDS} rounds and {LEAST_SIZE:g} GiB")
        refuse_company()
    options.out.mkdir(parents=True, exist_ok=True)
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the donor is stopped on the way out
    results: dict[str, Any] = {"size": options.size, "rounds": options.rounds, "failed": Failures()}
    results |= {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory(prefix="local-", dir=options.work or options.out) as folder, ExitStack() as stack:
        work = Path(folder).resolve()
        template = _fill(work, options.size)
        if options.only in (None, "full"):
            for name, place in _file_systems(work, options.size, stack):
                for flush in ("O_DIRECT", "fsync") if name != "xfs" else ("O_DIRECT",):
                    with _going_on(f"{name} {flush}", results, options):
                        _full(template, place, name, flush, results, options)
        if options.only in (None, "incremental", "verify"):
            with _going_on("incremental, verify", results, options), _donor(template, work, "O_DIRECT") as server:
                for part, measure in (("incremental", _incremental), ("verify", _verify)):
                    if options.only in (None, part):
                        with _going_on(part, results, options):
                            measure(server, work, results, options)
    print(f"load average {os.getloadavg()[0]:.2f}", flush=True)
    _draw(results, options.out / "local.png")
    print(f"\n{options.out / 'local.json'}\n{options.out / 'local.png'}")
    if options.publish:
        publish("bench-local", _page(results), [options.out / "local.png"])
    return 1 if results["failed"] else 0


@contextmanager
def _going_on(what: str, results: dict[str, Any], options: argparse.Namespace) -> Iterator[None]:
    """A part that may fail as a whole; what was measured so far is kept."""
    try:
        yield
    except FAILURES as error:
        results["failed"].note(what, error)
    finally:
        save(options.out / "local.json", results)


def _fill(work: Path, size: float) -> Path:
    """A data directory for all donors."""
    programs = provide_programs(print)
    template = work / "template"
    print(f"filling a donor, MySQL {programs.version}, with {size:g} GiB", flush=True)
    fill_pages(programs, template, size)
    (template / "auto.cnf").unlink()
    return template


def _file_systems(work: Path, size: float, stack: ExitStack) -> Iterator[tuple[str, Path]]:
    """The work folder's own, and XFS with reflink where it can be mounted."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", work], capture_output=True, text=True, check=True).stdout.strip()
    yield kind, work
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        print("xfs: not available (needs root and mkfs.xfs from the package xfsprogs)")
        return
    image, place = work / "xfs.img", work / "xfs"
    with image.open("wb") as file:
        file.truncate(int(size * 3 + 3) << 30)
    place.mkdir()
    subprocess.run(["mkfs.xfs", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, place], check=False).returncode:
        print("xfs: not available (loop mounts are not allowed here)")
        return
    stack.callback(lambda: subprocess.run(["umount", "-l", place], check=False))
    yield "xfs", place


@contextmanager
def _donor(template: Path, place: Path, flush: str) -> Iterator[Server]:
    """A server on a copy of the template."""
    datadir = place / "donor"
    shutil.copytree(template, datadir)
    programs = provide_programs(print)
    options = [*DONOR_OPTIONS, f"--innodb-flush-method={flush}", "--plugin-load-add=mysql_clone.so"]
    server = Server.start(programs, datadir, options=[*options, "--innodb-redo-log-capacity=1G"], timeout=120)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(datadir)


def _ours(server: Server, target: Path, *options: str) -> dict[str, Any]:
    """Run ``innoclone local``; its JSON result."""
    command = [sys.executable, "-m", "innoclone", "local", "-uroot", f"-S{server.socket}", str(target), "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _stock(server: Server, target: Path) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CLONE LOCAL DATA DIRECTORY = '{target}'")


def _cp(server: Server, target: Path) -> None:
    subprocess.run(["cp", "-r", server.datadir, target], check=True, stderr=subprocess.DEVNULL)
    os.sync()


def _full(
    template: Path, place: Path, name: str, flush: str, results: dict[str, Any], options: argparse.Namespace
) -> None:
    methods: dict[str, Callable[[Server, Path], object]] = {
        "innoclone local": _ours,
        "innoclone local, pages not verified": lambda server, target: _ours(server, target, "--no-verify-pages"),
        "CLONE LOCAL": _stock,
        "cp + sync": _cp,
    }
    with _donor(template, place, flush) as server:
        for cache in ("cold", "warm"):
            times: dict[str, list[float | None]] = {method: [] for method in methods}
            for number in range(options.rounds):
                for method in methods if number % 2 == 0 else reversed(methods):
                    one = partial(_once, methods[method], server, place / "clone", warm=cache == "warm")
                    what = f"{name} {flush} {cache} {method}"
                    times[method].append(results["failed"].undisturbed(what, one, insist=options.publish))
            for method, all_found in times.items():
                found = [each for each in all_found if each is not None]
                ratio = ratio_of(all_found, times["CLONE LOCAL"])
                if ratio is None:  # said already
                    continue
                limit = REFLINK_TARGET if name == "xfs" else TARGETS.get((flush, cache))
                row = {
                    "file system": name, "donor": flush, "cache": cache, "method": method, "seconds": found,
                    "ratio": ratio, "load": os.getloadavg()[0],
                    "to reach": _said(ratio, limit if method == "innoclone local" else None),
                }  # fmt: skip
                results["full"].append(row)
                print(
                    f"{name:<10} {flush:<9} {cache:<5} {method:<36} {median(found):7.2f} s"
                    f" ({min(found):.2f}-{max(found):.2f})  {ratio:5.2f} of CLONE LOCAL  {row['to reach']}",
                    flush=True,
                )
            save(options.out / "local.json", results)


def _once(method: Callable[[Server, Path], object], server: Server, target: Path, *, warm: bool) -> float:
    """Seconds of one full clone, which is removed."""
    prepare_files(server.datadir, warm=warm)
    try:
        begin = time.monotonic()
        method(server, target)
        return time.monotonic() - begin
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _said(value: float, limit: float | None, *, least: bool = False) -> str:
    if limit is None:
        return ""
    met = value >= limit if least else value <= limit
    return f"{'met' if met else 'NOT met'} (to reach: {'>=' if least else '<='} {limit:g})"


def _incremental(server: Server, work: Path, results: dict[str, Any], options: argparse.Namespace) -> None:
    base, failed = work / "base", results["failed"]
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_log_bin = OFF")  # the rows of a GiB would only fill the disk
        cursor.execute("SELECT COUNT(*) FROM b.t")
        (count,) = cursor.fetchone() or (0,)
        whole = partial(_ours, server, base, "--no-verify-pages")
        one = partial(_once, lambda *_: whole(), server, base, warm=True)
        full = [failed.undisturbed("full, warm", one, insist=options.publish) for _ in range(options.rounds)]
        whole()
        size = sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
        known = [each for each in full if each is not None]
        print(
            f"full, warm: {median(known):.2f} s, {size / 2**20:,.0f} MiB" if known else "full, warm: none", flush=True
        )
        for part in CHANGED:
            what, update = f"incremental, {part:.1%}", partial(_update, server, cursor, base, part)
            all_runs = [failed.undisturbed(what, update, insist=options.publish) for _ in range(options.rounds)]
            ratio = ratio_of([run and run[0] for run in all_runs], full)
            if ratio is None:
                continue
            runs = [run for run in all_runs if run is not None]
            times, written = [took for took, _ in runs], [result["written"] for _, result in runs]
            row = {
                "part": part, "pages": count // ROWS_PER_PAGE, "seconds": times, "full": known, "written": written,
                "ratio": ratio, "written part": median(written) / size,
                "to reach": _said(ratio, INCREMENTAL_TARGET if part == 0.01 else None),
            }  # fmt: skip
            results["incremental"].append(row)
            save(options.out / "local.json", results)
            print(
                f"incremental, {part:6.1%} of the pages changed: {median(times):6.2f} s"
                f" ({min(times):.2f}-{max(times):.2f}), {ratio:.2f} of full; {median(written) / 2**20:,.1f} MiB"
                f" written, {row['written part']:.4f} of all  {row['to reach']}",
                flush=True,
            )
    shutil.rmtree(base)


def _update(server: Server, cursor: Cursor, base: Path, part: float) -> tuple[float, dict[str, Any]]:
    """Change that part of the pages, and bring the earlier clone up to date: seconds, and the result."""
    if part:
        cursor.execute(f"UPDATE b.t SET n = n + 1 WHERE id % {round(1 / part) * ROWS_PER_PAGE} = 1")
    cursor.execute("FLUSH TABLES b.t FOR EXPORT")
    cursor.execute("UNLOCK TABLES")
    prepare_files(server.datadir, base, warm=True)
    begin = time.monotonic()
    result = _ours(server, base, "--incremental=require", "--no-verify-pages")
    return time.monotonic() - begin, result


def _verify(server: Server, work: Path, results: dict[str, Any], options: argparse.Namespace) -> None:
    """``innoclone verify`` with its start, and the same files read with O_DIRECT by four threads and thrown away."""
    clone = work / "verified"
    _ours(server, clone)
    size = sum((clone / name).stat().st_size for name in find_tablespaces(clone))
    ours = [sys.executable, "-m", "innoclone", "verify", str(clone), "--quiet"]
    commands = {
        "read, cold": [sys.executable, "-m", "bench.raw", str(clone)],
        "verify, cold": ours,
        "verify, warm": ours,
    }
    speeds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            one = partial(_timed, command, clone, warm=name.endswith("warm"))
            if (took := results["failed"].undisturbed(name, one, insist=options.publish)) is not None:
                speeds[name].append(size / 1e9 / took)
    for name, found in speeds.items():
        limit = None if name.startswith("read") else VERIFY_TARGET
        if name.endswith("cold") and limit is not None and speeds["read, cold"]:
            limit = min(limit, median(speeds["read, cold"]))
        if not found:
            continue
        row = {"what": name, "GB/s": found, "to reach": _said(median(found), limit, least=True)}
        results["verify"].append(row)
        print(f"{name:<14} {median(found):5.2f} GB/s ({min(found):.2f}-{max(found):.2f})  {row['to reach']}")
    shutil.rmtree(clone)


def _timed(command: list[str], directory: Path, *, warm: bool) -> float:
    prepare_files(directory, warm=warm)
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


def _page(results: dict[str, Any]) -> str:
    """The page of the documentation."""
    full = [
        f"| {row['file system']} | {row['donor']} | {row['cache']} | {row['method']} | {_spread(row['seconds'])} |"
        f" {row['ratio']:.2f} | {row['to reach']} |" for row in results["full"]
    ]  # fmt: skip
    incremental = [
        f"| {row['part']:.1%} | {_spread(row['seconds'])} | {row['ratio']:.2f} |"
        f" {median(row['written']) / 2**20:,.1f} | {row['to reach']} |" for row in results["incremental"]
    ]  # fmt: skip
    verify = [f"| {row['what']} | {_spread(row['GB/s'])} | {row['to reach']} |" for row in results["verify"]]
    return "\n".join([
        "# Benchmark: on the donor's host", "", "<!-- generated by ./bench/local --publish -->", "",
        "![local](images/local.png)", "",
        f"{results['size']:g} GiB, {results['rounds']} rounds; median (least-greatest).",
        "Ratios are medians of the rounds'. Before each run all is synced, then the files are dropped from the page",
        "cache (cold) or read into it (warm). Nothing else ran on the machine.", "",
        "## Full clones", "",
        "| file system | donor | cache | | s | of CLONE LOCAL | |", "|---|---|---|---|---:|---:|---|", *full, "",
        "## Incremental clones, warm", "",
        "| pages changed | s | of the full clone | MiB written | |", "|---:|---:|---:|---:|---|", *incremental, "",
        "## Verify", "", "| | GB/s | |", "|---|---:|---|", *verify, "",
        *(["Runs that failed, and are missing:", "", *(f"* {line}" for line in results["failed"]), ""]
          if results["failed"] else []),
    ])  # fmt: skip


def _spread(found: list[float]) -> str:
    return f"{median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def _draw(results: dict[str, Any], path: Path) -> None:
    """Bars of the full clones, a line of the incremental ones, bars of `verify`."""
    figure, (left, right, last) = plt.subplots(1, 3, figsize=(21, 7), width_ratios=(3, 3, 1), layout="constrained")
    rows = results["full"]
    colours = {"CLONE LOCAL": "#c8792b", "cp + sync": "#8a8f98"}
    for place, row in enumerate(reversed(rows)):
        middle = median(row["seconds"])
        spread = [[middle - min(row["seconds"])], [max(row["seconds"]) - middle]]
        left.barh(place, middle, xerr=spread, color=colours.get(row["method"], "#1b7f5c"))
    labels = [f"{row['file system']} {row['donor']} {row['cache']}: {row['method']}" for row in reversed(rows)]
    left.set_yticks(range(len(rows)), labels, fontsize=8)
    left.set_title(f"full clone of {results['size']:g} GiB, s (median, least to greatest)")
    found = results["incremental"]
    places = range(len(found))
    right.plot(places, [median(row["seconds"]) for row in found], marker="o", color="#1b7f5c", label="seconds")
    right.set_xticks(places, [f"{row['part']:.1%}" for row in found])
    right.set_xlabel("pages changed since the earlier clone")
    right.set_ylim(bottom=0)
    right.set_title("incremental clone: seconds, and MiB written (dashed)")
    other = right.twinx()
    other.plot(places, [median(row["written"]) / 2**20 for row in found], marker="s", linestyle="--", color="#c8792b")
    last.bar(
        [row["what"] for row in results["verify"]], [median(row["GB/s"]) for row in results["verify"]], color="#1b7f5c"
    )
    last.set_title("verify, GB/s")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
