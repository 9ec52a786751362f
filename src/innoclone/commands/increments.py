"""When a clone over the network takes only what differs from an earlier one, and what is done where it can't."""

from __future__ import annotations

from innoclone.commands.options import CloneOptions
from innoclone.errors import ConfigurationMismatch, TargetUnusable
from innoclone.files.base import base_files, is_earlier_clone
from innoclone.files.manifest import MANIFEST
from innoclone.files.marks import is_unfinished
from innoclone.files.names import OWN_DIR
from innoclone.files.occupied import occupied
from innoclone.receive.resume import Resumable
from innoclone.records.limits import Limits
from innoclone.records.status import CloneStatus
from innoclone.records.units import amount
from innoclone.server.preflight import DonorFacts
from innoclone.sinks.directory import Target
from innoclone.sources.comparison import Outcome
from innoclone.sources.donor import DonorStream
from innoclone.sources.increment import Increment
from innoclone.stream.source import FileSource
from innoclone.wire.comparison import ANSWER_KEY

__all__ = ["Increments", "describe", "may_update", "refuse_full", "sends_increments"]

CONNECTIONS = 4  # that compare, where nobody says how many


def may_update(options: CloneOptions) -> bool:
    """Whether the directory holds a clone that this one may take the place of, where the donor can send an increment
    or all is to be written over. One that is unfinished is no such thing: it is gone on with, or begun anew. Raises
    `TargetUnusable` where an earlier clone is required and there is none."""
    directory = options.directory
    holds = directory.is_dir() and is_earlier_clone(directory)
    if options.incremental == "require" and not (holds and base_files(directory)):
        raise TargetUnusable(
            f"{directory} holds no earlier clone", hint="leave --incremental=require out for the first one"
        )
    if not holds or options.write_changed_only:
        return holds
    if options.incremental == "off" or is_unfinished(directory):
        return False
    return options.incremental == "require" or (directory / OWN_DIR / MANIFEST).exists()


def refuse_full(options: CloneOptions, facts: DonorFacts) -> None:
    """Before the directory, which holds a clone, is touched: raise why that can't go for one in full, where the donor
    says that it sends nothing else."""
    if sends_increments(facts):
        return
    if options.incremental == "require":
        raise _unable(options)
    if not options.write_changed_only:
        raise occupied(options.directory)


def sends_increments(facts: DonorFacts) -> bool:
    """Whether the donor says that it can."""
    return facts.variables.get(ANSWER_KEY) == "ON"


def _unable(options: CloneOptions) -> ConfigurationMismatch:
    return ConfigurationMismatch(
        f"{options.donor} can't send only what differs from an earlier clone",
        hint="that takes innoclone on the donor's side; 'innoclone local' on the donor's host does it, too",
    )


class Increments:
    """Makes who supplies the files, for each clone that is begun in one run."""

    def __init__(
        self, options: CloneOptions, target: Target, limits: Limits, left: Resumable | None, *, has_whole: bool
    ) -> None:
        """``left``: what is gone on with first. ``has_whole``: the directory holds a clone that was complete."""
        self._options, self._target, self._limits = options, target, limits
        self._goes_on, self._has_whole = left is not None, has_whole
        self._last: Increment | None = None

    def __call__(self) -> FileSource:
        """The next clone's."""
        self._last = None
        goes_on, self._goes_on = self._goes_on, False
        base = [] if goes_on or self._options.incremental == "off" else base_files(self._target.root)
        if not base:
            return DonorStream()
        threads = min(self._options.threads or CONNECTIONS, self._options.max_concurrency)
        self._last = Increment(
            self._target, base, threads=threads, limits=self._limits,
            accept=lambda: self._target.clear(reuse=True), decline=self._decline,
        )  # fmt: skip
        return self._last

    def _decline(self) -> None:
        """The donor sends all there is, whatever it said before. Raises where that is not what was asked for."""
        options = self._options
        if options.incremental == "require" or (self._has_whole and not options.write_changed_only):
            raise _unable(options)

    @property
    def taken(self) -> Outcome | None:
        """What an increment took; None if the last clone was not one."""
        return None if self._last is None or self._last.streams else self._last.outcome


def describe(taken: Outcome, status: CloneStatus) -> str:
    """For the notes."""
    network = sum(row.network for row in status.stages.values())
    new = f", and {taken.pages_new} that are new" if taken.pages_new else ""
    return (
        f"only what differs came from the donor, {amount(network)}: of {taken.pages_compared} pages compared"
        f" {taken.pages_written} were written{new}"
    )
