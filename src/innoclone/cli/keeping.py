"""The rules by which generations are kept, as options that ``local`` and ``list`` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from innoclone.records.retention import Policy, Span

__all__ = ["KEEP", "KeepArgs"]

KEEP = "Generations"


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
