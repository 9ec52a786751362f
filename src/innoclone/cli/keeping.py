"""The rules by which generations are kept, as options that ``local`` and ``list`` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import refuse_address, split_targets
from innoclone.cli.copying import COPY
from innoclone.dataclass import dataclass
from innoclone.errors import CloneError, GenerationKept, UsageError
from innoclone.records.retention import Policy, Span
from innoclone.settings.dsn import INTO_STORE

__all__ = ["KEEP", "FullCopies", "KeepArgs", "KeepBase", "To", "refuse_kept", "split_kept"]

KEEP = "Generations"

To = Annotated[
    Path | None,
    typer.Option(
        "--to", metavar="FOLDER", help="Add a dated clone to FOLDER, beside earlier ones.", rich_help_panel=KEEP
    ),
]
KeepBase = Annotated[
    bool, typer.Option("--keep-base", help="Keep the earlier clone whole until the new one is.", rich_help_panel=COPY)
]
FullCopies = Annotated[
    bool, typer.Option("--full-copies", help="With --to, also where blocks can't be shared.", rich_help_panel=KEEP)
]


def _rule(name: str, what: str) -> object:
    return typer.Option(f"--keep-{name}", metavar="N", help=f"Keep the newest of each of {what}.", rich_help_panel=KEEP)


@dataclass(frozen=True)
class KeepArgs:
    """Which generations stay; what one rule keeps is kept."""

    generations: Annotated[
        int,
        typer.Option("--generations", metavar="N", help="Keep the N newest clones in FOLDER.", rich_help_panel=KEEP),
    ] = 0
    keep_hourly: Annotated[int, _rule("hourly", "N hours that have one")] = 0
    keep_daily: Annotated[int, _rule("daily", "N days that have one")] = 0
    keep_weekly: Annotated[int, _rule("weekly", "N weeks that have one")] = 0
    keep_monthly: Annotated[int, _rule("monthly", "N months that have one")] = 0
    keep_yearly: Annotated[int, _rule("yearly", "N years that have one")] = 0
    keep_within: Annotated[
        str,
        typer.Option(
            "--keep-within",
            metavar="DURATION",
            help="Keep all that are at most that much older than the newest: 14d, 1y5m7d2h.",
            rich_help_panel=KEEP,
        ),
    ] = ""

    @property
    def policy(self) -> Policy:
        """The rules. Raises UsageError."""
        return Policy(
            last=self.generations,
            hourly=self.keep_hourly,
            daily=self.keep_daily,
            weekly=self.keep_weekly,
            monthly=self.keep_monthly,
            yearly=self.keep_yearly,
            within=Span.parse(self.keep_within) if self.keep_within else Span(),
        )


def split_kept(
    targets: Sequence[str] | None, to: Path | None, policy: Policy, command: str
) -> tuple[str | None, list[Path]]:
    """The DSN, if there is one, and the directory, if it isn't a folder that is cloned to. Raises UsageError."""
    dsn, directories = split_targets(targets or [])
    if to is not None:
        refuse_address(to, hint=INTO_STORE)
    if bool(policy) != (to is not None):
        raise UsageError(
            "--to goes together with --generations or a --keep rule",
            hint=f"innoclone {command} [DSN] --to FOLDER --generations N --keep-daily N ...",
        )
    if len(directories) != (0 if to is not None else 1):
        raise UsageError("name one directory, or a folder with --to", hint=f"innoclone {command} [DSN] DIRECTORY")
    return dsn, directories


def refuse_kept(directory: Path, kept: Sequence[CloneError]) -> None:
    """Raise `GenerationKept`, once all is told, where an old generation had to stay."""
    if kept:
        raise GenerationKept(
            f"{directory} is complete, but {len(kept)} old generation{'s' * (len(kept) > 1)} had"
            f" to stay: {'; '.join(error.message for error in kept)}"
        )
