"""Stock recipients of `bench/donor`: from ``innoclone serve`` and from a stock donor, one at a time and three.

The stored clone is a copy of the stock donor's data, on the same disk; nobody writes to either.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench.measure import cpu_of, prepare_files
from bench.others import undisturbed
from bench.servers import FAST, started
from bench.serving import serving
from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import ACCOUNT, prepare_donor
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs, provide_programs

__all__ = ["KINDS", "Comparison", "compare_donors"]

RECIPIENTS = 3
SINGLE = {
    "plain-1": ("plain, 1 task", 1, "NO SSL"),
    "plain-4": ("plain, 4 tasks", 4, "NO SSL"),
    "tls-4": ("TLS, 4 tasks", 4, "SSL"),
}
THREE = "three"
KINDS = (*SINGLE, THREE)
# Ours / the stock donor's that are to be reached, by the cache's state.
WALL = {"cold": 1.0, "warm": 1 / 1.3}
CPU = 0.5


@dataclass(frozen=True)
class Run:
    """Seconds that it took, and CPU seconds of the donor."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Comparison:
    """One way, from both donors; a pair of runs a round."""

    label: str
    ours: list[Run]
    stock: list[Run]
    wall_limit: float | None
    cpu_limit: float | None

    @property
    def wall(self) -> float:
        """The median of the rounds' ratios."""
        return median(one.wall / other.wall for one, other in zip(self.ours, self.stock, strict=True))

    @property
    def cpu(self) -> float:
        """The same of the donors' CPU."""
        return median(one.cpu / max(other.cpu, 0.01) for one, other in zip(self.ours, self.stock, strict=True))

    @property
    def cells(self) -> list[str]:
        """A row for a table: ours, stock, ratio, to reach; of time and of CPU."""
        texts = [self.label]
        for what, ratio, limit in (("wall", self.wall, self.wall_limit), ("cpu", self.cpu, self.cpu_limit)):
            ours, stock = (median(getattr(run, what) for run in runs) for runs in (self.ours, self.stock))
            said = "" if limit is None else f"{'met' if ratio <= limit else 'NOT met'} (<= {limit:.2f})"
            texts += [f"{ours:.2f}", f"{stock:.2f}", f"{ratio:.2f}", said]
        return texts


def compare_donors(work: Path, size: int, rounds: int, kinds: Sequence[str], *, insist: bool) -> list[Comparison]:
    """Ways to take a clone of ``size`` bytes; ``kinds`` are some of `KINDS`."""
    programs = provide_programs(print)
    password = secrets.token_urlsafe(12)
    _make_data(programs, work, size, password)
    with ExitStack() as stack:
        donor = stack.enter_context(started(programs, work / "donor", 1, password))
        recipients = [
            stack.enter_context(started(programs, work / f"recipient{n}", 2 + n, password))
            for n in range(RECIPIENTS if THREE in kinds else 1)
        ]
        stored = stack.enter_context(serving([str(work / "stored")], password))
        options_file = work / "live.cnf"
        options_file.touch(0o600)
        options_file.write_text(f"[client]\npassword={password}\n")
        dsn = f"mysql://{ACCOUNT}@127.0.0.1:{donor.port}"
        live = stack.enter_context(serving(
            ["--live", dsn, f"--live-defaults-file={options_file}", f"--datadir={donor.datadir}"], password
        ))  # fmt: skip
        ports = f"127.0.0.1:{donor.port},127.0.0.1:{stored.port},127.0.0.1:{live.port}"
        for recipient in recipients:
            with recipient.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET GLOBAL clone_valid_donor_list = %s", (ports,))
        clone = partial(_clone, work=work, password=password)
        found = []
        for label, tasks, tls in (SINGLE[kind] for kind in kinds if kind != THREE):
            one = partial(clone, recipients[:1], tasks, tls)
            for cache in ("cold", "warm"):
                ours = partial(one, work / "stored", [stored.pid], stored.port, warm=cache == "warm")
                stock = partial(one, donor.datadir, [donor.pid], donor.port, warm=cache == "warm")
                found.append(_alternate(f"{label}, {cache}", ours, stock, rounds, WALL[cache], CPU, insist))
        three = partial(clone, recipients, 4, "NO SSL", warm=False)
        stock = partial(three, donor.datadir, [donor.pid], donor.port, turns=True)
        both = (
            ("of a stored clone", partial(three, work / "stored", [stored.pid], stored.port)),
            ("of the running server", partial(three, donor.datadir, [live.pid, donor.pid], live.port)),
        )
        for label, ours in both if THREE in kinds else ():
            name = f"{RECIPIENTS} recipients at once {label}; stock: one after the other"
            found.append(_alternate(name, ours, stock, rounds, None, None, insist))
        return found


def _make_data(programs: Programs, work: Path, size: int, password: str) -> None:
    print(f"filling a donor, MySQL {programs.version}, with {size / 2**20:,.0f} MiB", flush=True)
    Server.initialize(programs, work / "donor")
    server = Server.start(programs, work / "donor", options=FAST, timeout=120)
    try:
        fill(server.connect, size)
        with server.connect() as connection:
            prepare_donor(connection, password)
        server.stop(timeout=600)
    finally:
        server.kill()
    shutil.copytree(work / "donor", work / "stored")
    (work / "donor" / "auto.cnf").unlink()
    os.sync()


def _alternate(
    label: str, ours: Callable[[], Run], stock: Callable[[], Run], rounds: int,
    wall: float | None, cpu: float | None, insist: bool,
) -> Comparison:  # fmt: skip
    pairs: dict[Callable[[], Run], list[Run]] = {ours: [], stock: []}
    for number in range(rounds):
        for run in (ours, stock) if number % 2 == 0 else (stock, ours):
            pairs[run].append(undisturbed(run, insist=insist)[0])
    found = Comparison(label, pairs[ours], pairs[stock], wall, cpu)
    print("  ".join(cell for cell in found.cells if cell), flush=True)
    return found


def _clone(
    recipients: Sequence[Server], tasks: int, tls: str, files: Path, pids: Sequence[int], port: int,
    *, warm: bool, work: Path, password: str, turns: bool = False,
) -> Run:  # fmt: skip
    """Every recipient takes a clone from that port, all at once or in turns; ``pids`` are the donor's processes."""
    prepare_files(files, warm=warm)
    targets = [work / f"target{n}" for n in range(len(recipients))]

    def take(recipient: Server, target: Path) -> None:
        with recipient.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL clone_autotune_concurrency = OFF, clone_max_concurrency = %s", (tasks,))
            cursor.execute(
                f"CLONE INSTANCE FROM {ACCOUNT}@127.0.0.1:{port} IDENTIFIED BY '{password}'"
                f" DATA DIRECTORY = '{target}' REQUIRE {tls}"
            )

    cpu, begin = sum(map(cpu_of, pids)), time.monotonic()
    try:
        with ThreadPoolExecutor(1 if turns else len(recipients)) as pool:
            list(pool.map(take, recipients, targets))
        return Run(time.monotonic() - begin, sum(map(cpu_of, pids)) - cpu)
    finally:
        for target in targets:
            shutil.rmtree(target, ignore_errors=True)
