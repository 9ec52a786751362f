"""``./bench/scale``: time and memory of clones as they grow, for each GiB and for each 1,000 tables.

One donor a case, idle: some GiB in tables of one, or many empty tables of one page of rows each. A stock recipient
clones the same by turns: what grows there, too, is the donor's or the disk's. ``growth`` is the cost of a unit beside
that of the smallest case; where ours is more than 10 % above, the stages of the clone say where the time went.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from pymysql.cursors import Cursor

from bench.measure import compile_ours, forget_files, peak_memory, run_measured
from bench.others import refuse_company, undisturbed
from bench.publishing import ROOT, publish
from bench.servers import FAST, started
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, provide_programs

LIMIT = 1.10  # of the smallest case's cost of a unit
FILLERS = 4  # connections that make tables
ROWS_OF_A_GIB = 1 << 17  # two rows of 7,000 bytes to a page of 16 KiB
CLONE = ("--ssl-mode=DISABLED", "--get-server-public-key", "--threads=4", "--json")


@dataclass
class Case:
    """One donor and what was measured with it."""

    kind: str  # GiB or tables
    count: int
    ours: list[float] = field(default_factory=list)  # seconds
    stock: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # bytes
    stock_memory: list[int] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)

    @property
    def units(self) -> float:
        """GiB, or thousands of tables."""
        return self.count if self.kind == "GiB" else self.count / 1000


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="bench/scale", description=__doc__)
    parser.add_argument("--sizes", type=_numbers, default=[1, 5, 20], metavar="GIB,...", help="default 1,5,20; or -")
    parser.add_argument("--tables", type=_numbers, default=[100, 10000, 50000], metavar="N,...",
                        help="default 100,10000,50000; or -")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where servers and clones go (default: --out)")
    parser.add_argument("--publish", action="store_true", help="renew docs/bench-scale.md and its picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.publish:
        refuse_company()
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    cases = [Case("GiB", size) for size in options.sizes] + [Case("tables", count) for count in options.tables]
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="scale-", dir=options.work or options.out) as folder:
            _measure(case, Path(folder).resolve(), options)
    lines = [_line(case, _smallest(case, cases)) for case in cases]
    print("\n".join(lines))
    (options.out / "scale.json").write_text(json.dumps([vars(case) for case in cases], indent=1) + "\n")
    _draw(cases, options.out / "scale.png")
    print(f"\n{options.out / 'scale.json'}\n{options.out / 'scale.png'}")
    if options.publish:
        publish("bench-scale", _page(lines, options.rounds), [options.out / "scale.png"])
    return 0


def _numbers(text: str) -> list[int]:
    return [] if text == "-" else sorted(int(word) for word in text.split(","))


# ---- one case -------------------------------------------------------------------------------------------------


def _measure(case: Case, work: Path, options: argparse.Namespace) -> None:
    programs = provide_programs(print)
    gib = case.count if case.kind == "GiB" else case.count * 112 / 2**20  # an empty table has 7 pages of 16 KiB
    if (free := shutil.disk_usage(work).free) < (2 * gib + 4) * 2**30:
        raise SystemExit(f"{work} has {free >> 30} GiB free; {2 * gib + 4:.0f} are needed")
    begin = time.monotonic()
    _make_donor(programs, work / "donor", case)
    print(f"{case.count:,} {case.kind}: made in {time.monotonic() - begin:.0f} s", flush=True)
    password = secrets.token_urlsafe(12)
    with (
        started(programs, work / "donor", 1, password) as donor,
        started(programs, work / "recipient", 2, password) as recipient,
    ):
        dsn = f"mysql://{ACCOUNT}@127.0.0.1:{donor.port}"
        with recipient.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL clone_valid_donor_list = %s", (f"127.0.0.1:{donor.port}",))
            cursor.execute("SET GLOBAL clone_autotune_concurrency = OFF, clone_max_concurrency = 4")
            statement = (
                f"CLONE INSTANCE FROM {ACCOUNT}@127.0.0.1:{donor.port} IDENTIFIED BY '{password}'"
                f" DATA DIRECTORY = '{work / 'clone'}' REQUIRE NO SSL"
            )
            ours = partial(_ours, dsn, password, work / "clone", case)
            stock = partial(_stock, recipient, cursor, statement, case)
            for number in range(options.rounds):
                for run in (ours, stock) if number % 2 == 0 else (stock, ours):
                    note, _ = undisturbed(partial(_once, run, donor, work / "clone"), insist=options.publish)
                    note()
                print(f"  ours {case.ours[-1]:7.2f} s {case.memory[-1] >> 20} MiB, stock {case.stock[-1]:7.2f} s"
                      f" {case.stock_memory[-1] >> 20} MiB", flush=True)  # fmt: skip


def _once(run: Callable[[], Callable[[], None]], donor: Server, target: Path) -> Callable[[], None]:
    os.sync()
    forget_files([donor.datadir])
    time.sleep(0.5)
    try:
        return run()
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _ours(dsn: str, password: str, target: Path, case: Case) -> Callable[[], None]:
    """A clone; what notes it, should it count."""
    command = [sys.executable, "-m", "innoclone", "clone", dsn, str(target), *CLONE]
    cost = run_measured(command, {"MYSQL_PWD": password})
    stages = json.loads(cost.output.splitlines()[-1])["stages"]

    def note() -> None:
        case.ours.append(cost.wall)
        case.memory.append(cost.memory)
        for stage in stages:
            case.stages.setdefault(stage["stage"], []).append(stage["seconds"])

    return note


def _stock(recipient: Server, cursor: Cursor, statement: str, case: Case) -> Callable[[], None]:
    with peak_memory(recipient.pid) as peak:
        begin = time.monotonic()
        cursor.execute(statement)
        took = time.monotonic() - begin

    def note() -> None:
        case.stock.append(took)
        case.stock_memory.append(peak())

    return note


# ---- making donors --------------------------------------------------------------------------------------------


def _make_donor(programs: Programs, datadir: Path, case: Case) -> None:
    Server.initialize(programs, datadir)
    server = Server.start(programs, datadir, options=[*FAST, "--performance-schema=OFF"], timeout=120)
    try:
        with server.connect() as connection, connection.cursor() as cursor:
            for number in range(20):
                cursor.execute(f"CREATE SCHEMA s{number}")
        work = _fill_table if case.kind == "GiB" else _make_table
        with ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(lambda first: _make(server, range(first, case.count, FILLERS), work), range(FILLERS)))
        server.stop(timeout=900)
    finally:
        server.kill()
    os.sync()


def _make(server: Server, numbers: range, work: Callable[[Cursor, int], None]) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        for number in numbers:
            work(cursor, number)


def _make_table(cursor: Cursor, number: int) -> None:
    cursor.execute(f"CREATE TABLE s{number % 20}.t{number} (id INT PRIMARY KEY, n INT)")


def _fill_table(cursor: Cursor, number: int) -> None:
    """A GiB in a table of its own."""
    table = f"s0.t{number}"
    cursor.execute(f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, body VARBINARY(7500))")
    have = cursor.execute(f"INSERT INTO {table} (body) VALUES (REPEAT(RANDOM_BYTES(100), 70))")
    while have < ROWS_OF_A_GIB:
        count = min(have, ROWS_OF_A_GIB - have, 10000)
        have += cursor.execute(f"INSERT INTO {table} (body) SELECT body FROM {table} LIMIT {count}")


# ---- telling --------------------------------------------------------------------------------------------------


def _smallest(case: Case, cases: list[Case]) -> Case:
    return next(each for each in cases if each.kind == case.kind)


def _line(case: Case, smallest: Case) -> str:
    """What one case cost, beside the smallest of its kind, and why where it is more."""
    took, growth = median(case.ours), _growth(case, smallest, "ours")
    memory = max(case.memory) / max(smallest.memory)
    unit = "GiB" if case.kind == "GiB" else "1,000 tables"
    text = (
        f"{case.count:>7,} {case.kind:<6} {took:8.2f} s, {took / case.units:6.2f} s for each {unit}"
        f" (growth {growth:.2f}, stock {_growth(case, smallest, 'stock'):.2f}),"
        f" {max(case.memory) / 2**20:4.0f} MiB (in all {memory:.2f} of the smallest's,"
        f" stock {max(case.stock_memory) / max(smallest.stock_memory):.2f})"
    )
    if case is smallest:
        return text
    text += ": " + ("within 10 %" if growth <= LIMIT and memory <= LIMIT * case.units / smallest.units else "NOT met")
    if growth > LIMIT:
        stages = {name: median(found) for name, found in case.stages.items()}
        slowest = max(stages, key=lambda name: stages[name] / case.units - _stage(smallest, name) / smallest.units)
        text += (
            f"; most grew {slowest}: {stages[slowest] / case.units:.2f} s for each {unit},"
            f" was {_stage(smallest, slowest) / smallest.units:.2f}"
        )
    return text


def _growth(case: Case, smallest: Case, what: str) -> float:
    one, other = (float(median(getattr(each, what))) / each.units for each in (case, smallest))
    return one / other


def _stage(case: Case, name: str) -> float:
    return median(case.stages.get(name, [0.0]))


def _page(lines: list[str], rounds: int) -> str:
    return "\n".join([
        "# Benchmark: scale", "", "<!-- generated by ./bench/scale --publish -->", "", "![scale](images/scale.png)", "",
        f"Four connections, plain; medians of {rounds} rounds, the donor's files dropped from the page cache before",
        "each. Memory is the most of all rounds. Nothing else ran on the machine.", "", "```", *lines, "```", "",
    ])  # fmt: skip


def _draw(cases: list[Case], path: Path) -> None:
    figure, panels = plt.subplots(1, 4, figsize=(18, 5), layout="constrained")
    for at, kind in enumerate(("GiB", "tables")):
        found = [case for case in cases if case.kind == kind]
        places, labels = range(len(found)), [f"{case.count:,}" for case in found]
        unit = "GiB" if kind == "GiB" else "1,000 tables"
        for panel, title, ours, stock in (
            (panels[2 * at], f"seconds for each {unit}", *_per_unit(found)),
            (panels[2 * at + 1], "peak memory, MiB", *_peaks(found)),
        ):
            panel.plot(places, ours, marker="o", color="#1b7f5c", label="innoclone")
            panel.plot(places, stock, marker="s", color="#c8792b", label="stock CLONE")
            panel.set_xticks(places, labels)
            panel.set_xlabel(kind)
            panel.set_title(title)
            panel.set_ylim(bottom=0)
            panel.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _per_unit(cases: list[Case]) -> tuple[list[Any], list[Any]]:
    return tuple([median(getattr(case, what)) / case.units for case in cases] for what in ("ours", "stock"))  # type: ignore[return-value]


def _peaks(cases: list[Case]) -> tuple[list[Any], list[Any]]:
    return tuple([max(getattr(case, what)) / 2**20 for case in cases] for what in ("memory", "stock_memory"))  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
