"""One round: a clone that is hurt, run again until it is done, and compared with its donor.

What must hold, whatever happens, is here and in attempt.py, and nowhere else:

* every run ends with success or a documented error and a hint, within its time, without a traceback;
* beside the target nothing is made, changed or removed;
* what a failed run leaves is refused by a stock mysqld, or there is nothing;
* the same command again, once nothing is in its way, makes a clone that boots and is exact.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from clones import check_tables, innochecksum
from faults.attempt import SLACK, Attempt, Broken, Ended, names
from faults.world import SmallDonor, World, unchanging
from innoclone.errors import BootFailed, CloneError
from innoclone.files.marks import is_unfinished
from innoclone.files.system import sync_directory
from innoclone.sandbox.invariants import check_invariants
from innoclone.server.mysqld import Server
from innoclone.sinks.directory import MANIFEST
from local_clones import checksums

__all__ = ["Round", "Scenario", "play"]

STALL = 6.0  # seconds; a stock donor that waits says so every 5 s
RETRIES = 75.0  # seconds that tries to connect again may take in all: a donor may want 30 to give a connection up
TRIES = 4  # runs without a fault until a clone must be done
FULL_CHECK = 0.3  # part of the rounds in which CHECK TABLE and innochecksum read everything
REFUSAL = 0.35  # part of the failed runs after which mysqld is started on what is left


class Round:
    """Folder and dice of one round; counts what happens in it."""

    def __init__(self, scenario: Scenario, folder: Path, seed: int, dice: random.Random) -> None:
        self.world, self._scenario, self.seed, self.dice = scenario.world, scenario, seed, dice
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.story: list[str] = []
        self.loaded = False
        self._attempts = 0
        self._was_unfinished = False
        self.move(folder)

    def move(self, folder: Path) -> None:
        """Have the target in another folder, on another disk."""
        self.around = folder / "around"
        self.target = self.around / "clone"
        self.around.mkdir(parents=True)
        with (self.around / "mine").open("w") as file:
            file.write("mine")
            file.flush()
            os.fsync(file.fileno())  # some disks lose what is not on them
        for directory in (self.around, folder):
            sync_directory(directory)

    @property
    def donor(self) -> SmallDonor:
        """The scenario's."""
        return self._scenario.donor

    # ---- runs ----------------------------------------------------------------------------------------------

    def options(self, *, rates: Sequence[int] = (0,)) -> list[str]:
        """Options as anybody may choose them; another run on the same directory may have others."""
        dice = self.dice
        chosen = [f"--threads={dice.choice([1, 2, 2, 3, 4])}", f"--stall-timeout={STALL:g}"]
        chosen += [f"--max-data-bandwidth={rate}"] if (rate := dice.choice(list(rates))) else []
        chosen += dice.choice([[], [], ["--no-fsync"]])
        chosen += dice.choice([["--retry-for=0"], ["--retry-for=20"], []])
        chosen += dice.choice([[], [], ["--no-verify-pages"]])
        return chosen

    def compression(self) -> list[str]:
        """A kind of compression, or none."""
        return self.dice.choice([[], [], ["--compress=zstd"], ["--compress=zlib"]])

    def start(
        self, options: Sequence[str], *, dsn: str = "", target: Path | None = None, launcher: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> Attempt:  # fmt: skip
        """Start a run; use it with ``with``."""
        self._attempts += 1
        self._was_unfinished = is_unfinished(self.target)
        attempt = Attempt(
            [*options, dsn or self.donor.dsn(), str(target or self.target)],
            environment=self.world.environment, folder=self.folder, number=self._attempts,
            launcher=launcher or ("-m", "innoclone"), before=before,
        )  # fmt: skip
        self.tell(" ".join(attempt.command[-len(options) - 2 :]))
        return attempt

    def end(
        self, attempt: Attempt, allowed: Collection[type[CloneError]] | None = None, *, patience: float = 0,
        look: bool = True,
    ) -> Ended:  # fmt: skip
        """Wait for a run's end. ``allowed``: errors that the fault may lead to, None = any documented one;
        ``patience``: seconds that it may take beyond the usual; ``look`` at the target and what is around it, if they
        can be read.
        """
        once = "--retry-for=0" in attempt.command
        ended = attempt.end(STALL + SLACK + patience + (0 if once else RETRIES))
        self.counts[f"run: {ended.label}"] += 1
        for note in ended.notes:
            self._count_note(note)
        self.tell(f"{ended.label}: {ended.words[-1500:]}" + "".join(f"note: {note}\n" for note in ended.notes))
        if allowed is not None and ended.kind is not None and ended.kind not in allowed:
            raise Broken(f"{ended.label}, but only {names(allowed)} fit the fault\n{ended.words}")
        if not look:
            return ended
        self.assert_nothing_outside()
        if "completed OK!" in ended.words and not self.is_complete():
            raise Broken("completed OK, but the clone is not complete")
        said = any("going on with" in note or "can't be continued" in note for note in ended.notes)
        if self._was_unfinished and ended.status == 0 and not said:
            raise Broken("it went on or began anew, and did not say which")
        if ended.kind is not None and self.is_complete() and "the clone itself is complete" not in ended.words:
            raise Broken(f"{ended.label}, but the clone is complete")
        return ended

    def _count_note(self, note: str) -> None:
        self.counts["tried again"] += "trying to go on" in note
        self.counts["went on"] += note.startswith("going on with the clone")
        if anew := re.search(r"can't be continued: (.*); a new one begins", note):
            self.counts[f"began anew: {anew[1].replace(str(self.target), 'DIR')}"] += 1

    def tell(self, text: str) -> None:
        """A line for the report of a failure."""
        self.story.append(text)

    # ---- what must hold ------------------------------------------------------------------------------------

    def is_complete(self) -> bool:
        """Whether the target can be booted."""
        return not is_unfinished(self.target) and (self.target / "#innoclone" / MANIFEST).exists()

    def assert_nothing_outside(self) -> None:
        """Beside the target there is what was there."""
        found = sorted(path.name for path in self.around.iterdir())
        if [name for name in found if name != self.target.name] != ["mine"]:
            raise Broken(f"beside the target there are now {found}")
        if (self.around / "mine").read_text() != "mine":
            raise Broken("a file beside the target was changed")

    def assert_refused(self, *, always: bool = False) -> None:
        """A stock server refuses what a failed run left; in part of the rounds, because it takes its time."""
        if self.is_complete():
            raise Broken("what a failed run left looks complete")
        if not is_unfinished(self.target):
            self.counts["left: nothing"] += 1
            return
        self.counts["left: unfinished"] += 1
        if not always and self.dice.random() > REFUSAL:
            return
        try:
            server = Server.start(
                self.world.programs, self.target, error_log=self.folder / "refused.err", timeout=SLACK
            )
        except BootFailed as error:
            if "Incomplete cloned data directory" not in error.message:
                raise Broken(f"refused for another reason: {error.message}") from error
        else:
            server.kill()
            raise Broken("a stock mysqld takes an unfinished clone")
        self.counts["refused by mysqld"] += 1

    def complete(self, options: Sequence[str] = (), dsn: str = "") -> None:
        """Run the same command without a fault until it is done."""
        for _ in range(TRIES):
            if self.is_complete():
                return
            with self.start(options or self.options(), dsn=dsn) as attempt:
                ended = self.end(attempt)
            if ended.status == 0:
                return
            if ended.kind is None or not ended.kind.retryable:
                raise Broken(f"nothing was in its way, and yet\n{ended.words}")
            self.counts[f"once more after {ended.label}"] += 1
        raise Broken(f"not done in {TRIES} runs")

    def assert_exact(self, directory: Path | None = None) -> None:
        """The clone boots and holds what the donor holds, or, under load, what it held at one moment."""
        directory = directory or self.target
        everything = self.dice.random() < FULL_CHECK
        if everything and (found := innochecksum(self.world.programs, directory)):
            raise Broken(f"innochecksum: {found}")
        expected = self.donor.checksums()
        options = ["--innodb-buffer-pool-size=48M", "--skip-log-bin"]
        clone = Server.start(
            self.world.programs, directory, options=options, error_log=self.folder / "boot.err", timeout=120
        )
        try:
            got = checksums(clone)
            with clone.connect() as connection:
                broken = check_invariants(connection)
            if everything:
                broken += check_tables(clone)
        finally:
            clone.kill()
        if self.loaded:
            expected, got = unchanging(expected), unchanging(got)
        different = {name for name in got.keys() | expected if got.get(name) != expected.get(name)}
        if different or broken:
            changes = {name: (expected.get(name), got.get(name)) for name in different}
            raise Broken(f"the clone is not exact: {broken} {changes}")
        self.counts["complete and exact"] += 1

    @contextlib.contextmanager
    def perhaps_loaded(self, chance: float = 0.5) -> Iterator[None]:
        """In part of the rounds the donor is written to meanwhile."""
        self.loaded = self.dice.random() < chance
        self.counts["under load"] += self.loaded
        with self.donor.loaded() if self.loaded else contextlib.nullcontext():
            yield


class Scenario(ABC):
    """A family of faults. ``kinds`` are its members: each round has one of them."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    needs_donor: ClassVar[bool] = True

    def __init__(self, world: World) -> None:
        self.world = world
        self._donor: SmallDonor | None = None

    @property
    def donor(self) -> SmallDonor:
        """One for all rounds of the scenario."""
        if self._donor is None:
            self._donor = self.world.donor()
        return self._donor

    def missing(self, kind: str) -> str:
        """Why a kind can't be played on this machine; empty if it can."""
        return ""

    def close(self) -> None:  # noqa: B027 - most need nothing
        """Give back what the scenario needed beyond its donor."""

    @abstractmethod
    def play(self, round_: Round, kind: str) -> None:
        """Play one round. Raises `Broken`, or any other error, if it does not end as it must."""


def play(scenario: Scenario, seed: int, kind: str, *, keep: bool = False) -> Counter[str]:
    """Play one round, and count what happened. An error carries the round's story as a note."""
    folder = scenario.world.folder / f"{scenario.name}-{seed}"
    round_ = Round(scenario, folder, seed, random.Random(f"{scenario.name} {kind} {seed}"))
    try:
        if scenario.needs_donor:
            scenario.donor.wait_until_free()
        scenario.play(round_, kind)
    except BaseException as error:
        error.add_note("\n".join(round_.story[-12:]) + (f"\nwhat it left: {folder}" if keep else ""))
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return +round_.counts
