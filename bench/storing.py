"""``./bench/store``: a first backup, an increment of 1 % of the pages, and a restore, beside restic and borg.

All take the same two clones of one server, whose files are dropped from the page cache before each run, into a folder
and into a server of S3 on this machine; what is compared is what each of them does by default, compressed and
encrypted. An increment is told beside the changed pages, each of them compressed by itself. A restore is told twice:
until all is with the system, as the others end (innoclone with --no-fsync), and until it is on disk, as innoclone ends
(the others with sync(1) behind).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from bench.backupprograms import PROGRAMS, Clones, Place, make_clones, s3_server
from bench.measure import Cost, compile_ours, prepare_files, run_measured
from bench.others import refuse_company
from bench.publishing import ROOT, publish
from bench.report import Target, aligned
from bench.trying import Failures, ratio_of, save
from innoclone.server.programs import provide_programs

STEPS = {"first": "first backup", "increment": "increment", "restore": "restore", "durable": "restore, on disk"}
HEADER = ["", "step", "s", "CPU s", "CPU s/GiB", "peak MiB", "MiB added"]
# To reach, beside the better of the others where that is said.
WALL, SPEED, SIZE, OVERHEAD, CPU, MEMORY = 0.5, 2.0, 1.0, 1.15, 5.0, 200.0
LARGE = 5.0  # GiB; with more only these are measured
LARGE_PROGRAMS = ("innoclone", "restic")
LEAST_ROUNDS, SIZES = 3, (5,)  # of what is published
COLOURS = {"innoclone": "#1b7f5c", "restic": "#c8792b", "borg": "#6b6ecf", "borg-16k": "#9c9ede"}


@dataclass(frozen=True)
class Row:
    """One step of one program: seconds, and bytes of memory (0: not known) and of what the repository grew by."""

    program: str
    step: str
    wall: float
    cpu: float
    memory: int
    added: int


@dataclass
class Table:
    """What was measured at one place with clones of one size; ``rounds`` by program."""

    gib: float
    place: Place
    clones: Clones
    rounds: dict[str, list[list[Row] | None]] = field(default_factory=dict)  # None: that round failed
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """For a heading."""
        count = max((len(found) for found in self.rounds.values()), default=0)
        return f"{self.gib:g} GiB, {self.place.name}" + (f", medians of {count} rounds" if count > 1 else "")

    def walls(self, program: str, step: str) -> list[float | None]:
        """Seconds, round by round."""
        found = self.rounds.get(program, [])
        return [None if rows is None else next(row.wall for row in rows if row.step == step) for rows in found]

    @property
    def rows(self) -> list[Row]:
        """Medians."""
        found = []
        for program, rounds in self.rounds.items():
            whole = [rows for rows in rounds if rows is not None]
            for number, step in enumerate(STEPS if whole else ()):
                of = [rows[number] for rows in whole]
                walls, cpus = median(row.wall for row in of), median(row.cpu for row in of)
                memory, added = max(row.memory for row in of), max(row.added for row in of)
                found.append(Row(program, step, walls, cpus, memory, added))
        return found

    def cells(self) -> list[list[str]]:
        """With the header."""
        return [HEADER, *(_cells(row, self.clones) for row in self.rows)]


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.publish:
        refuse_company()
    compile_ours()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    tables = _kept(options)
    failed = Failures()
    for gib in options.sizes:
        with tempfile.TemporaryDirectory(prefix="store-", dir=options.work or options.out) as name:
            _measure_size(gib, Path(name).resolve(), tables, failed, options)
    for table in tables:
        print(f"\n{table.title}\n{aligned(table.cells())}")
        print("\n".join(map(str, targets(table))))
        print("".join(f"{program}: not available: {reason}\n" for program, reason in table.missing.items()), end="")
    print("".join(f"failed: {line}\n" for line in failed) + f"load average {os.getloadavg()[0]:.2f}")
    _draw(tables, options.out / "store.png")
    print(f"{options.out / 'store.json'}\n{options.out / 'store.png'}")
    if options.publish:
        publish("bench-store", _page(tables), [options.out / "store.png"])
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/store", description=__doc__)
    listed = lambda text: text.split(",")  # noqa: E731 - as argparse wants it
    sizes = lambda text: [] if text == "-" else sorted(map(float, text.split(",")))  # noqa: E731
    parser.add_argument("--sizes", type=sizes, default=[2.0], metavar="GIB,...", help="of data (default 2), or -; with"
                        f" more than {LARGE:g} only {' and '.join(LARGE_PROGRAMS)} are measured")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=1, help="of the smallest size (default 1)")
    parser.add_argument("--places", type=listed, default=["folder", "cached", "s3"],
                        help="folder, cached (a folder, with the files in the page cache), s3; all by default, but"
                        " larger sizes in the folder only")  # fmt: skip
    parser.add_argument("--programs", type=listed, default=list(PROGRAMS), help="of " + ",".join(PROGRAMS))
    parser.add_argument(
        "--s3", choices=("moto", "localbucket"), default="localbucket",
        help="the server of S3: moto keeps all in memory, but restic takes it (default localbucket)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--work", type=Path, help="where clones and repositories go (default: --out)")
    parser.add_argument("--keep", action="store_true", help="keep what was written down of smaller sizes before")
    parser.add_argument("--publish", action="store_true", help="renew docs/bench-store.md and its picture")
    options = parser.parse_args()
    kept = _kept(options)
    sizes_there = {*options.sizes, *(table.gib for table in kept)}
    rounds = max((len(found) for table in kept for found in table.rounds.values()), default=options.rounds)
    if options.publish and (rounds < LEAST_ROUNDS or not sizes_there.issuperset(SIZES)):
        parser.error(f"--publish takes at least {LEAST_ROUNDS} rounds, and a size of {SIZES[0]} GiB")
    return options


def _kept(options: argparse.Namespace) -> list[Table]:
    """What was written down of smaller sizes than are to be measured, where that is wished."""
    if not options.keep:
        return []
    found = []
    for one in json.loads((options.out / "store.json").read_text()):
        clones = Clones(Path(), Path(), one["size"], one["pages"], one["compressed"])
        rounds = {
            program: [None if rows is None else [Row(**row) for row in rows] for rows in of]
            for program, of in one["rounds"].items()
        }
        if not options.sizes or one["gib"] < options.sizes[0]:
            found.append(Table(one["gib"], Place(one["place"], Path()), clones, rounds, one["missing"]))
    return found


def _measure_size(gib: float, work: Path, tables: list[Table], failed: Failures, options: argparse.Namespace) -> None:
    """All places, with clones of one size; what was measured is written down after each."""
    os.environ["XDG_STATE_HOME"] = str(work / "state")  # the bench's runs are in nobody's history
    clones = make_clones(provide_programs(print), work, gib)
    print(f"{clones.size >> 20} MiB each; {clones.pages} pages differ, {clones.compressed / 2**20:.1f} MiB compressed")
    for kind in options.places:
        if kind != "folder" and gib != options.sizes[0]:
            continue
        server = s3_server(options.s3, work / "s3" / "there") if kind == "s3" else nullcontext(0)
        with server as port:
            name = {"folder": "folder", "cached": "folder, files in the page cache", "s3": f"S3, {options.s3}"}[kind]
            folder = work / ("s3" if port else "folder") / "there"
            folder.mkdir(parents=True, exist_ok=True)
            table = Table(gib, Place(name, folder, port, warm=kind == "cached"), clones)
            tables.append(table)
            _measure(table, failed, options)
        save(options.out / "store.json", [_as_json(each) for each in tables])


def _measure(table: Table, failed: Failures, options: argparse.Namespace) -> None:
    """All programs, one after the other, round by round."""
    place, target = table.place, table.place.folder.parent.parent / "target"
    for number in range(options.rounds if table.gib == options.sizes[0] else 1):
        for program in options.programs:
            repository = f"{program}-{number}"
            commands = PROGRAMS[program](place.url(program, repository), table.clones, target)
            if table.gib > LARGE and program not in LARGE_PROGRAMS:
                table.missing[program] = f"not measured with more than {LARGE:g} GiB"
            elif place.port and program.startswith("borg"):
                table.missing[program] = "it has no S3"
            elif place.port and program == "restic" and options.s3 == "localbucket":
                table.missing[program] = "this server has no listing as it asks for; --s3 moto has"
            elif shutil.which(commands["init"][0]) is None:
                table.missing[program] = "it is not installed (apt-get install restic borgbackup)"
            else:
                play = _player(table, program, commands, place.folder / repository, target)
                rows = failed.undisturbed(f"{table.title}: {program}", play, insist=options.publish)
                table.rounds.setdefault(program, []).append(rows)


def _player(
    table: Table, program: str, commands: dict[str, list[str]], repository: Path, target: Path
) -> Callable[[], list[Row]]:
    """What plays all steps on a new repository, and may be played again."""
    place, clones = table.place, table.clones

    def play() -> list[Row]:
        shutil.rmtree(repository, ignore_errors=True)
        run_measured(commands["init"], place.environment)
        before, rows = _stored(place.folder), []
        for step in STEPS:
            prepare_files(clones.first, clones.second, place.folder, warm=place.warm)
            try:
                cost: Cost = run_measured(commands[step], place.environment)
            finally:
                shutil.rmtree(target, ignore_errors=True)
            now = _stored(place.folder)
            is_shell = commands[step][0] == "sh"
            rows.append(Row(program, step, cost.wall, cost.cpu, 0 if is_shell else cost.memory, now - before))
            before = now
            print(f"  {place.name}: {program}, {STEPS[step]}: {cost.wall:.2f} s, {cost.cpu:.2f} CPU s", flush=True)
        shutil.rmtree(repository, ignore_errors=True)  # in a folder that is all of it
        return rows

    return play


def _stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- texts ----------------------------------------------------------------------------------------------------


def _as_json(table: Table) -> dict[str, object]:
    rounds = {
        program: [None if rows is None else [vars(row) for row in rows] for rows in found]
        for program, found in table.rounds.items()
    }
    clones = table.clones
    return {
        "gib": table.gib, "place": table.place.name, "size": clones.size, "pages": clones.pages,
        "compressed": clones.compressed, "rounds": rounds, "missing": table.missing,
    }  # fmt: skip


def _cells(row: Row, clones: Clones) -> list[str]:
    added = "" if row.step in ("restore", "durable") else f"{row.added / 2**20:.1f}"
    gib = clones.size / 2**30
    return [
        row.program, STEPS[row.step], f"{row.wall:.2f}", f"{row.cpu:.2f}", f"{row.cpu / gib:.2f}",
        f"{row.memory / 2**20:.0f}" if row.memory else "", added,
    ]  # fmt: skip


def targets(table: Table) -> list[Target]:
    """What is to be reached, by step; times as medians of the rounds' ratios to the faster one of the others."""
    clones, rows = table.clones, table.rows
    mine = {row.step: row for row in rows if row.program == "innoclone"}
    others = [row for row in rows if row.program != "innoclone"]
    found = []
    for step, row in mine.items():
        name = STEPS[step]
        faster = min((other for other in others if other.step == step), key=lambda other: other.wall, default=None)
        ratio = faster and ratio_of(table.walls("innoclone", step), table.walls(faster.program, step))
        if step in ("restore", "durable"):
            found.append(
                Target(f"{name}, times as fast as the faster one's", SPEED, True, 1 / ratio if ratio else None)
            )
        else:
            found.append(Target(f"{name}, time / the faster one's", WALL, False, ratio))
        found.append(Target(f"{name}, CPU s/GiB", CPU, False, row.cpu / (clones.size / 2**30)))
        found.append(Target(f"{name}, peak MiB", MEMORY, False, row.memory / 2**20))
    if "moto" not in table.place.name and mine:  # it keeps all in memory
        smallest = min((other.added for other in others if other.step == "first"), default=None)
        size = mine["first"].added / smallest if smallest else None
        found.append(Target("first backup, size / the smaller one's", SIZE, False, size))
        over = mine["increment"].added / clones.compressed if clones.compressed else None
        found.append(Target("increment, size / changed pages compressed", OVERHEAD, False, over))
    return found


