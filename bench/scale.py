"""``./bench/scale``: time and memory of clones as they grow, for each GiB and for each 1,000 tables.

A donor, idle, that gets more from case to case: some GiB in tables of one, or many empty tables. A stock recipient
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
from bench.others import refuse_company
from bench.publishing import ROOT, publish
from bench.servers import FAST, started
from bench.trying import FAILURES, Failures, save
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
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing later than that (default 60); what is"
                        " left out is said")  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where servers and clones go (default: --out)")
    parser.add_argument("--publish", action="store_true", help="renew docs/bench-scale.md and its picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.publish:
        refuse_company()
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    options.until = time.monotonic() + 60 * options.minutes
    cases: list[Case] = []
    failed = Failures()
    for kind, counts in (("GiB", options.sizes), ("tables", options.tables)):
        with tempfile.TemporaryDirectory(prefix="scale-", dir=options.work or options.out) as folder:
            wanted = [Case(kind, count) for count in counts]
            _measure_kind(wanted, cases, Path(folder).resolve(), failed, options)
    lines = [_line(case, _smallest(case, cases)) for case in cases] + [f"failed: {line}" for line in failed]
    print("\n".join(lines))
    _draw(cases, options.out / "scale.png")
    print(f"\n{options.out / 'scale.json'}\n{options.out / 'scale.png'}")
    if options.publish:
        publish("bench-scale", _page(lines, options.rounds), [options.out / "scale.png"])
    return 1 if failed else 0


def _numbers(text: str) -> list[int]:
    return [] if text == "-" else sorted(int(word) for word in text.split(","))


# ---- one case -------------------------------------------------------------------------------------------------


def _measure_kind(
    wanted: list[Case], cases: list[Case], work: Path, failed: Failures, options: argparse.Namespace
) -> None:
    """Add to ``cases`` what could be measured with one donor that grows, and write it down after each."""
    programs, password, have = provide_programs(print), secrets.token_urlsafe(12), 0
    for case in wanted:
        try:
            _check_time(options)
            _check_room(case, have, work)
            begin = time.monotonic()
            _grow_donor(programs, work / "donor", case, have)
            have = case.count
            print(f"{case.count:,} {case.kind}: made in {time.monotonic() - begin:.0f} s", flush=True)
            _measure(programs, case, work, password, failed, options)
        except FAILURES as error:
            failed.note(f"{case.count:,} {case.kind}", error)
        cases += [case] if case.ours and case.stock else []
        save(options.out / "scale.json", [vars(each) for each in cases])


def _check_time(options: argparse.Namespace) -> None:
    """Raises OSError when nothing is to begin any more."""
    if time.monotonic() > options.until:
        raise OSError(f"left out: {options.minutes:g} minutes have passed")


def _check_room(case: Case, have: int, work: Path) -> None:
    """For the donor's growth and a clone. Raises OSError."""
    each = 1.0 if case.kind == "GiB" else 112 / 2**20  # an empty table has 7 pages of 16 KiB
    needed = (2 * case.count - have) * each + 4
    if (free := shutil.disk_usage(work).free) < needed * 2**30:
        raise OSError(f"{work} has {free >> 30} GiB free; {needed:.0f} are needed")


def _measure(
    programs: Programs, case: Case, work: Path, password: str, failed: Failures, options: argparse.Namespace
) -> None:
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
                _check_time(options)
                for run in (ours, stock) if number % 2 == 0 else (stock, ours):
                    what = f"{case.count:,} {case.kind}, {'ours' if run is ours else 'stock'}, round {number + 1}"
                    one = partial(_once, run, donor, work / "clone")
                    if (note := failed.undisturbed(what, one, insist=options.publish)) is not None:
                        print(f"  {note()}", flush=True)


def _once(run: Callable[[], Callable[[], str]], donor: Server, target: Path) -> Callable[[], str]:
    os.sync()
    forget_files([donor.datadir])
    time.sleep(0.5)
    try:
        return run()
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _ours(dsn: str, password: str, target: Path, case: Case) -> Callable[[], str]:
    """A clone; what notes it, should it count, and says what it took."""
    command = [sys.executable, "-m", "innoclone", "clone", dsn, str(target), *CLONE]
    cost = run_measured(command, {"MYSQL_PWD": password})
    stages = json.loads(cost.output.splitlines()[-1])["stages"]

    def note() -> str:
        case.ours.append(cost.wall)
        case.memory.append(cost.memory)
        for stage in stages:
            case.stages.setdefault(stage["stage"], []).append(stage["seconds"])
        return f"ours  {cost.wall:7.2f} s {cost.memory >> 20} MiB"

    return note


def _stock(recipient: Server, cursor: Cursor, statement: str, case: Case) -> Callable[[], str]:
    with peak_memory(recipient.pid) as peak:
        begin = time.monotonic()
        cursor.execute(statement)
        took = time.monotonic() - begin

    def note() -> str:
        case.stock.append(took)
        case.stock_memory.append(peak())
        return f"stock {took:7.2f} s {peak() >> 20} MiB"

    return note


# ---- making donors --------------------------------------------------------------------------------------------


def _grow_donor(programs: Programs, datadir: Path, case: Case, have: int) -> None:
    """A donor with as much as the case says; it has ``have`` of it, and none is there yet with 0."""
    if not have:
        shutil.rmtree(datadir, ignore_errors=True)
        Server.initialize(programs, datadir)
    options = FAST if have else (*FAST, "--performance-schema=OFF")  # which the clone plugin needs, once it is there
    server = Server.start(programs, datadir, options=options, timeout=600)
    try:
        with server.connect() as connection, connection.cursor() as cursor:
            for number in range(20):
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS s{number}")
        work = _fill_table if case.kind == "GiB" else _make_table
        with ThreadPoolExecutor(FILLERS) as pool:
            list(
                pool.map(
                    lambda first: _make(server, range(first, case.count, FILLERS), work), range(have, have + FILLERS)
                )
            )
        server.stop(timeout=900)
    finally:
        server.kill()
    os.sync()


def _make(server: Server, numbers: range, work: Callable[[Cursor, int], None]) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        for number in numbers:
            work(cursor, number)


def _make_table(cursor: Cursor, number: int) -> None:
    cursor.execute(f"CREATE TABLE IF NOT EXISTS s{number % 20}.t{number} (id INT PRIMARY KEY, n INT)")


def _fill_table(cursor: Cursor, number: int) -> None:
    """A GiB in a table of its own."""
    table = f"s0.t{number}"
    cursor.execute(f"DROP TABLE IF EXISTS {table}")
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
