"""``./scripts/positions``: make clones, compare the position of each with its boot's, count."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from innoclone.server.programs import provide_programs
from positions.trial import Trial
from positions.variants import VARIANTS
from servers import ServerFactory


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    folder = Path(tempfile.mkdtemp(prefix="positions-", dir=options.work)).resolve()
    (folder / "templates").mkdir()
    programs = provide_programs(print)
    sums: Counter[str] = Counter()
    began = time.monotonic()
    try:
        for round_ in range(options.rounds):
            for name in options.only:
                factory = ServerFactory(programs, folder / f"{round_}-{name}", folder / "templates")
                (folder / f"{round_}-{name}").mkdir()
                try:
                    sums += _play(Trial(programs, factory, folder / f"{round_}-{name}", VARIANTS[name]), name, options)
                finally:
                    factory.close()
                print(f"{_counted(sums)} after {time.monotonic() - began:.0f} s", flush=True)
    finally:
        print(f"\n{_counted(sums)} in {time.monotonic() - began:.0f} s")
        if not (sums["unknown"] or sums["unequal"] or sums["misjudged"]):
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if sums["unknown"] or sums["unequal"] or sums["misjudged"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/positions",
        description="Positions that were read from clones' pages, against what boots find.",
    )
    parser.add_argument("--clones", type=int, default=10, help="clones of each donor in a round (default 10)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds through all donors (default 1)")
    parser.add_argument("--only", type=_names, default=list(VARIANTS), help="of " + "; ".join(VARIANTS))
    parser.add_argument("--gtids", action="store_true", help="compare GTID sets, too: boot --copy against a whole boot")
    parser.add_argument("--work", type=Path, help="folder to work in (default: the system's temporary one)")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(";")
    if unknown := set(names) - VARIANTS.keys():
        raise argparse.ArgumentTypeError(f"no such donor: {'; '.join(sorted(unknown))}")
    return names


def _play(trial: Trial, name: str, options: argparse.Namespace) -> Counter[str]:
    """All clones of one donor; a line for them, and one for each that is unequal."""
    counts: Counter[str] = Counter()
    positions = set()
    try:
        for _ in range(options.clones):
            outcome = trial.play(gtids=options.gtids)
            counts[outcome.word] += 1
            positions.add(outcome.found)
            counts["misjudged"] += bool(outcome.found.partition(" ")[0]) is not trial.variant.has_log
            if outcome.word != "equal":
                read = outcome.read or f"nothing ({outcome.why})"
                print(f"{name}: read {read}, booted {outcome.found}: {outcome.directory}", flush=True)
    finally:
        trial.close()
        print(f"{name}: {_counted(counts)}, {len(positions)} different positions", flush=True)
    return counts


def _counted(counts: Counter[str]) -> str:
    wrong = f", {counts['misjudged']} not as this donor's should be" if counts["misjudged"] else ""
    return ", ".join(f"{counts[word]} {word}" for word in ("equal", "unknown", "unequal")) + wrong


if __name__ == "__main__":
    sys.exit(main())
