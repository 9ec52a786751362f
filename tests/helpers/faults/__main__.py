"""``./scripts/faults``: play rounds, print what happened in them, and how to play a failed one again."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from faults.bootchecks import BootChecks
from faults.cuts import Cuts
from faults.disks import Disks
from faults.donors import Donors
from faults.hostility import Hostility
from faults.kills import Kills
from faults.livebackups import LiveBackups
from faults.rounds import Scenario, play
from faults.s3stores import S3Stores
from faults.served import Served
from faults.stores import Stores
from faults.world import World
from innoclone.server.programs import provide_programs

SCENARIOS: dict[str, type[Scenario]] = {
    scenario.name: scenario
    for scenario in (Kills, Cuts, Donors, Disks, Hostility, Stores, S3Stores, BootChecks, LiveBackups, Served)
}


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are stopped on the way out
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=options.work)).resolve()
    (folder / "templates").mkdir()
    world = World(provide_programs(print), folder, folder / "templates")
    failures = 0
    try:
        for name in options.only:
            failures += _play_all(SCENARIOS[name](world), options)
    finally:
        world.close()
        if not (failures and options.keep):
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Hurts clones and stores until they are done.")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each scenario (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="number of the first round (default 1)")
    parser.add_argument("--only", type=_names, default=list(SCENARIOS), help="of " + ",".join(SCENARIOS))
    parser.add_argument("--kind", default="", help="only rounds of this kind (the seeds stay those of all kinds)")
    parser.add_argument("--keep", action="store_true", help="stop at the first failure and leave its files")
    parser.add_argument("--work", type=Path, help="folder to work in (default: the system's temporary one)")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each round")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - SCENARIOS.keys():
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(sorted(unknown))}")
    return names


def _play_all(scenario: Scenario, options: argparse.Namespace) -> int:
    """All rounds of one scenario; how many failed."""
    counts: Counter[str] = Counter()
    failed: list[int] = []
    began = time.monotonic()
    try:
        for seed in range(options.seed, options.seed + options.rounds):
            kind = scenario.kinds[seed % len(scenario.kinds)]
            if options.kind not in ("", kind):
                continue
            if reason := scenario.missing(kind):
                counts[f"left out: {kind}: {reason}"] += 1
                continue
            counts["rounds"] += 1
            counts[f"round: {kind}"] += 1
            started = time.monotonic()
            outcome = "failed"
            try:
                found = play(scenario, seed, kind, keep=options.keep)
                counts += found
                outcome = ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
            except Exception as error:  # noqa: BLE001 - whatever it is, the round has failed
                failed.append(seed)
                print(f"\n{scenario.name}, round {seed} ({kind}) failed:")
                traceback.print_exception(error, limit=-4, file=sys.stdout)
                print(f"again: ./scripts/faults --only {scenario.name} --seed {seed} --rounds 1\n", flush=True)
                if options.keep:
                    break
            if options.verbose:
                print(f"{scenario.name} {seed} {kind}: {time.monotonic() - started:.1f} s: {outcome}", flush=True)
    finally:
        scenario.close()
        _report(scenario, counts, failed, options, time.monotonic() - began)
    return len(failed)


def _report(
    scenario: Scenario, counts: Counter[str], failed: list[int], options: argparse.Namespace, seconds: float
) -> None:
    last = options.seed + options.rounds - 1
    print(f"\n{scenario.name}: {counts['rounds']} rounds, of seeds {options.seed}-{last}, {seconds:.0f} s")
    for name, count in sorted(counts.items()):
        if name != "rounds":
            print(f"{count:8}  {name}")
    print(f"{len(failed):8}  failed" + (f", the first one with --seed {failed[0]}" if failed else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