def _page(tables: list[Table]) -> str:
    """The page of the documentation."""
    lines = [
        "# Benchmark: backups in a store", "", "<!-- generated by ./bench/store --publish -->", "",
        "![backups](images/store.png)", "",
        "A first backup, an increment of 1 % of the pages changed at random, and a restore, of the same two clones,",
        "each program as it does it by default: compressed and encrypted. Files are dropped from the page cache before",
        "each run, but where that is said. *restore* ends when all is with the system, as the others end (innoclone",
        "with `--no-fsync`), *on disk* as innoclone ends by default (the others with `sync` behind). borg-16k: with",
        "fixed chunks of a page. Nothing else ran on the machine.", "",
    ]  # fmt: skip
    for table in tables:
        cells = table.cells()
        lines += [f"## {table.title}", "", "| " + " | ".join(cells[0]) + " |", "|---|---|" + "---:|" * 5]
        lines += ["| " + " | ".join(row) + " |" for row in cells[1:]]
        lines += ["", *(f"* {target}" for target in targets(table))]
        lines += [f"* {program}: not available: {reason}" for program, reason in table.missing.items()] + [""]
    return "\n".join(lines)


def _draw(tables: list[Table], path: Path) -> None:
    figure, panels = plt.subplots(1, len(tables), figsize=(6 * len(tables), 5), layout="constrained", squeeze=False)
    for panel, table in zip(panels[0], tables, strict=True):
        programs = list(table.rounds)
        for number, program in enumerate(programs):
            walls = [row.wall for row in table.rows if row.program == program]
            places = [place + (number - len(programs) / 2) * 0.8 / len(programs) for place in range(len(walls))]
            panel.bar(places, walls, width=0.75 / len(programs), align="edge", color=COLOURS[program], label=program)
        panel.set_xticks(range(len(STEPS)), [*STEPS.values()], rotation=15)
        panel.set_title(f"{table.gib:g} GiB, {table.place.name}, s")
        panel.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
