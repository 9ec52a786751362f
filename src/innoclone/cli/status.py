"""``innoclone status``: how far a clone is, or how it ended; what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand

__all__ = ["status"]


@expand
def status(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIRECTORY", help="A directory that a clone is made in.")
    ] = None,
    *,
    output: OutputArgs,
) -> None:
    """Say how far a clone is, or how it ended.

    It works while another process makes the clone, after that process was killed, and for a finished clone; then it
    says who serves it and who takes it.

    Without a directory it lists what this user's commands do on this host now: clones, backups, restores.
    """
    from innoclone.cli.describe import running_lines, status_lines
    from innoclone.commands.inspect import inspect_with_donors
    from innoclone.records.running import running

    out = output.open()
    if directory is None:
        there = running()
        for line in running_lines(there) if there else ["nothing runs"]:
            out.data(line)
        out.result({"running": there})
        return
    found = inspect_with_donors(directory.absolute())
    for line in status_lines(found):
        out.data(line)
    out.result(found.fields)
