"""``innoclone list``: what is in a folder of clones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand, refuse_address
from innoclone.cli.keeping import KeepArgs

__all__ = ["list"]


@expand
def list(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with clones, or one clone.")],
    *,
    keeping: KeepArgs,
    output: OutputArgs,
) -> None:
    """List the clones in a folder: time, size, what each shares, donor, position, verified or not.

    Also what is unfinished, and what isn't innoclone's. With --generations or --keep-... it says of each generation
    whether a clone with these rules would keep it. Nothing is changed.
    """
    from innoclone.cli.clonetable import listing_lines
    from innoclone.commands.listing import list_clones

    out = output.open()
    refuse_address(folder, hint="innoclone store list URL shows the snapshots in it")
    found = list_clones(folder.absolute(), keeping.policy)
    for line in listing_lines(found):
        out.data(line)
    out.result(found.fields)
