"""``innoclone status``: how far a clone is, or how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand

__all__ = ["status"]


@expand
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="A directory that a clone is made in.")],
    *,
    output: OutputArgs,
) -> None:
    """Say how far a clone is, or how it ended.

    It works while another process makes the clone, after that process was killed, and for a finished clone; then it
    says who serves it and who takes it.
    """
    from innoclone.cli.describe import status_lines
    from innoclone.commands.inspect import inspect_with_donors

    out = output.open()
    found = inspect_with_donors(directory.absolute())
    for line in status_lines(found):
        out.data(line)
    out.result(found.fields)
