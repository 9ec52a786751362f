"""``./bench/local``: clones on the donor's own host, full and incremental, beside CLONE LOCAL and cp; table and plot.

Full: for each donor (O_DIRECT or buffered), file system (the work folder's; XFS on a loop device where this user may
mount one) and state of the page cache. Incremental: rows spread over the pages of one big table are changed, flushed,
and an earlier clone is brought up to date, with the donor's files and the clone's in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bench.measure import forget_files
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server.mysqld import Server
from innoclone.server.programs import provide_programs

ROOT = Path(__file__).resolve().parent.parent
ROWS_PER_PAGE = 2
BODY = 7000  # bytes of a row: two of them fill a page of 16 KiB
CHANGED = (0.0, 0.001, 0.01, 0.1, 1.0)
# Ratios to CLONE LOCAL that are to be reached: (donor, cache, shared blocks) -> at most.
TARGETS = {("O_DIRECT", "cold", False): 0.85, ("O_DIRECT", "warm", False): 0.5, ("fsync", "warm", False): 1.0}
REFLINK_TARGET = 0.2


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="bench/local", description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="GiB of data on the donor (default 2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where servers and clones go (default: --out)")
    parser.add_argument("--only", choices=["full", "incremental"], help="one half")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"size": options.size, "rounds": options.rounds, "full": [], "incremental": []}
    with tempfile.TemporaryDirectory(prefix="local-", dir=options.work or options.out) as folder, ExitStack() as stack:
        work = Path(folder).resolve()
        template = _fill(work, options.size)
        if options.only != "incremental":
            for name, place in _file_systems(work, options.size, stack):
                for flush in ("O_DIRECT", "fsync") if name != "xfs" else ("O_DIRECT",):
                    results["full"] += _full(template, place, name, flush, options.rounds)
        if options.only != "full":
            results["incremental"] = _incremental(template, work, options.rounds)
    (options.out / "local.json").write_text(json.dumps(results, indent=1) + "\n")
    _draw(results, options.out / "local.png")
    print(f"\n{options.out / 'local.json'}\n{options.out / 'local.png'}")
    return 0


def _fill(work: Path, size: float) -> Path:
    """A data directory with one big table; two rows to a page."""
    programs = provide_programs(print)
    template = work / "template"
    print(f"filling a donor, MySQL {programs.version}, with {size:g} GiB", flush=True)
    Server.initialize(programs, template)
    options = ["--skip-log-bin", "--innodb-redo-log-capacity=1G"]
    with (
        Server.start(programs, template, options=options) as server,
        server.connect() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE DATABASE b")
        cursor.execute("CREATE TABLE b.t (id INT AUTO_INCREMENT PRIMARY KEY, n INT, body VARBINARY(7500))")
        cursor.execute(f"INSERT INTO b.t (n, body) VALUES (0, REPEAT(RANDOM_BYTES(100), {BODY // 100}))")
        wanted = int(size * (1 << 30) / 16384 * ROWS_PER_PAGE)
        have = 1
        while have < wanted:
            count = min(have, wanted - have, 20000)
            body = f"REPEAT(RANDOM_BYTES(100), {BODY // 100})"
            cursor.execute(f"INSERT INTO b.t (n, body) SELECT 0, {body} FROM b.t LIMIT {count}")
            have += count
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
    stack.callback(subprocess.run, ["umount", "-l", place], check=False)
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


def _full(template: Path, place: Path, name: str, flush: str, rounds: int) -> list[dict[str, Any]]:
    methods: dict[str, Callable[[Server, Path], object]] = {
        "innoclone local": _ours,
        "innoclone local, pages not verified": lambda server, target: _ours(server, target, "--no-verify-pages"),
        "CLONE LOCAL": _stock,
        "cp + sync": _cp,
    }
    rows = []
    with _donor(template, place, flush) as server:
        for cache in ("cold", "warm"):
            times: dict[str, list[float]] = {method: [] for method in methods}
            for round_ in range(rounds):
                order = list(methods) if round_ % 2 == 0 else list(reversed(methods))
                for method in order:
                    target = place / "clone"
                    _prepare(server.datadir, warm=cache == "warm")
                    begin = time.monotonic()
                    methods[method](server, target)
                    times[method].append(time.monotonic() - begin)
                    shutil.rmtree(target)
            stock = times["CLONE LOCAL"]
            for method, found in times.items():
                ratio = median(one / other for one, other in zip(found, stock, strict=True))
                rows.append({
                    "file system": name, "donor": flush, "cache": cache, "method": method,
                    "seconds": found, "ratio": ratio, "load": os.getloadavg()[0],
                })  # fmt: skip
                goal = REFLINK_TARGET if name == "xfs" else TARGETS.get((flush, cache, False))
                said = ""
                if method == "innoclone local" and goal is not None:
                    said = f"   to reach {goal:g}: {'met' if ratio <= goal else 'NOT met'}"
                print(
                    f"{name:<10} {flush:<9} {cache:<5} {method:<36} {median(found):7.2f} s"
                    f" ({min(found):.2f}-{max(found):.2f})  {ratio:5.2f} of CLONE LOCAL{said}",
                    flush=True,
                )
            print(f"load average {os.getloadavg()[0]:.2f}", flush=True)
    return rows


def _prepare(*directories: Path, warm: bool) -> None:
    os.sync()
    forget_files(directories)
    if warm:
        for path in (path for directory in directories for path in directory.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    while file.read(1 << 20):
                        pass
    time.sleep(0.5)


def _incremental(template: Path, work: Path, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with _donor(template, work, "O_DIRECT") as server, server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM b.t")
        (count,) = cursor.fetchone() or (0,)
        pages = count // ROWS_PER_PAGE
        full = []
        for _ in range(rounds):
            _prepare(server.datadir, warm=True)
            begin = time.monotonic()
            _ours(server, work / "base", "--no-verify-pages")
            full.append(time.monotonic() - begin)
            shutil.rmtree(work / "base")
        _ours(server, work / "base")
        size = sum(path.stat().st_size for path in (work / "base").rglob("*") if path.is_file())
        print(f"full, warm: {median(full):.2f} s, {size / 2**20:,.0f} MiB", flush=True)
        for part in CHANGED:
            times, written, changed = [], [], 0
            for _ in range(rounds):
                step = max(1, round(1 / part)) * ROWS_PER_PAGE if part else 0
                if step:
                    changed = cursor.execute(f"UPDATE b.t SET n = n + 1 WHERE id % {step} = 1")
                cursor.execute("FLUSH TABLES b.t FOR EXPORT")
                cursor.execute("UNLOCK TABLES")
                _prepare(server.datadir, work / "base", warm=True)
                begin = time.monotonic()
                result = _ours(server, work / "base", "--incremental=require", "--no-verify-pages")
                times.append(time.monotonic() - begin)
                written.append(result["written"])
            row = {"part": part, "pages": pages, "rows changed": changed, "seconds": times, "written": written,
                   "ratio": median(times) / median(full), "written part": median(written) / size}  # fmt: skip
            rows.append(row)
            goal = "   to reach 0.25 and 0.03" if part == 0.01 else ""
            print(
                f"incremental, {part:6.1%} of the pages changed: {median(times):6.2f} s"
                f" ({min(times):.2f}-{max(times):.2f}), {row['ratio']:.2f} of full;"
                f" {median(written) / 2**20:,.1f} MiB written, {row['written part']:.4f} of all{goal}",
                flush=True,
            )
    print(f"load average {os.getloadavg()[0]:.2f}", flush=True)
    return rows


def _draw(results: dict[str, Any], path: Path) -> None:
    """Bars of the full clones, a line of the incremental ones."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(17, 7), layout="constrained")
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
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
