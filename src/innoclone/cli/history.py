"""``innoclone history``: the clones that came to an end."""

from __future__ import annotations

from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand

__all__ = ["history"]


@expand
def history(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="Show the newest N only; 0 is all.")] = 20,
    output: OutputArgs,
) -> None:
    """List the clones that came to an end, good or bad.

    They are those of this user; the newest is the last.
    """
    from innoclone.cli.describe import history_table
    from innoclone.records.history import read_history

    out = output.open()
    records = read_history()
    records = records[-limit:] if limit else records
    for line in history_table(records) if records else ["no clone has come to an end yet"]:
        out.data(line)
    for record in records:
        out.event("clone", record)
    out.result({"clones": len(records)})
