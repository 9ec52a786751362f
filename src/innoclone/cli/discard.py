"""``innoclone discard``: take an unfinished clone away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand

__all__ = ["discard"]


@expand
def discard(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="A directory with an unfinished clone.")],
    *,
    output: OutputArgs,
) -> None:
    """Remove an unfinished clone.

    The directory goes, and with it the files that --map-path sent elsewhere. A finished clone is refused, as is a
    directory that a process works on or that innoclone didn't make.
    """
    from innoclone.commands.discard import discard as run

    out = output.open()
    directory = directory.absolute()
    gone = run(directory)
    out.message(f"removed {directory}" if gone else f"emptied {directory}, which itself can't be removed")
    out.result({"directory": str(directory), "removed": gone})
    out.completed()
