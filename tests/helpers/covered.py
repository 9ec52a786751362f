"""What the tests reach: ``python -m covered folders`` after a measured run, ``python -m covered own`` without one.

``folders`` prints the coverage of each folder of src/innoclone, from the data that pytest-cov left behind.

``own`` runs, for each module of the ground floors, tests/FOLDER/test_MODULE.py alone (but for what needs a server) and
measures that module alone, so that nothing counts that some other test happens to reach. The floors are in
pyproject.toml; a module that isn't named there is covered wholly.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paths import ROOT

SOURCE = ROOT / "src" / "innoclone"
GROUND = ("native", "wire", "innodb", "transport", "files")
NO_TESTS = 5  # pytest's exit status


@dataclass(frozen=True)
class Reached:
    """Statements and branches: how many there are, and how many were run."""

    covered: int = 0
    total: int = 0

    def __add__(self, other: Reached) -> Reached:
        return Reached(self.covered + other.covered, self.total + other.total)

    @property
    def percent(self) -> float:
        """As coverage.py counts it, branches included."""
        return 100 * self.covered / self.total if self.total else 100.0


def reached(summary: dict[str, int]) -> Reached:
    """From coverage.py's JSON report."""
    return Reached(
        summary["covered_lines"] + summary["covered_branches"], summary["num_statements"] + summary["num_branches"]
    )


def report(data_file: Path, *options: str) -> dict[str, dict[str, object]]:
    """coverage.py's JSON report: what it says of each file, by its path below src/innoclone."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "coverage", "json", "--quiet", f"--data-file={data_file}", "-o", file.name]
        done = subprocess.run(
            [*command, "--fail-under=0", *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"covered: {done.stdout}{done.stderr}")
        files: dict[str, dict[str, object]] = json.loads(Path(file.name).read_text())["files"]
    return {str((ROOT / path).relative_to(SOURCE)): found for path, found in files.items()}


def folders(data_file: Path) -> None:
    """Print a line for each folder, and the whole."""
    found: dict[str, Reached] = defaultdict(Reached)
    for path, file in report(data_file).items():
        folder = str(Path(path).parent)
        found["(top)" if folder == "." else folder] += reached(file["summary"])  # type: ignore[arg-type]
    print("covered, with branches:")
    for folder, what in [*sorted(found.items()), ("all", sum(found.values(), Reached()))]:
        print(f"  {folder:<14} {what.percent:5.1f} %  of {what.total:6}")


@dataclass(frozen=True)
class Own:
    """What a module's own tests reach of it."""

    module: str
    percent: float
    floor: float
    missing: str
    failure: str = ""

    @property
    def right(self) -> bool:
        """The tests passed and reach enough."""
        return not self.failure and round(self.percent, 1) >= self.floor


def settings() -> dict[str, Any]:
    """The table ``tool.innoclone.coverage`` of pyproject.toml."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: dict[str, Any] = tables["tool"]["innoclone"]["coverage"]
    return found


def floors() -> dict[str, float]:
    """The exceptions: module -> percent."""
    own: dict[str, float] = settings()["own"]
    return own


def modules(wanted: Iterable[str]) -> Iterator[str]:
    """Names like ``wire/packets``, of all that hold code; ``wanted`` are folders or modules, none of them all."""
    for folder in GROUND:
        for path in sorted((SOURCE / folder).glob("*.py")):
            name = f"{folder}/{path.stem}"
            if path.stem != "__init__" and (not wanted or name in wanted or folder in wanted):
                yield name


def measure(module: str) -> Own:
    """Run the tests of one module."""
    floor = floors().get(module, 100.0)
    tests = ROOT / "tests" / Path(module).parent / f"test_{Path(module).name}.py"
    if not tests.exists():
        return Own(module, 0.0, floor, "", "" if floor == 0 else f"there is no {tests.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory(prefix="covered-") as folder:
        data_file = Path(folder) / "data"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not server", tests,
             "--cov=innoclone." + module.replace("/", "."), "--cov-report=", "--cov-fail-under=0"],
            cwd=ROOT, env=os.environ | {"COVERAGE_FILE": str(data_file)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            why = "no test without a server" if done.returncode == NO_TESTS else done.stdout[-2000:] + done.stderr
            return Own(module, 0.0, floor, "", "" if done.returncode == NO_TESTS and floor == 0 else why)
        file = report(data_file, f"--include=src/innoclone/{module}.py")[f"{module}.py"]
    lines = ", ".join(map(str, file["missing_lines"]))  # type: ignore[call-overload]
    branches = ", ".join(f"{a}->{b}" for a, b in file["missing_branches"])  # type: ignore[attr-defined]
    missing = "; ".join(filter(None, (lines and f"lines {lines}", branches and f"branches {branches}")))
    return Own(module, reached(file["summary"]).percent, floor, missing)  # type: ignore[arg-type]


def own(wanted: list[str]) -> int:
    """Print a line for each module; 1 if one is below its floor."""
    if unknown := set(floors()) - set(modules(())):
        print(f"pyproject.toml has floors for what isn't there: {', '.join(sorted(unknown))}")
        return 1
    status = 0
    print("covered by its own tests alone, with branches:")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(measure, modules(wanted)):
            floor = "" if found.floor == 100 else f" (floor {found.floor:g} %)"
            note = floor if found.right else f"{floor}  TOO LITTLE"
            print(f"  {found.module:<24} {found.percent:5.1f} %{note}", flush=True)
            for text in filter(None, (found.failure, "" if found.right else found.missing)):
                print(f"    {text}")
            status |= not found.right
    return status


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="covered", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("floor", help="print the one for tests without a server")
    actions.add_parser("folders").add_argument("data", type=Path, nargs="?", default=ROOT / ".coverage")
    actions.add_parser("own").add_argument("modules", nargs="*", help="folders or modules, as wire or wire/packets")
    arguments = parser.parse_args()
    if arguments.action == "own":
        return own(arguments.modules)
    if arguments.action == "floor":
        print(settings()["quick"])
    else:
        folders(arguments.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
