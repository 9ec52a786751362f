"""``./bench/autotune``: fixed numbers of connections beside ``--threads=auto``, from an O_DIRECT donor.

Once over loopback, and (with root) once over a line with a delay. Every round clones once with each number, every other
round backwards; before each clone the donor's files leave the page cache.
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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.delay import HERE, slow_line, unavailable
from bench.measure import forget_files
from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import ACCOUNT, DONOR_OPTIONS, prepare_donor
from innoclone.server.mysqld import Server
from innoclone.server.programs import provide_programs

ROOT = Path(__file__).resolve().parent.parent
FIXED = ("1", "2", "4", "8", "16")
LIMIT = 1.10  # auto / best fixed number, at most
PASSWORD = "bench"  # noqa: S105 - of a donor that lives for minutes
SETTLE = 0.5  # seconds between the sync and a clone


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="bench/autotune", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="GiB of data on the donor (default 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=20.0, help="ms each way on the slow line (default 20)")
    parser.add_argument("--rate", type=float, default=1000.0, help="its MiB/s (default 1000)")
    parser.add_argument("--only", choices=["loopback", "delayed"], help="one of the two")
    parser.add_argument("--threads", default=",".join((*FIXED, "auto")), help="what is compared")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder for the JSON")
    parser.add_argument("--work", type=Path, help="where donor and clones go (default: --out)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the donor is stopped on the way out
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="autotune-", dir=options.work or options.out) as folder:
        work = Path(folder).resolve()
        with _donor(work, int(options.size * 2**30)) as donor:
            for network in ("loopback", "delayed"):
                if options.only in (None, network):
                    results.append(_compare(donor, work, network, options))
    (options.out / "autotune.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"\n{options.out / 'autotune.json'}")
    return 0


@contextmanager
def _donor(work: Path, size: int) -> Iterator[Server]:
    programs = provide_programs(print)
    datadir = work / "donor"
    print(f"filling a donor, MySQL {programs.version}, with {size / 2**20:,.0f} MiB", flush=True)
    Server.initialize(programs, datadir)
    options = [*DONOR_OPTIONS, "--innodb-flush-method=O_DIRECT", "--bind-address=*"]
    for filled in (False, True):  # stopped in order and started again, it has no backlog of dirty pages
        server = Server.start(programs, datadir, port=0, options=options, error_log=work / "donor.log", timeout=120)
        try:
            if filled:
                yield server
            else:
                with server.connect() as connection:
                    prepare_donor(connection, PASSWORD)
                fill(server.connect, size)
                server.stop()
        finally:
            server.kill()


def _compare(donor: Server, work: Path, network: str, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds over one network: prints a table, returns what goes into the JSON."""
    print(f"\n{network}" + (f": {options.delay:g} ms each way, {options.rate:g} MiB/s" * (network == "delayed")))
    if network == "delayed" and (reason := unavailable()):
        print(f"not available: {reason}")
        return {"network": network, "not_available": reason}
    kinds = options.threads.split(",")
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    decisions: list[list[str]] = []
    loads = []
    with ExitStack() as stack:
        prefix: Sequence[str] = ()
        if network == "delayed":
            prefix = stack.enter_context(slow_line(options.delay / 1000, options.rate * 2**20))
        for number in range(options.rounds):
            loads.append(os.getloadavg()[0])
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                dsn = f"mysql://{ACCOUNT}@{HERE if prefix else '127.0.0.1'}:{donor.port}"
                took, said = _clone(prefix, dsn, donor.datadir, work / "clone", kind)
                seconds[kind].append(took)
                if kind == "auto":
                    decisions.append(said)
    return _report(network, seconds, decisions, loads)


def _clone(prefix: Sequence[str], dsn: str, datadir: Path, target: Path, threads: str) -> tuple[float, list[str]]:
    """Seconds of a clone with the program's start, and what was decided in it."""
    os.sync()
    forget_files([datadir])
    time.sleep(SETTLE)
    command = [*prefix, sys.executable, "-m", "innoclone", "clone", dsn, str(target), "--json", f"--threads={threads}"]
    command += ["--ssl-mode=DISABLED", "--get-server-public-key"]
    begin = time.monotonic()
    environment = os.environ | {"MYSQL_PWD": PASSWORD}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    took = time.monotonic() - begin
    shutil.rmtree(target)
    events = map(json.loads, done.stdout.splitlines())
    return took, [event["text"] for event in events if event["event"] == "connections"]


def _report(
    network: str, seconds: dict[str, list[float]], decisions: list[list[str]], loads: list[float]
) -> dict[str, Any]:
    medians = {kind: median(found) for kind, found in seconds.items()}
    for kind, found in seconds.items():
        print(f"{kind:>5}  {medians[kind]:7.2f} s  ({min(found):.2f}-{max(found):.2f})")
    print("load average when each round began: " + ", ".join(f"{load:.2f}" for load in loads))
    for said in decisions[-1:]:
        print("\n".join(["the last auto:", *(f"  {line}" for line in said)]))
    result: dict[str, Any] = {"network": network, "seconds": seconds, "decisions": decisions, "load_average": loads}
    fixed = {kind: value for kind, value in medians.items() if kind != "auto"}
    if fixed and "auto" in medians:
        best = min(fixed, key=lambda kind: fixed[kind])
        # Round by round, since what disturbs one round disturbs both.
        ratio = median(mine / other for mine, other in zip(seconds["auto"], seconds[best], strict=True))
        verdict = "met" if ratio <= LIMIT else "NOT met"
        print(
            f"auto / best fixed ({best}): {ratio:.2f}, of the medians {medians['auto'] / fixed[best]:.2f};"
            f" to reach {LIMIT:.2f}: {verdict}",
            flush=True,
        )
        result |= {"best": best, "ratio": ratio, "verdict": verdict}
    return result


if __name__ == "__main__":
    sys.exit(main())
