"""The network fails: a proxy hurts master, worker or auxiliary at a random byte."""

from __future__ import annotations

import time

from faults.attempt import Broken
from faults.proxy import Fault, Proxy
from faults.rounds import STALL, Round, Scenario
from faults.world import World
from innoclone.errors import CloneRunning, ConnectFailed, NetworkError, NotMySQL
from innoclone.files.names import OWN_DIR
from innoclone.records.journal import read_journal

__all__ = ["Cuts"]

HARMLESS = ("delayed", "trickling")  # nothing may come of them
GARBLING = ("lost",)  # what is left makes no sense: any documented error will do
# What nobody notices for minutes in COM_INIT and COM_ATTACH, where the donor waits for locks and says nothing.
ENDLESS = ("stalled", "lost", "half closed")
PATIENT = (("master", True), ("worker", True))
EARLY = 1 << 16  # bytes: login, COM_INIT's answer and the list of files are in them
PREFLIGHT = 125.0  # seconds: an answer to SQL may take 60, and two connections ask
LOST = {NetworkError, ConnectFailed, CloneRunning, NotMySQL}
PLACES = (
    [("master", False)] * 5 + [("worker", False)] * 3 + [("auxiliary", True), ("auxiliary", False)] * 2
    + [("master", True), ("worker", True), ("sql", True), ("sql", False)]
)  # fmt: skip


class Cuts(Scenario):
    """``kinds`` are the faults of `Proxy`."""

    name = "proxy"
    kinds = (
        "reset", "closed", "half closed", "stalled", "silent", "refused", "lost", "delayed", "trickling",
    )  # fmt: skip

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._carried: dict[tuple[str, bool], int] = {}

    def play(self, round_: Round, kind: str) -> None:
        """One to three faults in one run, then until it is done."""
        dice = round_.dice
        self._measure(round_)
        with round_.perhaps_loaded(0.3), Proxy(self.donor.port) as proxy:
            for _ in range(dice.choice([1, 1, 2, 3])):
                role, up = dice.choice([place for place in PLACES if kind not in ENDLESS or place not in PATIENT])
                seconds = dice.choice([1.0, STALL + 2]) if kind in ("silent", "refused") else dice.uniform(0.2, 2)
                at = self._place(round_, kind, role, up)
                fault = Fault(kind, role, up, at, seconds=seconds, size=dice.choice([1, 4, 1000, 100_000]))
                round_.tell(f"{kind} at byte {at} {'to' if up else 'from'} the donor on {role}, {seconds:.1f} s")
                proxy.faults.append(fault)
            options = round_.options(rates=(0, 0, 60))
            if kind not in GARBLING:
                options += round_.compression()
            dsn = self.donor.dsn(port=proxy.port)
            allowed = set() if kind in HARMLESS else None if kind in GARBLING else LOST
            with round_.start(options, dsn=dsn) as attempt:
                asking = any(fault.role == "sql" for fault in proxy.faults)
                ended = round_.end(attempt, allowed, patience=PREFLIGHT if asking else 0)
            happened = [fault for fault in proxy.faults if fault.happened.is_set()]
            for fault in happened:
                round_.counts[f"{kind} on {fault.role}"] += 1
            proxy.faults.clear()
            if ended.status:
                if not happened:
                    raise Broken(f"nothing was in its way, and yet\n{ended.words}")
                if kind not in GARBLING and "--retry-for=0" not in options and self._was_listed(round_):
                    raise Broken(f"tries to connect again should have helped\n{ended.words}")
                round_.assert_refused()
                if kind in ("silent", "refused"):
                    time.sleep(seconds)
            round_.complete(dsn=dice.choice([dsn, self.donor.dsn()]))
        round_.assert_exact()

    def _place(self, round_: Round, kind: str, role: str, up: bool) -> int:
        """A byte; in part of the rounds where a conversation begins, which is little beside the data."""
        total = self._carried[role, up]
        if kind in ENDLESS and role in ("master", "worker"):
            return round_.dice.randrange(EARLY, total)
        return round_.dice.randrange(min(EARLY, total) if round_.dice.random() < 0.3 else total)

    def _was_listed(self, round_: Round) -> bool:
        return any(event["event"] == "listed" for event in read_journal(round_.target / OWN_DIR))

    def _measure(self, round_: Round) -> None:
        """How many bytes go over each kind of connection when nothing fails."""
        if self._carried:
            return
        spare = round_.folder / "spare"
        with (
            Proxy(self.donor.port) as proxy,
            round_.start(["--threads=2"], dsn=self.donor.dsn(port=proxy.port), target=spare) as attempt,
        ):
            if attempt.end(60).status:
                raise Broken("a clone through the proxy fails")
            self._carried = dict(proxy.carried)
